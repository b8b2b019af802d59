//! Datagrams of the C program `datagrams`, as tables of words and what they print.

use libc::{
    EAFNOSUPPORT, EAGAIN, EBADF, ECONNREFUSED, EDESTADDRREQ, EFAULT, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETUNREACH,
    ENOTCONN, ENOTSOCK,
};
use protocol::layer::{Over, UdpReply};

use crate::far::{session, session_with};
use crate::host::{Asked, FakeHost, Reply};
use crate::run::{app, finish, hooked, installed, run};

fn words_on(host: &FakeHost, words: &str) -> String {
    let shown = run(host, "datagrams", &words.split(' ').collect::<Vec<_>>()).output();
    shown.lines().map(str::trim_end).collect::<Vec<_>>().join(" ")
}

/// Runs each case twice: by the C library's functions and by their numbers.
fn check(start: impl Fn() -> FakeHost, cases: &[(&str, &str)]) {
    for (words, expected) in cases {
        assert_eq!(words_on(&start(), words), *expected, "{words}");
        assert_eq!(words_on(&start(), &format!("raw {words}")), *expected, "raw {words}");
    }
}

fn count(host: &FakeHost, wanted: impl Fn(&Asked) -> bool) -> usize {
    host.asked().iter().filter(|asked| wanted(asked)).count()
}

fn is_udp(asked: &Asked) -> bool {
    matches!(asked, Asked::Udp { .. })
}

#[test]
fn each_function_sends_and_names_the_sender() {
    check(
        session,
        &[
            ("udp4 sendto 10.0.0.5 53 hi recvfrom", "sendto=0 recvfrom=hi 10.0.0.5:53/16"),
            ("udp4 sendmsg 10.0.0.5 53 hi recvmsg", "sendmsg=0 recvmsg=hi 10.0.0.5:53/16"),
            ("udp4 sendto 10.0.0.5 53 hi recv4", "sendto=0 recvfrom=hi 10.0.0.5:53/16"),
            ("udp4 sendto 10.0.0.5 53 hi chk", "sendto=0 chk=hi 10.0.0.5:53/16"),
            ("udp4 sendto 10.0.0.5 53 hi nameless", "sendto=0 nameless=2"),
            ("udp4 sendto 10.0.0.5 53 hi recv", "sendto=0 recv=0"),
            ("udp4 sendmmsg 10.0.0.5 700 2 recvmmsg 2", "sendmmsg=2 wrong=0 recvmmsg=2 m0@700/16 m1@700/16"),
        ],
    );
}

#[test]
fn an_ipv4_address_without_a_family_is_the_pods_on_ipv4_sockets() {
    check(
        session,
        &[
            ("udp4 unspecified 10.0.0.5 53 hi recvfrom", "unspecified=0 recvfrom=hi 10.0.0.5:53/16"),
            ("udp6 unspecified 10.0.0.5 53 hi", &format!("unspecified={EDESTADDRREQ}")),
            (
                "udp6 connect fd00::5 53 unspecified 10.0.0.6 53 hi recvfrom",
                "connect=0 unspecified=0 recvfrom=hi [fd00::5]:53/28",
            ),
        ],
    );
}

#[test]
fn sockets_are_bound_to_the_pods_address() {
    check(
        session,
        &[(
            "udp4 bind 10.244.0.9 7123 names sendto 10.0.0.5 53 hi recvfrom names",
            &format!(
                "bind=0 local=10.244.0.9:7123/16 peer={ENOTCONN} sendto=0 recvfrom=hi 10.0.0.5:53/16 local=10.244.0.9:7123/16 peer={ENOTCONN}"
            ),
        )],
    );
}

