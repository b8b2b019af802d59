//! Traffic of the pod reaches the program: stolen or copied, for as long as the program listens.

mod clients;

mod copied;

mod differential;

mod ephemeral;

mod http;

mod http2;

mod load;

mod pauses;

mod places;
mod rights;

mod safety;

mod servers;

mod truth;

mod users;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Cluster, Laptop, Running, freeze, kill, thaw};

/// Serves HTTP and says who asks for what: with the address of `accept`, of `getpeername` and of `getsockname`.
const SERVE: &str = r#"
import socket, sys
port = int(sys.argv[1])
address = (sys.argv[2] if len(sys.argv) > 2 else "", port)
listener = socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
print("listens", flush=True)
while True:
    client, peer = listener.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        got = client.recv(65536)
        if not got: break
        head += got
    if not head:
        continue
    same = peer == client.getpeername()
    host, name = client.getsockname()[:2]
    print(head.split(b"\r\n")[0].decode(), "from", peer[0], same, "at", host, name, flush=True)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nfrom laptop\n")
    client.close()
"#;

/// Asks again and again over one connection, and tells each answer and failure.
const KEEP: &str = r#"
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
while True:
    try:
        connection.request("GET", "/who")
        print(connection.getresponse().read().decode().strip(), flush=True)
    except OSError as error:
        print("failed", repr(error), flush=True)
        connection.close()
    time.sleep(0.7)
"#;

/// Python's own web server, with a queue for many connections. Stands in a shell's word inside of YAML's quotes.
const WEB: &str = r#"import runpy, socketserver, sys; socketserver.TCPServer.request_queue_size = 1024; runpy.run_module(sys.argv.pop(), run_name=\"__main__\")"#;

/// A pod of the test's own, whose application answers `from pod`, and one that asks.
struct Pods {
    server: String,
    address: String,
    /// Each test's own: programs of several tests listen on this machine at once.
    port: u16,
}

impl Pods {
    fn start(laptop: &Laptop, port: u16) -> Self {
        Self::start_with(laptop, port, "", "")
    }

