//! Listeners of the C program `listeners`: told to the host before `listen` returns, and their clients' true names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};

use protocol::layer::NamesReply;

use crate::host::{Asked, FakeHost, Reply};
use crate::parked::{bound, with_address};
use crate::run::run;

const CLIENT: &str = "10.0.0.77:5555";
const IN_POD: &str = "10.244.0.9:8080";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn connect(from: IpAddr, to: SocketAddr) -> OwnedFd {
    let socket = bound(SocketAddr::new(from, 0));
    with_address(to, |name, length| {
        // SAFETY: connect(2) with an address that is ours.
        assert_eq!(unsafe { libc::connect(socket.as_raw_fd(), name, length) }, 0);
    });
    socket
}

/// A host that has a client of the pod come as soon as the program listens: over IPv4 from the session's own
/// addresses, else from `::1`.
fn host(over_v4: bool) -> FakeHost {
    let clients: Mutex<Vec<OwnedFd>> = Mutex::default();
    let session: Arc<OnceLock<Ipv4Addr>> = Arc::default();
    let relay = Arc::clone(&session);
    FakeHost::with_settings(
        move |settings| {
            settings.incoming = true;
            relay.set(*settings.relay_v4.ip()).expect("once");
        },
        move |asked| {
            let [a, b, c, _] = session.get().expect("set").octets();
            let from = if over_v4 { Ipv4Addr::new(a, b, c, 255).into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) };
            match asked {
                Asked::Listen { bound, .. } => {
                    let here = if over_v4 { Ipv4Addr::LOCALHOST.into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) };
                    clients.lock().expect("no panic").push(connect(from, SocketAddr::new(here, bound.port())));
                    Reply::Errno(0)
                }
                Asked::Names { peer: Some(peer), .. } if peer.ip().to_canonical() == from => {
                    Reply::Names(NamesReply::Known { local: address(IN_POD), peer: address(CLIENT) })
                }
                _ => Reply::Default,
            }
        },
    )
}

fn shown(host: &FakeHost, arguments: &[&str]) -> String {
    run(host, "listeners", arguments).output().lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_client_of_the_pod_comes_before_listen_returns_and_has_its_true_name() {
    for how in ["accept", "accept4", "syscall"] {
        let expected = format!("listen=0 accept={CLIENT}/16 peer={CLIENT}/16 local={IN_POD}/16");
        assert_eq!(shown(&host(true), &["0.0.0.0", how]), expected, "{how}");
        assert_eq!(shown(&host(true), &["127.0.0.1", how]), expected, "{how}");
    }
    let expected = format!("listen=0 peer={CLIENT}/16 local={IN_POD}/16");
    assert_eq!(shown(&host(true), &["0.0.0.0", "nameless"]), expected);
}

#[test]
fn an_ipv6_listener_sees_its_clients_in_its_own_form() {
    let mapped = |text: &str| {
        let address = address(text);
        format!("[::ffff:{}]:{}/28", address.ip(), address.port())
    };
    let (client, in_pod) = (mapped(CLIENT), mapped(IN_POD));
    let expected = format!("listen=0 accept={client} peer={client} local={in_pod}");
    assert_eq!(shown(&host(true), &["::", "accept"]), expected);
    assert_eq!(shown(&host(false), &["::", "accept"]), expected);
    assert_eq!(shown(&host(false), &["::1", "accept"]), expected);
}

#[test]
fn a_listener_is_moved_to_another_port_and_does_not_know_it() {
    for (own, in_pod) in [("127.0.0.1", "127.0.0.1:81/16"), ("10.244.0.9", "10.244.0.9:81/16"), ("::1", "[::1]:81/28")]
    {
        let host = FakeHost::with_settings(
            |settings| {
                settings.incoming = true;
                settings.listen_ports[3] = (81, 18_081);
            },
            |_| Reply::Default,
        );
        let shown = shown(&host, &[own, "nobody", "81"]);
        assert_eq!(shown, format!("own={in_pod} listen=0"), "{own}");
        let told = host.asked().into_iter().find_map(|asked| match asked {
            Asked::Listen { bound, .. } => Some(bound.port()),
            _ => None,
        });
        assert_eq!(told, Some(18_081), "{own}");
    }
}

#[test]
fn a_session_without_incoming_traffic_is_not_told_of_listeners() {
    let host = FakeHost::start(|_| Reply::Default);
    assert_eq!(shown(&host, &["127.0.0.1", "nobody"]), "listen=0");
    assert!(!host.asked().iter().any(|asked| matches!(asked, Asked::Listen { .. })));
}
