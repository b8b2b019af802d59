//! The resolver's functions, `res_query` and its relatives, of the C program `dns`. What is expected is what glibc
//! 2.36 returned for the same answers of a real name server.

use std::path::PathBuf;

use libc::{ECONNREFUSED, EINVAL, EMSGSIZE, ETIMEDOUT};
use protocol::agent::ResolveError;
use protocol::layer::PodFile;

use crate::files::{descriptor, kept, session};
use crate::host::{Asked, FakeHost, Reply};
use crate::run::{compiled, finish, hooked};

const ROOM: usize = 70_000;

fn program() -> PathBuf {
    compiled("dns", "dns", "cc", &["-pthread", "-lresolv"]).expect("a C compiler")
}

fn ask(host: &FakeHost, words: &str) -> String {
    finish(hooked(host, program()).args(words.split(' '))).output().trim_end().to_owned()
}

/// An answer of so many bytes with this code, of which the last byte is `0x7a`.
fn answer(length: usize, code: u8) -> Reply {
    let mut message = vec![0; length];
    message[..4].copy_from_slice(&[0xab, 0xcd, 0x81, 0x80 | code]);
    message[length - 1] = 0x7a;
    Reply::Dns(Ok(message))
}

fn zone(asked: &Asked) -> Reply {
    let failed = |error| Reply::Dns(Err(error));
    let name = match asked {
        Asked::Records { name, class: 1, kind: 33, .. } => name.as_str(),
        // A question of one label.
        Asked::Message(message) => {
            let length = usize::from(message[12]);
            std::str::from_utf8(&message[13..13 + length]).expect("a label")
        }
        _ => return Reply::Default,
    };
    match name {
        "small" | "small.example" => answer(60, 0),
        "middle" => answer(400, 0),
        "big" => answer(4000, 0),
        "largest" => answer(65_535, 0),
        "servfail" => answer(60, 2),
        "refused" => answer(60, 5),
        "nxdomain" => answer(60, 3),
        "again" => failed(ResolveError::Again),
        "fail" => failed(ResolveError::Fail),
        "nodata" => failed(ResolveError::NoData),
        "system" => failed(ResolveError::System(ECONNREFUSED)),
        "short" => Reply::Dns(Ok(vec![0; 11])),
        "silent" => Reply::Silence,
        "hangup" => Reply::Hangup,
        "garbage" => Reply::Bytes(vec![3, 0, 0, 0, 9, 9, 9]),
        "huge" => Reply::Bytes(vec![255, 255, 1, 0]),
        _ => Reply::Default,
    }
}

fn check(host: &FakeHost, cases: &[(&str, &str, usize)]) {
    for (words, expected, asks) in cases {
        let before = host.asked().len();
        assert_eq!(ask(host, words), *expected, "{words}");
        assert_eq!(host.asked().len() - before, *asks, "{words}: {:?}", host.asked());
    }
}

#[test]
fn the_resolvers_state_is_laid_out_as_in_resolv_h() {
    let host = FakeHost::start(zone);
    assert_eq!(ask(&host, "layout x"), "20 72 128 496 536 568");
}

#[test]
fn the_resolvers_state_says_what_the_pods_file_says() {
    let text = "search default.svc svc\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5 timeout:3\n";
    let file = kept("mirror-resolv.conf", text);
    let files = |place| [place, PodFile::Local, PodFile::Local, PodFile::Local];
    let host = session(files(descriptor(&file)));
    let says = "servers 10.96.0.10:53 fd00::a:53 search default.svc svc ndots 5 timeout 3 attempts";
    let lines = format!(
        "ninit=0 dirty=0 {says} 2 rotate 0\ninit=0 dirty=0 {says} 2 rotate 0\n\
         again=0 dirty=0 {says} 2 rotate 1\nafter=0 dirty=0 {says} 2 rotate 1"
    );
    assert_eq!(ask(&host, "settings 10.0.0.1"), lines);
    assert_eq!(ask(&host, "settings nowhere"), lines);
    let shown = ask(&session(files(PodFile::Absent)), "settings 10.0.0.1");
    assert!(shown.lines().all(|line| line.contains(" servers 127.0.0.1:53 search ndots 1 timeout 5 ")), "{shown}");
    let shown = ask(&session(files(PodFile::Descriptor(4_000_000))), "settings 10.0.0.1");
    assert!(shown.starts_with("ninit=-1 "), "{shown}");
}

#[test]
fn a_look_up_of_this_machines_asks_this_machines_servers() {
    let file = kept("mirror-resolv.conf", "nameserver 10.96.0.10\n");
    let files = [descriptor(&file), PodFile::Local, PodFile::Local, PodFile::Local];
    let host = FakeHost::with_settings(
        |settings| settings.files = files,
        |asked| match asked {
            Asked::Resolve { .. } => Reply::LocalName,
            _ => Reply::Default,
        },
    );
    let mut command = hooked(&host, program());
    // No name that a server would be asked for.
    let shown = finish(command.args(["settings", "localhost"])).output();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[..3].iter().all(|line| line.contains(" servers 10.96.0.10:53 ")), "{shown}");
    assert!(!lines[3].contains("10.96.0.10"), "{shown}");
}

