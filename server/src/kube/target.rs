//! From what the user named (a deployment, a service, a pod, …) to the one container whose place the local
//! process takes.

use std::collections::BTreeMap;
use std::time::Duration;

use config::target::{KINDS, Kind, Target, TargetKind};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::Selector;
use serde::{Deserialize, Serialize};

use super::client::{Cluster, Operation, offer};
use super::kinds::{Pods, pods, resource};
use super::probes::{self, Probe};
use super::services::{self, ServicePort};
use crate::failure::{Class, Failure, Result, nearest};

/// Containers that meshes and the like put beside an application: never chosen unless named.
const SIDECARS: &[&str] = &[
    "istio-proxy",
    "istio-init",
    "linkerd-proxy",
    "linkerd-init",
    "kuma-sidecar",
    "kuma-init",
    "vault-agent",
    "vault-agent-init",
    "queue-proxy",
    "traffic-agent",
];

/// Containers among [`SIDECARS`] that take a pod's connections.
const MESHES: &[&str] = &["istio-proxy", "linkerd-proxy", "kuma-sidecar"];

/// Whether a container of this name is that of a mesh.
pub fn is_of_mesh(container: &str) -> bool {
    MESHES.contains(&container)
}

/// Says which container of a pod tools should take when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Pause before a pod's watch that ended or failed is opened again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// A running container and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodTarget {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// Node that runs the pod.
    pub node: String,
    /// The container's name.
    pub container: String,
    /// Runtime id of the container, without `containerd://`.
    pub container_id: String,
    /// The container's image, as the pod names it.
    pub image: String,
    /// Names of the pod's `imagePullSecrets`.
    pub pull_secrets: Vec<String>,
    /// The pod has other application containers and nobody said which.
    pub guessed: bool,
    /// How many other ready pods the workload has.
    pub others: usize,
    /// The pod has no network of its own.
    pub host_network: bool,
    /// What the kubelet asks of the pod's ports.
    pub probes: Vec<Probe>,
    /// Who the container's first process is, if that is known.
    pub user: Option<User>,
    /// Names by which its clients reach the pod.
    pub services: Vec<ServicePort>,
    /// Where the container has volumes.
    pub volumes: Vec<String>,
}

/// The user of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub uid: i64,
    /// That of its group; none means what the image says, or 0.
    pub gid: Option<i64>,
}

/// Finds the container of `target`; a targetless session has none. Creates nothing.
pub async fn resolve(cluster: &Cluster, target: &Target) -> Result<Option<PodTarget>> {
    let namespace = cluster.namespace.as_str();
    if *target == Target::Targetless {
        return Ok(None);
    }
    let found = pods_of(cluster, target).await?;
    let mut ready: Vec<&Pod> = found.iter().filter(|pod| not_ready(pod).is_none()).collect();
    ready.sort_by_key(|pod| pod.metadata.name.clone());
    let Some(pod) = ready.first().copied().or(found.first()) else { return Err(no_pods(target, namespace)) };
    let chosen = choose_container(pod, target.container())?;
    if let Some(reason) = not_ready(pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let of = match target {
            Target::Workload(workload) if workload.kind == TargetKind::Pod => String::new(),
            other => format!(" of {other}"),
        };
        let message = format!("pod {name}{of} in namespace {namespace} is not ready: {reason}");
        return Err(Failure::new(Class::TargetNotReady, message)
            .next(format!("see why with `kubectl describe pod {name} -n {namespace}`, or wait until it is ready")));
    }
    let mut target = describe(pod, &chosen, ready.len().saturating_sub(1))?;
    let (refused, services) =
        tokio::join!(refuse_other_architectures(cluster, &target.node), services::of(cluster, pod));
    refused?;
    target.services = services;
    Ok(Some(target))
}

/// The pods of a target that is one object.
pub(super) async fn pods_of(cluster: &Cluster, target: &Target) -> Result<Vec<Pod>> {
    let namespace = cluster.namespace.as_str();
    match target {
        Target::Targetless => Ok(Vec::new()),
        Target::Labels { selector, .. } => pods_by_label(cluster, namespace, &selector.to_string()).await,
        Target::Workload(workload) => pods_of_workload(cluster, namespace, workload.kind.row(), &workload.name).await,
    }
}

