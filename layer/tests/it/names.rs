//! Names: `getaddrinfo`, `getnameinfo` and the `gethostby` family of the C program `names`.

use std::net::IpAddr;

use libc::{EAGAIN, EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_NONAME, EAI_SERVICE, EAI_SYSTEM, EIO, ERANGE};
use protocol::agent::{Families, ResolveError};
use protocol::layer::PodFile;

use crate::files::{descriptor, kept, session};
use crate::host::{Asked, FakeHost, Reply};
use crate::run::{compiled, finish, hooked, run, skip};

const EAI_NODATA: i32 = -5;
const EAI_OVERFLOW: i32 = -12;
const EAI_ADDRFAMILY: i32 = -9;

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
        ("alias" | "xn--bcher-kva.example", _) => {
            Reply::Resolved(vec![IpAddr::from([10, 0, 0, 7])], "xn--bcher-kva.example", &["alias.full", "on-the-way"])
        }
        ("short", _) => Reply::Resolved(vec![IpAddr::from([10, 0, 0, 8])], "short.default.svc", &[]),
        ("nul", _) => Reply::Resolved(vec![IpAddr::from([10, 0, 0, 8])], "a\0b", &["", "c\0d", "e"]),
        ("localhost", _) => Reply::Resolved(vec![IpAddr::from([127, 0, 0, 1])], "localhost", &["ip6-localhost"]),
        ("local", _) => Reply::LocalName,
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
        ("silent", _) => Reply::Silence,
        ("api", _) => ips(&["10.0.0.5"]),
        _ => Reply::Default,
    }
}