#[test]
fn a_socket_on_loopback_is_told_apart() {
    let start = || {
        FakeHost::with_settings(
            |settings| settings.outgoing_udp = true,
            |asked| match asked {
                Asked::Udp { from_loopback: true, .. } => Reply::Udp(UdpReply::Failed(EINVAL)),
                Asked::Udp { .. } => Reply::Udp(UdpReply::Relay(([127, 77, 0, 200], 9).into())),
                _ => Reply::Default,
            },
        )
    };
    check(
        start,
        &[
            (
                "udp4 bind 127.0.0.1 0 sendto 10.0.0.5 53 hi connect 10.0.0.5 53",
                &format!("bind=0 sendto={EINVAL} connect={EINVAL}"),
            ),
            ("udp4 bind 0.0.0.0 0 sendto 10.0.0.5 53 hi", "bind=0 sendto=0"),
            ("udp4 connect 127.0.0.1 9 connect 10.0.0.5 53", &format!("connect=0 connect={EINVAL}")),
        ],
    );
}

#[test]
fn many_messages_by_one_call_reach_their_peers() {
    let host = session();
    let shown = words_on(&host, "udp4 sendmmsg 10.0.0.5 700 40 recvmmsg 40");
    let (sent, received) = shown.split_once(" recvmmsg=40 ").expect("both");
    assert_eq!(sent, "sendmmsg=40 wrong=0");
    // Each peer answers by itself, so their order is open.
    let mut received: Vec<&str> = received.split(' ').collect();
    received.sort_unstable();
    let mut expected: Vec<String> = (0..40).map(|n| format!("m{n}@{}/16", 700 + n / 2)).collect();
    expected.sort_unstable();
    assert_eq!(received, expected);
    assert_eq!((count(&host, is_udp), host.asked().len()), (20, 20), "once for each peer");
}

#[test]
fn many_messages_stop_at_the_first_that_fails() {
    // The second pair goes to port 1, where nobody is.
    check(
        session,
        &[
            ("udp4 sendmmsg 10.0.0.5 0 6", &format!("sendmmsg={EINVAL}")),
            ("udp4 sendmmsg 10.0.0.5 1 4", &format!("sendmmsg={ECONNREFUSED}")),
        ],
    );
    let refuses = || {
        FakeHost::with_settings(
            |settings| settings.outgoing_udp = true,
            |asked| match asked {
                Asked::Udp { peer, .. } if peer.port() == 705 => Reply::Udp(UdpReply::Failed(EHOSTUNREACH)),
                // Datagrams there vanish: nobody is asked what came of them.
                Asked::Udp { .. } => Reply::Udp(UdpReply::Relay(([127, 77, 0, 200], 9).into())),
                _ => Reply::Default,
            },
        )
    };
    check(refuses, &[("udp4 sendmmsg 10.0.0.5 700 30", "sendmmsg=10 wrong=0")]);
}

#[test]
fn peers_are_asked_for_once_and_told_apart() {
    let host = session();
    let shown = words_on(
        &host,
        "udp4 sendto 10.0.0.5 53 a recvfrom sendto 10.0.0.6 53 b recvfrom sendto 10.0.0.5 53 c recvfrom",
    );
    assert_eq!(
        shown,
        "sendto=0 recvfrom=a 10.0.0.5:53/16 sendto=0 recvfrom=b 10.0.0.6:53/16 sendto=0 recvfrom=c 10.0.0.5:53/16"
    );
    assert_eq!((count(&host, is_udp), host.asked().len()), (2, 2));
}

#[test]
fn a_reply_from_somebody_else_says_so() {
    let host = session();
    let shown = words_on(&host, "udp4 sendto 10.0.0.5 53 other recvfrom sendto 10.0.0.5 53 other recvmsg");
    assert_eq!(shown, "sendto=0 recvfrom=other 10.0.0.5:99/16 sendto=0 recvmsg=other 10.0.0.5:99/16");
    assert_eq!(count(&host, |asked| matches!(asked, Asked::UdpPeer { .. })), 1, "an IPv4 relay is asked for once");
}

