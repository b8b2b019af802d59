//! What runs in the cluster: puts the manifests there and waits until all is ready.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::command::succeeds;
use super::kubectl::Kubectl;
use super::layout::{Layout, sha256_hex};
use super::pki::{self, Authority};
use super::state::{Node, State};

const ACCESS: &str = include_str!("../../../tests/cluster/manifests/access.yaml");
const COREDNS: &str = include_str!("../../../tests/cluster/manifests/coredns.yaml");
const ECHO_SERVER: &str = include_str!("../../../tests/cluster/manifests/echo-server.yaml");
const TARGETS: &str = include_str!("../../../tests/cluster/manifests/targets.yaml");
const LATE: &str = include_str!("../../../tests/cluster/manifests/late.yaml");
const DEBIAN: &str = include_str!("../../../tests/cluster/manifests/debian.yaml");

/// Only objects with this label are waited for: those of tests come and go.
const WAITED_FOR: &str = "mirror.test/wait";

/// The nodes, and for each the time of its start as Kubernetes writes times.
pub(crate) type Starts = BTreeMap<String, String>;

/// Objects that Kubernetes does not let change, or whose pods do not follow a change.
const FIXED: [&str; 4] = ["job/echo-job", "pod/echo-sidecar", "replicaset/echo-replicas", "replicaset/echo-rollout-1"];

/// Makes the cluster's objects as the manifests say. Records which manifests these were.
pub(crate) fn apply(layout: &Layout, kubectl: &Kubectl, state: &mut State) -> Result<()> {
    let certificate = certificate(layout)?;
    let coredns = COREDNS.replace("DIGEST", &sha256_hex(COREDNS.as_bytes()));
    let mut manifests = vec![ACCESS, &coredns, &certificate, ECHO_SERVER, TARGETS];
    if state.debian {
        manifests.push(DEBIAN);
    }
    let manifests = manifests.join("\n---\n");
    let digest = sha256_hex(format!("{manifests}{LATE}").as_bytes());
    if !state.manifests.is_empty() && state.manifests != digest {
        let mut arguments = vec!["delete", "--ignore-not-found", "--cascade=foreground"];
        arguments.extend(FIXED);
        kubectl.run(&arguments)?;
    }
    apply_text(kubectl, &manifests)?;
    let definition = "crd/rollouts.argoproj.io";
    kubectl.run(&["wait", "--for=condition=Established", "--timeout=30s", definition])?;
    kubectl.run(&["wait", "--for=create", "--timeout=30s", "serviceaccount/default"])?;
    apply_text(kubectl, LATE)?;
    state.manifests = digest;
    Ok(())
}

/// The Secret with which the workload speaks TLS.
fn certificate(layout: &Layout) -> Result<String> {
    let pair = Authority::open(layout)?.pair(pki::ECHO_SERVER);
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "echo-tls", "namespace": "default" },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": read(&pair.certificate)?, "tls.key": read(&pair.key)? },
    });
    Ok(secret.to_string())
}

/// Ends all pods of the manifests, so that new ones take their places.
pub(crate) fn end_pods(kubectl: &Kubectl) -> Result<()> {
    kubectl.run(&["delete", "pods", "--all-namespaces", "--selector", WAITED_FOR]).map(drop)
}

/// When the nodes started. What a pod says of the time before is out of date.
pub(crate) fn starts(state: &State) -> Result<Starts> {
    let of_node = |node: &Node| {
        let process = state.processes.get(&node.name).context("find the process of a node")?;
        Ok((node.name.clone(), process.since.clone()))
    };
    state.nodes.iter().map(of_node).collect()
}

/// Waits until everything is ready that is meant to be, and Services lead there.
pub(crate) fn wait(kubectl: &Kubectl, state: &State, patience: Duration) -> Result<()> {
    let (begin, starts) = (Instant::now(), starts(state)?);
    loop {
        let mut unready = unready(kubectl, &starts)?;
        if unready.is_empty() {
            unready = unreachable(kubectl, state)?;
        }
        if unready.is_empty() {
            return Ok(());
        }
        let mut processes = state.processes.iter();
        if let Some((name, process)) = processes.find(|(_, process)| !process.identity.is_alive()) {
            bail!("{name} ended: see {}", process.log);
        }
        if begin.elapsed() > patience {
            bail!("not ready after {} s: {}", patience.as_secs(), unready.join(", "));
        }
        sleep(Duration::from_millis(250));
    }
}

/// The names of nodes and workloads that should be ready and are not.
pub(crate) fn unready(kubectl: &Kubectl, starts: &Starts) -> Result<Vec<String>> {
    let kinds = "nodes,pods,deployments,statefulsets,daemonsets,replicasets,jobs";
    let arguments = ["get", kinds, "--all-namespaces", "--output=json"];
    let answer = kubectl.run(&arguments)?;
    let answer: Value = serde_json::from_str(&answer).context("understand kubectl's answer")?;
    let items = answer["items"].as_array().context("find the items in kubectl's answer")?;
    let mut names: Vec<_> = items.iter().filter(|item| !is_ready(item, starts)).map(name).collect();
    let is_there = |node: &str| items.iter().any(|item| item["metadata"]["name"] == node);
    names.extend(starts.keys().filter(|node| !is_there(node)).map(|node| format!("node/{node}")));
    if !items.iter().any(|item| item["kind"] == "Deployment") {
        names.push("all workloads".to_owned());
    }
    Ok(names)
}

