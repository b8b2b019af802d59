//! `connect`, `getpeername` and `getsockname` of the C program `sockets`, as tables of words and what they print.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use libc::{
    EADDRNOTAVAIL, EAFNOSUPPORT, EALREADY, EBADF, ECONNABORTED, ECONNREFUSED, EFAULT, EINPROGRESS, EINTR, EINVAL,
    EISCONN, ENETUNREACH, ENOENT, ENOSYS, ENOTCONN, ETIMEDOUT,
};

use protocol::layer::ConnectReply;

use crate::host::{Asked, FakeHost, Reply, echo_server};
use crate::run::{Ended, app, run};

/// A session whose far side is one echo server, except for the port 1, where nobody listens.
fn session() -> FakeHost {
    FakeHost::start(far_side(echo_server()))
}

fn far_side(server: SocketAddr) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| match asked {
        Asked::Connect { destination, .. } if destination.port() == 1 => Reply::Failed(ECONNREFUSED),
        Asked::Connect { .. } => Reply::Relay(server),
        _ => Reply::Default,
    }
}

/// Runs each case in a session of its own made by `start`.
fn check(start: impl Fn() -> FakeHost, cases: &[(&str, &str)]) {
    for (words, expected) in cases {
        let shown = words_on(&start(), words).output();
        assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), *expected, "{words}");
    }
}

fn words_on(host: &FakeHost, words: &str) -> Ended {
    run(host, "sockets", &words.split(' ').collect::<Vec<_>>())
}

fn is_connect(asked: &Asked) -> bool {
    matches!(asked, Asked::Connect { .. })
}

#[test]
fn a_blocking_connect_is_the_pods() {
    check(
        session,
        &[
            (
                "socket4 connect 10.0.0.5 80 hello names fds",
                "connect=0 hello=yes local=10.244.0.9:40000/16 peer=10.0.0.5:80/16 fds=+1",
            ),
            (
                "socket4 connect 10.0.0.5 1 names fds",
                &format!("connect={ECONNREFUSED} local=0.0.0.0:0/16 peer={ENOTCONN} fds=+1"),
            ),
            ("socket4 connect 10.0.0.5 80 truncated", "connect=0 truncated=0 length=16 port=80 rest=ee"),
            (
                "socket4 connect 10.0.0.5 1 connect 10.0.0.6 80 hello",
                &format!("connect={ECONNREFUSED} connect=0 hello=yes"),
            ),
            (
                "socket4 connect 10.0.0.5 80 disconnect connect 10.0.0.6 81 hello names",
                "connect=0 disconnect=0 connect=0 hello=yes local=10.244.0.9:40001/16 peer=10.0.0.6:81/16",
            ),
        ],
    );
}

#[test]
fn ipv6_sockets_reach_both_families() {
    check(
        session,
        &[
            (
                "socket6 connect fd00::5 80 hello names",
                "connect=0 hello=yes local=[::ffff:10.244.0.9]:40000/28 peer=[fd00::5]:80/28",
            ),
            ("socket6 v6only connect fd00::5 80 hello", "connect=0 hello=yes"),
            (
                "socket6 connect ::ffff:10.0.0.5 80 hello names",
                "connect=0 hello=yes local=[::ffff:10.244.0.9]:40000/28 peer=[::ffff:10.0.0.5]:80/28",
            ),
        ],
    );
    let host = session();
    assert_eq!(words_on(&host, "socket6 connect ::ffff:10.0.0.5 80").output(), "connect=0\n");
    let v4 = SocketAddr::from(([10, 0, 0, 5], 80));
    assert!(matches!(host.asked()[..], [Asked::Connect { destination, nonblocking: false, .. }] if destination == v4));
}

