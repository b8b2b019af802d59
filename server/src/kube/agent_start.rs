//! From an agent that was made to one that can be reached: which pod, and why not.
//!
//! There is no waiting for the pod's status, which comes up to a second late: as soon as the pod has a
//! node the caller may try the port-forward. This module tells the node, and keeps watching for reasons
//! why no agent will ever answer.

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams, WatchEvent};
use protocol::launch::NOT_PERMITTED;
use std::time::Duration;
use tokio::sync::watch;

use super::agent::Agent;
use super::client::{Cluster, Operation};
use super::pod_state;
use crate::failure::{Class, Failure};

/// After this long without a pod the Job's events are read: they say why the Job may not make one.
const EVENTS_AFTER: Duration = Duration::from_millis(700);

/// Pause before a watch that ended or failed is opened again.
const WATCH_AGAIN: Duration = Duration::from_millis(200);

/// Reasons of a waiting container that do not pass by waiting.
const HOPELESS: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Watches the agent's pod: puts its name into `scheduled` once it has a node, and returns only when the agent
/// cannot come up any more, with the reason.
pub async fn watch_pod(cluster: &Cluster, agent: &Agent, scheduled: &watch::Sender<Option<String>>) -> Failure {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), agent.namespace());
    let mut seen = false;
    loop {
        let params = agent.watch().timeout(60);
        let opened = api.watch(&params, "0");
        let operation =
            Operation { verb: "watch", group: "", resource: "pods", namespace: Some(agent.namespace()), name: None };
        let stream = match cluster.ask(operation, opened).await {
            Ok(stream) => stream,
            // The caller's time limit ends this.
            Err(failure) if failure.class == Class::ClusterUnreachable => {
                tracing::debug!(%failure, "cannot watch the agent's pod yet");
                tokio::time::sleep(WATCH_AGAIN).await;
                continue;
            }
            Err(failure) => return failure,
        };
        let mut stream = std::pin::pin!(stream);
        loop {
            let next = tokio::time::timeout(EVENTS_AFTER, stream.next()).await;
            match next {
                Ok(Some(Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)))) => {
                    seen = true;
                    if let Some(failure) = hopeless(cluster, agent, &pod).await {
                        return failure;
                    }
                    announce(&pod, scheduled);
                }
                Ok(Some(Ok(WatchEvent::Deleted(_)))) => {
                    return Failure::new(Class::Agent, "the agent's pod was deleted while it started")
                        .next("an admission policy or somebody else removed it: `kubectl get events` tells more");
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => {
                    tokio::time::sleep(WATCH_AGAIN).await;
                    break;
                }
                Err(_) if !seen => {
                    if let Some(failure) = refused_by_events(cluster, agent).await {
                        return failure;
                    }
                }
                Err(_) => {}
            }
        }
    }
}

fn announce(pod: &Pod, scheduled: &watch::Sender<Option<String>>) {
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if placed && scheduled.borrow().is_none() {
        scheduled.send_replace(pod.metadata.name.clone());
    }
}

async fn hopeless(cluster: &Cluster, agent: &Agent, pod: &Pod) -> Option<Failure> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(
            Failure::new(Class::Agent, "the agent's pod cannot be scheduled")
                .detail(condition.message.clone().unwrap_or_default())
                .next("free some room on its node, lower agent.resources, or set agent.priority_class"),
        );
    }
    let container = agent.status(pod)?;
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting
        && waiting.reason.as_deref().is_some_and(|reason| HOPELESS.contains(&reason))
    {
        let words = pod_state::container_waits(container).unwrap_or_default();
        return Some(
            Failure::new(Class::Agent, format!("the agent's container cannot start (image {})", container.image))
                .detail(words)
                .next("leave agent.image out to run the agent in an image that the node has, or check its name, pull policy and pull secrets"),
        );
    }
    let ended = state.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    let not_permitted = ended.exit_code == i32::from(NOT_PERMITTED);
    let mut failure = Failure::new(
        Class::Agent,
        match not_permitted {
            true => "the agent may not do what it must".to_owned(),
            false => format!("the agent ended while it started: {reason}, exit code {}", ended.exit_code),
        },
    );
    let words = ended.message.clone().unwrap_or_default();
    let log = last_words(cluster, agent, name, &container.name).await;
    for line in words.lines().map(str::to_owned).chain(log) {
        failure = failure.detail(line);
    }
    // A container that is killed at its very start gets other reasons than OOMKilled (containerd 1.6, runc 1.1).
    let signs = [
        "OOM",
        "cannot start a stopped process",
        "cannot start a container that has stopped",
        "container process is already dead",
    ];
    let out_of_memory =
        ended.exit_code == 137 || signs.iter().any(|sign| reason.contains(sign) || words.contains(sign));
    Some(failure.next(if not_permitted {
        "leave the right that it names out of agent.disabled_capabilities; what a security module of the node forbids, agent.privileged may permit"
    } else if out_of_memory {
        "it may have run out of memory: raise agent.resources.limits.memory (32Mi are plenty)"
    } else {
        "look at the target node with `kubectl describe node` and at `kubectl get events`"
    }))
}

async fn last_words(cluster: &Cluster, agent: &Agent, pod: &str, container: &str) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), agent.namespace());
    let params = LogParams { tail_lines: Some(5), container: Some(container.to_owned()), ..LogParams::default() };
    let log = api.logs(pod, &params).await.unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

/// What the Job controller was told when it tried to make the pod: Pod Security, quota, service account.
async fn refused_by_events(cluster: &Cluster, agent: &Agent) -> Option<Failure> {
    let Agent::Job(job) = agent else { return None };
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &job.namespace);
    let fields = format!("involvedObject.kind=Job,involvedObject.name={}", job.name);
    let events = api.list(&ListParams::default().fields(&fields)).await.ok()?;
    let failed = events.items.into_iter().find(|event| event.reason.as_deref() == Some("FailedCreate"))?;
    let message = failed.message.unwrap_or_default();
    let next = if message.contains("PodSecurity") {
        "a targeted agent needs hostPID, SYS_ADMIN, SYS_PTRACE and NET_ADMIN: run it in another namespace with agent.namespace, or with fewer rights in the target's pod with agent.ephemeral and agent.image (`mirror image save`)"
    } else if message.contains("quota") {
        "ask for a larger quota, lower agent.resources, or run the agent in another namespace with agent.namespace"
    } else if message.contains("serviceaccount") {
        "set agent.service_account to one that is there"
    } else {
        "change what the message names, or run the agent in another namespace with agent.namespace"
    };
    Some(
        Failure::new(
            Class::Agent,
            format!("the cluster does not admit the agent's pod in namespace {}", job.namespace),
        )
        .detail(message)
        .next(next),
    )
}
