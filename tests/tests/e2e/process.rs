//! `mirror exec` becomes the program: pid, terminal, signals, exit code and output are the program's own.

use std::os::unix::process::ExitStatusExt;

use serde_json::Value;
use tests::Laptop;

#[test]
fn the_exit_code_is_the_programs() {
    let laptop = Laptop::new();
    let mut command = laptop.mirror(["exec", "--", "sh", "-c", "exit 7"]);
    command.env("LC_ALL", "C.UTF-8");
    laptop.run(command).exited(7);
}

#[test]
fn a_signal_that_ends_the_program_is_seen_by_its_parent() {
    let laptop = Laptop::new();
    let outcome = laptop.run(laptop.mirror(["exec", "--", "sh", "-c", "kill -9 $$"]));
    assert_eq!(outcome.status.signal(), Some(9), "{}", outcome.stderr);
}

#[test]
fn the_pid_is_kept_and_no_unknown_child_appears() {
    let laptop = Laptop::new();
    let mut running = laptop.start(laptop.mirror([
        "exec",
        "-q",
        "--",
        "sh",
        "-c",
        "echo pid=$$; cat /proc/$$/task/$$/children | wc -w; read x",
    ]));
    let line = running.wait_for("pid=");
    assert_eq!(line, format!("pid={}", running.pid()));
    // `cat` and `wc` are the shell's own children.
    assert!(running.wait_for("").trim().parse::<u32>().is_ok_and(|n_children| n_children <= 2));
    running.close_stdin();
    running.wait();
}

#[test]
fn input_output_and_arguments_are_unaltered() {
    use std::io::Write;
    let laptop = Laptop::new();
    let arguments = [
        "exec",
        "-q",
        "--",
        "sh",
        "-c",
        r#"printf '%s|' "$@"; cat; echo to-stderr >&2"#,
        "name",
        "a b",
        "",
        "--flag",
        "ü*?",
    ];
    let mut running = laptop.start(laptop.mirror(arguments));
    running.stdin().write_all(b"from stdin\n").expect("written");
    running.close_stdin();
    assert!(running.wait().success());
    let output = running.rest();
    assert!(output.contains("a b||--flag|ü*?|from stdin"), "{output}");
    assert!(output.contains("to-stderr"), "{output}");
    assert_eq!(output.lines().count(), 2, "nothing of ours with -q:\n{output}");
}

#[test]
fn progress_is_plain_lines_without_a_terminal() {
    let laptop = Laptop::new();
    let outcome = laptop.exec("-t deployment/echo-server", "true").success();
    assert!(!outcome.stderr.contains('\u{1b}'), "no escape sequences:\n{}", outcome.stderr);
    for part in [
        "runs true",
        "cluster:",
        "target: pod echo-server",
        "agent created:",
        "agent ready:",
        "environment:",
        "outgoing:",
        "dns:",
    ] {
        assert!(outcome.stderr.contains(part), "{part} is missing:\n{}", outcome.stderr);
    }
    assert_eq!(outcome.stdout, "");
}

#[test]
fn progress_is_json_lines_on_request() {
    let laptop = Laptop::new();
    let outcome = laptop.exec("--json", "true").success();
    let lines: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["type"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"begin"));
    assert_eq!(kinds.last(), Some(&"ready"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "step-done").count(), 4, "{kinds:?}");
    let failed = laptop.exec("--json -t pod/absent", "true").exited(66);
    let last: Value = serde_json::from_str(failed.stderr.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["type"], &last["exit_code"]), (&Value::from("failed"), &Value::from(66)));
}

