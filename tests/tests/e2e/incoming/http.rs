//! With a filter each HTTP request is the program's or the application's, and nothing else changes for anybody.

use std::io::Write;

use serde_json::json;
use tests::{Cluster, Laptop, Running, freeze, thaw};

use super::Pods;

/// Chooses the requests of one user.
pub(super) const MINE: &str = r#"{"header_filter": "^x-user: me$"}"#;

/// Bytes of a large body.
const LARGE: usize = 200_000_000;

/// More memory than this the agent needs for no body, however large.
const MOST_MEMORY: u64 = 40 << 20;

const SERVE: &str = include_str!("../../../apps/incoming/serve.py");

const ASK: &str = include_str!("../../../apps/incoming/ask.py");

/// A pod with `serve.py`, which has a readiness probe every second.
pub(super) fn pods(laptop: &Laptop, port: u16) -> Pods {
    let probe = json!({"periodSeconds": 1, "timeoutSeconds": 5, "httpGet": {"port": port, "path": "/who"}});
    let command = ["python3", "-c", SERVE, "pod", &port.to_string()];
    let container = json!({"image": "mirror.test/debian:1", "command": command, "readinessProbe": probe});
    Pods::start_container(laptop, port, container)
}

/// `serve.py` here, with keys of `feature.network.incoming`.
pub(super) fn serve(laptop: &Laptop, pods: &Pods, incoming: &str) -> Running {
    serve_as(laptop, pods, "laptop", pods.port, incoming)
}

/// With a name, and a port of this machine's.
pub(super) fn serve_as(laptop: &Laptop, pods: &Pods, name: &str, port: u16, incoming: &str) -> Running {
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {{{incoming}}}}}}}}}"#));
    let (target, port) = (format!("pod/{}", pods.server), port.to_string());
    let arguments = ["exec", "-q", "-t", &target, "--", "/usr/bin/python3", "-c", SERVE, name, &port];
    let mut program = laptop.start(laptop.mirror(arguments));
    program.wait_for("serves");
    program
}

