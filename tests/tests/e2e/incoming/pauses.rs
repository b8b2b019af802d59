//! A program at a breakpoint: requests that it has not begun to receive are not its own, the others are never done twice.

use std::time::{Duration, Instant};

use tests::{Cluster, Laptop, freeze, thaw};

use super::http::{MINE, client, pods, say, serve, steal};
use super::http2;

/// As `incoming.hold` is set where requests are held.
const HOLD: Duration = Duration::from_secs(3);

/// As it is set where none are.
const LONG: Duration = Duration::from_secs(60);

fn paused(on_pause: &str, hold: Duration) -> String {
    format!(r#"{}, "hold": {}, "on_pause": "{on_pause}""#, steal(MINE), hold.as_secs())
}

#[test]
fn requests_for_a_paused_program_go_to_the_application() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8270);
    for (on_pause, hold, answer) in
        [("hold", HOLD, "200 pod GET /b"), ("pass", LONG, "200 pod GET /b"), ("503", LONG, "503 mirror: ")]
    {
        let mut program = serve(&laptop, &pods, &paused(on_pause, hold));
        let mut client = client(&laptop, &pods);
        assert!(say(&mut client, "me /a").starts_with("200 laptop GET /a"));
        freeze(&[program.pid()]);
        // On a connection that the program has accepted before.
        let asked = Instant::now();
        let answered = say(&mut client, "me /b");
        assert!(answered.starts_with(answer), "{on_pause}: {answered}");
        assert_eq!(asked.elapsed() >= hold, on_pause == "hold", "{on_pause}: {:?}", asked.elapsed());
        program.wait_for("the program did not accept them");
        // Nobody else waits.
        assert!(say(&mut client, "you /c").starts_with("200 pod GET /c"));
        thaw(&[program.pid()]);
        assert!(say(&mut client, "me /d").starts_with("200 laptop GET /d"));
        program.wait_until("GET /d", |line| {
            assert!(!line.contains("/b"), "executed twice: {line}");
            line.contains("GET /d")
        });
        drop(program);
        laptop.wait_hosts_gone();
    }
}

#[test]
fn requests_that_a_program_has_begun_are_never_done_twice() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8273);
    let mut program = serve(&laptop, &pods, &paused("hold", HOLD));
    let mut client = client(&laptop, &pods);
    let asked = Instant::now();
    let answered = say(&mut client, "me /sleep/30");
    assert!(answered.starts_with("504 mirror: "), "{answered}");
    assert!(asked.elapsed() >= HOLD, "{:?}", asked.elapsed());
    program.wait_for("GET /sleep/30");
    program.wait_for("1 request to port 8273 was answered with 504: the program did not answer");
    let done = Cluster::shared().kubectl(&["logs", &pods.server]);
    assert!(!done.contains("/sleep"), "{done}");
    assert!(say(&mut client, "me /after").starts_with("200 laptop GET /after"));
}

#[test]
fn streams_for_a_paused_program_go_to_the_application() {
    let laptop = Laptop::new();
    let (pods, _application) = http2::node_pod(&laptop, 8276);
    let mut program = http2::serve_node(&laptop, &pods, &paused("hold", HOLD));
    let mut client = http2::client(&laptop, &pods);
    assert_eq!(say(&mut client, "me /a"), "200, laptop GET /a 0, trailer laptop");
    freeze(&[program.pid()]);
    let asked = Instant::now();
    assert_eq!(say(&mut client, "me /b"), "200, pod GET /b 0, trailer pod");
    assert!(asked.elapsed() >= HOLD, "{:?}", asked.elapsed());
    program.wait_for("1 request to port 8276 was left to the target: the program did not take them");
    thaw(&[program.pid()]);
    assert_eq!(say(&mut client, "me /c"), "200, laptop GET /c 0, trailer laptop");
    program.wait_until("got /c", |line| {
        assert!(!line.contains("/b"), "executed twice: {line}");
        line.contains("got /c")
    });
    assert_eq!(say(&mut client, "me /silent"), "504, ");
    program.wait_for("answered with 504");
}
