//! Copies: the application answers, the program gets whole requests or what it can take of connections, and nobody waits
//! for it.

use std::time::{Duration, Instant};

use tests::{Cluster, Laptop, freeze};

use super::http::{MINE, ask, client, pods, say, serve};
use super::http2;

/// How long a copy may wait for a program that takes none, in seconds.
const HOLD: u64 = 1;

fn copy(filter: &str) -> String {
    format!(r#""mode": "mirror", "http_filter": {filter}"#)
}

#[test]
fn chosen_requests_are_copied_whole() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8280);
    let mut program = serve(&laptop, &pods, &copy(MINE));
    let answers = ask(&pods, "keep");
    assert!(!answers.contains("laptop") && answers.lines().count() == 18, "{answers}");
    let mut got = Vec::new();
    while got.len() < 9 {
        let line = program.wait_until("a request", |line| line.starts_with("laptop ") && !line.contains("begins"));
        got.push(line.trim_start_matches("laptop ").to_owned());
    }
    let expected =
        ["GET /1", "PUT /2", "GET /5", "PUT /6", "GET /9", "PUT /10", "HEAD /12", "POST /14", "GET /chunks/3"];
    assert_eq!(got, expected);
}

#[test]
fn chosen_streams_are_copied_whole() {
    let laptop = Laptop::new();
    let (pods, _application) = http2::node_pod(&laptop, 8283);
    let mut program = http2::serve_node(&laptop, &pods, &copy(MINE));
    let mut client = http2::client(&laptop, &pods);
    for (line, answer) in [("me /a", "/a 0"), ("you /b", "/b 0"), ("me /c", "/c 0")] {
        assert_eq!(say(&mut client, line), format!("200, pod GET {answer}, trailer pod"));
    }
    assert_eq!(program.wait_for("got"), "laptop got /a 0");
    assert_eq!(program.wait_for("got"), "laptop got /c 0");
}

#[test]
fn copies_that_cannot_be_delivered_are_counted() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8286);
    let mut program = serve(&laptop, &pods, &format!(r#"{}, "hold": {HOLD}"#, copy(MINE)));
    let mut client = client(&laptop, &pods);
    freeze(&[program.pid()]);
    let asked = Instant::now();
    let count = 30;
    for number in 0..count {
        assert!(say(&mut client, &format!("me /{number}")).starts_with("200 pod GET"));
    }
    assert!(asked.elapsed() < Duration::from_secs(count * HOLD * 2 / 3), "somebody waits: {:?}", asked.elapsed());
    program.wait_for("copies of traffic to port 8286 were dropped: the program does not keep up");
    drop(program);
    laptop.wait_hosts_gone();
    // The same for whole connections.
    let mut program = serve(&laptop, &pods, r#""mode": "mirror""#);
    freeze(&[program.pid()]);
    let mut upload = Cluster::shared().on_node("sh");
    let url = format!("http://{}:{}/up", pods.address, pods.port);
    upload.args(["-c", &format!("head -c 100000000 /dev/zero | curl -sS -m 120 -T - {url}")]);
    assert!(laptop.run(upload).success().stdout.starts_with("pod PUT /up 100000000"));
    program.wait_for("1 copy of traffic to port 8286 was dropped: the program does not keep up");
}