fn no_pods(target: &Target, namespace: &str) -> Failure {
    Failure::new(Class::TargetNotReady, format!("{target} in namespace {namespace} has no pods"))
        .next("scale it up first (`kubectl scale --replicas=1 …`), or choose another target: `mirror ls`")
}

async fn find_pod(cluster: &Cluster, namespace: &str, name: &str) -> Result<Pod> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let operation =
        Operation { verb: "get", group: "", resource: "pods", namespace: Some(namespace), name: Some(name) };
    match cluster.find(operation, api.get(name)).await? {
        Some(pod) => Ok(pod),
        None => Err(not_found(cluster, namespace, TargetKind::Pod.row(), name).await),
    }
}

async fn pods_of_workload(cluster: &Cluster, namespace: &str, kind: &Kind, name: &str) -> Result<Vec<Pod>> {
    let way = pods(kind.kind);
    if way == Pods::Itself {
        return Ok(vec![find_pod(cluster, namespace, name).await?]);
    }
    let object = find_workload(cluster, namespace, kind, name).await?;
    let spec = &object.data["spec"];
    let path = format!("{}/{name}", kind.word);
    let selector = match way {
        Pods::Itself | Pods::OwnedJobs => return pods_of_cron_job(cluster, namespace, &object).await,
        Pods::Map => LabelSelector {
            match_labels: Some(serde_json::from_value(spec["selector"].clone()).unwrap_or_default()),
            ..LabelSelector::default()
        },
        Pods::Selector => {
            let reference = &spec["workloadRef"]["name"];
            if let (true, Some(name)) = (spec["selector"].is_null(), reference.as_str()) {
                return Box::pin(pods_of_workload(cluster, namespace, referenced(spec), name)).await;
            }
            serde_json::from_value(spec["selector"].clone()).unwrap_or_default()
        }
    };
    pods_by_selector(cluster, namespace, selector, &path).await
}

/// The kind that a Rollout's `workloadRef` names; Argo allows Deployments, ReplicaSets and PodTemplates.
fn referenced(spec: &serde_json::Value) -> &'static Kind {
    let wanted = spec["workloadRef"]["kind"].as_str();
    let found = KINDS.iter().find(|kind| Some(kind.api_kind) == wanted && pods(kind.kind) == Pods::Selector);
    found.unwrap_or(TargetKind::Deployment.row())
}

async fn find_workload(cluster: &Cluster, namespace: &str, kind: &Kind, name: &str) -> Result<DynamicObject> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource(kind));
    let operation = Operation {
        verb: "get",
        group: kind.group,
        resource: kind.resource,
        namespace: Some(namespace),
        name: Some(name),
    };
    match cluster.find(operation, api.get(name)).await? {
        Some(object) => Ok(object),
        None => Err(not_found(cluster, namespace, kind, name).await),
    }
}

async fn pods_of_cron_job(cluster: &Cluster, namespace: &str, object: &DynamicObject) -> Result<Vec<Pod>> {
    let active = object.data["status"]["active"].as_array().cloned().unwrap_or_default();
    let mut pods = Vec::new();
    for job in active.iter().rev().filter_map(|job| job["name"].as_str()) {
        let labels = BTreeMap::from([("batch.kubernetes.io/job-name".to_owned(), job.to_owned())]);
        let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
        pods.extend(pods_by_selector(cluster, namespace, selector, job).await?);
    }
    Ok(pods)
}

async fn pods_by_selector(cluster: &Cluster, namespace: &str, selector: LabelSelector, what: &str) -> Result<Vec<Pod>> {
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        return Err(Failure::new(
            Class::TargetNotFound,
            format!("{what} in namespace {namespace} selects no pods of its own"),
        )
        .next("choose a workload or a pod instead: `mirror ls`"));
    }
    let selector: Selector = selector
        .try_into()
        .map_err(|error| Failure::new(Class::TargetNotFound, format!("cannot use the selector of {what}: {error}")))?;
    pods_by_label(cluster, namespace, &selector.to_string()).await
}

async fn pods_by_label(cluster: &Cluster, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pods = cluster.list(&api, Some(namespace), ListParams::default().labels(selector)).await?;
    let over = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed") || pod.metadata.deletion_timestamp.is_some();
    let (gone, mut alive): (Vec<_>, Vec<_>) = pods.into_iter().partition(over);
    if alive.is_empty() {
        alive = gone;
    }
    Ok(alive)
}