    /// With more fields of the pod's `spec`, and shell commands that run before the server.
    fn start_with(laptop: &Laptop, port: u16, fields: &str, before: &str) -> Self {
        let label = laptop.selector().split_once('=').map(|(_, label)| label.to_owned()).expect("a label");
        let server = format!("incoming-{label}");
        let cluster = Cluster::shared();
        cluster.apply(&format!(
            r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {server}, labels: {{mirror-test: {label}}}}}, spec: {{ {fields}
                terminationGracePeriodSeconds: 1, activeDeadlineSeconds: 900, containers: [{{
                    name: server, image: "mirror.test/debian:1", imagePullPolicy: IfNotPresent,
                    command: [sh, -c, "mkdir -p /site; echo from pod > /site/who; cd /site; {before} exec python3 -c '{WEB}' {port} http.server"],
                    readinessProbe: {{periodSeconds: 1, timeoutSeconds: 5, httpGet: {{port: {port}, path: /who}}}}
                }}]
            }}}}"#
        ));
        Self::ready(server, port)
    }

    /// With a command instead of the usual server, which accepts connections on a second port.
    fn start_command(laptop: &Laptop, port: u16, command: &[&str], other: u16) -> Self {
        let probe = json!({"periodSeconds": 1, "timeoutSeconds": 5, "tcpSocket": {"port": other}});
        let container = json!({"image": "mirror.test/debian:1", "command": command, "readinessProbe": probe});
        Self::start_container(laptop, port, container)
    }

    /// With fields of a container.
    fn start_container(laptop: &Laptop, port: u16, mut container: Value) -> Self {
        let label = laptop.selector().replace("mirror-test=", "");
        let server = format!("incoming-{label}");
        container["name"] = json!("server");
        container["imagePullPolicy"] = json!("IfNotPresent");
        let spec = json!({
            "terminationGracePeriodSeconds": 1, "activeDeadlineSeconds": 900, "restartPolicy": "Never",
            "containers": [container],
        });
        let metadata = json!({"name": server, "labels": {"mirror-test": label}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        Cluster::shared().apply(&pod.to_string());
        Self::ready(server, port)
    }

    fn ready(server: String, port: u16) -> Self {
        // From here on it is deleted, whatever happens.
        let mut pods = Self { server, address: String::new(), port };
        let cluster = Cluster::shared();
        cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{}", pods.server), "--timeout=60s"]);
        pods.address = cluster.kubectl(&["get", "pod", &pods.server, "-o", "jsonpath={.status.podIP}"]);
        pods
    }

    /// What a client in another pod is answered.
    fn ask(&self, path: &str) -> String {
        self.ask_within(5, path)
    }

    /// The same for an answer that may take some time.
    fn ask_within(&self, seconds: u32, path: &str) -> String {
        let (url, seconds) = (format!("http://{}:{}{path}", self.address, self.port), seconds.to_string());
        let arguments = ["exec", "deploy/debian", "-c", "nginx", "--", "curl", "-sS", "-m", &seconds, &url];
        let output = Cluster::shared().try_kubectl(&arguments);
        String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim()
    }

    /// A client in another pod that does not stop to ask.
    fn ask_on(&self, laptop: &Laptop, script: &str) -> Running {
        let mut command = Command::new(Cluster::shared().kubectl_path());
        command.args(["exec", "deploy/debian", "-c", "nginx", "--", "timeout", "120"]);
        command.args(["python3", "-c", script, &self.address, &self.port.to_string()]);
        laptop.start(command)
    }

    /// Waits until the application listens on a port of the pod, wherever.
    fn wait_listening(&self, port: u16) {
        let ask = |host: &str| format!("curl -s -m 5 -o /dev/null {host}:{port}/who");
        let script = format!("until {} || {}; do :; done", ask("localhost"), ask("$(hostname)"));
        Cluster::shared().kubectl(&["exec", &self.server, "--", "timeout", "60", "sh", "-c", &script]);
    }

    /// Checks that the pod stays ready during as many probes as make one unready, and more: three, each a second after
    /// the one before, which may have taken five.
    #[track_caller]
    fn stays_ready(&self) {
        let pod = format!("pod/{}", self.server);
        let unready = Cluster::shared().try_kubectl(&["wait", "--for=condition=Ready=false", &pod, "--timeout=25s"]);
        let said = String::from_utf8_lossy(&unready.stderr);
        assert!(!unready.status.success() && said.contains("timed out"), "{said}");
    }

    /// The pod's UID.
    fn uid(&self) -> String {
        Cluster::shared().kubectl(&["get", "pod", &self.server, "-o", "jsonpath={.metadata.uid}"])
    }

    /// Processes of the application.
    fn processes(&self) -> Vec<i32> {
        Cluster::shared().processes(&[self.uid()], "http.server")
    }

    /// The other pod's own address.
    fn client(&self) -> String {
        let arguments = ["get", "pod", "-l", "app=debian", "-o", "jsonpath={.items[0].status.podIP}"];
        Cluster::shared().kubectl(&arguments)
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        Cluster::shared().try_kubectl(&["delete", "pod", &self.server, "--wait=false", "--grace-period=1"]);
    }
}

fn serve(laptop: &Laptop, pods: &Pods, options: &[&str], arguments: &[&str]) -> Running {
    laptop.write("serve.py", SERVE);
    let target = format!("pod/{}", pods.server);
    let port = pods.port.to_string();
    let arguments = if arguments.is_empty() { &[port.as_str()] } else { arguments };
    let command =
        [&["exec", "-q", "-t", &target], options, &["--", "/usr/bin/python3", "serve.py"], arguments].concat();
    let mut program = laptop.start(laptop.mirror(command));
    program.wait_for("listens");
    program
}

#[test]
fn stolen_connections_are_answered_here_and_those_after_the_end_by_the_pod() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8180);
    assert_eq!(pods.ask("/who"), "from pod");
    let mut program = serve(&laptop, &pods, &["--steal"], &[]);
    assert_eq!(pods.ask("/a"), "from laptop");
    let line = program.wait_for("GET /a");
    assert_eq!(line, format!("GET /a HTTP/1.1 from {} True at {} {}", pods.client(), pods.address, pods.port));
    kill(&[program.pid()]);
    program.wait();
    let ended = Instant::now();
    while pods.ask("/who") != "from pod" {
        assert!(ended.elapsed() < Duration::from_secs(10), "the pod answers again");
    }
}

#[test]
fn mirrored_connections_are_answered_by_the_pod_and_seen_here() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8181);
    let mut program = serve(&laptop, &pods, &[], &[]);
    assert_eq!(pods.ask("/who?one"), "from pod");
    let line = program.wait_for("GET /who?one");
    assert_eq!(line, format!("GET /who?one HTTP/1.1 from {} True at {} {}", pods.client(), pods.address, pods.port));
    assert_eq!(pods.ask("/who?two"), "from pod");
    program.wait_for("GET /who?two");
}

