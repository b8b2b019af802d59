//! Names: `getaddrinfo`, `getnameinfo` and the `gethostby` family of the C program `names`.

use std::net::IpAddr;

use libc::{EAGAIN, EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_NONAME, EAI_SERVICE, EAI_SYSTEM, EIO, ERANGE};
use protocol::agent::{Families, ResolveError};

use crate::host::{Asked, FakeHost, Reply};
use crate::run::run;

const EAI_NODATA: i32 = -5;
const EAI_OVERFLOW: i32 = -12;

fn ips(texts: &[&str]) -> Reply {
    Reply::Addresses(Ok(texts.iter().map(|text| text.parse().expect("an address")).collect()))
}

fn zone(asked: &Asked) -> Reply {
    let Asked::Resolve { name, families } = asked else { return reverse(asked) };
    match (name.as_str(), families) {
        ("both", Families::Both) => ips(&["fd00::5", "10.0.0.5", "10.0.0.6"]),
        ("both" | "four", Families::V4) => ips(&["10.0.0.5", "10.0.0.6"]),
        ("both", Families::V6) => ips(&["fd00::5"]),
        ("four", Families::V6) => Reply::Addresses(Err(ResolveError::NoData)),
        ("four", Families::Both) => ips(&["10.0.0.5", "10.0.0.6"]),
        ("many", _) => {
            Reply::Addresses(Ok((0..256).map(|n| IpAddr::from([10, 1, (n / 256) as u8, n as u8])).collect()))
        }
        ("wrong", _) => ips(&["fd00::5"]),
        ("empty", _) => ips(&[]),
        ("again", _) => Reply::Addresses(Err(ResolveError::Again)),
        ("fail", _) => Reply::Addresses(Err(ResolveError::Fail)),
        ("io", _) => Reply::Addresses(Err(ResolveError::System(EIO))),
        ("garbage", _) => Reply::Bytes(vec![3, 0, 0, 0, 9, 9, 9]),
        ("huge", _) => Reply::Bytes(vec![255, 255, 255, 127]),
        ("hangup", _) => Reply::Hangup,
        _ => Reply::Default,
    }
}

fn reverse(asked: &Asked) -> Reply {
    let Asked::Reverse { address } = asked else { return Reply::Default };
    let name = |name: &str| Reply::Name(Ok(name.to_owned()));
    match address.to_string().as_str() {
        "10.0.0.5" => name("api.default.svc"),
        "fd00::5" => name("six.default.svc"),
        "10.0.0.7" => Reply::Name(Err(ResolveError::Again)),
        "10.0.0.8" => name("nul\0name"),
        "10.0.0.9" => name(""),
        _ => Reply::Default,
    }
}

/// Runs each case in one session; also tells how often the host was asked.
fn check(host: &FakeHost, cases: &[(&str, &str, usize)]) {
    for (words, expected, asks) in cases {
        let before = host.asked().len();
        let shown = run(host, "names", &words.split(' ').collect::<Vec<_>>()).output();
        assert_eq!(shown.trim_end(), *expected, "{words}");
        assert_eq!(host.asked().len() - before, *asks, "{words}: {:?}", host.asked());
    }
}