/// Names of a kind in a namespace, for suggestions only: no permission, no suggestions.
async fn names(cluster: &Cluster, namespace: &str, kind: &Kind) -> Vec<String> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource(kind));
    let listed = api.list_metadata(&ListParams::default().limit(500)).await;
    listed.map(|list| list.items.into_iter().filter_map(|item| item.metadata.name).collect()).unwrap_or_default()
}

async fn not_found(cluster: &Cluster, namespace: &str, kind: &Kind, name: &str) -> Failure {
    let names = names(cluster, namespace, kind).await;
    if names.is_empty()
        && let Some(failure) = namespace_missing(cluster, namespace).await
    {
        return failure;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let word = kind.word;
    let failure = Failure::new(Class::TargetNotFound, format!("there is no {word} {name:?} in namespace {namespace}"));
    let failure = offer(failure, kind.resource, &names);
    match nearest(name, names.iter().copied()).first() {
        Some(near) => failure.next(format!("did you mean {word}/{near}?")),
        None => failure.next("list targets with `mirror ls`, or all namespaces with `mirror ls -A`"),
    }
}

/// A failure that says so, with the nearest names, when a namespace is not there.
pub async fn namespace_missing(cluster: &Cluster, namespace: &str) -> Option<Failure> {
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.client.clone());
    // Who may not ask for it may still list; a list can be cut short, and then tells only what is there.
    let known_missing = match api.get_metadata_opt(namespace).await {
        Ok(Some(_)) => return None,
        Ok(None) => true,
        Err(_) => false,
    };
    let list = match api.list_metadata(&ListParams::default().limit(500)).await {
        Ok(list) => list,
        Err(_) if known_missing => return Some(no_namespace(cluster, namespace)),
        Err(_) => return None,
    };
    let complete = list.metadata.continue_.as_ref().is_none_or(String::is_empty);
    let names: Vec<String> = list.items.into_iter().filter_map(|item| item.metadata.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.contains(&namespace) || !(known_missing || complete) {
        return None;
    }
    let failure = offer(no_namespace(cluster, namespace), "namespaces", &names);
    Some(match nearest(namespace, names.iter().copied()).first() {
        Some(near) => failure.next(format!("did you mean {near}?")),
        None => failure,
    })
}

fn no_namespace(cluster: &Cluster, namespace: &str) -> Failure {
    let message = format!("there is no namespace {namespace:?} in context {}", cluster.context);
    Failure::new(Class::TargetNotFound, message).next("choose one: `target.namespace` (-n)")
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown")
}

/// Why a pod cannot be a target now; none when it can.
pub(super) fn not_ready(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".to_owned());
    }
    if phase(pod) != "Running" {
        return Some(super::pod_state::waiting(pod).unwrap_or_else(|| format!("its phase is {}", phase(pod))));
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(
            super::pod_state::waiting(pod)
                .or(condition.message.clone())
                .unwrap_or_else(|| "its containers are not ready".to_owned()),
        ),
        None => Some("its containers are not ready".to_owned()),
    }
}

/// A chosen container's name, and whether nobody said so.
struct Choice {
    container: String,
    guessed: bool,
}

fn choose_container(pod: &Pod, wanted: Option<&str>) -> Result<Choice> {
    let names: Vec<&str> =
        pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.as_str()).collect();
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(wanted) = wanted {
        if names.contains(&wanted) {
            return Ok(Choice { container: wanted.to_owned(), guessed: false });
        }
        let failure = Failure::new(Class::TargetNotFound, format!("pod {pod_name} has no container {wanted:?}"));
        let failure = offer(failure, "containers", &names);
        return Err(match nearest(wanted, names.iter().copied()).first() {
            Some(near) => failure.next(format!("did you mean {near}?")),
            None => failure.next("choose one of them: `/container/NAME` after the target (--container)"),
        });
    }
    let annotated = pod.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CONTAINER));
    if let Some(name) = annotated.filter(|name| names.contains(&name.as_str())) {
        return Ok(Choice { container: name.clone(), guessed: false });
    }
    let own: Vec<&str> = names.iter().copied().filter(|name| !SIDECARS.contains(name)).collect();
    match own.first().or(names.first()) {
        Some(name) => Ok(Choice { container: (*name).to_owned(), guessed: own.len() > 1 }),
        None => Err(Failure::new(Class::TargetNotFound, format!("pod {pod_name} has no containers"))),
    }
}

