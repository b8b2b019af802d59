//! With a filter each request of an HTTP/2 connection is the program's or the application's.

use serde_json::json;
use tests::{Cluster, Laptop, Running};

use super::Pods;
use super::http::{MINE, steal};

/// A pod whose application is gRPC's own server in Go.
fn grpc_pod(laptop: &Laptop, port: u16) -> Pods {
    let probe = json!({"periodSeconds": 1, "timeoutSeconds": 5, "tcpSocket": {"port": port}});
    let arguments = ["-only", "grpc", "-grpc", &port.to_string()];
    let container = json!({"image": "mirror.test/echo-server:1", "args": arguments, "readinessProbe": probe});
    Pods::start_container(laptop, port, container)
}

/// Starts a program in the pod's place, with keys of `feature.network.incoming`.
fn serve(laptop: &Laptop, pods: &Pods, incoming: &str, program: &[&str]) -> Running {
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {{{incoming}}}}}}}}}"#));
    let target = format!("pod/{}", pods.server);
    let mut command = laptop.mirror([&["exec", "-q", "-t", &target, "--"], program].concat());
    add_libraries(&mut command);
    let mut program = laptop.start(command);
    program.wait_for("serves");
    program
}

fn add_libraries(command: &mut std::process::Command) {
    let libraries = Cluster::shared().libraries();
    command.env("PYTHONPATH", libraries.join("python")).env("NODE_PATH", libraries.join("node_modules"));
}

/// What a client says.
fn ask(laptop: &Laptop, client: &[&str]) -> String {
    let mut command = Cluster::shared().on_node("timeout");
    command.arg("100").args(client).current_dir(laptop.home());
    add_libraries(&mut command);
    laptop.run(command).success().stdout
}

#[test]
fn grpc_calls_are_told_apart() {
    let laptop = Laptop::new();
    let pods = grpc_pod(&laptop, 8260);
    for app in ["grpc_serve.py", "grpc_serve.js", "grpc_ask.py", "grpc_ask.js"] {
        laptop.bring(&format!("incoming/{app}"));
    }
    laptop.bring("../cluster/echo-server/echo.proto");
    let address = format!("{}:{}", pods.address, pods.port);
    for server in [
        &["/usr/bin/python3", "grpc_serve.py", "laptop", "8260"][..],
        &["node", "grpc_serve.js", "laptop", "8260", "echo.proto"],
    ] {
        let program = serve(&laptop, &pods, &steal(MINE), server);
        let told = ask(&laptop, &["/usr/bin/python3", "grpc_ask.py", &address]);
        let of_pod = "you unary hello asked said\nyou large xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx True\n\
            you stream 500500 counted\nyou both heard one\nyou both heard two\nyou both heard three\nyou both chatted\n\
            you error PERMISSION_DENIED failed with 7 as asked\nyou cut heard on\n";
        let of_laptop = "me unary laptop hello 5 asked laptop\nme large laptop xxxxxxxxxxxxxxxxxxxx 30 True\n\
            me stream 500500 laptop\nme both laptop heard one\nme both laptop heard two\nme both laptop heard three\n\
            me both laptop\nme error PERMISSION_DENIED failed with 7 as asked\nme cut laptop heard on\n";
        assert_eq!(told, format!("{}many 200\n", [of_pod, of_laptop].concat().repeat(3)));
        let told = ask(&laptop, &["node", "grpc_ask.js", &address, "echo.proto"]);
        assert_eq!(
            told,
            "me unary laptop hello 5\nme stream 500500 laptop\n\
            me both laptop heard one,laptop heard two,laptop heard three laptop\n\
            me error PERMISSION_DENIED failed with 7 as asked\nyou unary hello\nyou stream 500500 counted\n\
            you both heard one,heard two,heard three chatted\nyou error PERMISSION_DENIED failed with 7 as asked\n"
        );
        drop(program);
        laptop.wait_hosts_gone();
    }
}