#[test]
fn without_an_ipv6_relay_ipv6_sockets_use_the_other() {
    let start = || FakeHost::with_settings(|settings| settings.relay_v6 = None, far_side(echo_server()));
    check(
        start,
        &[
            (
                "socket6 connect fd00::5 80 hello names",
                "connect=0 hello=yes local=[::ffff:10.244.0.9]:40000/28 peer=[fd00::5]:80/28",
            ),
            ("socket6 v6only connect fd00::5 80", &format!("connect={ENETUNREACH}")),
        ],
    );
    let start = || FakeHost::with_settings(|settings| settings.ipv6 = false, far_side(echo_server()));
    check(start, &[("socket6 connect fd00::5 80", &format!("connect={ENETUNREACH}"))]);
}

#[test]
fn a_nonblocking_connect_stays_pollable() {
    check(
        session,
        &[
            (
                "socket4 nonblock connect 10.0.0.5 80 poll names",
                &format!("connect={EINPROGRESS} poll=1 out so_error=0 local=10.244.0.9:40000/16 peer=10.0.0.5:80/16"),
            ),
            ("socket4 nonblock connect 10.0.0.5 80 epoll", &format!("connect={EINPROGRESS} epoll=1 out so_error=0")),
            ("socket4 nonblock connect 10.0.0.5 80 select", &format!("connect={EINPROGRESS} select=1 so_error=0")),
            (
                "socket4 nonblock connect 10.0.0.5 80 poll again again",
                &format!("connect={EINPROGRESS} poll=1 out so_error=0 again=0 again={EISCONN}"),
            ),
            ("socket4 nonblock connect 10.0.0.5 1", &format!("connect={ECONNREFUSED}")),
        ],
    );
}

#[test]
fn a_refusal_is_the_kernels() {
    let bound = |listens: bool| {
        // SAFETY: socket(2), bind(2) and listen(2) with an address that is ours.
        let socket = unsafe {
            let socket = OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0));
            let mut name: libc::sockaddr_in = std::mem::zeroed();
            name.sin_family = libc::AF_INET as u16;
            name.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
            let length = size_of_val(&name) as u32;
            assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length), 0);
            assert!(!listens || libc::listen(socket.as_raw_fd(), 1) == 0);
            socket
        };
        TcpListener::from(socket)
    };
    for (socket, words, expected) in [
        (bound(false), "socket4 connect 10.0.0.5 1", format!("connect={ECONNREFUSED}")),
        (
            bound(false),
            "socket4 nonblock connect 10.0.0.5 1 poll again again",
            format!(
                "connect={EINPROGRESS} poll=1 out so_error={ECONNREFUSED} again={ECONNABORTED} again={EINPROGRESS}"
            ),
        ),
        (bound(true), "socket4 connect 10.0.0.5 1", format!("connect={ECONNREFUSED}")),
    ] {
        let place = socket.local_addr().expect("bound");
        let host = FakeHost::start(move |asked| match asked {
            Asked::Connect { from_loopback: true, .. } => Reply::Failed(EINVAL),
            Asked::Connect { .. } => Reply::Connect(ConnectReply::Refused(place)),
            _ => Reply::Default,
        });
        let shown = words_on(&host, words).output();
        assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), expected, "{words}");
    }
}

#[test]
fn sockets_are_bound_to_the_pods_address() {
    check(
        session,
        &[
            (
                "socket4 bind 10.244.0.9 7123 names connect 10.0.0.5 80 hello names",
                &format!(
                    "bind=0 local=10.244.0.9:7123/16 peer={ENOTCONN} connect=0 hello=yes local=10.244.0.9:40000/16 peer=10.0.0.5:80/16"
                ),
            ),
            (
                "socket6 bind ::ffff:10.244.0.9 7123 names",
                &format!("bind=0 local=[::ffff:10.244.0.9]:7123/28 peer={ENOTCONN}"),
            ),
            ("socket4 bind 10.244.0.8 0", &format!("bind={EADDRNOTAVAIL}")),
            ("udp bind 10.244.0.9 7123", &format!("bind={EADDRNOTAVAIL}")),
        ],
    );
    let host = FakeHost::start(|asked| match asked {
        Asked::Connect { from_loopback: false, source_port: 7123, .. } => Reply::Failed(ENOENT),
        _ => Reply::Default,
    });
    let shown = words_on(&host, "socket4 bind 10.244.0.9 7123 connect 10.0.0.5 80").output();
    assert!(shown.contains(&format!("connect={ENOENT}\n")), "{shown}");
}