#[test]
fn applications_are_reached_wherever_they_listen_and_whenever_they_start() {
    let laptop = Laptop::new();
    let listen = |port: u16, on: &str| format!("python3 -m http.server {port} --bind {on} &");
    let before =
        [listen(8196, "$(hostname -i | grep -oE '[0-9]+[.][0-9.]+')"), listen(8197, "::"), listen(8198, "127.0.0.1")]
            .concat();
    let mut pods = Pods::start_with(&laptop, 8199, "", &before);
    (8196..=8198).for_each(|port| pods.wait_listening(port));
    let later = [listen(8200, "0.0.0.0").trim_end_matches('&'), ">/dev/null 2>&1 &"].concat();
    for (port, starts_later) in [(8196, false), (8197, false), (8198, false), (8199, false), (8200, true)] {
        pods.port = port;
        let mut program = serve(&laptop, &pods, &[], &[]);
        if starts_later {
            Cluster::shared().kubectl(&["exec", &pods.server, "--", "sh", "-c", &format!("cd /site; {later}")]);
        }
        let began = Instant::now();
        // What listens on the pod's loopback only never had traffic from outside.
        while (pods.ask("/who?copy") == "from pod") != (port != 8198) {
            assert!(starts_later && began.elapsed() < Duration::from_secs(30), "{port}");
        }
        if port != 8198 {
            program.wait_for("GET /who?copy");
        }
        drop(program);
        laptop.wait_hosts_gone();
        let program = serve(&laptop, &pods, &["--steal"], &[]);
        assert_eq!(pods.ask("/who"), "from laptop", "{port}");
        drop(program);
        laptop.wait_hosts_gone();
    }
}

#[test]
fn connections_that_stand_come_to_the_program_unless_they_are_to_stay() {
    let laptop = Laptop::new();
    let mut pods = Pods::start_with(&laptop, 8208, "", "python3 -m http.server 8207 --protocol HTTP/1.1 &");
    pods.port = 8207;
    let mut client = pods.ask_on(&laptop, KEEP);
    client.wait_for("from pod");
    laptop.write(".mirror.json", r#"{"agent": {"flush_connections": false}}"#);
    let program = serve(&laptop, &pods, &["--steal"], &[]);
    assert_eq!(pods.ask("/who"), "from laptop", "connections that come later are stolen");
    for _ in 0..5 {
        assert_eq!(client.wait_until("an answer", |_| true), "from pod");
    }
    drop(program);
    laptop.wait_hosts_gone();
    laptop.write(".mirror.json", "{}");
    let _program = serve(&laptop, &pods, &["--steal"], &[]);
    client.wait_for("failed");
    assert_eq!(client.wait_until("an answer", |_| true), "from laptop");
}

#[test]
fn ports_are_mapped_ignored_and_chosen() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8182);
    let with = |incoming: &str| {
        laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {incoming}}}}}}}"#))
    };
    with(r#"{"mode": "steal", "port_mapping": [[8190, 8182]]}"#);
    let mut program = serve(&laptop, &pods, &[], &["8190", "127.0.0.1"]);
    assert_eq!(pods.ask("/mapped"), "from laptop");
    program.wait_for("GET /mapped");
    drop(program);
    laptop.wait_hosts_gone();
    for (incoming, arguments) in [
        (r#"{"mode": "steal", "ignore_ports": [8182]}"#, ["8182", "0.0.0.0"]),
        (r#"{"mode": "steal", "ports": [8190]}"#, ["8182", "0.0.0.0"]),
        (r#"{"mode": "steal", "ignore_localhost": true}"#, ["8182", "127.0.0.1"]),
        (r#""off""#, ["8182", "0.0.0.0"]),
    ] {
        with(incoming);
        let program = serve(&laptop, &pods, &[], &arguments);
        assert_eq!(pods.ask("/who"), "from pod", "{incoming}");
        drop(program);
        laptop.wait_hosts_gone();
    }
}

/// What the program has not accepted it has not begun: the application can answer it.
#[test]
fn a_program_at_a_breakpoint_leaves_its_connections_to_the_application() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8185);
    let hold = |on_pause: &str, seconds: u64| {
        let incoming = format!(r#"{{"mode": "steal", "hold": {seconds}, "on_pause": "{on_pause}"}}"#);
        laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {incoming}}}}}}}"#));
    };
    for (on_pause, seconds, answer) in
        [("hold", 3, "from pod"), ("pass", 60, "from pod"), ("503", 60, "paused at a breakpoint")]
    {
        hold(on_pause, seconds);
        let mut program = serve(&laptop, &pods, &[], &[]);
        assert_eq!(pods.ask("/before"), "from laptop");
        freeze(&[program.pid()]);
        let asked = Instant::now();
        let answered = pods.ask_within(20, "/who?paused");
        assert!(answered.contains(answer), "{on_pause}: {answered}");
        let waits = on_pause == "hold";
        assert_eq!(asked.elapsed() > Duration::from_secs(seconds), waits, "{on_pause}: {:?}", asked.elapsed());
        program.wait_for("the program did not accept them");
        thaw(&[program.pid()]);
        assert_eq!(pods.ask("/after"), "from laptop", "{on_pause}");
        program.wait_until("GET /after", |line| {
            assert!(!line.contains("paused"), "executed twice: {line}");
            line.contains("GET /after")
        });
        kill(&[program.pid()]);
        program.wait();
        laptop.wait_hosts_gone();
    }
}

