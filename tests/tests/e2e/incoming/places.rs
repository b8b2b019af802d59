//! Pods in which traffic takes another way, or that change: a mesh's sidecar, IPv6, a container that is restarted.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Cluster, Laptop, Running, kill, monotonic};

use super::load::Load;
use super::{Pods, SERVE, serve};

/// Where a mesh's sidecar gets what comes to the pod.
const SIDECAR: &str = "15006";

/// A sidecar: takes connections that were meant for another port, and hands them on over loopback.
const MESH: &str = r#"
import socket, struct, sys, threading
def pump(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError: pass
def serve(client):
    port = struct.unpack("!H", client.getsockopt(socket.IPPROTO_IP, 80, 16)[2:4])[0]
    with client, socket.create_connection(("127.0.0.1", port)) as application:
        back = threading.Thread(target=pump, args=(application, client))
        back.start()
        pump(client, application)
        back.join()
listener = socket.create_server(("", int(sys.argv[1])))
print("meshes", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
"#;

/// Has what comes to the pod's port go to the sidecar, as meshes do.
fn redirect(pods: &Pods) {
    let mut iptables = Cluster::shared().in_network_of(&pods.uid(), "iptables");
    iptables.args(["-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", &pods.port.to_string()]);
    let status = iptables.args(["-j", "REDIRECT", "--to-ports", SIDECAR]).status().expect("iptables runs");
    assert!(status.success());
}

#[test]
fn traffic_that_a_mesh_redirects_is_taken_where_it_reaches_the_application() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8245);
    let mut sidecar = Command::new(Cluster::shared().kubectl_path());
    sidecar.args(["exec", &pods.server, "--", "python3", "-c", MESH, SIDECAR]);
    let mut sidecar = laptop.start(sidecar);
    sidecar.wait_for("meshes");
    redirect(&pods);
    assert_eq!(pods.ask("/who"), "from pod");
    // The sidecar is the client.
    let from = format!("from 127.0.0.1 True at 127.0.0.1 {}", pods.port);
    let mut program = serve(&laptop, &pods, &[], &[]);
    assert_eq!(pods.ask("/who?copy"), "from pod");
    assert!(program.wait_for("GET /who?copy").ends_with(&from));
    end(&laptop, program);
    let mut program = serve(&laptop, &pods, &["--steal"], &[]);
    assert_eq!(pods.ask("/stolen"), "from laptop");
    assert!(program.wait_for("GET /stolen").ends_with(&from));
    end(&laptop, program);
    assert_eq!(pods.ask("/who"), "from pod");
}

fn end(laptop: &Laptop, mut program: Running) {
    kill(&[program.pid()]);
    program.wait();
    laptop.wait_hosts_gone();
}

/// The IPv6 address of a pod; the first one of a pod is of IPv4.
pub(super) fn address_six(pod: &str) -> String {
    Cluster::shared().kubectl(&["get", pod.trim(), "-o", "jsonpath={.status.podIPs[1].ip}"])
}

/// What a command in the network of a pod prints.
fn output(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim()
}

