//! Every process of a session asks the cluster, however it came to be: workers, daemons, children without an
//! environment, heirs of a connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::{Laptop, Running};

use crate::clients::mirrored;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn every_way_to_make_a_process() {
    let laptop = Laptop::new();
    laptop.bring("clients/processes/kinds.py");
    let outcome = laptop.run(mirrored(&laptop, &["/usr/bin/python3", "kinds.py"])).success();
    assert_eq!(outcome.stdout, include_str!("../../apps/clients/processes/kinds.txt"), "{}", outcome.stderr);
}

#[test]
fn a_daemon_by_two_forks_without_descriptors() {
    let laptop = Laptop::new();
    laptop.bring("clients/processes/daemon.py");
    laptop.exec("-q", "/usr/bin/python3 daemon.py").success();
    laptop.wait_hosts_gone();
    assert_eq!(std::fs::read_to_string(laptop.home().join("answer")).expect("an answer"), "01234");
}

/// What a local server answers to an ordinary program of this machine.
#[track_caller]
fn get(port: &str) -> String {
    let began = Instant::now();
    // Some servers listen a moment after they have said that they do.
    let mut connection = loop {
        match TcpStream::connect(format!("127.0.0.1:{port}")) {
            Ok(connection) => break connection,
            Err(error) => assert!(began.elapsed() < PATIENCE, "the server is on this machine: {error}"),
        }
        std::thread::yield_now();
    };
    connection.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Waits for the line that names the port.
#[track_caller]
fn port(server: &mut Running, line: &str) -> String {
    let line = server.wait_until(line, |said| said.contains(line) && said.contains("http://127.0.0.1:"));
    line.rsplit("127.0.0.1:").next().unwrap_or_default().chars().take_while(char::is_ascii_digit).collect()
}

/// Asks a server what it asked of the cluster, and returns the pid of who answered.
#[track_caller]
fn answers(port: &str) -> String {
    let answer = get(port);
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    let (body, pid) = body.split_once(" from ").unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(body, "01234");
    pid.to_owned()
}

/// A shell in a session that runs each line of its input in the background, and ends them all in the end: each is a
/// process group, since not every server ends its workers.
fn shell(laptop: &Laptop) -> Running {
    let script = "set -m; while read -r line; do $line & done; for job in $(jobs -p); do kill -- -$job; done; wait";
    laptop.start(mirrored(laptop, &["bash", "-c", script]))
}

#[track_caller]
fn start(shell: &mut Running, line: &str) {
    writeln!(shell.stdin(), "{line}").expect("the shell reads");
}

#[test]
fn servers_with_workers() {
    let laptop = Laptop::new();
    for file in ["app.py", "cluster.js", "page.php"] {
        laptop.bring(&format!("clients/processes/{file}"));
    }
    let mut shell = shell(&laptop);
    let python = "/usr/bin/python3 -m";
    start(&mut shell, &format!("{python} gunicorn --workers 2 --bind 127.0.0.1:0 app:wsgi"));
    answers(&port(&mut shell, "Listening at"));
    start(&mut shell, "node cluster.js");
    let cluster = port(&mut shell, "listening on");
    assert_ne!(answers(&cluster), answers(&cluster), "workers take turns");
    start(&mut shell, "env PHP_CLI_SERVER_WORKERS=2 php -S 127.0.0.1:0 page.php");
    answers(&port(&mut shell, "Development Server"));
    start(&mut shell, &format!("{python} uvicorn --reload --reload-delay 0.01 --port 0 app:asgi"));
    let reloading = port(&mut shell, "Uvicorn running");
    shell.wait_for("Application startup complete");
    let before = answers(&reloading);
    let changed = std::fs::read_to_string(laptop.home().join("app.py")).expect("the application") + "\n# changed\n";
    laptop.write("app.py", &changed);
    shell.wait_for("Application startup complete");
    assert_ne!(answers(&reloading), before, "another process has the socket after the reload");
    shell.close_stdin();
    shell.wait();
}
