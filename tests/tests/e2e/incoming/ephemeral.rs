//! The agent as an ephemeral container of the target's pod: it does what a Job's does, with fewer rights, and ends by
//! itself in every case.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{AgentImage, Cluster, Laptop, Running, kill};

use super::{Pods, SERVE, serve};
use crate::failures::start_rule_by_rule;

/// Within which an agent ends whose session has ended.
const SOON: Duration = Duration::from_secs(20);

/// Writes a configuration whose agent is an ephemeral container.
pub(super) fn configure(laptop: &Laptop, image: &AgentImage, incoming: &Value) {
    let text = json!({
        "agent": {"ephemeral": true, "image": image.name},
        "feature": {"network": {"incoming": incoming}},
    });
    laptop.write(".mirror.json", &text.to_string());
}

/// Fields of the pods of a namespace, as JSON.
pub(super) fn pod(namespace: &str, name: &str) -> Value {
    let text = Cluster::shared().kubectl(&["get", "pod", "-n", namespace, name, "-o", "json"]);
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until no agent runs in a pod.
fn wait_agents_gone(namespace: &str, name: &str, within: Duration) {
    let uid = pod(namespace, name)["metadata"]["uid"].as_str().expect("a UID").to_owned();
    Cluster::shared().wait_agents_gone(&[uid], within);
}

fn end(laptop: &Laptop, mut program: Running) {
    kill(&[program.pid()]);
    program.wait();
    laptop.wait_hosts_gone();
}

#[test]
fn everything_works_with_few_capabilities_and_the_pod_keeps_an_entry() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let pods = Pods::start(&laptop, 8401);
    configure(&laptop, &image, &json!("steal"));
    let target = format!("-t pod/{}", pods.server);
    // A name of the cluster, an outgoing connection, the pod's environment and host name.
    let outcome = laptop.exec(&target, "curl -sS --max-time 10 http://echo-server/").success();
    assert!(outcome.stdout.contains("\"path\""), "{}", outcome.stdout);
    let outcome = outcome.says("which keeps the entry as long as it exists");
    assert!(outcome.stderr.contains(&format!("in pod {}", pods.server)), "{}", outcome.stderr);
    assert_eq!(laptop.exec(&format!("-q {target}"), "printenv HOSTNAME").success().stdout.trim(), pods.server);
    assert_eq!(laptop.exec(&format!("-q {target}"), "hostname").success().stdout.trim(), pods.server);
    let mut program = serve(&laptop, &pods, &[], &[]);
    assert_eq!(pods.ask("/a"), "from laptop");
    let line = program.wait_for("GET /a");
    assert_eq!(line, format!("GET /a HTTP/1.1 from {} True at {} {}", pods.client(), pods.address, pods.port));
    let spec = &pod("default", &pods.server)["spec"];
    let entries = spec["ephemeralContainers"].as_array().expect("entries");
    assert_eq!(entries.len(), 4, "one for each session");
    for entry in entries {
        let security = &entry["securityContext"];
        assert_eq!(
            security["capabilities"],
            json!({"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "SETGID", "SETUID", "SYS_PTRACE"]})
        );
        assert_eq!([&security["privileged"], &security["allowPrivilegeEscalation"]], [false, false]);
        assert_eq!(entry["env"][0]["name"], "MIRROR_OWNER");
    }
    assert!(spec["hostPID"].is_null());
    end(&laptop, program);
    wait_agents_gone("default", &pods.server, SOON);
    assert_eq!(pods.ask("/who"), "from pod");
    configure(&laptop, &image, &json!("mirror"));
    let mut program = serve(&laptop, &pods, &[], &[]);
    assert_eq!(pods.ask("/who?copy"), "from pod");
    program.wait_for("GET /who?copy");
}

/// Each has a port of its own in the pod's network, and a place in the order of all agents.
#[test]
fn several_share_a_pod_with_each_other_and_with_those_in_jobs() {
    let (first, second, third) = (Laptop::new(), Laptop::new(), Laptop::new());
    let image = AgentImage::save(&first);
    let pods = Pods::start(&first, 8402);
    let steal = |from: u16| json!({"mode": "steal", "port_mapping": [[from, 8402]], "on_concurrent_steal": "override"});
    configure(&first, &image, &steal(8403));
    let mut one = serve(&first, &pods, &[], &["8403"]);
    configure(&second, &image, &json!({"mode": "mirror", "port_mapping": [[8404, 8402]]}));
    let mut two = serve(&second, &pods, &[], &["8404"]);
    assert_eq!(pods.ask("/both"), "from laptop");
    let from = format!("from {} True at {} {}", pods.client(), pods.address, pods.port);
    assert!(one.wait_for("GET /both").ends_with(&from));
    assert!(two.wait_for("GET /both").ends_with(&from));
    let in_a_job = json!({"feature": {"network": {"incoming": steal(8405)}}});
    third.write(".mirror.json", &in_a_job.to_string());
    let mut three = serve(&third, &pods, &[], &["8405"]);
    assert_eq!(pods.ask("/three"), "from laptop");
    assert!(three.wait_for("GET /three").ends_with(&from));
    end(&third, three);
    assert_eq!(pods.ask("/again"), "from laptop");
    assert!(one.wait_for("GET /again").ends_with(&from));
    two.wait_for("GET /again");
    end(&first, one);
    let ended = Instant::now();
    while pods.ask("/who") != "from pod" {
        assert!(ended.elapsed() < Duration::from_secs(10), "the pod answers again");
    }
    end(&second, two);
    wait_agents_gone("default", &pods.server, SOON);
}

/// No Job ends it: its own limits must.
#[test]
fn it_ends_by_itself_whenever_its_client_is_killed() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let pods = Pods::start(&laptop, 8406);
    configure(&laptop, &image, &json!("steal"));
    let program = serve(&laptop, &pods, &[], &[]);
    assert_eq!(pods.ask("/a"), "from laptop");
    kill(&[&laptop.hosts()[..], &[program.pid()]].concat());
    let killed = Instant::now();
    while pods.ask("/who") != "from pod" {
        assert!(killed.elapsed() < Duration::from_secs(10), "the pod answers again");
    }
    wait_agents_gone("default", &pods.server, Duration::from_secs(40));
    // Before the first contact.
    let target = format!("pod/{}", pods.server);
    let mut command = laptop.mirror(["exec", "-t", &target, "--", "true"]);
    command.env("MIRROR_AGENT_COMMUNICATION_TIMEOUT", "3");
    let mut running = laptop.start(command);
    running.wait_for("agent created");
    kill(&laptop.hosts());
    assert!(!running.wait().success());
    let cluster = Cluster::shared();
    let state = "jsonpath={range .status.ephemeralContainerStatuses[*]}{.state.terminated.exitCode} {end}";
    let began = Instant::now();
    // Both: with a success each.
    while cluster.kubectl(&["get", &target, "-o", state]).split_whitespace().collect::<Vec<_>>() != ["0", "0"] {
        assert!(began.elapsed() < Duration::from_secs(30), "the agents have ended");
    }
}

#[test]
fn each_missing_permission_is_named_with_its_rule() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let pods = Pods::start(&laptop, 8408);
    configure(&laptop, &image, &json!("off"));
    let rules = [
        ("pods", "", r#""get""#),
        ("pods/ephemeralcontainers", "", r#""patch""#),
        ("pods", "", r#""watch""#),
        ("pods/portforward", "", r#""create", "get""#),
    ];
    start_rule_by_rule(&laptop, &format!("-t pod/{}", pods.server), &rules);
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8409);
    let mut command = laptop.mirror(["exec", "-t", &format!("pod/{}", pods.server), "--", "true"]);
    command.env("MIRROR_AGENT_EPHEMERAL", "true").env("MIRROR_AGENT_IMAGE", "mirror.test/absent:1");
    laptop.run(command).exited(74).says("mirror.test/absent:1").says("agent.image");
}

/// Its ports are those of everything on the node.
#[test]
fn in_a_pod_of_the_nodes_network_it_takes_no_connections() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let pods = Pods::start_with(&laptop, 8410, "hostNetwork: true,", "");
    configure(&laptop, &image, &json!("steal"));
    // The node's own name servers do not know the cluster's names.
    let address = Cluster::shared().kubectl(&["get", "service", "echo-server", "-o", "jsonpath={.spec.clusterIP}"]);
    let outcome = laptop.exec(&format!("-t pod/{}", pods.server), &format!("curl -sS --max-time 10 http://{address}/"));
    outcome.success().says("no connections are taken");
    let entries = &pod("default", &pods.server)["spec"]["ephemeralContainers"];
    assert_eq!(entries[0]["securityContext"]["capabilities"]["add"], json!(["SETGID", "SETUID", "SYS_PTRACE"]));
}

/// Two applications whose processes see each other; each has a variable of its own.
fn shared_processes(laptop: &Laptop) -> String {
    let label = laptop.selector().split_once('=').map(|(_, label)| label.to_owned()).expect("a label");
    let name = format!("shared-{label}");
    let container = |name: &str| {
        format!(
            r#"{{name: {name}, image: "mirror.test/debian:1", imagePullPolicy: IfNotPresent, env: [{{name: WHOSE, value: {name}}}],
                command: [sh, -c, "sleep 800 & wait"]}}"#
        )
    };
    let (one, two) = (container("one"), container("two"));
    Cluster::shared().apply(&format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{mirror-test: {label}}}}}, spec: {{
            shareProcessNamespace: true, terminationGracePeriodSeconds: 1, activeDeadlineSeconds: 900, restartPolicy: Never,
            containers: [{one}, {two}]
        }}}}"#
    ));
    Cluster::shared().kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    name
}