#[test]
fn ipv6_sockets_reach_both_families() {
    check(
        session,
        &[
            ("udp6 sendto fd00::5 53 hi recvfrom", "sendto=0 recvfrom=hi [fd00::5]:53/28"),
            ("udp6 sendto fd00::5 53 other recvfrom", "sendto=0 recvfrom=other [fd00::5]:99/28"),
            ("udp6 sendto ::ffff:10.0.0.5 53 hi recvfrom", "sendto=0 recvfrom=hi [::ffff:10.0.0.5]:53/28"),
            ("udp6 sendto 10.0.0.5 53 hi recvfrom", "sendto=0 recvfrom=hi [::ffff:10.0.0.5]:53/28"),
            ("udp6 v6only sendto fd00::5 53 hi recvmsg", "sendto=0 recvmsg=hi [fd00::5]:53/28"),
            ("udp6 v6only sendto ::ffff:10.0.0.5 53 hi", &format!("sendto={ENETUNREACH}")),
            ("udp4 sendto fd00::5 53 hi", &format!("sendto={EAFNOSUPPORT}")),
            (
                "udp6 connect fd00::5 53 names send hi recvfrom",
                "connect=0 local=[::ffff:10.244.0.9]:40000/28 peer=[fd00::5]:53/28 send=0 recvfrom=hi [fd00::5]:53/28",
            ),
        ],
    );
    let start = || session_with(|settings| settings.ipv6 = false);
    check(start, &[("udp6 sendto fd00::5 53 hi", &format!("sendto={ENETUNREACH}"))]);
    let start = || session_with(|settings| settings.relay_v6 = None);
    check(start, &[("udp6 sendto fd00::5 53 hi recvfrom", "sendto=0 recvfrom=hi [fd00::5]:53/28")]);
}

#[test]
fn neighbours_on_the_ipv6_loopback_keep_their_names() {
    let host = session();
    let shown = words_on(&host, "udp6 bind ::1 0 port to ::1 9 connect ::1 9 names sendto ::1 9 x");
    assert!(shown.contains("peer=[::1]:9/28 sendto="), "{shown}");
    // The far end's address alone does not tell: the host is asked, but not for each call.
    assert!(host.asked().len() <= 2, "{:?}", host.asked());
}

#[test]
fn connected_sockets_speak_with_one_peer() {
    check(
        session,
        &[
            (
                "udp4 connect 10.0.0.5 53 names send hi recv names",
                "connect=0 local=10.244.0.9:40000/16 peer=10.0.0.5:53/16 send=0 recv=0 local=10.244.0.9:40000/16 peer=10.0.0.5:53/16",
            ),
            (
                "udp4 connect 10.0.0.5 53 send hi recvfrom sendto 10.0.0.5 53 ho recvmsg",
                "connect=0 send=0 recvfrom=hi 10.0.0.5:53/16 sendto=0 recvmsg=ho 10.0.0.5:53/16",
            ),
            ("udp4 connect 10.0.0.5 1 port", &format!("connect={ECONNREFUSED} bound=1 same=0")),
            ("udp4 connect 10.0.0.5 2 send hi recv send ho", &format!("connect=0 send=0 recv={ECONNREFUSED} send=0")),
            (
                "udp4 connect 10.0.0.5 53 connect 10.0.0.6 54 names send hi recvfrom",
                "connect=0 connect=0 local=10.244.0.9:40001/16 peer=10.0.0.6:54/16 send=0 recvfrom=hi 10.0.0.6:54/16",
            ),
            (
                "udp4 connect 10.0.0.5 53 port disconnect send hi port sendto 10.0.0.5 53 hi recvfrom",
                &format!(
                    "connect=0 bound=1 same=0 disconnect=0 send={EDESTADDRREQ} bound=1 same=1 sendto=0 recvfrom=hi 10.0.0.5:53/16"
                ),
            ),
        ],
    );
}