#[test]
fn getaddrinfo_answers_as_the_pod() {
    check(
        &FakeHost::start(zone),
        &[
            ("gai both 80 any .", "gai=0 fd00::5:80/1 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both http any .", "gai=0 fd00::5:80/1 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 v4 .", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 v6 .", "gai=0 fd00::5:80/1", 1),
            ("gai both 80 any c", "gai=0 fd00::5:80/1(both) 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both - v6 t", "gai=0 fd00::5:0/1 fd00::5:0/2 fd00::5:0/3", 1),
            (
                "gai four - any -",
                "gai=0 10.0.0.5:0/1 10.0.0.5:0/2 10.0.0.5:0/3 10.0.0.6:0/1 10.0.0.6:0/2 10.0.0.6:0/3",
                1,
            ),
            ("gai four 80 v6 m", "gai=0 ::ffff:10.0.0.5:80/1 ::ffff:10.0.0.6:80/1", 2),
            ("gai both 80 v6 ma", "gai=0 fd00::5:80/1 ::ffff:10.0.0.5:80/1 ::ffff:10.0.0.6:80/1", 1),
            ("gai four 80 v6 .", &format!("gai={EAI_NODATA}"), 1),
            ("gai wrong 80 v4 .", &format!("gai={EAI_NODATA}"), 1),
        ],
    );
}

#[test]
fn getaddrinfo_fails_as_the_pod() {
    check(
        &FakeHost::start(zone),
        &[
            ("gai nowhere 80 any .", &format!("gai={EAI_NONAME}"), 1),
            ("gai empty 80 any .", &format!("gai={EAI_NODATA}"), 1),
            ("gai again 80 any .", &format!("gai={EAI_AGAIN}"), 1),
            ("gai fail 80 any .", &format!("gai={EAI_FAIL}"), 1),
            ("gai io 80 any .", &format!("gai={EAI_SYSTEM} errno={EIO}"), 1),
            ("gai garbage 80 any .", &format!("gai={EAI_AGAIN}"), 1),
            ("gai huge 80 any .", &format!("gai={EAI_AGAIN}"), 1),
            ("gai hangup 80 any .", &format!("gai={EAI_AGAIN}"), 1),
            (&format!("gai {} 80 any .", "n".repeat(300)), &format!("gai={EAI_NONAME}"), 0),
            ("gai both nosuchservice any .", &format!("gai={EAI_SERVICE}"), 0),
            ("gai both 80 any x", &format!("gai={EAI_BADFLAGS}"), 0),
        ],
    );
}

#[test]
fn numbers_and_local_names_ask_nobody() {
    check(
        &FakeHost::start(zone),
        &[
            ("gai 10.0.0.5 80 any .", "gai=0 10.0.0.5:80/1", 0),
            ("gai 127.1 80 any .", "gai=0 127.0.0.1:80/1", 0),
            ("gai ::1 80 any .", "gai=0 ::1:80/1", 0),
            ("gai both 80 any n", &format!("gai={EAI_NONAME}"), 0),
            ("gai localhost 80 v4 .", "gai=0 127.0.0.1:80/1", 0),
            ("name 10.0.0.5", "10.0.0.5 aliases=0 length=4 10.0.0.5", 0),
            ("name2 localhost v4", "localhost aliases=0 length=4 127.0.0.1", 0),
            ("info 127.0.0.1 2 200", "info=0 localhost 80", 0),
            ("info 10.0.0.5 3 200", "info=0 10.0.0.5 80", 0),
        ],
    );
    let off = FakeHost::with_settings(|settings| settings.dns = false, zone);
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    for words in [format!("gai {} 80 any .", own.trim()), format!("name {}", own.trim())] {
        let _ = run(&off, "names", &words.split(' ').collect::<Vec<_>>());
    }
    assert_eq!(off.asked(), []);
}

#[test]
fn without_ipv6_only_ipv4_is_asked() {
    let host = FakeHost::with_settings(|settings| settings.ipv6 = false, zone);
    check(
        &host,
        &[
            ("gai both 80 any .", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 v6 .", &format!("gai={EAI_NODATA}"), 0),
            ("gai both 80 v6 m", "gai=0 ::ffff:10.0.0.5:80/1 ::ffff:10.0.0.6:80/1", 1),
        ],
    );
    let host = FakeHost::with_settings(|settings| settings.relay_v6 = None, zone);
    check(
        &host,
        &[
            ("gai both 80 any .", "gai=0 fd00::5:80/1 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 any g", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
        ],
    );
}

#[test]
fn gethostbyname_answers_as_the_pod() {
    let many: String = (0..256).map(|n| format!(" 10.1.0.{n}")).collect();
    check(
        &FakeHost::start(zone),
        &[
            ("name both", "both aliases=0 length=4 10.0.0.5 10.0.0.6", 1),
            ("name2 both v6", "both aliases=0 length=16 fd00::5", 1),
            ("name many", &format!("many aliases=0 length=4{many}"), 1),
            ("name_r both 8000", "code=0 both aliases=0 length=4 10.0.0.5 10.0.0.6", 1),
            ("name_r both 40", &format!("code={ERANGE} h_errno=-1"), 1),
            ("name_r both 0", &format!("code={ERANGE} h_errno=-1"), 1),
            ("name2_r both v6", "code=0 both aliases=0 length=16 fd00::5", 1),
            ("name nowhere", "h_errno=1", 1),
            ("name again", "h_errno=2", 1),
            ("name fail", "h_errno=3", 1),
            ("name empty", "h_errno=4", 1),
            ("name wrong", "h_errno=4", 1),
            ("name io", "h_errno=-1", 1),
            ("name hangup", "h_errno=2", 1),
            ("name_r nowhere 8000", "code=0 h_errno=1", 1),
            ("name_r again 8000", &format!("code={EAGAIN} h_errno=2"), 1),
            ("name_r fail 8000", &format!("code={EIO} h_errno=3"), 1),
        ],
    );
}

#[test]
fn addresses_have_the_pods_names() {
    check(
        &FakeHost::start(zone),
        &[
            ("addr 10.0.0.5", "api.default.svc aliases=0 length=4 10.0.0.5", 1),
            ("addr fd00::5", "six.default.svc aliases=0 length=16 fd00::5", 1),
            ("addr 10.0.0.6", "h_errno=1", 1),
            ("addr_r 10.0.0.5 4000", "code=0 api.default.svc aliases=0 length=4 10.0.0.5", 1),
            ("addr_r 10.0.0.5 20", &format!("code={ERANGE} h_errno=-1"), 1),
            ("info 10.0.0.5 2 200", "info=0 api.default.svc 80", 1),
            ("info 10.0.0.5 0 200", "info=0 api.default.svc http", 1),
            ("info fd00::5 2 200", "info=0 six.default.svc 80", 1),
            ("info ::ffff:10.0.0.5 2 200", "info=0 api.default.svc 80", 1),
            ("info 10.0.0.5 2 5", &format!("info={EAI_OVERFLOW}"), 1),
            ("info 10.0.0.6 2 200", "info=0 10.0.0.6 80", 1),
            ("info 10.0.0.6 10 200", &format!("info={EAI_NONAME}"), 1),
            ("info 10.0.0.7 2 200", &format!("info={EAI_AGAIN}"), 1),
            ("info 10.0.0.8 2 200", "info=0 10.0.0.8 80", 1),
            ("info 10.0.0.9 2 200", "info=0 10.0.0.9 80", 1),
        ],
    );
}

#[test]
fn a_host_that_was_never_there_is_a_name_service_that_may_come_back() {
    let host = FakeHost::start(zone);
    host.die();
    check(
        &host,
        &[
            ("gai both 80 any .", &format!("gai={EAI_AGAIN}"), 0),
            ("gai localhost 80 v4 .", "gai=0 127.0.0.1:80/1", 0),
            ("name both", "h_errno=2", 0),
        ],
    );
}
