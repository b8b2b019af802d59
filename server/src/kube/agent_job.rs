//! The agent's Job: what it looks like, and how it comes into being without ever being able to stay behind.
//!
//! Order matters. The Job is made first, with `parallelism: 0` and a deadline: from its first moment the
//! cluster itself ends and collects it. Then the agent's bytes follow in a ConfigMap that the Job owns, and
//! only then `parallelism: 1` lets the pod start, so that its volume never has to wait for bytes (the
//! kubelet retries a missing volume only every half second and leaves warnings behind). A killed client
//! therefore leaves, at every point, only things that the deadline removes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::agent::AgentPlan;
use super::client::{Cluster, Operation};
use super::rights::Rights;
use crate::bundle::AgentFiles;
use crate::failure::{Class, Failure, Result};

/// Seconds after which the cluster ends an agent that nobody has contacted.
const DEADLINE: u32 = 60;

/// Seconds that an agent gets to leave: it carries connections to the application on for 25 of them.
const GRACE_PERIOD: u32 = 30;

/// Name of the agent's container in its pod.
pub(super) const CONTAINER: &str = "agent";

/// Where the agent's files are mounted in its container.
const MOUNT: &str = "/mirror";

/// Most bytes of files in one ConfigMap: the API server allows 1 MiB (`MaxSecretSize`).
const CONFIG_MAP_LIMIT: usize = 1024 * 1024;

/// An image that some node has, and that node.
struct Borrowed {
    image: String,
    node: String,
    pull_secrets: Vec<String>,
}

/// A Job that was made.
#[derive(Debug, Clone)]
pub struct AgentJob {
    pub(super) namespace: String,
    pub(super) name: String,
    uid: String,
}

/// Makes the Job, its files, and lets it run.
pub(super) async fn create(cluster: &Cluster, plan: &AgentPlan<'_>) -> Result<AgentJob> {
    let borrowed = match (&plan.options.image, plan.target) {
        (Some(_), _) => None,
        (None, Some(target)) => Some(Borrowed {
            image: target.image.clone(),
            node: target.node.clone(),
            pull_secrets: target.pull_secrets.clone(),
        }),
        (None, None) => Some(borrow(cluster, &plan.namespace).await?),
    };
    let manifest = manifest(plan, borrowed.as_ref());
    let api: Api<Job> = Api::namespaced(cluster.client.clone(), &plan.namespace);
    let job: Job = serde_json::from_value(manifest)
        .map_err(|error| Failure::new(Class::Config, format!("the agent section does not fit a Job: {error}")))?;
    let operation = operation("create", "batch", "jobs", &plan.namespace, &plan.name);
    let made = cluster.ask(operation, api.create(&PostParams::default(), &job)).await?;
    let job = AgentJob {
        namespace: plan.namespace.clone(),
        name: plan.name.clone(),
        uid: made.metadata.uid.unwrap_or_default(),
    };
    let completed = fill_and_release(cluster, plan, &job).await;
    if completed.is_err() {
        delete(cluster, &job).await.ok();
    }
    completed.map(|()| job)
}

async fn fill_and_release(cluster: &Cluster, plan: &AgentPlan<'_>, job: &AgentJob) -> Result<()> {
    if let Some(files) = plan.files {
        let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &job.namespace);
        for (index, part) in split(files).into_iter().enumerate() {
            let name = config_map_name(&job.name, index);
            let map = config_map(&name, job, part, &plan.options.labels);
            let operation = operation("create", "", "configmaps", &job.namespace, &name);
            cluster.ask(operation, api.create(&PostParams::default(), &map)).await?;
        }
    }
    patch(cluster, job, json!({"spec": {"parallelism": 1}})).await
}

