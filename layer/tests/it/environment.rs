//! Programs that are launched by a command line which people see: the layer gives them the session's variables.

use std::process::Command;

use protocol::codec;
use protocol::layer::{AttachReply, ENVIRONMENT_VARIABLE, EnvironmentReply};

use crate::host::{Asked, FakeHost, Reply};
use crate::run::{finish, hooked, installed};

/// A value that does not fit into what the layer has on its stack.
const LONG: usize = 100_000;

fn environment() -> Vec<u8> {
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let set = vec![pair("COLOUR", "green"), pair("OWN", "pod"), pair("LONG", &"x".repeat(LONG))];
    codec::encode(&EnvironmentReply { set, unset: vec!["aws_profile".to_owned()] }).expect("encodes")
}

/// A command with variables of its own, of which `OWN` is to stay.
fn launched(host: &FakeHost, program: &str) -> Command {
    let mut command = hooked(host, program);
    command.env("OWN", "launch").env("AWS_PROFILE", "x").env("COLOUR", "local").env(ENVIRONMENT_VARIABLE, "OWN,OTHER");
    command
}

const SCRIPT: &str = "echo $COLOUR $OWN ${#LONG} ${AWS_PROFILE-none} ${MIRROR_LAYER_ENVIRONMENT-none}";
const EXPECTED: &str = "green launch 100000 none none\n";

#[test]
fn programs_and_what_they_start_have_the_sessions_variables() {
    let host = FakeHost::start(|asked| match asked {
        Asked::Environment => Reply::Bytes(environment()),
        _ => Reply::Default,
    });
    assert_eq!(finish(launched(&host, "sh").args(["-c", SCRIPT])).output(), EXPECTED);
    // By the argument of `main`, by `environ`, and by a program that it starts.
    assert_eq!(finish(launched(&host, "printenv").arg("COLOUR")).output(), "green\n");
    assert_eq!(finish(launched(&host, "env").args(["sh", "-c", SCRIPT])).output(), EXPECTED);
    if installed("python3") {
        let script = "import os; e = os.environ; print(e['COLOUR'], e['OWN'], len(e['LONG']), e.get('AWS_PROFILE'))";
        assert_eq!(finish(launched(&host, "python3").args(["-c", script])).output(), "green launch 100000 None\n");
    }
    if installed("node") {
        let script = "const e = process.env; console.log(e.COLOUR, e.OWN, e.LONG.length, e.AWS_PROFILE)";
        assert_eq!(finish(launched(&host, "node").args(["-e", script])).output(), "green launch 100000 undefined\n");
    }
    assert_eq!(finish(hooked(&host, "sh").args(["-c", "echo ${COLOUR-none}"])).output(), "none\n", "who does not ask");
}

#[test]
fn a_process_that_is_left_alone_has_them_too_and_nothing_changes_without_a_host() {
    let skipped = codec::encode(&AttachReply::Skipped).expect("encodes");
    let host = FakeHost::start(move |asked| match asked {
        Asked::Environment => Reply::Bytes(environment()),
        Asked::Attach { .. } => Reply::Bytes(skipped.clone()),
        _ => Reply::Default,
    });
    assert_eq!(finish(launched(&host, "sh").args(["-c", SCRIPT])).output(), EXPECTED);
    let host = FakeHost::start(|_| Reply::Default);
    assert_eq!(finish(launched(&host, "sh").args(["-c", "echo $COLOUR $OWN"])).output(), "local launch\n");
}