/// The newest is asked first, and who leaves does not disturb the others.
#[test]
fn several_users_of_one_pod_come_and_go_in_any_order() {
    let (first, second, third) = (Laptop::new(), Laptop::new(), Laptop::new());
    let pods = Pods::start(&first, 8186);
    let steal = |port: &str| {
        format!(
            r#"{{"feature": {{"network": {{"incoming": {{"mode": "steal", "port_mapping": [[{port}, 8186]], "on_concurrent_steal": "override"}}}}}}}}"#
        )
    };
    let end = |laptop: &Laptop, mut program: Running| {
        kill(&[program.pid()]);
        program.wait();
        laptop.wait_hosts_gone();
    };
    first.write(".mirror.json", &steal("8187"));
    let mut one = serve(&first, &pods, &[], &["8187"]);
    assert_eq!(pods.ask("/one"), "from laptop");
    let from = format!("from {} True at {} {}", pods.client(), pods.address, pods.port);
    assert!(one.wait_for("GET /one").ends_with(&from));
    // A copy for the newer one; the older one answers, and knows the client all the same.
    let copy = steal("8188").replace("\"steal\"", "\"mirror\"");
    second.write(".mirror.json", &copy);
    let mut two = serve(&second, &pods, &[], &["8188"]);
    assert_eq!(pods.ask("/two"), "from laptop");
    assert!(two.wait_for("GET /two").ends_with(&from));
    assert!(one.wait_for("GET /two").ends_with(&from));
    // Who does not say that it wants to take over does not.
    third.write(".mirror.json", &steal("8189").replace("override", "abort"));
    third.write("serve.py", SERVE);
    let target = format!("pod/{}", pods.server);
    let command = ["exec", "-q", "-t", &target, "--", "/usr/bin/python3", "serve.py", "8189"];
    let mut refused = third.start(third.mirror(command));
    refused.wait_for("another session steals port 8186");
    refused.wait_for("Address already in use");
    refused.wait();
    third.wait_hosts_gone();
    assert_eq!(pods.ask("/unmoved"), "from laptop");
    one.wait_for("GET /unmoved");
    third.write(".mirror.json", &steal("8189"));
    let mut three = serve(&third, &pods, &[], &["8189"]);
    assert_eq!(pods.ask("/three"), "from laptop");
    assert!(three.wait_for("GET /three").ends_with(&from));
    // The one in the middle leaves, then the newest.
    end(&second, two);
    assert_eq!(pods.ask("/still"), "from laptop");
    three.wait_for("GET /still");
    end(&third, three);
    assert_eq!(pods.ask("/again"), "from laptop");
    assert!(one.wait_for("GET /again").ends_with(&from));
    end(&first, one);
    let ended = Instant::now();
    while pods.ask("/who") != "from pod" {
        assert!(ended.elapsed() < Duration::from_secs(10), "the pod answers again");
    }
}

/// Its ports are those of everything on the node.
#[test]
fn a_pod_in_its_nodes_network_keeps_its_traffic() {
    let laptop = Laptop::new();
    let pods = Pods::start_with(&laptop, 8191, "hostNetwork: true,", "");
    laptop.write("serve.py", SERVE);
    let (target, port) = (format!("pod/{}", pods.server), "8192");
    let arguments = ["exec", "-t", &target, "--steal", "--", "/usr/bin/python3", "serve.py", port];
    let mut program = laptop.start(laptop.mirror(arguments));
    program.wait_for("no connections are taken");
    program.wait_for("listens");
    assert_eq!(pods.ask("/who"), "from pod");
}

/// The pod of the tests has a readiness probe every second. At a breakpoint it must not become unready.
#[test]
fn probes_are_answered_by_the_application_unless_asked_otherwise() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8193);
    let with = |probes: bool| {
        let incoming = format!(r#"{{"mode": "steal", "probes": {probes}}}"#);
        laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {incoming}}}}}}}"#));
    };
    with(true);
    let mut program = serve(&laptop, &pods, &[], &[]);
    program.wait_for("GET /who HTTP/1.1 from");
    drop(program);
    laptop.wait_hosts_gone();
    with(false);
    let mut program = serve(&laptop, &pods, &[], &[]);
    freeze(&[program.pid()]);
    pods.stays_ready();
    thaw(&[program.pid()]);
    assert_eq!(pods.ask("/asked"), "from laptop");
    program.wait_until("GET /asked", |line| {
        assert!(!line.contains("GET /who"), "a probe: {line}");
        line.contains("GET /asked")
    });
}
