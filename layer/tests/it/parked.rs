//! Connects that the host parks, redirects or leaves alone, and connects by the first data.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libc::{EALREADY, ECONNABORTED, ECONNREFUSED, EHOSTUNREACH, EINPROGRESS, EINTR, EISCONN, ENETUNREACH, EOPNOTSUPP};
use protocol::layer::{ConnectReply, Over};

use crate::host::{Asked, FakeHost, Reply, echo_server, pod_end};
use crate::run::{run, skip};

fn words_on(host: &FakeHost, words: &str) -> String {
    let shown = run(host, "sockets", &words.split(' ').collect::<Vec<_>>()).output();
    shown.lines().collect::<Vec<_>>().join(" ")
}

/// A loopback address where connects wait: a listener with a full queue, and a socket with its address from
/// which they can be answered.
struct Parking {
    listener: OwnedFd,
    answering: OwnedFd,
    fillers: Vec<std::io::Result<TcpStream>>,
}

/// A TCP socket bound to `ip`, to a port that it may share.
pub(crate) fn bound(address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: socket(2) and setsockopt(2), with memory that is ours.
    let socket = unsafe {
        let socket = OwnedFd::from_raw_fd(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0));
        let one = 1i32;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, (&raw const one).cast(), 4);
        socket
    };
    with_address(address, |name, length| {
        // SAFETY: bind(2) with an address that is ours.
        assert_eq!(unsafe { libc::bind(socket.as_raw_fd(), name, length) }, 0);
    });
    socket
}

/// `address` as C has it.
pub(crate) fn with_address<T>(
    address: SocketAddr,
    call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> T,
) -> T {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: the structure is numbers only.
            let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            name.sin_family = libc::AF_INET as u16;
            name.sin_port = v4.port().to_be();
            name.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            call((&raw const name).cast(), size_of_val(&name) as u32)
        }
        SocketAddr::V6(v6) => {
            // SAFETY: the structure is numbers only.
            let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            name.sin6_family = libc::AF_INET6 as u16;
            name.sin6_port = v6.port().to_be();
            name.sin6_addr.s6_addr = v6.ip().octets();
            call((&raw const name).cast(), size_of_val(&name) as u32)
        }
    }
}

impl Parking {
    /// A place in the network of `relay`.
    fn new(relay: SocketAddr) -> (Self, SocketAddr) {
        let listener = bound(SocketAddr::new(relay.ip(), 0));
        let place = TcpListener::from(listener.try_clone().expect("clones")).local_addr().expect("bound");
        let answering = bound(place);
        // SAFETY: listen(2) on our own socket, with the shortest queue.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let fillers = (0..3).map(|_| TcpStream::connect_timeout(&place, Duration::from_millis(50))).collect();
        (Self { listener, answering, fillers }, place)
    }

    /// Connects to the socket at `local`, which is connecting here: both are connected then.
    fn complete(self, local: SocketAddr) {
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        // SAFETY: connect(2) with an address that is ours.
        let failed =
            with_address(local, |name, length| unsafe { libc::connect(self.answering.as_raw_fd(), name, length) });
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
        let mut stream = TcpStream::from(self.answering);
        stream.write_all(b"hello\n").expect("writes");
        // Open as long as the program reads.
        let _ = std::io::copy(&mut &stream, &mut std::io::sink());
        drop((self.listener, self.fillers));
    }
}

/// What becomes of parked connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    /// With what the host has to say of it.
    Refused(i32),
    Lost,
}

/// Parks connects to port 80, and goes on with them once the program has asked for its own name. Blocking
/// connects are not answered. Port 81 is served.
fn parking(end: End) -> FakeHost {
    let relays = Arc::new(Mutex::new(Vec::new()));
    let noted = relays.clone();
    let (parked, place, server) = (Mutex::new(None), Mutex::new(None::<Parking>), echo_server());
    let go_on = AtomicBool::new(false);
    FakeHost::with_settings(
        move |settings| {
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
            *noted.lock().expect("not poisoned") = vec![SocketAddr::V4(settings.relay_v4), v6];
        },
        move |asked| match *asked {
            Asked::Connect { destination, .. } if destination.port() == 81 => Reply::Relay(server),
            Asked::Connect { nonblocking: false, .. } => Reply::Silence,
            Asked::Connect { over, .. } => {
                let relay = relays.lock().expect("not poisoned")[usize::from(over == Over::V6)];
                let (parking, address) = Parking::new(relay);
                *place.lock().expect("not poisoned") = Some(parking);
                Reply::Connect(ConnectReply::Park(address))
            }
            Asked::Parked { .. } if end == End::Lost => Reply::Hangup,
            Asked::Parked { local, .. } => {
                *parked.lock().expect("not poisoned") = Some(local);
                Reply::Default
            }
            Asked::Names { .. } => {
                let local = parked.lock().expect("not poisoned").take();
                let place = place.lock().expect("not poisoned").take();
                if let (Some(local), Some(place)) = (local, place) {
                    assert!(!go_on.swap(true, Ordering::Relaxed), "once");
                    match end {
                        End::Completed => drop(thread::spawn(move || place.complete(local))),
                        End::Refused(_) | End::Lost => drop(place),
                    }
                }
                Reply::Default
            }
            Asked::Failure { .. } if let End::Refused(errno) = end => Reply::Errno(errno),
            _ => Reply::Default,
        },
    )
}

