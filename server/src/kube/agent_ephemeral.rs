//! The agent as an ephemeral container of the target's pod.
//!
//! It is in the pod's network and among the target's processes from the beginning, so it needs neither `hostPID`
//! nor `SYS_ADMIN`. Nobody can remove it: the agent ends by itself in every case, and its entry stays in the pod's
//! spec. Where the cluster admits no capabilities (Pod Security) it runs without any as the target's own user, who
//! may read the target's environment and files, but steer no connections.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::agent::AgentPlan;
use super::client::{Cluster, Operation};
use super::errors;
use super::rights::Rights;
use super::target::PodTarget;
use crate::failure::{Class, Failure, Result};

/// A container that was made.
#[derive(Debug, Clone)]
pub struct EphemeralAgent {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
    /// Why it can do no more than the target; none if it can.
    pub(super) without_rights: Option<String>,
}

/// Puts the agent into the target's pod, with as many rights as are admitted.
pub(super) async fn create(cluster: &Cluster, plan: &AgentPlan<'_>, target: &PodTarget) -> Result<EphemeralAgent> {
    let wanted = Rights::of_ephemeral(plan);
    let mut without_rights = wanted.is_none().then(|| "agent.disabled_capabilities leaves it none".to_owned());
    let mut refused = add(cluster, plan, target, &wanted).await?;
    if let (Some(words), None) = (&refused, &without_rights) {
        tracing::info!(%words, "the agent gets no rights");
        without_rights = Some(format!("namespace {} admits none", target.namespace));
        refused = add(cluster, plan, target, &Rights::none()).await?;
    }
    match refused {
        None => Ok(EphemeralAgent {
            namespace: target.namespace.clone(),
            pod: target.pod.clone(),
            container: plan.name.clone(),
            without_rights,
        }),
        Some(words) => {
            let message = format!("the cluster does not admit the agent's container into pod {}", target.pod);
            Err(Failure::new(Class::Agent, message)
                .detail(words)
                .next("change what the message names, or run the agent in another namespace: agent.namespace without agent.ephemeral"))
        }
    }
}

/// Adds the container. Returns the words of who does not admit it.
async fn add(cluster: &Cluster, plan: &AgentPlan<'_>, target: &PodTarget, rights: &Rights) -> Result<Option<String>> {
    let change = json!({"spec": {"ephemeralContainers": [container(plan, target, rights)?]}});
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &target.namespace);
    let operation = Operation {
        verb: "patch",
        group: "",
        resource: "pods/ephemeralcontainers",
        namespace: Some(&target.namespace),
        name: Some(&target.pod),
    };
    let patched = async {
        let change = Patch::Strategic(change);
        match api.patch_subresource("ephemeralcontainers", &target.pod, &PatchParams::default(), &change).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if errors::is_not_admitted(&status) => Ok(Some(status.message)),
            Err(error) => Err(error),
        }
    };
    cluster.ask(operation, patched).await
}

fn container(plan: &AgentPlan<'_>, target: &PodTarget, rights: &Rights) -> Result<Value> {
    let mut security = rights.security_context();
    security["seccompProfile"] = json!({"type": "RuntimeDefault"});
    let user = if rights.is_none() { own_user(target)? } else { json!({"runAsUser": 0, "runAsNonRoot": false}) };
    for (name, value) in user.as_object().into_iter().flatten() {
        security[name] = value.clone();
    }
    Ok(json!({
        "name": plan.name,
        "image": plan.options.image,
        "imagePullPolicy": plan.options.image_pull_policy,
        "targetContainerName": target.container,
        "args": plan.launch.to_args(),
        // There are no annotations to say it.
        "env": [{"name": "MIRROR_OWNER", "value": plan.owner}],
        "securityContext": security,
    }))
}

/// The target's user: who is another one without rights sees nothing of it (`PTRACE_MODE_READ`, ptrace(2)).
fn own_user(target: &PodTarget) -> Result<Value> {
    let Some(user) = target.user else {
        let message = format!("pod {} does not say which user container {} is", target.pod, target.container);
        return Err(Failure::new(Class::Agent, message)
            .detail("an agent without capabilities must be the same user")
            .next("set securityContext.runAsUser and runAsGroup in the pod's spec"));
    };
    let mut security = json!({"runAsUser": user.uid, "runAsNonRoot": user.uid != 0});
    if let Some(gid) = user.gid {
        security["runAsGroup"] = json!(gid);
    }
    Ok(security)
}