/// From the pod itself, and from another pod.
#[test]
fn clients_that_use_ipv6_are_taken_too() {
    let laptop = Laptop::new();
    let mut pods = Pods::start_with(&laptop, 8246, "", "python3 -m http.server 8258 --bind :: &");
    pods.port = 8258;
    let uid = pods.uid();
    let mut addresses = Cluster::shared().in_network_of(&uid, "ip");
    addresses.args(["-6", "-j", "address", "show", "dev", "eth0", "scope", "link"]);
    let shown: Value = serde_json::from_str(&output(addresses)).expect("ip prints JSON");
    // Those of another scope are empty here.
    let all = shown[0]["addr_info"].as_array().into_iter().flatten();
    let of_link = all.filter_map(|one| one["local"].as_str()).next().expect("an address").to_owned();
    let ask = |host: &str, path: &str| {
        let mut command = Cluster::shared().in_network_of(&uid, "curl");
        command.args(["-sS", "-g", "-m", "5", &format!("http://[{host}]:8258{path}")]);
        output(command)
    };
    let of_pod = address_six(&format!("pod/{}", pods.server));
    let client = address_six(&Cluster::shared().kubectl(&["get", "pod", "-l", "app=debian", "-o", "name"]));
    pods.address = format!("[{of_pod}]");
    let hosts = [("::1".to_owned(), "::1"), (format!("{of_link}%25eth0"), of_link.as_str())];
    let begun = Instant::now();
    while ask("::1", "/who") != "from pod" {
        assert!(begun.elapsed() < Duration::from_secs(30), "the second server starts");
    }
    for (options, answer) in [(&[][..], "from pod"), (&["--steal"], "from laptop")] {
        let mut program = serve(&laptop, &pods, options, &["8258", "::"]);
        for (host, name) in &hosts {
            assert_eq!(ask(host, "/who?six"), answer, "{host}");
            let line = program.wait_for("GET /who?six");
            assert!(line.ends_with(&format!("from {name} True at {name} 8258")), "{line}");
        }
        assert_eq!(pods.ask("/who?other"), answer);
        let line = program.wait_for("GET /who?other");
        assert!(line.ends_with(&format!("from {client} True at {of_pod} 8258")), "{line}");
        end(&laptop, program);
    }
    assert_eq!(ask("::1", "/who"), "from pod");
}

/// Looks a name up again and again, and tells each failure.
const LOOK: &str = r#"
import socket, time
while True:
    try:
        socket.getaddrinfo("echo-server", 80)
    except OSError as error:
        print("looked up in vain:", error, flush=True)
    time.sleep(0.002)
"#;

/// The pod's network outlives its containers, and so do the files by which names are resolved: the image's own
/// `resolv.conf` names a server that does not answer.
#[test]
fn a_container_that_is_restarted_loses_no_stolen_traffic_and_the_session_goes_on() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8247);
    let mut load = Load::start(&pods, 20);
    laptop.write("serve.py", SERVE);
    laptop.write("look.py", LOOK);
    let servers = format!("python3 serve.py {} & python3 look.py & python3 look.py &", pods.port);
    let script = format!("{servers} while read -r line; do $line; done; kill %1 %2 %3; wait");
    let target = format!("pod/{}", pods.server);
    let mut program =
        laptop.start(laptop.mirror(["exec", "-q", "-t", &target, "--steal", "--", "bash", "-c", &script]));
    program.wait_for("listens");
    load.wait_for("from laptop");
    let begun = monotonic();
    let outgoing = |program: &mut Running| {
        writeln!(program.stdin(), "curl -sS -m 5 -o /dev/null -w status=%{{http_code}}\\n http://echo-server/")
            .expect("reads");
        program.wait_for("status=200");
    };
    kill(&pods.processes());
    program.wait_for("container server was restarted");
    load.wait_for("from laptop");
    outgoing(&mut program);
    // Kubernetes waits for some seconds before it starts it once more.
    let restarted = Instant::now();
    while pods.processes().is_empty() {
        assert!(restarted.elapsed() < Duration::from_secs(30), "the application is restarted");
    }
    kill(&pods.processes());
    load.wait_for("from laptop");
    outgoing(&mut program);
    assert!(pods.processes().is_empty(), "asked while the container was down");
    Cluster::shared().kubectl(&["wait", "--for=condition=Ready", &target, "--timeout=60s"]);
    outgoing(&mut program);
    load.wait_for("from laptop");
    let ended = monotonic();
    program.close_stdin();
    program.wait();
    load.wait_for("from pod");
    let requests = load.end();
    let strays: Vec<_> = requests
        .iter()
        // What is under way when the program ends may end with it.
        .filter(|request| request.begun >= begun && request.ended < ended && request.answer != "from laptop")
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
    let said = program.rest();
    assert_eq!(said.matches("was restarted").count(), 1, "told once: {said}");
    assert!(!said.contains("session is lost"), "{said}");
    assert!(!said.contains("in vain"), "{said}");
}