/// Runs a Python script that has a pseudo terminal with a shell in it, as a person at a terminal has.
fn at_a_terminal(laptop: &Laptop, script: &str) -> String {
    let prelude = r#"
import os, pty, re, select, signal, subprocess, sys, termios, time
def start(*command):
    pid, fd = pty.fork()
    if pid == 0:
        # Whoever runs the tests in the background has it ignored, which is inherited.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvp(command[0], command)
    return pid, fd
def state(fd):
    columns = "pid,ppid,pgid,stat,wchan:20,ignored,blocked,args"
    processes = subprocess.getoutput("ps -o %s -s %d" % (columns, os.getsid(os.tcgetpgrp(fd))))
    return "local flags %#o, foreground %d\n%s" % (termios.tcgetattr(fd)[3], os.tcgetpgrp(fd), processes)
def expect(fd, pattern, seen=[b""]):
    while not re.search(pattern, seen[0]):
        ready, _, _ = select.select([fd], [], [], 60)
        assert ready, "no %r in %r; %s" % (pattern, seen[0], state(fd))
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            chunk = b""
        assert chunk, "ended without %r in %r" % (pattern, seen[0])
        seen[0] += chunk
    match = re.search(pattern, seen[0])
    text, seen[0] = seen[0][:match.end()], seen[0][match.end():]
    return text
mirror = sys.argv[1]
"#;
    let file = laptop.write("terminal.py", &format!("{prelude}\n{script}"));
    let mut command = laptop.command("/usr/bin/python3");
    command.arg(file).arg(laptop.mirror_path()).env("TERM", "xterm-256color");
    laptop.run(command).success().stdout
}

#[test]
fn a_terminal_gets_the_tree_and_the_program_gets_the_terminal() {
    let laptop = Laptop::new();
    let output = at_a_terminal(
        &laptop,
        r#"
pid, fd = start(mirror, "exec", "--", "sh", "-c", "tty; stty size; echo done")
text = expect(fd, rb"done")
assert b"\x1b[32m" in text and "✓".encode() in text, text
assert b"/dev/pts/" in text, text
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("fine")
"#,
    );
    assert_eq!(output, "fine\n");
}

#[test]
fn control_z_and_fg_work() {
    let laptop = Laptop::new();
    let output = at_a_terminal(
        &laptop,
        r#"
pid, fd = start("bash", "--norc", "-i")
os.write(fd, ("PS1=; %s exec -q -- sh -c 'echo u''p; exec cat'\n" % mirror).encode())
expect(fd, rb"up\r\n")
os.write(fd, b"hello\n")
expect(fd, rb"hello\r\nhello")
os.write(fd, b"\x1a")
expect(fd, rb"Stopped")
expect(fd, rb"\x1b\[\?2004h")
os.write(fd, b"fg\n")
expect(fd, rb"exec cat'\r\n")
os.write(fd, b"again\n")
expect(fd, rb"again\r\nagain")
os.write(fd, b"\x03")
expect(fd, rb"\x1b\[\?2004h")
os.write(fd, b"echo code=$?\n")
expect(fd, rb"code=130")
os.write(fd, b"exit\n")
print("fine")
"#,
    );
    assert_eq!(output, "fine\n");
}

#[test]
fn control_c_while_starting_leaves_nothing() {
    let laptop = Laptop::new();
    let mut running = laptop.start(laptop.mirror(["exec", "--", "true"]));
    running.wait_for("agent created");
    let pid = rustix::process::Pid::from_raw(running.pid()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    running.wait();
}

#[test]
fn a_daemon_keeps_its_session() {
    let laptop = Laptop::new();
    let script =
        "(read -r line < fifo; curl -sS --max-time 10 http://echo-server/late > answer) > out 2>&1 < /dev/null &";
    laptop
        .run({
            let mut command = laptop.command("mkfifo");
            command.args(["-m", "666", "fifo"]);
            command
        })
        .success();
    let outcome = laptop.run(laptop.mirror(["exec", "-q", "--", "sh", "-c", script]));
    outcome.success();
    std::fs::write(laptop.home().join("fifo"), "go\n").expect("written");
    laptop.wait_hosts_gone();
    let answer = std::fs::read_to_string(laptop.home().join("answer")).expect("an answer");
    assert!(answer.contains("/late"), "{answer}");
}