#[test]
fn the_right_process_is_found_where_containers_share_their_processes() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let name = shared_processes(&laptop);
    let in_a_job = json!({"agent": {}}).to_string();
    for ephemeral in [false, true] {
        if ephemeral {
            configure(&laptop, &image, &json!("off"));
        } else {
            laptop.write(".mirror.json", &in_a_job);
        }
        for container in ["two", "one"] {
            let options = format!("-q -t pod/{name} --container {container}");
            let outcome = laptop.exec(&options, "printenv WHOSE").success();
            assert_eq!(outcome.stdout.trim(), container, "ephemeral: {ephemeral}");
        }
    }
    Cluster::shared().kubectl(&["delete", "pod", &name, "--wait=false", "--grace-period=1"]);
}

/// A pod in the namespace under Pod Security `restricted`.
fn restricted(laptop: &Laptop) -> String {
    let label = laptop.selector().split_once('=').map(|(_, label)| label.to_owned()).expect("a label");
    let name = format!("restricted-{label}");
    Cluster::shared().apply(&format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: restricted, labels: {{mirror-test: {label}}}}}, spec: {{
            terminationGracePeriodSeconds: 1, activeDeadlineSeconds: 900, restartPolicy: Never,
            securityContext: {{runAsNonRoot: true, runAsUser: 1234, seccompProfile: {{type: RuntimeDefault}}}},
            containers: [{{
                name: server, image: "mirror.test/echo-server:1", imagePullPolicy: IfNotPresent, args: [--http=8080],
                env: [{{name: GREETING, value: from the restricted}}],
                securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
            }}]
        }}}}"#
    ));
    let wait = ["wait", "-n", "restricted", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"];
    Cluster::shared().kubectl(&wait);
    name
}