#[test]
fn the_host_gets_the_socket_with_a_connect_unless_the_program_chose_its_port() {
    let host = session();
    let shown = words_on(&host, "udp4 connect 10.0.0.5 53 send hi recv udp4 bind 0.0.0.0 0 connect 10.0.0.5 53");
    assert_eq!(shown, "connect=0 send=0 recv=0 bind=0 connect=0");
    let asked: Vec<(bool, Option<bool>, bool)> = host
        .asked()
        .iter()
        .filter_map(|asked| match asked {
            Asked::Udp { source_port, passed, connect: true, local, .. } => {
                Some((*source_port != 0, *passed, local.port() != 0))
            }
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(false, Some(true), true), (true, Some(true), true)]);
}

#[test]
fn the_host_learns_where_a_socket_is() {
    let host = session();
    words_on(&host, "udp4 sendto 10.0.0.5 53 a sendto 10.0.0.6 53 a udp4 noport sendto 10.0.0.5 53 a");
    words_on(&host, "udp6 sendto fd00::5 53 a sendto ::ffff:10.0.0.5 53 a");
    let mut ports = Vec::new();
    let mut kinds = Vec::new();
    for asked in host.asked() {
        if let Asked::Udp { local, source_port: 0, over, connect: false, passed: None, .. } = asked {
            ports.push(local.port());
            kinds.push((local.is_ipv4(), over));
        }
    }
    let (v4, v6) = ((true, Over::V4), (false, Over::V6));
    assert_eq!(kinds, [v4, v4, v4, v6, (false, Over::V4)]);
    assert!(ports.iter().all(|port| *port != 0) && ports[0] == ports[1] && ports[3] == ports[4], "{ports:?}");
}

#[test]
fn what_is_local_is_the_kernels() {
    let host = session();
    let cases = [
        ("udp4 sendto 127.0.0.1 9 hi", "sendto=0".to_owned()),
        ("udp4 nonblock recvfrom", format!("recvfrom={EAGAIN}")),
        ("udp4 sendto 10.0.0.5 0 hi", format!("sendto={EINVAL}")),
        ("udp4 sendto 255.255.255.255 9 hi", format!("sendto={}", libc::EACCES)),
        ("udp4 nonblock errqueue", format!("errqueue={EAGAIN}")),
    ];
    for (words, expected) in cases {
        assert_eq!(words_on(&host, words), expected, "{words}");
    }
    assert_eq!(host.asked(), []);
    let host = FakeHost::start(|_| Reply::Default);
    words_on(&host, "udp4 nonblock sendto 192.0.2.1 9 hi recvfrom connect 192.0.2.1 9 names");
    assert_eq!(host.asked(), [], "switched off");
}

#[test]
fn the_queue_of_errors_is_the_kernels() {
    let shown = words_on(&session(), "udp4 recverr connect 10.0.0.5 2 send hi recv errqueue");
    let start = format!("connect=0 send=0 recv={ECONNREFUSED} errqueue=hi 127.77.");
    assert!(shown.starts_with(&start), "{shown}");
}

#[test]
fn filters_of_the_host_are_asked_once() {
    let host = session();
    let shown = words_on(&host, "udp4 sendto 192.0.2.1 3 a sendto 192.0.2.1 3 b");
    assert!(shown.starts_with("sendto="), "{shown}");
    assert_eq!(host.asked().len(), 1);
    // After a peer of the pod, a local one is reached from this machine's address again.
    let native =
        finish(std::process::Command::new(app("datagrams")).args(["udp4", "connect", "192.0.2.1", "3"])).output();
    let words = "udp4 connect 10.0.0.5 53 port connect 192.0.2.1 3 port connect 10.0.0.5 53 send x recv";
    let expected = format!("connect=0 bound=1 same=0 {} bound=1 same=1 connect=0 send=0 recv=0", native.trim_end());
    assert_eq!(words_on(&host, words), expected);
}

#[test]
fn failures_are_the_pods_and_are_asked_for_again() {
    let host = session();
    let shown = words_on(&host, "udp4 sendto 10.0.0.5 1 a sendto 10.0.0.5 1 b");
    assert_eq!(shown, format!("sendto={ECONNREFUSED} sendto={ECONNREFUSED}"));
    assert_eq!(host.asked().len(), 2);
}