fn reverse(asked: &Asked) -> Reply {
    let Asked::Reverse { address } = asked else { return Reply::Default };
    let name = |name: &str| Reply::Name(Ok(name.to_owned()));
    match address.to_string().as_str() {
        "10.0.0.5" => name("api.default.svc api"),
        "127.0.0.1" => name("loop"),
        "fd00::5" => name("six.default.svc"),
        "10.0.0.10" => name("xn--bcher-kva.example"),
        "10.0.0.11" => Reply::LocalName,
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
fn the_other_arguments_mean_what_they_mean_to_glibc() {
    let (bad_flags, bad_family, bad_type) = (EAI_BADFLAGS, libc::EAI_FAMILY, libc::EAI_SOCKTYPE);
    check(
        &FakeHost::start(zone),
        &[
            // Types, protocols and services.
            ("gai four 53 any d", "gai=0 10.0.0.5:53/2 10.0.0.6:53/2", 1),
            ("gai four domain any d", "gai=0 10.0.0.5:53/2 10.0.0.6:53/2", 1),
            ("gai four 53 any T", "gai=0 10.0.0.5:53/1/6 10.0.0.6:53/1/6", 1),
            ("gai four - any r", "gai=0 10.0.0.5:0/3/1 10.0.0.6:0/3/1", 1),
            ("gai four http any r", &format!("gai={EAI_SERVICE}"), 0),
            ("gai four http any d", &format!("gai={EAI_SERVICE}"), 0),
            ("gai four - any w", &format!("gai={bad_type}"), 0),
            ("gai four 80 any W", &format!("gai={bad_family}"), 0),
            ("gai four 80 any s", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai four http any s", &format!("gai={EAI_NONAME}"), 0),
            ("gai four http v6 s", &format!("gai={EAI_NONAME}"), 0),
            ("gai four 80 any p", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            // No node: nothing to resolve.
            ("gai - 80 v4 .", "gai=0 127.0.0.1:80/1", 0),
            ("gai - 80 v4 p", "gai=0 0.0.0.0:80/1", 0),
            ("gai - - any .", &format!("gai={EAI_NONAME}"), 0),
            ("gai - 80 any c", &format!("gai={bad_flags}"), 0),
            ("gai * 80 v4 .", "gai=0 127.0.0.1:80/1", 0),
            // Numbers of another family, and scopes.
            ("gai 10.0.0.5 80 v6 .", &format!("gai={EAI_ADDRFAMILY}"), 0),
            ("gai 10.0.0.5 80 v6 m", "gai=0 ::ffff:10.0.0.5:80/1", 0),
            ("gai fd00::5 80 v4 .", &format!("gai={EAI_ADDRFAMILY}"), 0),
            ("gai ::ffff:10.0.0.5 80 v4 .", "gai=0 10.0.0.5:80/1", 0),
            ("gai 10.0.0.5 80 any c", "gai=0 10.0.0.5:80/1(10.0.0.5)", 0),
            ("gai fe80::1%lo 80 any .", "gai=0 fe80::1:80/1%1", 0),
            ("gai fe80::1%none 80 any .", &format!("gai={EAI_NONAME}"), 0),
            ("gai fe80::zz%lo 80 any .", &format!("gai={EAI_NONAME}"), 1),
        ],
    );
}

#[test]
fn the_canonical_name_is_the_pods() {
    check(
        &FakeHost::start(zone),
        &[
            ("gai alias 80 any c", "gai=0 10.0.0.7:80/1(xn--bcher-kva.example)", 1),
            ("gai alias - any ct", "gai=0 10.0.0.7:0/1(xn--bcher-kva.example) 10.0.0.7:0/2 10.0.0.7:0/3", 1),
            ("gai short 80 v4 c", "gai=0 10.0.0.8:80/1(short.default.svc)", 1),
            ("gai short 80 v6 cm", "gai=0 ::ffff:10.0.0.8:80/1(short.default.svc)", 1),
            ("gai nul 80 any c", "gai=0 10.0.0.8:80/1(nul)", 1),
            ("gai alias 80 any .", "gai=0 10.0.0.7:80/1", 1),
            ("name alias", "xn--bcher-kva.example aliases=1(alias.full)(on-the-way) length=4 10.0.0.7", 1),
            ("name short", "short.default.svc aliases=0 length=4 10.0.0.8", 1),
            (
                "name_r alias 8000",
                "code=0 xn--bcher-kva.example aliases=1(alias.full)(on-the-way) length=4 10.0.0.7",
                1,
            ),
            // Seven bytes to the next pointer, four pointers, an address, and two texts with their ends.
            ("name_r alias 95", "code=0 xn--bcher-kva.example aliases=1(alias.full)(on-the-way) length=4 10.0.0.7", 1),
            ("name_r alias 94", &format!("code={ERANGE} h_errno=-1"), 1),
        ],
    );
}

#[test]
fn international_names_are_converted_as_glibc_converts_them() {
    const EAI_IDN_ENCODE: i32 = -105;
    let host = FakeHost::start(zone);
    let has_library = can_load(c"libidn2.so.0");
    let (asked, name) = match has_library {
        true => (1, "gai=0 10.0.0.7:80/1"),
        false => (0, "gai=-105"),
    };
    check(
        &host,
        &[
            ("gai bücher.example 80 any li", name, asked),
            // Without a locale the bytes have no meaning; without the flag they are asked for as they are.
            ("gai bücher.example 80 any i", &format!("gai={EAI_IDN_ENCODE}"), 0),
            ("gai bü\\046cher.example 80 any li", &format!("gai={EAI_IDN_ENCODE}"), 0),
            ("gai bücher.example 80 any l", &format!("gai={EAI_NONAME}"), 1),
            ("gai both 80 v4 i", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
        ],
    );
    if !has_library {
        return skip("no libidn2 on this machine");
    }
    check(
        &host,
        &[
            ("gai alias 80 any lcI", "gai=0 10.0.0.7:80/1(bücher.example)", 1),
            ("gai alias 80 any cI", "gai=0 10.0.0.7:80/1(xn--bcher-kva.example)", 1),
            ("info 10.0.0.10 32 200", "info=0 xn--bcher-kva.example http", 1),
        ],
    );
    assert!(host.asked().iter().any(|asked| matches!(asked, Asked::Resolve { name, .. } if name == "bücher.example")));
}

/// Whether a library can be loaded here.
fn can_load(library: &std::ffi::CStr) -> bool {
    // SAFETY: dlopen(3) with a C string.
    !unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY) }.is_null()
}

#[test]
fn what_the_filters_call_local_is_answered_here() {
    let host = FakeHost::start(zone);
    let shown = run(&host, "names", &["gai", "local", "80", "v4", "."]).output();
    assert!(shown.starts_with("gai=-"), "no such name here: {shown}");
    assert_eq!(host.asked().len(), 1);
    check(&host, &[("info 10.0.0.11 3 200", "info=0 10.0.0.11 80", 0)]);
    assert_eq!(run(&host, "names", &["info", "10.0.0.11", "2", "200"]).output(), "info=0 10.0.0.11 80\n");
    assert_eq!(host.asked().len(), 2);
}

#[test]
fn getnameinfo_looks_at_its_arguments_first() {
    check(
        &FakeHost::start(zone),
        &[
            ("info 10.0.0.5 1024 200", &format!("info={EAI_BADFLAGS}"), 0),
            ("info 10.0.0.5 16 200", "info=0 api.default.svc 80", 1),
            ("info 10.0.0.5 1 200", "info=0 10.0.0.5 http", 0),
            ("info 10.0.0.5 9 200", &format!("info={EAI_NONAME}"), 0),
            ("info 10.0.0.5 2 0", "info=0  80", 0),
            ("info 10.0.0.5 2 15", &format!("info={EAI_OVERFLOW}"), 1),
            ("info 10.0.0.5 2 16", "info=0 api.default.svc 80", 1),
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
            ("name 10.0.0.5", "10.0.0.5 aliases=0 length=4 10.0.0.5", 0),
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
fn loopback_has_the_pods_names() {
    check(
        &FakeHost::start(zone),
        &[
            ("gai localhost 80 v4 .", "gai=0 127.0.0.1:80/1", 1),
            ("name2 localhost v4", "localhost aliases=1(ip6-localhost) length=4 127.0.0.1", 1),
            ("name api.localhost", "h_errno=1", 1),
            ("info 127.0.0.1 2 200", "info=0 loop 80", 1),
            ("addr 127.0.0.1", "loop aliases=0 length=4 127.0.0.1", 1),
        ],
    );
}

#[test]
fn without_ipv6_only_ipv4_is_asked() {
    let host = FakeHost::with_settings(|settings| settings.ipv6 = false, zone);
    check(
        &host,
        &[
            ("gai both 80 any .", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 v6 .", &format!("gai={EAI_NODATA}"), 0),
            ("name2 both v6", "h_errno=4", 0),
            ("gai both 80 v6 m", "gai=0 ::ffff:10.0.0.5:80/1 ::ffff:10.0.0.6:80/1", 1),
        ],
    );
    let host = FakeHost::with_settings(|settings| settings.relay_v6 = None, zone);
    check(
        &host,
        &[
            ("gai both 80 any .", "gai=0 fd00::5:80/1 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 any g", "gai=0 10.0.0.5:80/1 10.0.0.6:80/1", 1),
            ("gai both 80 v6 g", &format!("gai={EAI_NONAME}"), 0),
            ("gai both 80 v6 gm", &format!("gai={EAI_NONAME}"), 0),
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
            ("name alias", "xn--bcher-kva.example aliases=1(alias.full)(on-the-way) length=4 10.0.0.7", 1),
            ("name nul", "nul aliases=1(e) length=4 10.0.0.8", 1),
            ("name .", "h_errno=1", 1),
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
            ("name_r fail 8000", "code=0 h_errno=3", 1),
        ],
    );
}

#[test]
fn addresses_have_the_pods_names() {
    check(
        &FakeHost::start(zone),
        &[
            ("addr 10.0.0.5", "api.default.svc aliases=1(api) length=4 10.0.0.5", 1),
            ("addr ::ffff:10.0.0.5", "api.default.svc aliases=1(api) length=4 10.0.0.5", 1),
            ("addr fd00::5", "six.default.svc aliases=0 length=16 fd00::5", 1),
            ("addr 10.0.0.6", "h_errno=1", 1),
            ("addr_r 10.0.0.5 4000", "code=0 api.default.svc aliases=1(api) length=4 10.0.0.5", 1),
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

#[test]
fn the_pods_hosts_file_is_read_entry_by_entry() {
    let text =
        "127.0.0.1 localhost\n::1 localhost ip6-localhost # both\nfe00::0 ip6-localnet\n10.1.2.3 web-0.web web-0\n";
    let file = kept("mirror-hosts", text);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Local, PodFile::Local]);
    let lines = [
        "localhost aliases=0 length=4 127.0.0.1\n",
        "localhost aliases=1(ip6-localhost) length=4 127.0.0.1\n",
        "web-0.web aliases=1(web-0) length=4 10.1.2.3\n",
    ];
    let expected = lines.concat() + &lines.map(|line| format!("code=0 {line}")).concat() + "end=1\n";
    assert_eq!(run(&host, "names", &["entries"]).output(), expected);
}

#[test]
fn names_are_looked_up_in_the_background() {
    let program = compiled("background", "background", "cc", &["-pthread", "-lanl"]).expect("a C compiler");
    let host = FakeHost::start(zone);
    let shown = finish(&mut hooked(&host, program)).output();
    let done = format!("0=10.0.0.5:80 {EAI_NONAME} 0=10.0.0.9:80");
    let (in_progress, not_cancelled, all_done) = (-100, -102, -103);
    let expected = [
        "wait=0".to_owned(),
        format!("waited {done}"),
        format!("cancel={all_done}"),
        "nowait=0".to_owned(),
        format!("suspend={all_done}"),
        format!("suspended {done}"),
        "nowait=0".to_owned(),
        "signal=1 code=-60 own=1 value=42".to_owned(),
        format!("signalled {done}"),
        "nowait=0".to_owned(),
        "thread=1 value=43".to_owned(),
        format!("called {done}"),
        "nowait=0".to_owned(),
        format!("suspend={EAI_AGAIN} cancel={not_cancelled} error={in_progress}"),
        format!("mode={EAI_SYSTEM} empty=0"),
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    // The last call ends the program, whether its name was asked for by then or not.
    assert!(host.asked().len() >= 8, "{:?}", host.asked());
}
