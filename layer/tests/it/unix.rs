//! Unix sockets of the C program `unixes`, some of which are the pod's.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use libc::{ECONNREFUSED, EFAULT, EINVAL, EISCONN, ENETUNREACH, ENOENT};
use protocol::agent::UnixKind;
use protocol::layer::{UnixReply, unix_relay_name};

use crate::host::{Asked, FakeHost, Reply};
use crate::run::run;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What arrived in datagrams.
type Received = Arc<Mutex<Vec<String>>>;

/// A relay for one socket: echoes, once for connections, and keeps datagrams.
fn relay(kind: UnixKind, wanted: &[u8], received: &Received) -> Vec<u8> {
    let word = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let name = unix_relay_name(&format!("{word:a<26}"), wanted);
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    match kind {
        UnixKind::Stream => {
            let listener = UnixListener::bind_addr(&address).expect("listens");
            thread::spawn(move || echo(listener.accept().expect("a connection").0));
        }
        UnixKind::SeqPacket => {
            // SAFETY: socket(2), then bind(2) and listen(2) on it.
            let listener = unsafe {
                let socket = OwnedFd::from_raw_fd(libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0));
                let mut own: libc::sockaddr_un = std::mem::zeroed();
                own.sun_family = libc::AF_UNIX as u16;
                for (place, byte) in own.sun_path[1..].iter_mut().zip(&name) {
                    *place = *byte as i8;
                }
                assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const own).cast(), 3 + name.len() as u32), 0);
                assert_eq!(libc::listen(socket.as_raw_fd(), 1), 0);
                UnixListener::from(socket)
            };
            thread::spawn(move || echo(listener.accept().expect("a connection").0));
        }
        UnixKind::Datagram => {
            let socket = UnixDatagram::bind_addr(&address).expect("binds");
            let received = received.clone();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length) = socket.recv(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    received.lock().expect("not poisoned").push(text);
                }
            });
        }
    }
    name
}

fn echo(mut stream: UnixStream) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let _ = stream.write_all(&buffer[..length]);
    }
}

/// A session in which paths below `/pod` and the abstract name `pod` are the pod's, but nobody listens at
/// `/pod/none`.
fn session() -> (FakeHost, Received) {
    let received = Received::default();
    let noted = received.clone();
    let host = FakeHost::with_settings(
        |settings| settings.unix = true,
        move |asked| match asked {
            Asked::Unix { address, .. } if address == b"/pod/none" => Reply::Unix(UnixReply::Failed(ECONNREFUSED)),
            Asked::Unix { address, .. } if address == b"/pod/nonsense" => Reply::Bytes(vec![1, 0, 0, 0, 9]),
            Asked::Unix { address, kind } if address.starts_with(b"/pod/") || address == b"\0pod" => {
                Reply::UnixRelay(relay(*kind, address, &noted))
            }
            _ => Reply::Default,
        },
    );
    (host, received)
}

fn words_on(host: &FakeHost, words: &str) -> String {
    let shown = run(host, "unixes", &words.split(' ').collect::<Vec<_>>()).output();
    shown.lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_peer_has_its_name_of_the_pod() {
    for (kind, written, expected) in [
        ("stream", "/pod/a", "/pod/a,whole,/px"),
        ("packets", "/pod/a", "/pod/a,whole,/px"),
        ("datagrams", "/pod/a", "/pod/a,whole,/px"),
        ("stream", "@pod", "@pod,whole,pxx"),
    ] {
        let (host, _) = session();
        let shown = words_on(&host, &format!("{kind} connect {written} peer"));
        assert_eq!(shown, format!("connect=0 peer={expected}"), "{kind} {written}");
    }
    // There is no room for such a name.
    let (host, _) = session();
    let shown = words_on(&host, &format!("stream connect /pod/{} peer", "x".repeat(90)));
    assert!(shown.starts_with("connect=0 peer=@mirror-"), "{shown}");
}

#[test]
fn connections_of_each_kind_are_the_pods() {
    for (kind, expected) in
        [("stream", UnixKind::Stream), ("packets", UnixKind::SeqPacket), ("nonblock stream", UnixKind::Stream)]
    {
        for (written, asked) in [("/pod/a", &b"/pod/a"[..]), ("@pod", b"\0pod")] {
            for call in ["connect", "syscall"] {
                let (host, _) = session();
                let kind = kind.split(' ').rev().collect::<Vec<_>>().join(" ");
                let shown = words_on(&host, &format!("{kind} {call} {written} send hi"));
                assert_eq!(shown, format!("{call}=0 send=0"), "{kind} {written}");
                assert_eq!(host.asked(), [Asked::Unix { address: asked.to_vec(), kind: expected }]);
            }
        }
    }
    assert_eq!(
        words_on(&session().0, "stream connect /pod/a send hi recv again"),
        format!("connect=0 send=0 recv=hi again={EISCONN}")
    );
}

#[test]
fn datagrams_are_the_pods() {
    let (host, received) = session();
    let shown = words_on(&host, "datagrams sendto /pod/log one sendmsg @pod two connect /pod/log send three");
    assert_eq!(shown, "sendto=0 sendmsg=0 sendmmsg=0 connect=0 send=0");
    assert!(host.asked().iter().all(|asked| matches!(asked, Asked::Unix { kind: UnixKind::Datagram, .. })));
    // Sent means delivered, but to threads of their own.
    while received.lock().expect("not poisoned").len() < 4 {
        thread::yield_now();
    }
    let mut received = received.lock().expect("not poisoned").clone();
    received.sort_unstable();
    assert_eq!(received, ["one", "three", "two", "two"]);
}

#[test]
fn failures_and_local_names_are_as_the_kernels() {
    let (host, _) = session();
    for (words, expected, asks) in [
        ("stream connect /pod/none", format!("connect={ECONNREFUSED}"), 1),
        ("stream connect /pod/nonsense", format!("connect={ENETUNREACH}"), 1),
        ("datagrams sendto /pod/none x", format!("sendto={ECONNREFUSED}"), 1),
        ("stream connect /nowhere/at/all", format!("connect={ENOENT}"), 1),
        ("datagrams sendto /nowhere x", format!("sendto={ENOENT}"), 1),
        ("stream bad", format!("null={EFAULT} wild={EFAULT} long={EINVAL} unnamed={EINVAL}"), 0),
    ] {
        let before = host.asked().len();
        assert_eq!(words_on(&host, words), expected, "{words}");
        assert_eq!(host.asked().len() - before, asks, "{words}");
    }
    let host = FakeHost::start(|_| Reply::Default);
    assert_eq!(
        words_on(&host, "stream connect /pod/a datagrams sendto /pod/a x"),
        format!("connect={ENOENT} sendto={ENOENT}")
    );
    assert_eq!(host.asked(), [], "switched off");
}