/// Takes the deadline away: from the first contact on the agent itself watches its client. Tried again while
/// there is time, because the cluster ends the session otherwise.
pub(super) async fn keep(cluster: &Cluster, job: &AgentJob) -> Result<()> {
    let mut pause = Duration::from_secs(1);
    loop {
        match patch(cluster, job, json!({"spec": {"activeDeadlineSeconds": null}})).await {
            Err(failure) if failure.class == Class::ClusterUnreachable && pause.as_secs() < DEADLINE.into() => {
                tracing::debug!(%failure, "cannot take the deadline of the agent's job away yet");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
}

/// Removes the Job and, by ownership, everything of it. Who may not delete it moves its deadline to now.
pub(super) async fn delete(cluster: &Cluster, job: &AgentJob) -> Result<()> {
    let api: Api<Job> = Api::namespaced(cluster.client.clone(), &job.namespace);
    let operation = operation("delete", "batch", "jobs", &job.namespace, &job.name);
    match cluster.find(operation, api.delete(&job.name, &DeleteParams::background())).await {
        Err(failure) if failure.class == Class::Permission => {
            patch(cluster, job, json!({"spec": {"activeDeadlineSeconds": 1}})).await
        }
        other => other.map(|_| ()),
    }
}

async fn patch(cluster: &Cluster, job: &AgentJob, change: Value) -> Result<()> {
    let api: Api<Job> = Api::namespaced(cluster.client.clone(), &job.namespace);
    let operation = operation("patch", "batch", "jobs", &job.namespace, &job.name);
    cluster.ask(operation, api.patch(&job.name, &PatchParams::default(), &Patch::Merge(change))).await.map(|_| ())
}

fn operation<'a>(
    verb: &'static str,
    group: &'a str,
    resource: &'a str,
    namespace: &'a str,
    name: &'a str,
) -> Operation<'a> {
    Operation { verb, group, resource, namespace: Some(namespace), name: Some(name) }
}

/// An image of a running pod of the namespace, for an agent that has no target.
async fn borrow(cluster: &Cluster, namespace: &str) -> Result<Borrowed> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let running = ListParams::default().fields("status.phase=Running");
    let mut found = None;
    let visit = |pod: Pod| {
        found = image_of(pod);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    cluster.each(&api, Some(namespace), running, visit).await?;
    if let Some(borrowed) = found {
        return Ok(borrowed);
    }
    if let Some(failure) = super::target::namespace_missing(cluster, namespace).await {
        return Err(failure);
    }
    Err(Failure::new(
        Class::Agent,
        format!("no pod runs in namespace {namespace}, so there is no image to run the agent in"),
    )
    .next("choose a namespace with running pods (`target.namespace`, -n), or set `agent.image` (see `mirror image --help`)"))
}

fn image_of(pod: Pod) -> Option<Borrowed> {
    if super::target::not_ready(&pod).is_some() {
        return None;
    }
    let spec = pod.spec?;
    let secrets = spec.image_pull_secrets.unwrap_or_default();
    Some(Borrowed {
        image: spec.containers.into_iter().next()?.image?,
        node: spec.node_name?,
        pull_secrets: secrets.into_iter().map(|secret| secret.name).collect(),
    })
}

/// Distributes the files over as few parts as the size limit of a ConfigMap allows.
fn split(files: &AgentFiles) -> Vec<Vec<(&str, &[u8])>> {
    let mut parts: Vec<Vec<(&str, &[u8])>> = Vec::new();
    let mut room = 0;
    for (name, bytes) in files.iter() {
        match parts.last_mut() {
            Some(part) if bytes.len() <= room => part.push((name, bytes)),
            _ => {
                room = CONFIG_MAP_LIMIT;
                parts.push(vec![(name, bytes)]);
            }
        }
        room = room.saturating_sub(bytes.len());
    }
    parts
}

fn config_map_name(job: &str, index: usize) -> String {
    format!("{job}-{index}")
}

fn config_map(name: &str, job: &AgentJob, part: Vec<(&str, &[u8])>, labels: &BTreeMap<String, String>) -> ConfigMap {
    use k8s_openapi::ByteString;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
    let owner = OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: job.name.clone(),
        uid: job.uid.clone(),
        block_owner_deletion: Some(false),
        controller: None,
    };
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([("app".to_owned(), "mirror".to_owned())].into_iter().chain(labels.clone()).collect()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        binary_data: Some(
            part.into_iter().map(|(name, bytes)| (name.to_owned(), ByteString(bytes.to_vec()))).collect(),
        ),
        immutable: Some(true),
        data: None,
    }
}