#[test]
fn a_connect_that_nobody_answers_ends_as_the_program_has_said() {
    let host = FakeHost::start(|asked| match asked {
        Asked::Connect { .. } => Reply::Silence,
        _ => Reply::Default,
    });
    let started = Instant::now();
    assert_eq!(words_on(&host, "socket4 syncount 1 connect 10.0.0.5 80").output(), format!("connect={ETIMEDOUT}\n"));
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert_eq!(host.asked().iter().filter(|asked| is_connect(asked)).count(), 1);
}

#[test]
fn a_socket_on_loopback_is_told_apart() {
    for (words, expected) in [
        ("socket4 bind 127.0.0.1 0 connect 10.0.0.5 80", EINVAL),
        ("socket4 bind 127.1.2.3 0 connect 10.0.0.5 80", EINVAL),
        ("socket6 bind ::ffff:127.0.0.1 0 connect ::ffff:10.0.0.5 80", EINVAL),
        ("socket6 bind ::1 0 connect fd00::5 80", ENOENT),
        ("socket4 bind 0.0.0.0 0 connect 10.0.0.5 80", ENOENT),
        ("socket4 connect 10.0.0.5 80", ENOENT),
    ] {
        let host = FakeHost::start(|asked| match asked {
            Asked::Connect { from_loopback: true, .. } => Reply::Failed(EINVAL),
            Asked::Connect { .. } => Reply::Failed(ENOENT),
            _ => Reply::Default,
        });
        let shown = words_on(&host, words).output();
        assert!(shown.contains(&format!("connect={expected}\n")), "{words}: {shown}");
    }
}

#[test]
fn the_kernel_answers_for_what_is_not_fresh_or_not_ours() {
    let host = session();
    let cases = [
        (
            "socket4 connect 10.0.0.5 80 again connect 10.0.0.6 80",
            format!("connect=0 again={EISCONN} connect={EISCONN}"),
            1,
        ),
        ("udp connect 10.0.0.5 80", "connect=0".to_owned(), 0),
        ("unix", format!("unix={ENOENT}"), 0),
        ("socket4 connect fd00::5 80", format!("connect={EAFNOSUPPORT}"), 0),
        ("socket4 connect 127.0.0.1 1", format!("connect={ECONNREFUSED}"), 0),
        ("socket6 connect ::1 1", format!("connect={ECONNREFUSED}"), 0),
        ("socket4 connect 0.0.0.0 1", format!("connect={ECONNREFUSED}"), 0),
        (
            "socket4 bad",
            format!(
                "null={EFAULT} wild={EFAULT} short={EINVAL} name={ENOTCONN} length={ENOTCONN} nothing={EFAULT} closed={EBADF}"
            ),
            0,
        ),
        (
            "socket4 connect 10.0.0.5 80 bad",
            format!(
                "connect=0 null={EFAULT} wild={EFAULT} short={EISCONN} name={EFAULT} length={EFAULT} nothing={EFAULT} closed={EBADF}"
            ),
            1,
        ),
    ];
    for (words, expected, asks) in cases {
        let before = host.asked().len();
        let shown = words_on(&host, words).output();
        assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), expected, "{words}");
        assert_eq!(host.asked().len() - before, asks, "{words}: {:?}", host.asked());
    }
}

#[test]
fn raw_system_calls_through_libc_are_hooked() {
    check(
        session,
        &[
            (
                "socket4 syscall 10.0.0.5 80 hello syscalls",
                &format!("syscall=0 hello=yes mmap=1 pid=1 ring={ENOSYS} bad={EBADF} peer=0 10.0.0.5:80"),
            ),
            ("socket4 syscall 10.0.0.5 1", &format!("syscall={ECONNREFUSED}")),
        ],
    );
}

