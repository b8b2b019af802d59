//! Everything that can be a target, in one namespace or all.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use config::target::{KINDS, Kind, TargetKind};
use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta};
use serde::Serialize;
use serde_json::Value;

use super::client::Cluster;
use super::kinds::{Pods, pods, resource};
use super::target::not_ready;
use crate::failure::{Class, Result};
use crate::serve::rpc::TargetPort;

/// One possible target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What `--target` takes.
    pub path: String,
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Ready pods (for a pod: containers) of those wanted, `1/2`; empty where the kind has no such figure.
    pub ready: String,
    /// Whether a session can be started on it now, as far as the list tells.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names of its containers.
    pub containers: Vec<String>,
    /// Ports that its containers or the Service declare.
    pub ports: Vec<u16>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// Whether another object made it (a ReplicaSet of a Deployment, a pod of either).
    pub owned: bool,
    /// Age in seconds.
    pub age: u64,
    /// When it was made, in seconds since 1970; 0 if unknown.
    #[serde(skip)]
    pub created: i64,
    /// Labels.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
    /// The ports with their names and protocols.
    #[serde(skip)]
    pub named_ports: Vec<TargetPort>,
    /// Path of the object that made it, if that is of a kind that can be a target.
    #[serde(skip)]
    pub owner: Option<String>,
}

/// Lists one kind. Who may not list it, or has no such kind in the cluster, gets none when `lenient`.
pub async fn list(cluster: &Cluster, kind: &Kind, namespace: Option<&str>, lenient: bool) -> Result<Vec<Row>> {
    let rows = match pods(kind.kind) {
        Pods::Itself => list_pods(cluster, namespace).await,
        Pods::Selector | Pods::Map | Pods::OwnedJobs => list_workloads(cluster, kind, namespace).await,
    };
    match rows {
        Err(failure) if lenient && matches!(failure.class, Class::Permission | Class::TargetNotFound) => {
            tracing::debug!(kind = kind.word, %failure, "left out of the list");
            Ok(Vec::new())
        }
        other => other,
    }
}

async fn list_pods(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Row>> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let mut rows = Vec::new();
    let visit = |pod: Pod| {
        if !is_agent(pod.metadata.name.as_deref()) {
            rows.push(pod_row(&pod));
        }
        ControlFlow::Continue(())
    };
    cluster.each(&api, namespace, ListParams::default(), visit).await?;
    Ok(rows)
}

/// Whether an object is an agent of ours.
pub(super) fn is_agent(name: Option<&str>) -> bool {
    name.is_some_and(|name| name.starts_with("mirror-agent-"))
}

pub(super) fn pod_row(pod: &Pod) -> Row {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let n_ready = statuses.filter(|status| status.ready).count();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let ports = containers.clone().flat_map(|container| container.ports.iter().flatten());
    let reason = not_ready(pod);
    Row {
        path: format!("pod/{name}"),
        kind: TargetKind::Pod,
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        ready: format!("{n_ready}/{}", containers.clone().count()),
        available: reason.is_none(),
        reason,
        containers: containers.clone().map(|container| container.name.clone()).collect(),
        ports: ports.clone().filter_map(|port| port.container_port.try_into().ok()).collect(),
        images: containers.filter_map(|container| container.image.clone()).collect(),
        owned: pod.metadata.owner_references.is_some(),
        age: age(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
        created: created(&pod.metadata),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        named_ports: ports.clone().filter_map(named_port).collect(),
        owner: owner(&pod.metadata),
        name,
    }
}

async fn list_workloads(cluster: &Cluster, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Row>> {
    let kube_resource = resource(kind);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &kube_resource),
        None => Api::all_with(cluster.client.clone(), &kube_resource),
    };
    let mut rows = Vec::new();
    let visit = |object: DynamicObject| {
        if !is_agent(object.metadata.name.as_deref()) {
            rows.push(workload_row(kind, &object));
        }
    };
    cluster.each_dynamic(&api, kind.group, kind.resource, namespace, visit).await?;
    Ok(rows)
}