#[test]
fn a_restricted_namespace_admits_it_without_capabilities_and_what_is_missing_is_said() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let name = restricted(&laptop);
    // Who does not know of it is led here.
    laptop.exec(&format!("-n restricted -t pod/{name}"), "true").exited(74).says("agent.ephemeral and agent.image");
    configure(&laptop, &image, &json!("steal"));
    let options = format!("-n restricted -t pod/{name}");
    let outcome = laptop.exec(&options, "curl -sS --max-time 10 http://echo-server.default/").success();
    assert!(outcome.stdout.contains("\"path\""), "{}", outcome.stdout);
    outcome.says("namespace restricted admits none").says("no connections are taken").says("incoming: none");
    let greeting = laptop.exec(&format!("-q {options}"), "printenv GREETING").success();
    assert_eq!(greeting.stdout, "from the restricted\n");
    laptop.write("serve.py", SERVE);
    let target = format!("pod/{name}");
    let arguments =
        ["exec", "-n", "restricted", "-t", &target, "--steal", "--", "/usr/bin/python3", "serve.py", "8407"];
    let mut program = laptop.start(laptop.mirror(arguments));
    program.wait_for("no connections are taken");
    program.wait_for("listens");
    let entries = pod("restricted", &name)["spec"]["ephemeralContainers"].as_array().expect("entries").clone();
    for entry in entries {
        let security = &entry["securityContext"];
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(security["runAsUser"], 1234);
    }
    end(&laptop, program);
    wait_agents_gone("restricted", &name, SOON);
    Cluster::shared().kubectl(&["delete", "pod", "-n", "restricted", &name, "--wait=false", "--grace-period=1"]);
}
