//! Programs that start programs: the session survives a cleaned environment, and foreign loaders are spared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libc::ENOENT;
use protocol::layer::SESSION_VARIABLE;

use crate::host::{Asked, FakeHost, Reply, echo_server};
use crate::run::{app, compiled, finish, hooked, library, run, skip};

fn session() -> FakeHost {
    let server = echo_server();
    FakeHost::start(move |asked| match asked {
        Asked::Connect { .. } => Reply::Relay(server),
        _ => Reply::Default,
    })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn every_way_to_start_a_program_keeps_the_session() {
    let program = app("sockets");
    for how in [
        "execve",
        "nothing",
        "execv",
        "execvp",
        "execvpe",
        "execl",
        "execle",
        "execlp",
        "fexecve",
        "opath",
        "execveat",
        "empty",
        "spawn",
        "spawnp",
        "vfork",
        "system",
        "popen",
        "number",
        "atnumber",
        "vforknumber",
    ] {
        let host = session();
        let shown = run(&host, "exec", &[how, text(&program), "socket4", "connect", "10.0.0.5", "80"]);
        assert_eq!(shown.stderr, "", "{how}");
        assert_eq!(shown.output(), "connect=0\n", "{how}");
    }
}

#[test]
fn programs_are_searched_as_the_c_library_does() {
    for how in ["execvp", "execvpe", "execlp", "spawnp"] {
        let host = session();
        let shown = run(&host, "exec", &["PATH=/usr/bin:/bin", how, "env"]).output();
        assert!(shown.contains(&format!("LD_PRELOAD={}\n", text(library()))), "{how}: {shown}");
    }
    let shown = run(&session(), "exec", &["PATH=/usr/bin:/bin", "execvp", "no-such-program"]);
    assert_eq!((shown.stdout, shown.code), (format!("errno={ENOENT}\n"), 97));
}

#[test]
fn argument_lists_arrive_whole() {
    for (how, expected) in
        [("short", "1\n"), ("long", "1 2 3 4 5 6 7 8 9 10 11 12\n"), ("longe", "0 1 2 3 4 5 6 7 8 1\n")]
    {
        assert_eq!(run(&session(), "exec", &[how, "-"]).output(), expected, "{how}");
    }
}

#[test]
fn only_the_two_entries_are_restored() {
    let host = session();
    let (library, variable) = (text(library()), format!("{SESSION_VARIABLE}={}", host.session()));
    let own = format!("LD_PRELOAD={library}");
    let both = format!("LD_PRELOAD={library}:libm.so.6");
    for (given, expected) in [
        (vec![], vec!["KEEP=1", &own, &variable]),
        (vec!["LD_PRELOAD=libm.so.6", "B=2"], vec!["KEEP=1", &both, "B=2", &variable]),
        (vec!["MIRROR_LAYER_SESSION=other:1"], vec!["KEEP=1", "MIRROR_LAYER_SESSION=other:1", &own]),
        (vec![&own, &variable], vec!["KEEP=1", &own, &variable]),
    ] {
        let mut words = given.clone();
        words.extend(["execve", "/usr/bin/env"]);
        let shown = run(&host, "exec", &words).output();
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "{given:?}");
    }
}

#[test]
fn large_environments_keep_the_session() {
    let program = app("sockets");
    for how in ["execve", "spawn", "vfork", "execvp"] {
        let host = session();
        let words = ["many", how, text(&program), "socket4", "connect", "10.0.0.5", "80"];
        assert_eq!(run(&host, "exec", &words).output(), "connect=0\n", "{how}");
    }
}

#[test]
fn env_cleans_in_vain() {
    let host = session();
    let shown =
        finish(hooked(&host, "env").arg("-i").arg(app("sockets")).args(["socket4", "connect", "10.0.0.5", "80"]));
    assert_eq!(shown.output(), "connect=0\n");
}

/// Starts `program` in each way and expects it to say that its `LD_PRELOAD` is `expected`, quietly.
fn check_preload(program: &Path, expected: &str) {
    let own = format!("LD_PRELOAD={}", text(library()));
    for how in ["execve", "execv", "execvp", "fexecve", "empty", "spawn", "vfork"] {
        for given in [vec![how, text(program)], vec![own.as_str(), how, text(program)]] {
            let shown = run(&session(), "exec", &given);
            assert_eq!(shown.stderr, "", "{given:?}");
            assert_eq!(shown.output(), format!("preload={expected}\n"), "{given:?}");
        }
    }
}

#[test]
fn a_musl_program_is_spared_the_library() {
    match compiled("plain-musl", "plain", "musl-gcc", &[]) {
        Some(program) => {
            check_preload(&program, "-");
            let script = program.with_file_name("plain-musl.sh");
            fs::write(&script, format!("#! {}\n", text(&program))).expect("writes");
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
            for how in ["execve", "spawn"] {
                let shown = run(&session(), "exec", &[how, text(&script)]);
                assert_eq!((shown.stderr.as_str(), shown.stdout.as_str()), ("", "preload=-\n"), "{how}");
            }
        }
        None => skip("no musl-gcc on this machine"),
    }
}

#[test]
fn a_32_bit_program_is_spared_the_library() {
    match compiled("plain-32", "plain", "gcc", &["-m32"]) {
        Some(program) => check_preload(&program, "-"),
        None => skip("no 32-bit C library on this machine"),
    }
}

#[test]
fn a_static_program_passes_the_library_on() {
    match compiled("plain-static", "plain", "gcc", &["-static"]) {
        Some(program) => check_preload(&program, text(library())),
        None => skip("no static C library on this machine"),
    }
}

#[test]
fn each_program_attaches_once_by_its_name() {
    let host = session();
    finish(hooked(&host, "sh").args(["-c", "env true; true"])).output();
    assert_eq!(host.attached(), ["sh", "env", "true"]);
}