#[test]
fn sockets_that_are_bound_to_an_address_connect() {
    check(
        session,
        &[
            ("socket4 bind 127.0.0.1 0 connect 10.0.0.5 80 hello", "bind=0 connect=0 hello=yes"),
            ("socket4 bind 127.1.2.3 0 connect 10.0.0.5 80 hello", "bind=0 connect=0 hello=yes"),
            (
                "socket4 bind 0.0.0.0 0 connect 10.0.0.5 80 hello names",
                "bind=0 connect=0 hello=yes local=10.244.0.9:40000/16 peer=10.0.0.5:80/16",
            ),
            ("socket6 bind ::ffff:127.0.0.1 0 connect ::ffff:10.0.0.5 80 hello", "bind=0 connect=0 hello=yes"),
            ("socket6 bind ::1 0 connect fd00::5 80 hello", "bind=0 connect=0 hello=yes"),
        ],
    );
    if let Some(own) = own_address() {
        check(
            session,
            &[(
                &format!("socket4 bind {own} 0 connect 10.0.0.5 80 hello names"),
                "bind=0 connect=0 hello=yes local=10.244.0.9:40000/16 peer=10.0.0.5:80/16",
            )],
        );
    }
}

/// This machine's address on a real interface: the source that the kernel chooses for the documentation network.
fn own_address() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

#[test]
fn sockets_that_are_bound_to_an_interface_stay_local() {
    let host = session();
    let shown = words_on(&host, "socket4 nonblock device lo connect 10.0.0.5 80").output();
    assert!(shown.starts_with("device=0\nconnect="), "{shown}");
    assert_eq!(host.asked(), []);
}

#[test]
fn switched_off_is_local() {
    let host = FakeHost::with_settings(|settings| settings.outgoing_tcp = false, far_side(echo_server()));
    let shown = words_on(&host, "socket4 nonblock connect 192.0.2.1 80").output();
    assert!(shown.starts_with("connect="), "{shown}");
    assert_eq!(host.asked(), []);
}

/// The first connect hangs; the layer's second, which may not wait, is answered.
fn hangs_at_first() -> FakeHost {
    let server = echo_server();
    FakeHost::start(move |asked| match asked {
        Asked::Connect { nonblocking: false, .. } => Reply::Silence,
        Asked::Connect { .. } => Reply::Relay(server),
        _ => Reply::Default,
    })
}

#[test]
fn a_send_timeout_leaves_the_connect_to_the_background() {
    check(
        hangs_at_first,
        &[(
            "socket4 sndtimeo 50 connect 10.0.0.5 80 poll again hello fds",
            &format!("connect={EINPROGRESS} poll=1 out so_error=0 again=0 hello=yes fds=+1"),
        )],
    );
}

#[test]
fn a_signal_leaves_the_connect_to_the_background() {
    check(
        hangs_at_first,
        &[(
            "socket4 alarm 50 connect 10.0.0.5 80 poll again hello fds",
            &format!("connect={EINTR} poll=1 out so_error=0 again=0 hello=yes fds=+1"),
        )],
    );
}

#[test]
fn a_lost_host_is_an_unreachable_network() {
    let unreachable = format!("connect={ENETUNREACH} fds=+1");
    for reply in [
        Reply::Hangup,
        Reply::Bytes(vec![]),
        Reply::Bytes(vec![1, 0]),
        Reply::Bytes(vec![0, 0, 0, 0]),
        Reply::Bytes(vec![1, 0, 0, 0, 99]),
        Reply::Bytes(vec![2, 0, 0, 0, 0, 0]),
        Reply::Bytes(vec![255; 4096]),
        Reply::Failed(0),
        Reply::Failed(-5),
        Reply::Failed(100_000),
    ] {
        let scripted = reply.clone();
        let host = FakeHost::start(move |asked| if is_connect(asked) { scripted.clone() } else { Reply::Default });
        let shown = words_on(&host, "socket4 connect 10.0.0.5 80 fds").output();
        assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), unreachable, "{reply:?}");
    }
}

