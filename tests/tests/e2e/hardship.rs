//! Peers and other users that misbehave, and agents that die: each call has its errno, memory stays bounded, nobody else
//! waits.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::{Cluster, Laptop};

/// A hundred open connections, then what becomes of them when the agent is gone.
const HUNDRED: &str = r#"
import errno, socket, sys
address = (socket.gethostbyname("echo-server"), 7000)
connections = [socket.create_connection(address, timeout=30) for _ in range(100)]
for connection in connections:
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect((address[0], 7001))
print("ready", flush=True)
sys.stdin.readline()
ends = {}
for connection in connections:
    try:
        end = "data" if connection.recv(1) else "end of stream"
    except OSError as error:
        end = errno.errorcode[error.errno]
    ends[end] = ends.get(end, 0) + 1
print("ends", ends, flush=True)
try:
    socket.create_connection(address, timeout=30)
except OSError as error:
    print("new", errno.errorcode[error.errno], flush=True)
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    other.connect((address[0], 7001))
except OSError as error:
    print("datagram", errno.errorcode[error.errno], flush=True)
"#;

#[test]
fn every_connection_is_reset_when_the_agent_is_killed() {
    let laptop = Laptop::new();
    laptop.write("hundred.py", HUNDRED);
    let mut running = laptop.start(laptop.mirror(["exec", "-q", "--", "/usr/bin/python3", "hundred.py"]));
    running.wait_for("ready");
    let uids = Cluster::shared().pod_uids(&laptop.selector());
    tests::kill(&Cluster::shared().agents(&uids));
    running.wait_for("the session is lost");
    running.close_stdin();
    running.wait_for("ends {'ECONNRESET': 100}");
    running.wait_for("new ENETUNREACH");
    running.wait_for("datagram ENETUNREACH");
    assert!(running.wait().success());
}

/// Memory of a process in KiB.
fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Sends to servers that never read, and leaves the answers of others unread, while it goes on asking.
const STALLED: &str = r#"
import socket, sys, time
import http.client
sinks = []
for _ in range(8):
    sink = socket.create_connection(("outside.mirror.test", 7000))
    sink.setblocking(False)
    sinks.append(sink)
# An echo whose answers nobody reads stops reading in turn.
total = 0
stuck = 0
while stuck < 50:
    before = total
    for sink in sinks:
        try:
            total += sink.send(b"x" * 65536)
        except BlockingIOError:
            pass
    stuck = stuck + 1 if total == before else 0
    time.sleep(0.02)
sources = []
for _ in range(8):
    source = socket.create_connection(("echo-server", 80))
    source.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    sources.append(source)
slowest = 0
for _ in range(200):
    began = time.monotonic()
    connection = http.client.HTTPConnection("echo-server", timeout=30)
    connection.request("GET", "/status/204")
    assert connection.getresponse().status == 204
    slowest = max(slowest, time.monotonic() - began)
print("others were answered, slowest", slowest < 5, flush=True)
sys.stdin.readline()
"#;

#[test]
fn peers_that_do_not_read_hold_up_nobody_and_cost_little_memory() {
    let laptop = Laptop::new();
    laptop.write("stalled.py", STALLED);
    let mut running = laptop.start(laptop.mirror(["exec", "-q", "--", "/usr/bin/python3", "stalled.py"]));
    running.wait_for("others were answered, slowest True");
    let uids = Cluster::shared().pod_uids(&laptop.selector());
    // Windows grow by at most 32 MiB here and 16 MiB there, beside the buffers of sixteen connections.
    for pid in laptop.hosts() {
        assert!(memory(pid) < 160 * 1024, "the session host uses {} KiB", memory(pid));
    }
    for pid in Cluster::shared().agents(&uids) {
        assert!(memory(pid) < 80 * 1024, "the agent uses {} KiB", memory(pid));
    }
    running.close_stdin();
    assert!(running.wait().success());
}

/// One thread asks for a name that no server answers, others go on meanwhile.
const SILENT: &str = r#"
import socket, threading, time
slow = {}
def ask():
    began = time.monotonic()
    try:
        socket.getaddrinfo("x.never.dns.test.", 80)
    except socket.gaierror as error:
        slow["error"] = error.errno == socket.EAI_AGAIN
    slow["took"] = time.monotonic() - began
thread = threading.Thread(target=ask)
thread.start()
quick = 0
while thread.is_alive() and quick < 50:
    socket.getaddrinfo("echo-server", 80)
    quick += 1
print("others", quick == 50, flush=True)
thread.join()
print("silent", slow["error"], slow["took"] > 1, flush=True)
"#;

#[test]
fn a_name_server_that_never_answers_delays_nobody_else() {
    let laptop = Laptop::new();
    laptop.write("silent.py", SILENT);
    let name = format!("deaf-{}", std::process::id());
    Cluster::shared().apply(&format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{
            dnsPolicy: ClusterFirst,
            dnsConfig: {{options: [{{name: timeout, value: "5"}}, {{name: attempts, value: "2"}}]}},
            terminationGracePeriodSeconds: 0,
            containers: [{{name: echo, image: "mirror.test/echo-server:1", imagePullPolicy: Never}}]
        }}}}"#
    ));
    Cluster::shared().kubectl(&["wait", "--for=condition=Ready", "pod", &name, "--timeout=60s"]);
    let outcome = laptop.exec(&format!("-q -t pod/{name}"), "/usr/bin/python3 silent.py");
    Cluster::shared().kubectl(&["delete", "pod", &name, "--wait=false"]);
    assert_eq!(outcome.success().stdout, "others True\nsilent True True\n");
}

/// The token may be seen: editors type it into terminals, and anybody may read the arguments of a process.
#[test]
fn another_user_who_has_seen_the_token_has_no_session() {
    let laptop = Laptop::new();
    let script = "echo $LD_PRELOAD=$MIRROR_LAYER_SESSION; cat";
    let mut running = laptop.start(laptop.mirror(["exec", "-q", "--", "sh", "-c", script]));
    let line = running.wait_for("=mirror-");
    let (layer, session) = line.split_once('=').expect("both");
    // The user's own folders are closed to others.
    let folder = tempfile::tempdir().expect("made");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("opened");
    let copy = folder.path().join("layer.so");
    std::fs::copy(layer, &copy).expect("copied");
    let is_answered = |user: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--clear-groups", "env"]);
        command.arg(format!("LD_PRELOAD={}", copy.display())).arg(format!("MIRROR_LAYER_SESSION={session}"));
        command.args(["curl", "-sS", "-m", "10", "-o", "/dev/null", "http://echo-server/"]);
        command.status().expect("runs").success()
    };
    assert!(is_answered("nobody"), "the session's user");
    assert!(!is_answered("daemon"));
    running.close_stdin();
    assert!(running.wait().success());
}