fn manifest(plan: &AgentPlan<'_>, borrowed: Option<&Borrowed>) -> Value {
    let options = plan.options;
    let mut labels = json!({"app": "mirror"});
    let mut annotations = json!({
        "mirror/owner": plan.owner,
        "mirror/version": protocol::VERSION,
        "mirror/traffic": plan.traffic,
        "mirror/target": plan.target.map_or("targetless".to_owned(), |target| {
            format!("{}/pod/{}/container/{}", target.namespace, target.pod, target.container)
        }),
    });
    if options.disable_mesh_sidecar_injection {
        labels["sidecar.istio.io/inject"] = json!("false");
        labels["kuma.io/sidecar-injection"] = json!("disabled");
        annotations["sidecar.istio.io/inject"] = json!("false");
        annotations["linkerd.io/inject"] = json!("disabled");
        annotations["kuma.io/sidecar-injection"] = json!("disabled");
    }
    merge(&mut labels, &options.labels);
    merge(&mut annotations, &options.annotations);
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": plan.name, "labels": labels, "annotations": annotations},
        "spec": {
            "parallelism": 0,
            "completions": 1,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": options.ttl.as_secs(),
            "activeDeadlineSeconds": DEADLINE,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": pod_spec(plan, borrowed),
            },
        },
    })
}

fn merge(into: &mut Value, more: &BTreeMap<String, String>) {
    for (name, value) in more {
        into[name] = json!(value);
    }
}

fn pod_spec(plan: &AgentPlan<'_>, borrowed: Option<&Borrowed>) -> Value {
    let options = plan.options;
    let own_image = options.image.as_deref();
    let node = plan.target.map(|target| target.node.as_str()).or(borrowed.map(|borrowed| borrowed.node.as_str()));
    let mut spec = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_PERIOD,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "tolerations": options.tolerations,
        "securityContext": pod_security(plan),
        "containers": [container(plan, own_image.or(borrowed.map(|borrowed| borrowed.image.as_str())))],
    });
    let of_pod = borrowed.map(|borrowed| borrowed.pull_secrets.as_slice()).unwrap_or_default();
    let secrets: Vec<Value> =
        of_pod.iter().chain(&options.image_pull_secrets).map(|name| json!({"name": name})).collect();
    if !secrets.is_empty() {
        spec["imagePullSecrets"] = json!(secrets);
    }
    if let Some(node) = node {
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]},
        ]}}});
    }
    if plan.target.is_none() && !options.node_selector.is_empty() {
        spec["nodeSelector"] = json!(options.node_selector);
    }
    if plan.target.is_some() {
        spec["hostPID"] = json!(true);
    }
    if let Some(account) = &options.service_account {
        spec["serviceAccountName"] = json!(account);
    }
    if let Some(class) = &options.priority_class {
        spec["priorityClassName"] = json!(class);
    }
    if let Some(files) = plan.files {
        let sources: Vec<Value> = (0..split(files).len())
            .map(|index| json!({"configMap": {"name": config_map_name(&plan.name, index)}}))
            .collect();
        spec["volumes"] = json!([{"name": "mirror", "projected": {"defaultMode": 0o555, "sources": sources}}]);
    }
    spec
}

/// Without a target nothing is needed; with one, root is (else the capabilities are not effective).
fn pod_security(plan: &AgentPlan<'_>) -> Value {
    let user = if plan.target.is_some() {
        json!({"runAsUser": 0, "runAsNonRoot": false})
    } else {
        json!({"runAsUser": 65534, "runAsNonRoot": true})
    };
    let mut security = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    for (name, value) in user.as_object().into_iter().flatten() {
        security[name] = value.clone();
    }
    security
}

fn container(plan: &AgentPlan<'_>, image: Option<&str>) -> Value {
    let mut container = json!({
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": plan.options.image_pull_policy,
        "args": plan.launch.to_args(),
        "resources": plan.options.resources,
        "securityContext": Rights::of_job(plan).security_context(),
    });
    if plan.files.is_some() {
        container["command"] = json!([format!("{MOUNT}/loader")]);
        container["volumeMounts"] = json!([{"name": "mirror", "mountPath": MOUNT, "readOnly": true}]);
    }
    container
}
