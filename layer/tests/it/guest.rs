//! The rules for guests, each against a rude program (`guest.c`, `sandbox.c`): the process lives, its
//! descriptors are its own, and what the layer does for it goes on working.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::{Condvar, Mutex};

use libc::{ECONNREFUSED, EIO, EMFILE, ENETUNREACH};

use protocol::layer::Settings;

use crate::host::{Asked, FakeHost, Reply, echo_server};
use crate::run::{app, figures, finish, hooked, installed, library, run, skip, wait};

/// Port 80 is served, 1 refused, 7 never answered, 9 refused once 1 was; `silent` is a name never answered.
fn session() -> FakeHost {
    session_with(|_| {})
}

fn session_with(change: impl FnOnce(&mut Settings)) -> FakeHost {
    let server = echo_server();
    let (refused, news) = (Mutex::new(false), Condvar::new());
    FakeHost::with_settings(change, move |asked| match asked {
        Asked::Connect { destination, .. } => match destination.port() {
            80 => Reply::Relay(server),
            7 => Reply::Silence,
            9 => {
                drop(news.wait_while(refused.lock().expect("not poisoned"), |refused| !*refused));
                Reply::Failed(ECONNREFUSED)
            }
            _ => {
                *refused.lock().expect("not poisoned") = true;
                news.notify_all();
                Reply::Failed(ECONNREFUSED)
            }
        },
        Asked::Resolve { name, .. } if name == "silent" => Reply::Silence,
        Asked::Resolve { name, .. } if name == "api" => Reply::Addresses(Ok(vec![IpAddr::from([10, 0, 0, 5])])),
        _ => Reply::Default,
    })
}

fn guest(words: &[&str], expected: &str) {
    let ended = run(&session(), "guest", words);
    assert_eq!(ended.stderr, "", "{words:?}");
    assert_eq!(ended.output(), expected, "{words:?}");
}

fn is_connect(asked: &Asked) -> bool {
    matches!(asked, Asked::Connect { .. })
}

#[test]
fn closed_standard_descriptors_stay_the_programs() {
    guest(&["standard"], "connect=0 name=0 fds=0,1 peer=10.0.0.5\n");
}

#[test]
fn closing_everything_does_no_harm() {
    let each = format!("served=0 refused={ECONNREFUSED} name=0\n");
    guest(&["closed"], &each.repeat(3));
}