#[test]
fn a_hanging_host_does_not_hold_a_nonblocking_program() {
    let host = FakeHost::start(|asked| if is_connect(asked) { Reply::Silence } else { Reply::Default });
    let shown = words_on(&host, "socket4 nonblock connect 10.0.0.5 80 fds").output();
    assert_eq!(shown, format!("connect={ENETUNREACH}\nfds=+1\n"));
}

#[test]
fn a_relay_without_a_host_is_an_unreachable_network() {
    let closed = std::net::TcpListener::bind("0.0.0.0:0").expect("listener").local_addr().expect("bound").port();
    let start = || FakeHost::with_settings(|settings| settings.relay_v4.set_port(closed), far_side(echo_server()));
    check(start, &[("socket4 connect 10.0.0.5 80", &format!("connect={ENETUNREACH}"))]);
}

#[test]
fn nonsense_names_leave_the_kernels() {
    for reply in [Reply::Hangup, Reply::Bytes(vec![3, 0, 0, 0, 7, 7, 7]), Reply::Bytes(vec![255; 500])] {
        let server = echo_server();
        let host = FakeHost::start(move |asked| match asked {
            Asked::Connect { .. } => Reply::Relay(server),
            Asked::Names { .. } => reply.clone(),
            _ => Reply::Default,
        });
        let shown = words_on(&host, "socket4 connect 10.0.0.5 80 names hello").output();
        assert!(shown.contains("peer=127.77.") && shown.contains("hello=yes"), "{shown}");
    }
}

#[test]
fn a_host_that_was_never_there_leaves_loopback_alone() {
    let host = session();
    host.die();
    let shown = words_on(&host, "socket4 connect 10.0.0.5 80 connect 127.0.0.1 1 udp connect 10.0.0.5 80").output();
    let expected = format!("connect={ENETUNREACH} connect={ECONNREFUSED} connect={ENETUNREACH}");
    assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn a_host_that_dies_during_the_wait_ends_it() {
    let host = FakeHost::start(|asked| if is_connect(asked) { Reply::Silence } else { Reply::Default });
    // It is compiled before the host waits for it.
    drop(app("sockets"));
    let shown = std::thread::scope(|scope| {
        let program = scope.spawn(|| words_on(&host, "socket4 connect 10.0.0.5 80 again fds").output());
        host.wait_for(is_connect);
        host.die();
        program.join().expect("ends")
    });
    assert_eq!(shown, format!("connect={ENETUNREACH}\nagain={ENETUNREACH}\nfds=+1\n"));
}

#[test]
fn a_connect_under_way_is_the_kernels() {
    // A relay whose queue is full keeps the socket connecting.
    let host = FakeHost::with_settings(|settings| settings.relay_v4.set_port(full_listener()), far_side(echo_server()));
    let shown = words_on(&host, "socket4 nonblock connect 10.0.0.5 80 again").output();
    assert_eq!(shown, format!("connect={EINPROGRESS}\nagain={EALREADY}\n"));
    assert_eq!(host.asked().len(), 1);
}

/// Port of a listener on every loopback address that accepts nobody any more.
fn full_listener() -> u16 {
    let listener = socket_with_backlog_0();
    let address = listener.local_addr().expect("bound");
    let filler: Vec<_> = (0..4)
        .map(|_| {
            std::net::TcpStream::connect_timeout(
                &([127, 0, 0, 1], address.port()).into(),
                std::time::Duration::from_millis(50),
            )
        })
        .collect();
    std::mem::forget((listener, filler));
    address.port()
}

fn socket_with_backlog_0() -> std::net::TcpListener {
    use std::os::fd::AsRawFd;
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("listener");
    // SAFETY: listen(2) on our own socket, to shorten its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    listener
}
