//! The agent has the fewest capabilities: each one that is taken away is missed, and what is missed is said.

use serde_json::{Value, json};
use tests::{AgentImage, Cluster, Laptop, Running};

use super::{KEEP, Pods, SERVE, serve};

const AGENT: i32 = 74;

/// Writes a configuration whose agent does without capabilities; `image` makes it an ephemeral container.
fn without(laptop: &Laptop, capabilities: &[&str], image: Option<&AgentImage>, incoming: &str) {
    let mut agent = json!({"disabled_capabilities": capabilities});
    if let Some(image) = image {
        agent["ephemeral"] = true.into();
        agent["image"] = image.name.clone().into();
    }
    let text = json!({"agent": agent, "feature": {"network": {"incoming": incoming}}});
    laptop.write(".mirror.json", &text.to_string());
}

/// Starts the program, which is to hear why it gets nothing of the pod.
fn serve_in_vain(laptop: &Laptop, pods: &Pods, variable: Option<&str>) -> Running {
    laptop.write("serve.py", SERVE);
    let (target, port) = (format!("pod/{}", pods.server), pods.port.to_string());
    let mut command = laptop.mirror(["exec", "-q", "-t", &target, "--", "/usr/bin/python3", "serve.py", &port]);
    command.envs(variable.map(|name| (name, "1")));
    laptop.start(command)
}

#[test]
fn each_capability_of_an_agent_in_a_job_is_needed() {
    let laptop = Laptop::new();
    let mut pods = Pods::start_with(&laptop, 8411, "", "python3 -m http.server 8412 --protocol HTTP/1.1 &");
    pods.wait_listening(8412);
    let target = format!("-t pod/{}", pods.server);
    for (capability, reason) in [
        ("SYS_ADMIN", "enter the target's network namespace (needs SYS_ADMIN)"),
        ("SYS_PTRACE", "open the root directory of the target, which is user 0:0 (needs SYS_PTRACE"),
    ] {
        for incoming in ["off", "steal"] {
            without(&laptop, &[capability], None, incoming);
            laptop
                .exec(&target, "true")
                .exited(AGENT)
                .says("the agent may not do what it must")
                .says(reason)
                .says("agent.disabled_capabilities");
        }
    }
    // Without the third, connections are steered all the same (since Linux 6.9), but those that stand are not reset.
    pods.port = 8412;
    let mut client = pods.ask_on(&laptop, KEEP);
    assert_eq!(client.wait_until("an answer", |_| true), "from pod");
    without(&laptop, &["NET_ADMIN"], None, "steal");
    laptop.exec(&target, "true").success().says("stand");
    let _program = serve(&laptop, &pods, &[], &[]);
    assert_eq!(pods.ask("/who"), "from laptop");
    for _ in 0..5 {
        assert_eq!(client.wait_until("an answer", |_| true), "from pod");
    }
}

#[test]
fn each_capability_of_an_ephemeral_agent_is_needed() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let pods = Pods::start(&laptop, 8413);
    let target = format!("-t pod/{}", pods.server);
    without(&laptop, &["SYS_PTRACE"], Some(&image), "steal");
    laptop.exec(&target, "true").exited(AGENT).says("needs SYS_PTRACE").says("agent.disabled_capabilities");
    // It is the only one: then the agent is the target's user, whom this pod does not tell.
    without(&laptop, &["SYS_PTRACE"], Some(&image), "off");
    laptop.exec(&target, "true").exited(AGENT).says("does not say which user").says("runAsUser");
    without(&laptop, &["BPF", "NET_ADMIN"], Some(&image), "off");
    laptop.exec(&target, "curl -sS --max-time 10 http://echo-server/").success();
    for capability in ["BPF", "NET_ADMIN"] {
        without(&laptop, &[capability], Some(&image), "steal");
        let mut program = serve_in_vain(&laptop, &pods, None);
        let no_traffic = format!("port {} gets no traffic of the pod", pods.port);
        let [line, _] = program.wait_for_all([&no_traffic, "listens"]);
        assert!(line.contains("needs SYS_ADMIN, or BPF and NET_ADMIN"), "{line}");
        assert_eq!(pods.ask("/who"), "from pod");
        drop(program);
        laptop.wait_hosts_gone();
    }
}

#[test]
fn a_kernel_that_cannot_steer_connections_is_named() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8414);
    without(&laptop, &[], None, "steal");
    let mut program = serve_in_vain(&laptop, &pods, Some("MIRROR_TEST_WITHOUT_SK_LOOKUP"));
    let no_traffic = format!("port {} gets no traffic of the pod", pods.port);
    let [line, _] = program.wait_for_all([&no_traffic, "listens"]);
    assert!(line.contains("sk_lookup programs need 5.9"), "{line}");
    assert_eq!(pods.ask("/who"), "from pod");
}

#[test]
fn a_privileged_agent_works_where_it_is_admitted() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8415);
    laptop.write(".mirror.json", r#"{"agent": {"privileged": true}}"#);
    let _program = serve(&laptop, &pods, &["--steal"], &[]);
    assert_eq!(pods.ask("/who"), "from laptop");
    let text =
        Cluster::shared().kubectl(&["get", "pods", "-l", &format!("{},app=mirror", laptop.selector()), "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["items"][0]["spec"]["containers"][0]["securityContext"]["privileged"], true);
}