pub(super) fn steal(filter: &str) -> String {
    format!(r#""mode": "steal", "http_filter": {filter}"#)
}

/// A client of `ask.py` that does what it is told.
pub(super) fn client(laptop: &Laptop, pods: &Pods) -> Running {
    let mut command = Cluster::shared().on_node("python3");
    command.args(["-c", ASK, &pods.address, &pods.port.to_string(), "lines"]);
    laptop.start(command)
}

/// What it is answered.
#[track_caller]
pub(super) fn say(client: &mut Running, line: &str) -> String {
    writeln!(client.stdin(), "{line}").expect("the client reads");
    client.wait_until("an answer", |_| true)
}

/// What a shell says in another pod, where `$A` is the server's address and `$P` its port.
fn shell(pods: &Pods, script: &str) -> String {
    let script = format!("A={} P={}; {script}", pods.address, pods.port);
    Cluster::shared().kubectl(&["exec", "deploy/debian", "-c", "nginx", "--", "sh", "-c", &script])
}

/// What a client of `ask.py` says in another pod.
pub(super) fn ask(pods: &Pods, what: &str) -> String {
    let port = pods.port.to_string();
    let python = ["python3", "-c", ASK, &pods.address, &port, what];
    let command = [&["exec", "deploy/debian", "-c", "nginx", "--", "timeout", "300"], &python[..]].concat();
    Cluster::shared().kubectl(&command)
}

#[test]
fn filters_choose_by_header_path_method_and_query() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8500);
    let requests =
        ["-H 'X-User: me' $U/a", "-H 'X-User: you' $U/api?id=7", "-X PATCH $U/api", "$U/a?x=api", "-d body $U/apis"];
    let script = requests.map(|request| format!("curl -sS -m 20 {request} | cut -d' ' -f1;")).concat();
    for (filter, chosen) in [
        (MINE, [true, false, false, false, false]),
        (r#"{"path_filter": "^/api$|id=7"}"#, [false, true, true, false, false]),
        (r#"{"method_filter": "patch"}"#, [false, false, true, false, false]),
        (r#"{"query_filter": "^id="}"#, [false, true, false, false, false]),
        (r#"{"all_of": [{"path": "api"}, {"not": {"header": "you"}}]}"#, [false, false, true, true, true]),
        (r#"{"any_of": [{"header": "x-user: you"}, {"method": "POST"}]}"#, [false, true, false, false, true]),
        (r#"{"not": {"path": "/api"}}"#, [true, false, false, true, false]),
    ] {
        let program = serve(&laptop, &pods, &steal(filter));
        let answers = shell(&pods, &format!("U=http://$A:$P; {script}"));
        let expected = chosen.map(|is_chosen| if is_chosen { "laptop\n" } else { "pod\n" }).concat();
        assert_eq!(answers, expected, "{filter}");
        drop(program);
        laptop.wait_hosts_gone();
    }
}

#[test]
fn connections_carry_the_requests_of_both() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8503);
    let program = serve(&laptop, &pods, &steal(MINE));
    let answers = ask(&pods, "keep");
    let lines: Vec<&str> = answers.lines().collect();
    assert_eq!(lines.len(), 18, "{answers}");
    let digest = |count: usize| if count == 0 { "e3b0c442" } else { "bca09f4a" };
    for (number, line) in lines.iter().take(12).enumerate() {
        let who = if [1, 2].contains(&(number % 4)) { "laptop" } else { "pod" };
        let (method, count) = if number % 4 < 2 { ("GET", 0) } else { ("PUT", 70_000) };
        let text = format!("{method} {number} ['{who}', '{method}', '/{number}', '{count}', '{}']", digest(count));
        assert_eq!(*line, text);
    }
    assert_eq!(lines[12..14], ["HEAD 12 []", "HEAD 13 []"]);
    assert_eq!(lines[14], "POST 14 ['laptop', 'POST', '/14', '7', '7d1a5412']");
    assert_eq!(lines[15], "DELETE 15 ['pod', 'DELETE', '/15', '0', 'e3b0c442']");
    assert_eq!(lines[16..], ["b'chunkchunkchunk'"; 2]);
    let answers = ask(&pods, "pipeline");
    let who: Vec<_> = answers.lines().filter_map(|line| line.split(' ').next()).collect();
    let expected: Vec<_> = (0..10).map(|number| if number % 3 == 0 { "laptop" } else { "pod" }).collect();
    assert_eq!(who, expected, "{answers}");
    for (number, line) in answers.lines().enumerate() {
        assert!(line.contains(&format!("PUT /{number} {number} ")), "{line}");
    }
    drop(program);
}

#[test]
fn websockets_are_the_ones_or_the_others() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8506);
    let _program = serve(&laptop, &pods, &steal(MINE));
    let talk =
        |who: &str| format!("HTTP/1.1 101 Switching Protocols\n{who} hello\n{who} PUT / HTTP/1.1\n{who} \nends\n");
    assert_eq!(ask(&pods, "talk"), [talk("laptop"), talk("pod")].concat());
}

#[test]
fn what_is_no_http_stays_what_it_is() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8509);
    let program = serve(&laptop, &pods, &steal(r#"{"path_filter": "."}"#));
    let told = ask(&pods, "bytes_as_they_come");
    assert!(told.lines().count() > 10 && told.lines().all(|line| line == "as sent"), "{told}");
    assert_eq!(ask(&pods, "greeting"), "220 pod\n250 EHLO me\n");
    drop(program);
    laptop.wait_hosts_gone();
    // Ports that have no filter are the program's as a whole.
    let filter = r#"{"header_filter": "^x-user: me$", "ports": [8509]}"#;
    let _program = serve(&laptop, &pods, &steal(filter));
    assert_eq!(ask(&pods, "greeting"), "220 laptop\n250 EHLO me\n");
    assert!(shell(&pods, "curl -sS -m 20 http://$A:$P/a").starts_with("pod GET"));
}

/// Bodies are handed on as they come: neither side of the agent's keeps them.
#[test]
fn large_bodies_are_streamed() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8512);
    let _program = serve(&laptop, &pods, &steal(MINE));
    let agents = Cluster::shared().agents(&Cluster::shared().pod_uids(&laptop.selector()));
    let file = format!("/tmp/large-{}", pods.port);
    shell(&pods, &format!("head -c {LARGE} /dev/zero > {file}"));
    for (who, header) in [("laptop", "-H 'X-User: me'"), ("pod", "")] {
        // A client that waits for leave to send its body, with a length and in chunks.
        for from in ["", "-H 'Transfer-Encoding: chunked'"] {
            let curl = "curl -sS -v -m 300 --expect100-timeout 50 -H 'Expect: 100-continue'";
            let told = shell(
                &pods,
                &format!("{curl} {header} {from} -T {file} http://$A:$P/up 2>&1 | grep -a '^pod\\|^laptop\\|Continue'"),
            );
            assert!(told.contains("100 Continue"), "{told}");
            assert!(told.contains(&format!("{who} PUT /up {LARGE} ")), "{told}");
        }
        let down = shell(&pods, &format!("curl -sS -m 300 {header} http://$A:$P/bytes/{LARGE} | wc -c"));
        assert_eq!(down.trim(), LARGE.to_string());
    }
    shell(&pods, &format!("rm {file}"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agents[0])).expect("the agent lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak: u64 = peak.unwrap_or_else(|| panic!("{status}"));
    assert!(peak * 1024 < MOST_MEMORY, "{peak} KiB");
}

/// The pod has a readiness probe every second.
#[test]
fn probes_are_the_applications_whatever_the_filter() {
    let laptop = Laptop::new();
    let pods = pods(&laptop, 8515);
    let mut program = serve(&laptop, &pods, &steal(r#"{"path_filter": "."}"#));
    assert!(pods.ask("/before").starts_with("laptop GET"));
    freeze(&[program.pid()]);
    pods.stays_ready();
    thaw(&[program.pid()]);
    assert!(pods.ask("/after").starts_with("laptop GET"));
    program.wait_for("GET /after");
}