#[test]
fn a_parked_connect_succeeds_late() {
    for (socket, far, local, peer) in [
        ("socket4", "10.0.0.5", "10.244.0.9:40000/16", "10.0.0.5:80/16"),
        ("socket6", "::ffff:10.0.0.5", "[::ffff:10.244.0.9]:40000/28", "[::ffff:10.0.0.5]:80/28"),
        ("socket6", "fd00::5", "[::ffff:10.244.0.9]:40000/28", "[fd00::5]:80/28"),
    ] {
        let words = format!("{socket} nonblock connect {far} 80 again local poll again again names");
        let expected = format!(
            "connect={EINPROGRESS} again={EALREADY} local={local} poll=1 out so_error=0 again=0 again={EISCONN} local={local} peer={peer}"
        );
        assert_eq!(words_on(&parking(End::Completed), &words), expected);
    }
}

#[test]
fn a_call_that_may_wait_no_longer_is_parked() {
    let late = "local poll names";
    for (words, errno) in [("sndtimeo 50", EINPROGRESS), ("alarm 50", EINTR)] {
        let words = format!("socket4 {words} connect 10.0.0.5 80 again {late} hello fds");
        // Reading `again` blocks, since the socket does.
        let words = words.replace("again ", "");
        let own = pod_end(0);
        let expected = format!(
            "connect={errno} local={own}/16 poll=1 out so_error=0 local={own}/16 peer=10.0.0.5:80/16 hello=yes fds=+1"
        );
        assert_eq!(words_on(&parking(End::Completed), &words), expected, "{words}");
    }
}

#[test]
fn a_parked_connect_is_refused_late() {
    // The kernel tells the first call after a failure of the failure.
    let words =
        "socket4 nonblock connect 10.0.0.5 80 again local poll connect 10.0.0.6 81 connect 10.0.0.6 81 poll names";
    let own = pod_end(0);
    for (errno, told) in [(0, ECONNREFUSED), (EHOSTUNREACH, EHOSTUNREACH), (-1, ECONNREFUSED)] {
        let expected = format!(
            "connect={EINPROGRESS} again={EALREADY} local={own}/16 poll=1 out so_error={told} connect={ECONNABORTED} connect={EINPROGRESS} poll=1 out so_error=0 local=10.244.0.9:40002/16 peer=10.0.0.6:81/16"
        );
        assert_eq!(words_on(&parking(End::Refused(errno)), words), expected);
    }
}

#[test]
fn a_parked_connect_that_nobody_knows_of_leaves_a_fresh_socket() {
    let words = "socket4 nonblock connect 10.0.0.5 80 connect 10.0.0.6 81 poll";
    let expected = format!("connect={ENETUNREACH} connect={EINPROGRESS} poll=1 out so_error=0");
    assert_eq!(words_on(&parking(End::Lost), words), expected);
}

#[test]
fn the_host_is_told_where_the_parked_socket_is() {
    let host = parking(End::Completed);
    words_on(&host, "socket4 nonblock connect 10.0.0.5 80 local poll");
    let parked: Vec<SocketAddr> = host
        .asked()
        .iter()
        .filter_map(|asked| if let Asked::Parked { local, .. } = asked { Some(*local) } else { None })
        .collect();
    assert!(matches!(parked[..], [local] if local.ip() == Ipv4Addr::LOCALHOST && local.port() != 0), "{parked:?}");
}

/// A host that redirects to `server`, or says that its address is local.
fn elsewhere(reply: ConnectReply) -> FakeHost {
    FakeHost::with_settings(
        |settings| settings.ignore_localhost = false,
        move |asked| match asked {
            Asked::Connect { .. } => Reply::Connect(reply),
            _ => Reply::Default,
        },
    )
}

