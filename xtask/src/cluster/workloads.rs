//! What runs in the cluster: puts the manifests there and waits until all is ready.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::command::{run, run_with_input};

const ACCESS: &str = include_str!("../../../tests/cluster/manifests/access.yaml");
const COREDNS: &str = include_str!("../../../tests/cluster/manifests/coredns.yaml");
const ECHO_SERVER: &str = include_str!("../../../tests/cluster/manifests/echo-server.yaml");
const TARGETS: &str = include_str!("../../../tests/cluster/manifests/targets.yaml");
const LATE: &str = include_str!("../../../tests/cluster/manifests/late.yaml");
const DEBIAN: &str = include_str!("../../../tests/cluster/manifests/debian.yaml");

/// Objects with this label are not waited for.
const NEVER_READY: &str = "mirror.test/ready";

/// Makes the cluster's objects as the manifests say.
pub(crate) fn apply(kubectl: &Path, with_debian: bool) -> Result<()> {
    let kubectl = kubectl.display().to_string();
    let mut manifests = vec![ACCESS, COREDNS, ECHO_SERVER, TARGETS];
    if with_debian {
        manifests.push(DEBIAN);
    }
    apply_text(&kubectl, &manifests.join("\n---\n"))?;
    let definition = "crd/rollouts.argoproj.io";
    run(&kubectl, &["wait", "--for=condition=Established", "--timeout=30s", definition])?;
    run(&kubectl, &["wait", "--for=create", "--timeout=30s", "serviceaccount/default"])?;
    apply_text(&kubectl, LATE)
}

/// Waits until everything is ready that is meant to be.
pub(crate) fn wait(kubectl: &Path, nodes: usize, patience: Duration) -> Result<()> {
    let begin = Instant::now();
    loop {
        let unready = unready(kubectl, nodes)?;
        if unready.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > patience {
            bail!("not ready after {} s: {}", patience.as_secs(), unready.join(", "));
        }
        sleep(Duration::from_millis(250));
    }
}

/// The names of nodes and workloads that should be ready and are not.
pub(crate) fn unready(kubectl: &Path, nodes: usize) -> Result<Vec<String>> {
    let kinds = "nodes,deployments,statefulsets,daemonsets,replicasets,jobs";
    let arguments = ["get", kinds, "--all-namespaces", "--output=json"];
    let answer = run(&kubectl.display().to_string(), &arguments)?;
    let answer: Value = serde_json::from_str(&answer).context("understand kubectl's answer")?;
    let items = answer["items"].as_array().context("find the items in kubectl's answer")?;
    let mut names: Vec<_> = items.iter().filter(|item| !is_ready(item)).map(name).collect();
    let present = items.iter().filter(|item| item["kind"] == "Node").count();
    if present < nodes {
        names.push(format!("{} nodes that are not registered", nodes - present));
    }
    if !items.iter().any(|item| item["kind"] == "Deployment") {
        names.push("all workloads".to_owned());
    }
    Ok(names)
}

fn apply_text(kubectl: &str, manifests: &str) -> Result<()> {
    let arguments =
        ["apply", "--server-side", "--force-conflicts", "--validate=false", "--filename=-"];
    run_with_input(kubectl, &arguments, manifests).map(drop)
}

/// Whether one object is as ready as it is going to be.
fn is_ready(item: &Value) -> bool {
    let (spec, status) = (&item["spec"], &item["status"]);
    let metadata = &item["metadata"];
    if metadata["labels"][NEVER_READY] == "never" {
        return true;
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let is_seen = number(&status["observedGeneration"]) >= number(&metadata["generation"]);
    let wanted = number(&spec["replicas"]);
    match item["kind"].as_str().unwrap_or_default() {
        "Node" => status["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|condition| {
                condition["type"] == "Ready" && condition["status"] == "True"
            })
        }),
        "Deployment" => {
            let (updated, available) = (&status["updatedReplicas"], &status["availableReplicas"]);
            is_seen && number(updated) == wanted && number(available) == wanted
        }
        "StatefulSet" => is_seen && number(&status["readyReplicas"]) == wanted,
        // Those of Deployments are judged with their owner.
        "ReplicaSet" => {
            metadata["ownerReferences"].is_array()
                || is_seen && number(&status["readyReplicas"]) == wanted
        }
        "DaemonSet" => {
            let desired = number(&status["desiredNumberScheduled"]);
            is_seen && desired > 0 && number(&status["numberReady"]) == desired
        }
        // Jobs of tests come and go.
        "Job" => {
            metadata["name"] != "echo-job"
                || number(&status["ready"]) == number(&spec["parallelism"])
        }
        _ => true,
    }
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
    use serde_json::json;

    fn deployment(wanted: u64, available: u64) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "a", "generation": 2 },
            "spec": { "replicas": wanted },
            "status": {
                "observedGeneration": 2,
                "updatedReplicas": available,
                "availableReplicas": available,
            },
        })
    }

    #[test]
    fn a_deployment_is_ready_when_all_replicas_are() {
        assert!(is_ready(&deployment(1, 1)));
        assert!(is_ready(&deployment(0, 0)));
        assert!(!is_ready(&deployment(2, 1)));
    }

    #[test]
    fn what_is_labelled_so_is_not_waited_for() {
        let mut unready = deployment(1, 0);
        unready["metadata"]["labels"] = json!({ "mirror.test/ready": "never" });
        assert!(is_ready(&unready));
    }

    #[test]
    fn an_unseen_change_is_not_ready() {
        let mut changed = deployment(1, 1);
        changed["metadata"]["generation"] = json!(3);
        assert!(!is_ready(&changed));
    }
}
