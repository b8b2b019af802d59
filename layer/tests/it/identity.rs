//! Who a process is: its host's name, its debugger, and whether it takes part at all.

use std::os::unix::process::CommandExt;

use libc::ENAMETOOLONG;

use crate::host::{Asked, FakeHost, Reply, echo_server};
use crate::run::{app, finish, hooked, installed, run};

fn named(name: &'static str) -> FakeHost {
    FakeHost::start(move |asked| match asked {
        Asked::Attach { .. } => Reply::Named(name),
        _ => Reply::Default,
    })
}

fn own_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned()
}

#[test]
fn every_function_says_the_pods_name() {
    let shown = run(&named("api-0"), "identity", &["64", "64", "6", "5", "0", "2"]).output();
    let expected = [
        "uname=api-0 sysname=Linux".to_owned(),
        format!("64: 0 errno=117 api-00{}", "#".repeat(60)),
        format!("64: 0 errno=117 api-00{}", "#".repeat(60)),
        "6: 0 errno=117 api-00##".to_owned(),
        format!("5: -1 errno={ENAMETOOLONG} api-0##"),
        format!("0: -1 errno={ENAMETOOLONG} ##"),
        format!("2: -1 errno={ENAMETOOLONG} ap##"),
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    for program in ["hostname", "uname"] {
        if installed(program) {
            let mut command = hooked(&named("api-0"), program);
            // The session must outlive the program.
            let host = named("api-0");
            command.env(protocol::layer::SESSION_VARIABLE, host.session());
            assert_eq!(finish(command.args((program == "uname").then_some("-n"))).output(), "api-0\n");
        }
    }
}

#[test]
fn the_longest_name_fits() {
    const LONGEST: &str = "a234567890123456789012345678901234567890123456789012345678901234";
    let shown = run(&named(LONGEST), "identity", &["65"]).output();
    assert_eq!(shown, format!("uname={LONGEST} sysname=Linux\n65: 0 errno=117 {LONGEST}0##\n"));
}

#[test]
fn without_a_name_it_is_this_machines() {
    let own = own_name();
    for host in [FakeHost::start(|_| Reply::Default), named("")] {
        let shown = run(&host, "identity", &["100"]).output();
        assert!(shown.starts_with(&format!("uname={own} sysname=Linux\n100: 0 errno=117 {own}0")), "{shown}");
    }
}

#[test]
fn the_pods_name_is_resolved_by_the_pod_and_this_machines_is_not() {
    let host = named("api-0");
    assert_eq!(run(&host, "names", &["gai", "api-0", "80", "v4", "."]).output(), format!("gai={}\n", libc::EAI_NONAME));
    assert_eq!(host.asked().len(), 1);
    let _ = run(&host, "names", &["gai", &own_name(), "80", "v4", "."]);
    assert_eq!(host.asked().len(), 1, "{:?}", host.asked());
}

#[test]
fn a_process_tells_what_it_executes() {
    let host = named("api-0");
    run(&host, "identity", &[]).output();
    let program = std::fs::canonicalize(app("identity")).expect("a path");
    assert_eq!(host.executables(), [program.to_str().expect("text")]);
    let deep = program.with_file_name("d".repeat(200));
    std::fs::create_dir_all(&deep).expect("a directory");
    let copy = deep.join("e".repeat(100));
    std::fs::copy(&program, &copy).expect("a copy");
    finish(&mut hooked(&host, &copy)).output();
    let path = copy.to_str().expect("text");
    assert_eq!(host.executables().last().expect("attached"), &path[path.len() - 256..]);
}

#[test]
fn a_skipped_process_is_left_alone_and_its_children_are_not() {
    if !installed("sh") {
        return;
    }
    let host = FakeHost::start(|asked| match asked {
        Asked::Attach { program, .. } if program == b"sh" => Reply::Skipped,
        Asked::Attach { .. } => Reply::Named("api-0"),
        _ => Reply::Default,
    });
    let names = app("identity");
    let mut command = hooked(&host, "sh");
    command.args(["-c", "cat /proc/sys/kernel/hostname; \"$0\""]).arg(&names);
    assert_eq!(finish(&mut command).output(), format!("{}\nuname=api-0 sysname=Linux\n", own_name()));
    assert_eq!(host.attached(), ["sh", "cat", names.to_str().expect("text")]);
}

#[test]
fn a_skipped_process_asks_nothing() {
    let host = FakeHost::start(|asked| match asked {
        Asked::Attach { .. } => Reply::Skipped,
        _ => Reply::Default,
    });
    let shown = run(&host, "identity", &[]).output();
    assert_eq!(shown, format!("uname={} sysname=Linux\n", own_name()));
    run(&host, "names", &["gai", "localhost", "80", "v4", "."]).output();
    run(&host, "names", &["gai", "none.invalid", "80", "v4", "n"]).output();
    assert_eq!(host.asked(), []);
}

#[test]
fn a_debuggers_port_is_this_machines_even_where_loopback_is_the_pods() {
    let server = echo_server();
    let port = server.port().to_string();
    let argfile = app("sockets").with_file_name("debug.argfile");
    std::fs::write(&argfile, format!("-agentlib:jdwp=transport=dt_socket,address=localhost:{port}\n")).expect("writes");
    let host = FakeHost::with_settings(|settings| settings.ignore_localhost = false, |_| Reply::Default);
    let refused = format!("connect={}\n", libc::EHOSTUNREACH);
    let mut asks = 0;
    for (name, variable, first, found) in [
        ("sockets", "--inspect", "", false),
        ("node", "--inspect", "", true),
        ("node", "--max-old-space-size", "", false),
        ("java", "", argfile.to_str().expect("text"), true),
    ] {
        let mut command = hooked(&host, app("sockets"));
        command.arg0(name).env("NODE_OPTIONS", format!("{variable}=127.0.0.1:{port}"));
        command.args((!first.is_empty()).then(|| format!("@{first}")));
        let shown = finish(command.args(["socket4", "connect", "127.0.0.1", &port])).output();
        assert!(shown.ends_with(if found { "connect=0\n" } else { &refused }), "{name} {variable}: {shown}");
        asks += usize::from(!found);
        assert_eq!(host.asked().len(), asks, "{name} {variable}");
    }
}
