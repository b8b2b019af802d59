//! Clients of the usual kinds against a port with a filter: they are answered by the program or by the application, and
//! find no fault with either.

use std::process::Command;

use tests::{Cluster, Laptop, Running};

use super::Pods;

const SERVER: &str = include_str!("../../../apps/incoming/sockets.js");

/// The server in a pod, and on this machine for requests with a header.
fn start(laptop: &Laptop, port: u16) -> (Pods, Running) {
    let number = port.to_string();
    let script = format!("{SERVER}\nrequire('net').createServer((socket) => socket.end()).listen({});", port + 1);
    let pods = Pods::start_command(laptop, port, &["node", "-e", &script, "pod", &number], port + 1);
    let filter = r#"{"mode": "steal", "http_filter": {"header_filter": "^x-user: me$"}}"#;
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {filter}}}}}}}"#));
    let target = format!("pod/{}", pods.server);
    let command = ["exec", "-q", "-t", &target, "--", "node", "-e", SERVER, "laptop", &number];
    let mut program = laptop.start(laptop.mirror(command));
    program.wait_for("serves");
    (pods, program)
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{told}", output.status);
    said.into_owned()
}

#[test]
fn web_sockets_stay_with_whom_they_began() {
    let laptop = Laptop::new();
    let (pods, _program) = start(&laptop, 8464);
    let url = format!("http://{}:{}/", pods.address, pods.port);
    let client = |header: &[&str]| {
        let mut command = Cluster::shared().on_node("/usr/bin/python3");
        command.args(["-c", include_str!("../../../apps/incoming/sockets.py"), &url]).args(header);
        output(command.env("PYTHONPATH", Cluster::shared().libraries().join("python")))
    };
    assert_eq!(client(&[]), "pod last\n1000\n");
    assert_eq!(client(&["X-User", "me"]), "laptop last\n1000\n");
    assert_eq!(client(&["X-User", "you"]), "pod last\n1000\n");
}

/// One connection, as `curl` says itself.
#[test]
fn curl_asks_both_over_one_connection() {
    let laptop = Laptop::new();
    let (pods, _program) = start(&laptop, 8466);
    let url = format!("http://{}:{}/", pods.address, pods.port);
    let mut command = Cluster::shared().on_node("curl");
    let tell = "%{num_connects} %{http_code}\n";
    for (index, (header, more)) in [
        ("X-User: you", &[][..]),
        ("X-User: me", &[]),
        ("x-user: me", &["--data-binary", "@/proc/self/exe"]),
        ("X-User: you", &["--data-binary", "@/proc/self/exe"]),
        ("X-User: me", &["-H", "Transfer-Encoding: chunked", "--data", "text"]),
        ("X-User: you", &["-H", "Expect: 100-continue", "--data", "text"]),
        ("X-User: me", &["--head"]),
    ]
    .into_iter()
    .enumerate()
    {
        command
            .args((index > 0).then_some("--next"))
            .args(["-sS", "-m", "20", "-w", tell, "-H", header])
            .args(more)
            .arg(&url);
    }
    let said = output(&mut command);
    let said: Vec<&str> = said.lines().filter(|line| !line.contains(':') && !line.starts_with("HTTP/")).collect();
    let (pod, laptop) = (["pod", "0 200"], ["laptop", "0 200"]);
    let expected = [&["pod", "1 200"], &laptop[..], &laptop, &pod, &laptop, &pod, &["", "0 200"]];
    assert_eq!(said.join("\n").replace("\r", ""), expected.concat().join("\n"));
}

#[test]
fn wrk_finds_no_failure() {
    let laptop = Laptop::new();
    let (pods, _program) = start(&laptop, 8468);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/apps/bench/report.lua");
    for header in ["X-User: you", "X-User: me"] {
        let mut command = Cluster::shared().on_node("wrk");
        command.args(["-t2", "-c20", "-d2", "-s", script, "-H", header]);
        let said = output(command.arg(format!("http://{}:{}/", pods.address, pods.port)));
        let line = said.lines().last().unwrap_or_default();
        let [rate, _, _, failures] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
        assert!(rate.parse::<f64>().is_ok_and(|rate| rate > 0.0), "{said}");
        assert_eq!(failures, "0", "{header}: {said}");
    }
}