pub(super) fn workload_row(kind: &Kind, object: &DynamicObject) -> Row {
    let name = object.metadata.name.clone().unwrap_or_default();
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let template =
        if kind.kind == TargetKind::CronJob { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] };
    let containers = items(&template["spec"]["containers"]);
    let texts =
        |field: &str| containers.iter().filter_map(|container| container[field].as_str().map(str::to_owned)).collect();
    let (ready, reason) = readiness(kind.kind, spec, status);
    Row {
        path: format!("{}/{name}", kind.word),
        kind: kind.kind,
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        ready,
        available: reason.is_none(),
        reason,
        containers: texts("name"),
        ports: ports(spec, containers),
        images: texts("image"),
        owned: object.metadata.owner_references.is_some(),
        age: age(object.metadata.creation_timestamp.as_ref().map(|time| time.0)),
        created: created(&object.metadata),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        named_ports: named_ports(spec, containers),
        owner: owner(&object.metadata),
        name,
    }
}

fn created(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// The path of the object that made another.
fn owner(meta: &ObjectMeta) -> Option<String> {
    let owner = meta.owner_references.as_ref()?.first()?;
    let kind = KINDS.iter().find(|kind| kind.api_kind == owner.kind)?;
    Some(format!("{}/{}", kind.word, owner.name))
}

fn named_port(port: &ContainerPort) -> Option<TargetPort> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    Some(TargetPort { port: port.container_port.try_into().ok()?, name: port.name.clone(), protocol })
}

fn named_ports(spec: &Value, containers: &[Value]) -> Vec<TargetPort> {
    let of_containers = containers.iter().flat_map(|container| items(&container["ports"]));
    let of_containers = of_containers.map(|port| (&port["containerPort"], port));
    let of_service = items(&spec["ports"]).iter().map(|port| (&port["port"], port));
    let named = |(number, port): (&Value, &Value)| {
        let text = |field: &str| port[field].as_str().map(str::to_owned);
        let protocol = text("protocol").unwrap_or_else(|| "TCP".to_owned());
        Some(TargetPort { port: number.as_u64()?.try_into().ok()?, name: text("name"), protocol })
    };
    of_containers.chain(of_service).filter_map(named).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn ports(spec: &Value, containers: &[Value]) -> Vec<u16> {
    let of_containers =
        containers.iter().flat_map(|container| items(&container["ports"])).map(|port| &port["containerPort"]);
    let of_service = items(&spec["ports"]).iter().map(|port| &port["port"]);
    of_containers.chain(of_service).filter_map(|port| port.as_u64()?.try_into().ok()).collect()
}

/// The `ready/wanted` figure and why the workload has no pod to offer.
fn readiness(kind: TargetKind, spec: &Value, status: &Value) -> (String, Option<String>) {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (ready, wanted) = match kind {
        TargetKind::Service => {
            let selects = spec["selector"].as_object().is_some_and(|labels| !labels.is_empty());
            return (String::new(), (!selects).then(|| "selects no pods".to_owned()));
        }
        TargetKind::CronJob => {
            let active = items(&status["active"]).len();
            return (String::new(), (active == 0).then(|| "no job of it runs now".to_owned()));
        }
        TargetKind::DaemonSet => (number(&status["numberReady"]), number(&status["desiredNumberScheduled"])),
        TargetKind::Job => (number(&status["ready"]), number(&status["active"])),
        _ => (number(&status["readyReplicas"]), spec["replicas"].as_u64().unwrap_or(1)),
    };
    let reason = match (ready, wanted) {
        (0, 0) => Some("has no pods".to_owned()),
        (0, _) => Some("no pod of it is ready".to_owned()),
        _ => None,
    };
    (format!("{ready}/{wanted}"), reason)
}

fn age(created: Option<Timestamp>) -> u64 {
    let seconds = created.map_or(0, |created| Timestamp::now().as_second() - created.as_second());
    seconds.try_into().unwrap_or(0)
}