fn describe(pod: &Pod, chosen: &Choice, others: usize) -> Result<PodTarget> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let incomplete = |what: &str| {
        Failure::new(Class::TargetNotReady, format!("pod {name} does not say its {what} yet"))
            .next("try again in a moment")
    };
    let spec = pod.spec.as_ref().ok_or_else(|| incomplete("spec"))?;
    let container = spec.containers.iter().find(|container| container.name == chosen.container);
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let status = statuses.into_iter().flatten().find(|status| status.name == chosen.container);
    let id = status.and_then(|status| status.container_id.as_deref()).and_then(|id| id.split_once("://"));
    Ok(PodTarget {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        node: spec.node_name.clone().ok_or_else(|| incomplete("node"))?,
        container: chosen.container.clone(),
        container_id: id.map(|(_, id)| id.to_owned()).ok_or_else(|| incomplete("container id"))?,
        image: container.and_then(|container| container.image.clone()).ok_or_else(|| incomplete("image"))?,
        pull_secrets: spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect(),
        guessed: chosen.guessed,
        others,
        host_network: spec.host_network == Some(true),
        probes: probes::of(spec),
        user: user(spec, container, status),
        services: Vec::new(),
        volumes: container.map(volumes).unwrap_or_default(),
        pod: name,
    })
}

fn volumes(container: &Container) -> Vec<String> {
    container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.clone()).collect()
}

/// As the node tells it (Kubernetes 1.33 with containerd 2), or else as the spec does.
fn user(spec: &PodSpec, container: Option<&Container>, status: Option<&ContainerStatus>) -> Option<User> {
    let told = status.and_then(|status| status.user.as_ref()?.linux.as_ref());
    if let Some(told) = told {
        return Some(User { uid: told.uid, gid: Some(told.gid) });
    }
    let own = container.and_then(|container| container.security_context.as_ref());
    let of_pod = spec.security_context.as_ref();
    let uid = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|of_pod| of_pod.run_as_user))?;
    let gid = own.and_then(|own| own.run_as_group).or(of_pod.and_then(|of_pod| of_pod.run_as_group));
    Some(User { uid, gid })
}

/// Waits until the target's container runs as another one than that which is known, and returns its id; none if the pod
/// is gone.
pub async fn next_container(cluster: &Cluster, target: &PodTarget) -> Option<String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &target.namespace);
    let params = WatchParams::default().fields(&format!("metadata.name={}", target.pod)).timeout(60);
    loop {
        let operation =
            Operation { verb: "watch", group: "", resource: "pods", namespace: Some(&target.namespace), name: None };
        match cluster.ask(operation, api.watch(&params, "0")).await {
            Ok(events) => {
                let mut events = std::pin::pin!(events);
                while let Some(Ok(event)) = events.next().await {
                    match event {
                        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                            if pod.metadata.uid.as_ref() != Some(&target.uid) {
                                return None;
                            }
                            if let Some(id) = running_container(&pod, &target.container)
                                && id != target.container_id
                            {
                                return Some(id);
                            }
                        }
                        WatchEvent::Deleted(_) => return None,
                        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
                    }
                }
            }
            Err(failure) => tracing::debug!(%failure, "the target's pod cannot be watched now"),
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

fn running_container(pod: &Pod, name: &str) -> Option<String> {
    let mut statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let status = statuses.find(|status| status.name == name)?;
    status.state.as_ref()?.running.as_ref()?;
    status.container_id.as_deref()?.split_once("://").map(|(_, id)| id.to_owned())
}

/// The agent is built for this machine's architecture only. Who may not read nodes is let through: the
/// agent's own start then tells.
async fn refuse_other_architectures(cluster: &Cluster, node: &str) -> Result<()> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let Ok(node_object) = api.get_metadata(node).await else { return Ok(()) };
    let labels = node_object.metadata.labels.unwrap_or_default();
    let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    match labels.get("kubernetes.io/arch") {
        Some(architecture) if architecture != own => Err(Failure::new(
            Class::Agent,
            format!("node {node} is {architecture}, and this mirror carries an agent for {own} only"),
        )
        .next(format!("choose a pod on a {own} node"))),
        _ => Ok(()),
    }
}