/// A pod whose application is `http2.js`, and what it says.
pub(super) fn node_pod(laptop: &Laptop, port: u16) -> (Pods, Running) {
    ["http2.js", "http2_ask.js"].iter().for_each(|app| drop(laptop.bring(&format!("incoming/{app}"))));
    let script = include_str!("../../../apps/incoming/http2.js");
    let script = format!("{script}\nrequire('net').createServer(socket => socket.end()).listen({});", port + 1);
    let pods = Pods::start_command(laptop, port, &["node", "-e", &script, "pod", &port.to_string()], port + 1);
    let mut command = std::process::Command::new(Cluster::shared().kubectl_path());
    command.args(["logs", "--follow", &pods.server]);
    let mut said = laptop.start(command);
    said.wait_for("serves");
    (pods, said)
}

/// `http2.js` here.
pub(super) fn serve_node(laptop: &Laptop, pods: &Pods, incoming: &str) -> Running {
    serve(laptop, pods, incoming, &["node", "http2.js", "laptop", &pods.port.to_string()])
}

/// A client of `http2_ask.js` that does what it is told.
pub(super) fn client(laptop: &Laptop, pods: &Pods) -> Running {
    let mut command = Cluster::shared().on_node("node");
    command.args(["http2_ask.js", &format!("{}:{}", pods.address, pods.port), "lines"]).current_dir(laptop.home());
    laptop.start(command)
}

#[test]
fn streams_have_their_own_ends() {
    let laptop = Laptop::new();
    let (pods, mut application) = node_pod(&laptop, 8262);
    let port = pods.port.to_string();
    let mut program = serve_node(&laptop, &pods, &steal(MINE));
    let address = format!("{}:{port}", pods.address);
    let told = ask(&laptop, &["node", "http2_ask.js", &address, "all"]);
    let of = |name: &str| {
        let resets = ["reset 2\n", "reset 7\n", "reset 8\n", "reset 11\n"].concat();
        format!(
            "200, {name} GET /a?b=c 0, trailer {name}\n200, {name} PUT /up 3000000, trailer {name}\n200, 3000000\n\
            200, {name} GET /early 0, early 103, trailer {name}\n{resets}"
        )
    };
    assert_eq!(told, format!("{}{}many 0 undefined\n", of("pod"), of("laptop")));
    application.wait_for("pod aborted /silent/you 8");
    program.wait_for("laptop aborted /silent/me 8");
    // Who goes away says so to its clients; the program has none of its own.
    let told = ask(&laptop, &["node", "http2_ask.js", &address, "goaway"]);
    assert_eq!(told, "200, pod GET /goaway 0, trailer pod\ngoaway 0\n");
    let told = ask(&laptop, &["node", "http2_ask.js", &address, "own_goaway"]);
    let answers = [
        "laptop GET /goaway 0, trailer laptop",
        "laptop GET /again 0, trailer laptop",
        "pod GET /again 0, trailer pod",
    ];
    assert_eq!(told, answers.map(|answer| format!("200, {answer}\n")).concat());
}

#[test]
fn many_streams_at_a_time_are_answered() {
    let laptop = Laptop::new();
    let (pods, _application) = node_pod(&laptop, 8264);
    let port = pods.port.to_string();
    let _program = serve_node(&laptop, &pods, &steal(MINE));
    let url = format!("http://{}:{port}", pods.address);
    for (user, name) in [("x-user: me", "laptop"), ("x-user: you", "pod")] {
        let told = ask(&laptop, &["h2load", "-n", "5000", "-c", "5", "-m", "100", "-H", user, &format!("{url}/load")]);
        assert!(told.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
        let counted = ask(&laptop, &["nghttp", "-H", user, &format!("{url}/answered")]);
        assert_eq!(counted.trim(), format!("{name} 5001"));
    }
    let agents = Cluster::shared().agents(&Cluster::shared().pod_uids(&laptop.selector()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agents[0])).expect("the agent lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    assert!(peak.is_some_and(|peak: u64| peak < 40 << 10), "{peak:?} KiB");
}