/// The Services to wait for that the first node cannot connect to: kube-proxy follows what is ready a little later.
fn unreachable(kubectl: &Kubectl, state: &State) -> Result<Vec<String>> {
    let answer = kubectl.run(&["get", "services", "--all-namespaces", "--selector", WAITED_FOR, "--output=json"])?;
    let answer: Value = serde_json::from_str(&answer).context("understand kubectl's answer")?;
    let enter = &state.nodes.first().context("find a node")?.enter;
    let is_reached = |service: &Value| {
        let (address, port) = (service["spec"]["clusterIP"].as_str().unwrap_or_default(), &service["spec"]["ports"][0]);
        let connect = format!("</dev/tcp/{address}/{}", port["port"]);
        let words = ["timeout", "1", "bash", "-c", &connect].map(str::to_owned);
        succeeds(&enter[0], &[&enter[1..], &words].concat())
    };
    let services = answer["items"].as_array().context("find the items in kubectl's answer")?;
    Ok(services.iter().filter(|service| !is_reached(service)).map(name).collect())
}

fn apply_text(kubectl: &Kubectl, manifests: &str) -> Result<()> {
    let arguments = ["apply", "--server-side", "--force-conflicts", "--validate=false", "--filename=-"];
    kubectl.run_with_input(&arguments, manifests).map(drop)
}

/// Whether one object is as ready as it is going to be.
fn is_ready(item: &Value, starts: &Starts) -> bool {
    let (metadata, spec, status) = (&item["metadata"], &item["spec"], &item["status"]);
    let kind = item["kind"].as_str().unwrap_or_default();
    if kind == "Node" {
        return has_condition(status, "Ready");
    }
    if metadata["labels"][WAITED_FOR].is_null() {
        return true;
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let is_seen = number(&status["observedGeneration"]) >= number(&metadata["generation"]);
    let wanted = number(&spec["replicas"]);
    match kind {
        "Deployment" => {
            let (updated, available) = (&status["updatedReplicas"], &status["availableReplicas"]);
            is_seen && number(updated) == wanted && number(available) == wanted
        }
        "StatefulSet" | "ReplicaSet" => is_seen && number(&status["readyReplicas"]) == wanted,
        "DaemonSet" => {
            let desired = number(&status["desiredNumberScheduled"]);
            is_seen && desired > 0 && number(&status["numberReady"]) == desired
        }
        "Job" => number(&status["ready"]) == number(&spec["parallelism"]),
        "Pod" => !metadata["deletionTimestamp"].is_null() || is_pod_ready(spec, status, starts),
        _ => true,
    }
}

/// Whether a pod is ready, and has been made so since its node started: until kubelet has looked,
/// the API server tells of containers that ended with the node.
fn is_pod_ready(spec: &Value, status: &Value, starts: &Starts) -> bool {
    // The replacement of a pod that has ended is judged instead.
    if matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return true;
    }
    let node_start = spec["nodeName"].as_str().and_then(|node| starts.get(node));
    let containers = status["containerStatuses"].as_array();
    let is_fresh = containers.into_iter().flatten().all(|container| {
        let started = container["state"]["running"]["startedAt"].as_str();
        node_start.is_some_and(|node_start| started >= Some(node_start.as_str()))
    });
    is_fresh && has_condition(status, "Ready")
}

fn has_condition(status: &Value, name: &str) -> bool {
    let conditions = status["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn name(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&item["kind"]).to_lowercase();
    let (namespace, name) = (text(&item["metadata"]["namespace"]), text(&item["metadata"]["name"]));
    match namespace.as_str() {
        "" | "default" => format!("{kind}/{name}"),
        _ => format!("{kind}/{name} in {namespace}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(wanted: u64, available: u64) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "a", "generation": 2, "labels": { "mirror.test/wait": "yes" } },
            "spec": { "replicas": wanted },
            "status": {
                "observedGeneration": 2,
                "updatedReplicas": available,
                "availableReplicas": available,
            },
        })
    }

    fn check(item: &Value, expected: bool) {
        let starts = [("node1".to_owned(), "2026-01-02T03:04:05Z".to_owned())].into();
        assert_eq!(is_ready(item, &starts), expected, "{item:#}");
    }

    #[test]
    fn a_deployment_is_ready_when_all_replicas_are() {
        check(&deployment(1, 1), true);
        check(&deployment(0, 0), true);
        check(&deployment(2, 1), false);
    }

    #[test]
    fn what_is_not_labelled_is_not_waited_for() {
        let mut unready = deployment(1, 0);
        unready["metadata"]["labels"] = json!({});
        check(&unready, true);
    }

    #[test]
    fn an_unseen_change_is_not_ready() {
        let mut changed = deployment(1, 1);
        changed["metadata"]["generation"] = json!(3);
        check(&changed, false);
    }

    #[test]
    fn a_pod_from_before_its_node_started_is_not_ready() {
        let pod = |started: &str| {
            json!({
                "kind": "Pod",
                "metadata": { "labels": { "mirror.test/wait": "yes" } },
                "spec": { "nodeName": "node1" },
                "status": {
                    "conditions": [{ "type": "Ready", "status": "True" }],
                    "containerStatuses": [{ "state": { "running": { "startedAt": started } } }],
                },
            })
        };
        check(&pod("2026-01-02T03:04:05Z"), true);
        check(&pod("2026-01-02T03:03:59Z"), false);
    }
}