#[test]
fn descriptors_taken_during_a_wait_stay_the_programs() {
    for how in ["range", "dup"] {
        let host = session();
        let mut command = hooked(&host, app("guest"));
        command.args(["taken", how]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        host.wait_for(is_connect);
        child.stdin.take().expect("piped").write_all(b"g").expect("writes");
        let mut taken = [0; 6];
        child.stdout.as_mut().expect("piped").read_exact(&mut taken).expect("reads");
        assert_eq!(&taken, b"taken\n");
        host.die();
        assert_eq!(wait(child).output(), format!("connect={ENETUNREACH}\n"), "{how}");
    }
}

#[test]
fn forks_in_threads_leave_no_lock_behind() {
    guest(&["forks"], "failures=0\n");
}

#[test]
fn a_full_descriptor_table_is_stretched_for_a_moment() {
    guest(&["full", "soft"], "connect=0 name=0/0 limit=64 fds=-1\npeer=0 10.0.0.5\n");
}

#[test]
fn a_full_table_at_the_hard_limit_is_said_so() {
    let expected = format!("connect={EMFILE} name={}/{EMFILE} limit=64 fds=-1\n", libc::EAI_SYSTEM);
    guest(&["full", "hard"], &expected);
}

#[test]
fn a_thousand_jumps_out_of_a_wait_leave_no_descriptors() {
    guest(&["jumps"], "served=0 most=0 left=0\n");
}

#[test]
fn jumps_from_an_alternate_stack_leave_none_either() {
    guest(&["jumps", "alternate"], "served=0 most=0 left=0\n");
}

#[test]
fn a_handler_that_connects_leaves_the_wait_alone() {
    // With `SA_RESTART`: the wait goes on after the handler.
    for stack in ["", "alternate"] {
        let expected = format!("connect={ECONNREFUSED} nested={ECONNREFUSED} handled=1\n");
        guest(&["handlers", stack], &expected);
    }
}

#[test]
fn a_handler_inside_malloc_can_connect() {
    guest(&["malloc"], &format!("nested={ECONNREFUSED}\n"));
}

#[test]
fn cancelled_threads_end_at_once_and_leave_no_descriptors() {
    guest(&["cancels"], "wrong=0 served=0 left=0\n");
}

#[test]
fn a_slow_answer_delays_nobody_else() {
    guest(&["many"], "wrong=0\n");
}

#[test]
fn a_hundred_thousand_calls_cost_no_memory() {
    guest(&["bounded"], "fds=0 memory=flat\n");
}

#[test]
fn a_changed_root_and_dropped_rights_do_not_matter() {
    const NOT_PERMITTED: i32 = 94;
    let root = library().with_file_name("root");
    std::fs::create_dir_all(&root).expect("a directory");
    let ended = run(&session(), "guest", &["chroot", root.to_str().expect("text")]);
    if ended.code == NOT_PERMITTED {
        return skip("changing the root needs rights");
    }
    assert_eq!(ended.output(), "connect=0 name=0\npeer=0 10.0.0.5\n");
}

#[test]
fn a_panic_is_a_bypass_or_an_error_and_nothing_is_printed() {
    if !cfg!(debug_assertions) {
        return skip("release builds cannot be asked to panic");
    }
    let host = session();
    let mut command = hooked(&host, app("guest"));
    let ended = finish(command.arg("fault").env("MIRROR_LAYER_FAULT", "after"));
    assert_eq!(ended.stderr, "");
    assert_eq!(ended.output(), format!("connect={EIO} name={}\n", libc::EAI_SYSTEM));
    let ended = finish(command.env("MIRROR_LAYER_FAULT", "before"));
    assert_eq!((ended.stderr.as_str(), ended.code), ("", 0));
    assert_eq!(host.asked().iter().filter(|asked| is_connect(asked)).count(), 1, "{ended:?}");
}

#[test]
fn in_a_sandbox_the_layer_is_passive() {
    let library = library().to_str().expect("text");
    for how in ["prctl", "syscall", "spread", "raw"] {
        for what in ["refuse", "kill"] {
            let host = session_with(|settings| settings.outgoing_udp = true);
            let ended = run(&host, "sandbox", &[how, what]);
            assert_eq!(ended.stderr, "", "{how} {what}");
            let shown = ended.output();
            assert!(shown.starts_with("connect=local\n") && !shown.contains(library), "{how} {what}: {shown}");
            assert_eq!(host.asked(), [], "{how} {what}");
        }
    }
}

#[test]
fn a_sandboxed_thread_does_not_take_the_others_out() {
    for how in ["prctl", "syscall"] {
        let host = session();
        assert_eq!(run(&host, "sandbox", &[how, "refuse", "thread"]).output(), "main=0\n", "{how}");
    }
}

#[test]
fn without_a_session_the_layer_is_passive() {
    let host = session();
    for value in [None, Some("garbage"), Some("")] {
        let mut command = hooked(&host, app("sockets"));
        command.env_remove(protocol::layer::SESSION_VARIABLE);
        command.envs(value.map(|value| (protocol::layer::SESSION_VARIABLE, value)));
        let ended = finish(command.args(["socket4", "connect", "127.0.0.1", "1", "names", "syscalls"]));
        assert!(ended.stderr.is_empty() && ended.stdout.contains("ring="), "{ended:?}");
        assert!(!ended.stdout.contains(&format!("ring={}", libc::ENOSYS)) || !installed("uname"), "{ended:?}");
    }
    assert_eq!((host.asked(), host.attached()), (vec![], vec![]));
}

/// `BENCH=1 cargo test --release -p layer calls_that_stay_local -- --nocapture` shows the cost of each call.
#[test]
fn calls_that_stay_local_ask_nobody() {
    let host = session_with(|settings| (settings.outgoing_udp, settings.unix) = (true, true));
    run(&host, "guest", &["bench", "local"]).output();
    assert_eq!(host.asked(), []);
    figures(&host, "guest", &["bench"]);
}
