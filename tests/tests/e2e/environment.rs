//! The program has the environment of the target's container, for every kind of target.

use tests::{Cluster, Laptop};

#[test]
fn every_kind_of_target_gives_its_pods_environment() {
    let laptop = Laptop::new();
    let label = Cluster::shared().pod("default", "app=echo-server");
    for (target, pod) in [
        (format!("pod/{label}"), "echo-server-"),
        ("deployment/echo-server".to_owned(), "echo-server-"),
        ("deploy/echo-server".to_owned(), "echo-server-"),
        ("statefulset/echo-stateful".to_owned(), "echo-stateful-0"),
        ("daemonset/echo-daemon".to_owned(), "echo-daemon-"),
        ("replicaset/echo-replicas".to_owned(), "echo-replicas-"),
        ("job/echo-job".to_owned(), "echo-job-"),
        ("service/echo-server".to_owned(), "echo-server-"),
        ("rollout/echo-rollout".to_owned(), "echo-rollout-"),
        ("label/app=echo-server".to_owned(), "echo-server-"),
    ] {
        let outcome = laptop.exec(&format!("-q -t {target}"), "printenv HOSTNAME").success();
        assert!(outcome.stdout.starts_with(pod), "{target}: {}", outcome.stdout);
    }
}

#[test]
fn values_are_exact_and_the_machines_own_stay() {
    let laptop = Laptop::new();
    let outcome = laptop.exec("-q -t deployment/echo-server", "env -0").success();
    let entries: Vec<&str> = outcome.stdout.split('\0').collect();
    for entry in [
        "MULTI_LINE=first\nsecond\n",
        "WITH_EQUALS=a=b=c",
        "UNICODE=grüße ☃",
        "EMPTY=",
        "FROM_SECRET=correct horse battery staple",
    ] {
        assert!(entries.contains(&entry), "{entry:?} is missing");
    }
    let home = format!("HOME={}", laptop.home().display());
    assert!(entries.contains(&home.as_str()), "HOME stays local");
}

/// Its `/proc/<pid>/environ` is for that user only, and the agent is another.
#[test]
fn a_pod_of_an_ordinary_user_gives_its_environment() {
    let laptop = Laptop::new();
    let label = laptop.selector().split_once('=').map(|(_, label)| label.to_owned()).expect("a label");
    let (cluster, pod) = (Cluster::shared(), format!("ordinary-{label}"));
    cluster.apply(&format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, spec: {{
            terminationGracePeriodSeconds: 0, activeDeadlineSeconds: 300, restartPolicy: Never, containers: [{{
                name: app, image: "mirror.test/debian:1", imagePullPolicy: IfNotPresent, command: [sleep, infinity],
                env: [{{name: OF_THE_POD, value: "its own"}}],
                securityContext: {{runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true}}
            }}]
        }}}}"#
    ));
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"]);
    let outcome = laptop.exec(&format!("-q -t pod/{pod}"), "printenv OF_THE_POD HOSTNAME");
    cluster.try_kubectl(&["delete", "pod", &pod, "--wait=false", "--grace-period=0"]);
    assert_eq!(outcome.success().stdout, format!("its own\n{pod}\n"));
}

#[test]
fn include_exclude_override_unset_mapping_and_file_are_applied() {
    let laptop = Laptop::new();
    laptop.write("local.env", "PLAIN='from the file'\nEXTRA=more\n");
    laptop.write(
        ".mirror.json",
        r#"{
            "target": "deployment/echo-server",
            "feature": {"env": {
                "exclude": ["*_SERVICE_*", "*_PORT*"],
                "override": {"FROM_SECRET": "mine"},
                "unset": ["TO_BE_REMOVED"],
                "mapping": {"FROM_CONFIG_(.*)": "mapped $1"},
                "env_file": "local.env"
            }}
        }"#,
    );
    let mut command = laptop.mirror(["exec", "-q", "--", "env"]);
    command.env("TO_BE_REMOVED", "1");
    let outcome = laptop.run(command).success();
    let entries: Vec<&str> = outcome.stdout.lines().collect();
    for entry in ["PLAIN=from the file", "EXTRA=more", "FROM_SECRET=mine", "FROM_CONFIG_MAP=mapped MAP"] {
        assert!(entries.contains(&entry), "{entry:?} is missing:\n{}", outcome.stdout);
    }
    assert!(!outcome.stdout.contains("KUBERNETES_SERVICE_HOST"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("TO_BE_REMOVED"), "{}", outcome.stdout);
}

#[test]
fn sidecars_are_not_chosen_and_containers_can_be_named() {
    let laptop = Laptop::new();
    let chosen = laptop.exec("-t pod/echo-sidecar", "true").success();
    assert!(chosen.stderr.contains("container app"), "{}", chosen.stderr);
    let named = laptop.exec("-t pod/echo-sidecar --container istio-proxy", "true").success();
    assert!(named.stderr.contains("container istio-proxy"), "{}", named.stderr);
    laptop.exec("-t deployment/debian", "true").success().says("has several containers");
}