#[test]
fn a_lost_host_is_an_unreachable_network() {
    for reply in [
        Reply::Hangup,
        Reply::Bytes(vec![1, 0, 0, 0, 99]),
        Reply::Udp(UdpReply::Failed(0)),
        Reply::Udp(UdpReply::Relay(([0, 0, 0, 0, 0, 0, 0, 1], 9).into())),
    ] {
        let scripted = reply.clone();
        let settings = |settings: &mut protocol::layer::Settings| settings.outgoing_udp = true;
        let host = FakeHost::with_settings(
            settings,
            move |asked| if is_udp(asked) { scripted.clone() } else { Reply::Default },
        );
        let shown = words_on(
            &host,
            "udp4 sendto 10.0.0.5 53 hi sendmsg 10.0.0.5 53 hi sendmmsg 10.0.0.5 53 9 connect 10.0.0.5 53",
        );
        let e = ENETUNREACH;
        assert_eq!(shown, format!("sendto={e} sendmsg={e} sendmmsg={e} connect={e}"), "{reply:?}");
    }
    let host = session();
    host.die();
    assert_eq!(words_on(&host, "udp4 sendto 10.0.0.5 53 hi"), format!("sendto={ENETUNREACH}"));
}

#[test]
fn odd_receives_are_as_the_kernels() {
    check(
        session,
        &[
            ("udp4 sendto 10.0.0.5 53 hi peek recvfrom", "sendto=0 peek=hi 10.0.0.5:53/16 recvfrom=hi 10.0.0.5:53/16"),
            ("udp4 sendto 10.0.0.5 53 1 peek trunc", "sendto=0 peek=1 10.0.0.5:53/16 trunc=1 10.0.0.5:53/16"),
            ("udp4 to 10.0.0.5 53 empty recvfrom", "empty=0 recvfrom= 10.0.0.5:53/16"),
            ("udp4 sendto 10.0.0.5 53 hi none", "sendto=0 none=2 length=16 name=eeeeeeeeeeeeeeeeeeee"),
            ("udp4 sendto 10.0.0.5 53 hi cut", "sendto=0 cut=2 length=16 name=020000350a00eeeeeeee"),
            ("udp6 sendto fd00::5 53 hi cut", "sendto=0 cut=2 length=28 name=0a0000350000eeeeeeee"),
            ("udp4 sendto 10.0.0.5 53 hi cutmsg", "sendto=0 cutmsg=2 length=16 port=53 rest=ee"),
            ("udp4 sendmmsg 10.0.0.5 53 1 cutmmsg 1", "sendmmsg=1 wrong=0 recvmmsg=1 m0@53/16"),
        ],
    );
}

#[test]
fn datagrams_are_as_large_as_the_kernel_permits() {
    check(
        session,
        &[
            ("udp4 to 10.0.0.5 53 big 65507", "big=65507 equal=1"),
            ("udp6 to fd00::5 53 big 65507", "big=65507 equal=1"),
            ("udp4 to 10.0.0.5 53 big 65508", &format!("big={EMSGSIZE}")),
        ],
    );
}

#[test]
fn sources_in_control_data_do_not_matter() {
    check(
        session,
        &[
            (
                "udp4 to 10.0.0.5 53 source4 recvfrom recvfrom",
                "recvmsg=first 10.0.0.5:53/16 echo=0 from the pod=0 source=1 recvfrom=first 10.0.0.5:53/16 recvfrom=first 10.0.0.5:53/16",
            ),
            (
                "udp6 to fd00::5 53 source6 recvfrom",
                "recvmsg=first [fd00::5]:53/28 echo=0 source=1 recvfrom=first [fd00::5]:53/28",
            ),
        ],
    );
}

