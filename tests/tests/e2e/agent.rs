//! The agent: what it shows of itself, whom it lets in, what it costs, and that it leaves.

use serde_json::Value;
use tests::{Cluster, Laptop, Running, kill};

fn session(laptop: &Laptop, options: &[&str]) -> Running {
    let mut running =
        laptop.start(laptop.mirror([&["exec", "-q"], options, &["--", "sh", "-c", "echo ready; cat"]].concat()));
    running.wait_for("ready");
    // A session stands before the cluster shows its pod as running.
    Cluster::shared().kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod",
        "-A",
        "-l",
        &laptop.selector(),
        "--timeout=30s",
    ]);
    running
}

fn object(laptop: &Laptop, kind: &str) -> Value {
    let text = Cluster::shared().kubectl(&["get", kind, "-A", "-l", &laptop.selector(), "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    list["items"][0].clone()
}

#[test]
fn the_job_has_the_least_rights_and_says_whose_it_is() {
    let laptop = Laptop::new();
    let _running = session(&laptop, &["-t", "deployment/echo-server"]);
    let pod = object(&laptop, "pods");
    let spec = &pod["spec"];
    assert_eq!(spec["hostPID"], true);
    assert_eq!(spec["containers"][0]["securityContext"]["privileged"], false);
    assert_eq!(
        spec["containers"][0]["securityContext"]["capabilities"],
        serde_json::json!({"drop": ["ALL"], "add": ["NET_ADMIN", "SETGID", "SETUID", "SYS_ADMIN", "SYS_PTRACE"]})
    );
    assert_eq!(spec["containers"][0]["image"], "mirror.test/echo-server:1", "no image of our own");
    assert!(spec["containers"][0]["resources"]["limits"]["cpu"].is_null(), "no limit of processor time");
    assert!(
        spec["volumes"].as_array().is_some_and(|volumes| volumes.iter().all(|volume| volume["hostPath"].is_null()))
    );
    let annotations = &pod["metadata"]["annotations"];
    assert!(annotations["mirror/owner"].as_str().is_some_and(|owner| owner.contains('@')), "{annotations}");
    assert!(
        annotations["mirror/target"].as_str().is_some_and(|target| target.contains("echo-server")),
        "{annotations}"
    );
}

#[test]
fn a_targetless_agent_needs_nothing() {
    let laptop = Laptop::new();
    let _running = session(&laptop, &[]);
    let pod = object(&laptop, "pods");
    assert!(pod["spec"]["hostPID"].is_null());
    let security = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(
        (&security["allowPrivilegeEscalation"], &security["readOnlyRootFilesystem"]),
        (&false.into(), &true.into())
    );
    assert!(security["capabilities"]["add"].is_null());
}

#[test]
fn a_restricted_namespace_admits_a_targetless_agent() {
    let laptop = Laptop::new();
    laptop.exec("-q -n restricted", "curl -sS --max-time 10 http://echo-server.default/").success();
}

#[test]
fn the_log_tells_version_mode_and_clients_but_no_secret() {
    let laptop = Laptop::new();
    let mut running = session(&laptop, &["-t", "deployment/echo-server"]);
    let pod = object(&laptop, "pods")["metadata"]["name"].as_str().expect("a name").to_owned();
    let log = Cluster::shared().kubectl(&["logs", &pod]);
    for part in [env!("CARGO_PKG_VERSION"), "targeted", "client let in"] {
        assert!(log.contains(part), "{part} is missing:\n{log}");
    }
    assert!(!log.contains("correct horse battery staple"), "{log}");
    running.close_stdin();
}

#[test]
fn who_has_not_the_key_is_refused_and_logged() {
    let laptop = Laptop::new();
    let _running = session(&laptop, &[]);
    let pod = object(&laptop, "pods");
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let port = "61616";
    let mut forward = laptop.command(Cluster::shared().kubectl_path());
    forward.args(["port-forward", name, &format!(":{port}")]);
    let mut forward = laptop.start(forward);
    let line = forward.wait_for("Forwarding from 127.0.0.1:");
    let local: u16 = line.split([':', ' ']).find_map(|word| word.parse().ok()).expect("a port");
    laptop.write(
        "intruder.py",
        "import socket, struct, sys
connection = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=10)
length = struct.unpack('<I', connection.recv(4, socket.MSG_WAITALL))[0]
connection.recv(length, socket.MSG_WAITALL)
version = b'VERSION'
body = bytes([len(version)]) + version + b'\\x00' + b'\\x00' + bytes([64]) + bytes(64)
connection.sendall(struct.pack('<I', len(body)) + body)
length = struct.unpack('<I', connection.recv(4, socket.MSG_WAITALL))[0]
print(connection.recv(length, socket.MSG_WAITALL)[0])
"
        .replace("VERSION", env!("CARGO_PKG_VERSION"))
        .as_str(),
    );
    let mut intruder = laptop.command("/usr/bin/python3");
    intruder.args(["intruder.py", &local.to_string()]);
    // Variant 1 of the verdict is the refusal.
    assert_eq!(laptop.run(intruder).success().stdout, "1\n");
    assert!(Cluster::shared().kubectl(&["logs", name]).contains("client refused"));
}

#[test]
fn it_is_small() {
    let laptop = Laptop::new();
    let _running = session(&laptop, &[]);
    let maps = object(&laptop, "configmaps");
    let files = maps["binaryData"].as_object().expect("files").values();
    let n_bytes: usize = files.map(|file| file.as_str().map_or(0, str::len) * 3 / 4).sum();
    assert!(n_bytes <= 1_500_000, "{n_bytes} bytes travel");
    assert_eq!(maps["immutable"], true);
    assert_eq!(maps["metadata"]["ownerReferences"][0]["kind"], "Job");
}

#[test]
fn it_needs_little_memory_while_nothing_happens() {
    let laptop = Laptop::new();
    for options in [&[][..], &["-t", "deployment/echo-server"]] {
        let running = session(&laptop, options);
        let cluster = Cluster::shared();
        let agents = cluster.agents(&cluster.pod_uids(&laptop.selector()));
        let [agent] = agents.as_slice() else { panic!("one agent, not {agents:?}") };
        let status = std::fs::read_to_string(format!("/proc/{agent}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        let n_kib: u32 = resident.and_then(|text| text.trim().parse().ok()).expect("a number");
        assert!(n_kib <= 8 * 1024, "{n_kib} KiB\n{status}");
        drop(running);
        cluster.wait_gone(&laptop.selector(), 60);
    }
}

#[test]
fn it_leaves_when_its_client_never_comes() {
    let laptop = Laptop::new();
    let mut command = laptop.mirror(["exec", "--", "true"]);
    command.env("MIRROR_AGENT_COMMUNICATION_TIMEOUT", "3");
    let mut running = laptop.start(command);
    running.wait_for("agent created");
    kill(&laptop.hosts());
    assert!(!running.wait().success());
    // Before the Job's deadline, which is 60 s.
    Cluster::shared().wait_gone(&laptop.selector(), 45);
}