#[test]
fn a_redirected_connect_ends_at_the_programs_own_listener() {
    let redirect = ConnectReply::Redirect(echo_server());
    for words in ["socket4 connect 10.244.0.9 80 hello", "socket6 connect ::ffff:10.244.0.9 80 hello"] {
        assert_eq!(words_on(&elsewhere(redirect), words), "connect=0 hello=yes");
    }
    let shown = words_on(&elsewhere(redirect), "socket4 nonblock connect 10.244.0.9 80 poll");
    assert_eq!(shown, format!("connect={EINPROGRESS} poll=1 out so_error=0"));
    let nobody = elsewhere(ConnectReply::Redirect(([127, 0, 0, 1], 1).into()));
    assert_eq!(words_on(&nobody, "socket4 connect 10.244.0.9 80"), format!("connect={ECONNREFUSED}"));
}

#[test]
fn a_connect_that_the_filters_leave_here_is_native() {
    let server = echo_server();
    let words = format!("socket4 connect 127.0.0.1 {} hello names", server.port());
    let shown = words_on(&elsewhere(ConnectReply::Local), &words);
    assert!(shown.starts_with("connect=0 hello=yes local=127.0.0.1:"), "{shown}");
    assert!(shown.ends_with(&format!("peer={server}/16")), "{shown}");
}

fn session() -> FakeHost {
    let server = echo_server();
    FakeHost::start(move |asked| match asked {
        Asked::Connect { destination, .. } if destination.port() == 1 => Reply::Failed(ECONNREFUSED),
        Asked::Connect { .. } => Reply::Relay(server),
        _ => Reply::Default,
    })
}

#[test]
fn the_host_learns_the_port_that_the_program_chose() {
    let host = session();
    words_on(
        &host,
        "socket4 connect 10.0.0.5 80 socket4 bind 0.0.0.0 0 connect 10.0.0.5 80 socket6 connect fd00::5 80",
    );
    let asked: Vec<(bool, Over)> = host
        .asked()
        .iter()
        .filter_map(|asked| match asked {
            Asked::Connect { source_port, over, .. } => Some((*source_port != 0, *over)),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(false, Over::V4), (true, Over::V4), (false, Over::V6)]);
}

#[test]
fn the_first_data_connects() {
    for how in ["sendto", "sendmsg", "sendmmsg"] {
        let words = format!("socket4 fastopen {how} 10.0.0.5 80 ping hello expect ping names");
        let expected = format!("{how}=0 hello=yes got=it local=10.244.0.9:40000/16 peer=10.0.0.5:80/16");
        assert_eq!(words_on(&session(), &words), expected);
        let words = format!("socket4 fastopen {how} 10.0.0.5 1 ping fastopen {how} 10.0.0.5 80 ping hello expect ping");
        let expected = format!("{how}={ECONNREFUSED} {how}=0 hello=yes got=it");
        assert_eq!(words_on(&session(), &words), expected);
        let words =
            format!("socket4 nonblock fastopen {how} 10.0.0.5 80 ping poll again fastopen {how} 10.0.0.5 80 ping");
        let expected = format!("{how}={EINPROGRESS} poll=1 out so_error=0 again=0 {how}={EISCONN}");
        assert_eq!(words_on(&session(), &words), expected);
    }
}

#[test]
fn the_first_data_connects_locally_too() {
    let host = session();
    let words = format!("socket4 fastopen sendto 127.0.0.1 {} ping hello expect ping", echo_server().port());
    let shown = words_on(&host, &words);
    if shown.starts_with(&format!("sendto={EOPNOTSUPP}")) {
        return skip("this kernel does not connect by the first data");
    }
    assert_eq!((shown.as_str(), host.asked()), ("sendto=0 hello=yes got=it", vec![]));
}

#[test]
fn sockets_that_put_their_connect_off_connect_at_once() {
    let words =
        "socket4 fastconnect connect 10.0.0.5 80 hello names socket4 fastconnect nonblock connect 10.0.0.5 80 poll";
    let expected = format!(
        "option=0 connect=0 hello=yes local=10.244.0.9:40000/16 peer=10.0.0.5:80/16 option=0 connect={EINPROGRESS} poll=1 out so_error=0"
    );
    assert_eq!(words_on(&session(), words), expected);
}

#[test]
fn a_socket_that_is_passed_on_keeps_its_names() {
    let shown = words_on(&session(), "socket4 pass");
    let mut parts: Vec<&str> = shown.split(' ').collect();
    parts.sort_unstable();
    assert_eq!(
        parts,
        ["connect=0", "hello=yes", "local=10.244.0.9:40000/16", "passed=0", "peer=10.0.0.5:80/16", "received=0"]
    );
}
