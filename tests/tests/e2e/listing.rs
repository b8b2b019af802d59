//! `mirror ls`, `verify-config` and `config show`.

use serde_json::Value;
use tests::{Cluster, Laptop};

fn ls(laptop: &Laptop, arguments: &[&str]) -> String {
    laptop.run(laptop.mirror([&["ls"], arguments].concat())).success().stdout
}

#[test]
fn every_kind_is_listed_with_what_a_picker_needs() {
    let laptop = Laptop::new();
    let rows: Vec<Value> = serde_json::from_str(&ls(&laptop, &["-o", "json"])).expect("JSON");
    let row =
        |path: &str| rows.iter().find(|row| row["path"] == path).unwrap_or_else(|| panic!("{path} is missing")).clone();
    for path in [
        "deployment/echo-server",
        "statefulset/echo-stateful",
        "daemonset/echo-daemon",
        "replicaset/echo-replicas",
        "job/echo-job",
        "cronjob/echo-cron",
        "service/echo-server",
        "rollout/echo-rollout",
        "pod/echo-sidecar",
    ] {
        row(path);
    }
    let sidecar = row("pod/echo-sidecar");
    assert_eq!(sidecar["containers"], serde_json::json!(["istio-proxy", "app"]));
    assert_eq!((&sidecar["ready"], &sidecar["available"]), (&"2/2".into(), &true.into()));
    assert_eq!(row("deployment/echo-zero")["available"], false);
    assert!(row("deployment/echo-server")["ports"].as_array().is_some_and(|ports| ports.contains(&80.into())));
}

#[test]
fn the_list_can_be_narrowed_and_widened() {
    let laptop = Laptop::new();
    let names = ls(&laptop, &["-t", "deploy", "-o", "name"]);
    assert!(names.lines().all(|line| line.starts_with("deployment/")), "{names}");
    let all = ls(&laptop, &["-A", "-t", "deployment"]);
    assert!(all.contains("kube-system") && all.contains("coredns"), "{all}");
    let other = ls(&laptop, &["-n", "other", "-o", "name"]);
    assert!(other.contains("deployment/echo-server"), "{other}");
    laptop.run(laptop.mirror(["ls", "-n", "othr"])).exited(66).says("did you mean other?");
    laptop.run(laptop.mirror(["ls", "-t", "deploymnt"])).exited(64).says("did you mean deployment?");
}

/// Pods that no scheduler takes cost the node nothing and the API server as much as any.
#[test]
fn thousands_of_pods_are_listed() {
    let n_pods = if std::env::var_os("MIRROR_TEST_LONG").is_some() { 5000 } else { 600 };
    let laptop = Laptop::new();
    let namespace = format!("many-{}", std::process::id());
    let cluster = Cluster::shared();
    cluster.kubectl(&["create", "namespace", &namespace]);
    cluster.apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: many, namespace: {namespace}}}
spec:
  replicas: {n_pods}
  selector: {{matchLabels: {{app: many}}}}
  template:
    metadata: {{labels: {{app: many}}}}
    spec:
      schedulingGates: [{{name: mirror.test/never}}]
      containers: [{{name: app, image: mirror.test/echo-server:1}}]
"
    ));
    let all = format!("--for=jsonpath={{.status.replicas}}={n_pods}");
    cluster.kubectl(&["wait", &all, "deployment/many", "-n", &namespace, "--timeout=500s"]);
    let names = ls(&laptop, &["-n", &namespace, "-t", "pod", "-o", "name"]);
    assert_eq!(names.lines().count(), n_pods);
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
}

#[test]
fn what_may_not_be_listed_is_left_out_but_an_empty_answer_is_not_made_up() {
    let laptop = Laptop::new();
    let file = laptop.home().join("kubeconfig");
    Cluster::shared().mint_kubeconfig("nobody-at-all", &file, &[]);
    let mut command = laptop.mirror(["ls"]);
    command.env("KUBECONFIG", &file);
    laptop.run(command).exited(77).says(r#"resources: ["pods"], verbs: ["list"]"#);
}

#[test]
fn configuration_problems_are_shown_with_their_places() {
    let laptop = Laptop::new();
    laptop.write("bad.json", "{\n  // a comment\n  \"featur\": {},\n}\n");
    let outcome = laptop.run(laptop.mirror(["verify-config", "bad.json"])).exited(78);
    assert!(outcome.stdout.contains("bad.json:3:3") && outcome.stdout.contains("feature"), "{}", outcome.stdout);
    let outcome = laptop.run(laptop.mirror(["verify-config", "--json", "bad.json"])).exited(78);
    let problems: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(problems[0]["code"], "unknown-key", "{problems}");
    laptop.write("good.yaml", "target: deployment/web\n");
    laptop.run(laptop.mirror(["verify-config", "good.yaml"])).success();
}

#[test]
fn each_setting_says_where_it_comes_from() {
    let laptop = Laptop::new();
    laptop.write(".mirror.json", r#"{"agent": {"ttl": 5, "log_level": "debug"}}"#);
    let mut command = laptop.mirror(["config", "show", "--namespace", "other"]);
    command.env("MIRROR_AGENT_LOG_LEVEL", "trace");
    let outcome = laptop.run(command).success();
    let line = |key: &str| {
        outcome
            .stdout
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("{key}:\n{}", outcome.stdout))
    };
    assert!(line("agent.ttl").contains(".mirror.json:1"), "{}", outcome.stdout);
    assert!(line("agent.log_level").contains("MIRROR_AGENT_LOG_LEVEL"), "{}", outcome.stdout);
    assert!(line("target.namespace").contains("--namespace"), "{}", outcome.stdout);
}