#[test]
fn every_function_asks_the_pod() {
    let host = FakeHost::start(zone);
    let found = "n=60 id=abcd cut=0 last=7a h_errno=0";
    // A search has found nothing yet when it begins, and leaves that in `h_errno`.
    let searched = "n=60 id=abcd cut=0 last=7a h_errno=1";
    check(
        &host,
        &[
            ("query small", found, 1),
            ("nquery small", found, 1),
            ("old small", found, 1),
            ("search small", searched, 1),
            ("nsearch small", searched, 1),
            (&format!("querydomain small {ROOM} example"), found, 1),
            (&format!("nquerydomain small {ROOM} example"), found, 1),
            ("querydomain small.", found, 1),
            ("send small", found, 1),
            ("nsend small", found, 1),
        ],
    );
    let record = |name: &str, search| Asked::Records { name: name.to_owned(), class: 1, kind: 33, search };
    let asked = host.asked();
    assert_eq!(asked[0], record("small", false));
    assert_eq!(asked[3], record("small", true));
    assert_eq!(asked[5], record("small.example", false));
    assert_eq!(asked[7], record("small", false));
    let Asked::Message(message) = &asked[8] else { panic!("{asked:?}") };
    assert_eq!(message[..2], [0x12, 0x34], "the program's own number");
}

#[test]
fn an_answer_without_room_is_cut() {
    check(
        &FakeHost::start(zone),
        &[
            ("query middle 100", "n=100 id=abcd cut=0 last=00 h_errno=0", 1),
            ("query big 100", "n=4000 id=abcd cut=1 last=00 h_errno=0", 1),
            ("send big 4000", "n=4000 id=abcd cut=0 last=7a h_errno=0", 1),
            ("send big 3999", "n=4000 id=abcd cut=1 last=00 h_errno=0", 1),
            ("query largest", "n=65535 id=abcd cut=0 last=7a h_errno=0", 1),
            ("query small 12", "n=12 id=abcd cut=0 last=00 h_errno=0", 1),
            ("query small 11", &format!("n=-1 errno={EINVAL} h_errno=2"), 0),
            ("query small 0", &format!("n=-1 errno={EINVAL} h_errno=2"), 0),
            ("send small 11", &format!("n=-1 errno={EINVAL} h_errno=0"), 0),
        ],
    );
}

#[test]
fn failures_are_those_of_glibc() {
    let again = format!("n=-1 errno={ETIMEDOUT} h_errno=2");
    let unsent = |errno: i32| format!("n=-1 errno={errno} h_errno=0");
    check(
        &FakeHost::start(zone),
        &[
            ("query nowhere", "n=-1 h_errno=1", 1),
            ("nquery nowhere", "n=-1 h_errno=1", 1),
            ("search nodata", "n=-1 h_errno=4", 1),
            ("query fail", "n=-1 h_errno=3", 1),
            ("query again", &again, 1),
            ("query system", &format!("n=-1 errno={ECONNREFUSED} h_errno=2"), 1),
            ("query short", &again, 1),
            ("query hangup", &again, 1),
            ("query garbage", &again, 1),
            ("query huge", &again, 1),
            ("send nxdomain", "n=60 id=abcd cut=0 last=7a h_errno=0", 1),
            ("send servfail", &unsent(ETIMEDOUT), 1),
            ("send refused", &unsent(ETIMEDOUT), 1),
            ("send again", &unsent(ETIMEDOUT), 1),
            ("nsend fail", &unsent(ECONNREFUSED), 1),
            ("send system", &unsent(ECONNREFUSED), 1),
            ("long x", &unsent(ETIMEDOUT), 0),
        ],
    );
}

#[test]
fn names_that_no_message_holds_ask_nobody() {
    let refused = format!("n=-1 errno={EMSGSIZE} h_errno=3");
    check(
        &FakeHost::start(zone),
        &[
            ("query a..b", &refused, 0),
            (&format!("query {}", "x".repeat(64)), &refused, 0),
            (&format!("nquery {}", "a.".repeat(140)), &refused, 0),
            ("search ", &refused, 0),
            ("querydomain ", "n=-1 h_errno=3", 0),
            (&format!("querydomain {}", "x".repeat(1100)), "n=-1 h_errno=3", 0),
            (&format!("querydomain x {ROOM} {}", "x".repeat(1024)), "n=-1 h_errno=3", 0),
            ("query ", "n=-1 h_errno=1", 1),
            ("query localhost", "n=-1 h_errno=1", 1),
        ],
    );
}

#[test]
fn cancelled_threads_end_at_once_and_leave_nothing() {
    assert_eq!(ask(&FakeHost::start(zone), "cancels silent"), "wrong=0 left=0");
}

#[test]
fn a_dead_host_is_a_server_that_does_not_answer() {
    let host = FakeHost::start(zone);
    host.die();
    check(
        &host,
        &[
            ("query small", &format!("n=-1 errno={ETIMEDOUT} h_errno=2"), 0),
            ("send small", &format!("n=-1 errno={ETIMEDOUT} h_errno=0"), 0),
        ],
    );
}

#[test]
fn what_is_local_asks_this_machine() {
    // A name that no message can hold is refused by the C library itself, without a packet.
    let off = FakeHost::with_settings(|settings| settings.dns = false, zone);
    let local = FakeHost::start(|asked| match asked {
        Asked::Attach { .. } => Reply::Default,
        _ => Reply::LocalName,
    });
    for (words, asks) in [("nquery small", 1), ("nsend small", 1), ("old small", 1)] {
        // The program's state has no name servers, and the C library says so.
        let expected = if words.starts_with("nsend") { "h_errno=0" } else { "h_errno=2" };
        let expected = format!("n=-1 errno={} {expected}", libc::ESRCH);
        check(&off, &[(words, &expected, 0)]);
        check(&local, &[(words, &expected, asks)]);
    }
}