#[test]
fn bad_pointers_are_the_kernels_to_refuse() {
    let fault = format!("{EFAULT} {EFAULT} {EFAULT} {EFAULT} {EFAULT} {EFAULT}\n").repeat(3);
    let shown = run(&session(), "datagrams", &["udp4", "to", "10.0.0.5", "53", "bad"]).output();
    let taken = format!("-1/{EFAULT} ").repeat(4);
    let rest = format!("small={EINVAL} closed={EBADF} file={ENOTSOCK}\n");
    assert_eq!(shown, format!("{fault}{taken}\n{rest}"));
}

#[test]
fn children_threads_and_handlers_share_what_is_known() {
    check(
        session,
        &[(
            "udp4 sendto 10.0.0.5 53 hi child recvfrom",
            "sendto=0 child=hi 10.0.0.5:53/16 recvfrom=again 10.0.0.5:53/16",
        )],
    );
    assert_eq!(words_on(&session(), "threads 16"), "wrong=0");
    assert_eq!(words_on(&session(), "udp4 to 10.0.0.5 53 handler"), "wrong=0 refused=0");
    assert_eq!(words_on(&session(), "udp4 connect 10.0.0.5 53 to 10.0.0.5 53 handler"), "connect=0 wrong=0 refused=0");
}

#[test]
fn cancelled_threads_end_at_once_and_leave_no_descriptors() {
    assert_eq!(words_on(&session(), "udp4 cancel"), "wrong=0 left=0");
}

#[test]
fn a_hanging_host_does_not_hold_a_nonblocking_program() {
    let shown = words_on(&session(), "udp4 nonblock sendto 10.0.0.5 7 hi");
    assert_eq!(shown, format!("sendto={ENETUNREACH}"));
}

#[test]
fn more_peers_than_are_remembered_work() {
    let host = session();
    assert_eq!(words_on(&host, "udp4 fill 700"), "wrong=0");
    let asked = count(&host, is_udp);
    assert!((701..=1400).contains(&asked), "{asked}");
}

#[test]
fn closing_descriptors_does_no_harm() {
    check(
        session,
        &[(
            "udp4 sendto 10.0.0.5 53 a closeall recvfrom sendto 10.0.0.6 53 b recvfrom",
            "sendto=0 recvfrom=a 10.0.0.5:53/16 sendto=0 recvfrom=b 10.0.0.6:53/16",
        )],
    );
}

#[test]
fn python_speaks_udp() {
    if installed("python3") {
        let program = "
import asyncio, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'one', ('10.0.0.5', 53)); print(s.recvfrom(100))
s.sendmsg([b'two'], [], 0, ('10.0.0.6', 53)); print(s.recvmsg(100)[3])
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
c.connect(('10.0.0.7', 53)); print(c.getsockname()[0], c.getpeername())
class Echo(asyncio.DatagramProtocol):
    def __init__(self, done): self.done = done
    def datagram_received(self, data, peer): self.done.set_result((data, peer))
async def main():
    done = asyncio.get_running_loop().create_future()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Echo(done), local_addr=('0.0.0.0', 0))
    transport.sendto(b'three', ('10.0.0.8', 53)); print(await done); transport.close()
asyncio.run(main())
";
        let shown = finish(hooked(&session(), "python3").args(["-c", program])).output();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            [
                "(b'one', ('10.0.0.5', 53))",
                "('10.0.0.6', 53)",
                "10.244.0.9 ('10.0.0.7', 53)",
                "(b'three', ('10.0.0.8', 53))"
            ]
        );
    }
}

#[test]
fn node_speaks_udp() {
    if installed("node") {
        let program = "
const s = require('dgram').createSocket('udp4');
s.on('message', (data, peer) => {
  console.log(String(data), peer.address, peer.port);
  s.close();
  const c = require('dgram').createSocket('udp4');
  c.connect(53, '10.0.0.6', () => { console.log(c.remoteAddress().address, c.address().address); c.close(); });
});
s.send('one', 53, '10.0.0.5');
";
        let shown = finish(hooked(&session(), "node").args(["-e", program])).output();
        assert_eq!(shown.lines().collect::<Vec<_>>(), ["one 10.0.0.5 53", "10.0.0.6 10.244.0.9"]);
    }
}
