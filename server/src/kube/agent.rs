//! An agent in the cluster, wherever it stands: in a Job of its own, or in a container of the target's pod.

use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::WatchParams;
use protocol::launch::Launch;

use super::agent_ephemeral::{self, EphemeralAgent};
use super::agent_job::{self, AgentJob};
use super::client::Cluster;
use super::target::PodTarget;
use crate::bundle::AgentFiles;
use crate::failure::{Class, Failure, Result};
use crate::session::spec::AgentOptions;

/// What makes one agent.
pub struct AgentPlan<'a> {
    /// Name of the Job or of the container.
    pub name: String,
    /// Whether connections of the target are asked for.
    pub incoming: bool,
    /// What happens to the target's traffic: `off`, `mirror` or `steal`.
    pub traffic: &'static str,
    /// Whether files of the target are asked for.
    pub files_of_target: bool,
    /// Whose place it takes; none is targetless.
    pub target: Option<&'a PodTarget>,
    /// How to run it.
    pub options: &'a AgentOptions,
    /// Its arguments.
    pub launch: Launch,
    /// Who runs the session: user and host.
    pub owner: String,
    /// Namespace of the Job.
    pub namespace: String,
    /// What it is made of; none when `options.image` has it inside.
    pub files: Option<&'a AgentFiles>,
}

/// An agent that was made.
#[derive(Debug, Clone)]
pub enum Agent {
    /// In a pod of its own.
    Job(AgentJob),
    /// In the target's pod.
    Ephemeral(EphemeralAgent),
}

impl Agent {
    /// Makes it, and lets it run.
    pub async fn create(cluster: &Cluster, plan: &AgentPlan<'_>) -> Result<Self> {
        match (plan.options.ephemeral, plan.target) {
            (false, _) => agent_job::create(cluster, plan).await.map(Self::Job),
            (true, Some(target)) => agent_ephemeral::create(cluster, plan, target).await.map(Self::Ephemeral),
            (true, None) => {
                Err(Failure::new(Class::Config, "an ephemeral agent lives in the target's pod: there is no target")
                    .next("name one (--target KIND/NAME), or remove `agent.ephemeral`"))
            }
        }
    }

    /// Lets it live on after the first contact.
    pub async fn keep(&self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Job(job) => agent_job::keep(cluster, job).await,
            Self::Ephemeral(_) => Ok(()),
        }
    }

    /// Removes it, if it can be: what is in the target's pod ends by itself.
    pub async fn remove(&self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Job(job) => agent_job::delete(cluster, job).await,
            Self::Ephemeral(_) => Ok(()),
        }
    }

    /// Namespace of its pod.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Job(job) => &job.namespace,
            Self::Ephemeral(agent) => &agent.namespace,
        }
    }

    /// Why it has no rights; none if it has some.
    pub fn without_rights(&self) -> Option<&str> {
        match self {
            Self::Job(_) => None,
            Self::Ephemeral(agent) => agent.without_rights.as_deref(),
        }
    }

    /// Which pod it is in, as a watch finds it.
    pub(super) fn watch(&self) -> WatchParams {
        match self {
            Self::Job(job) => WatchParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name)),
            Self::Ephemeral(agent) => WatchParams::default().fields(&format!("metadata.name={}", agent.pod)),
        }
    }

    /// What its pod says of its container.
    pub(super) fn status<'a>(&self, pod: &'a Pod) -> Option<&'a ContainerStatus> {
        let status = pod.status.as_ref()?;
        let (all, name) = match self {
            Self::Job(_) => (&status.container_statuses, agent_job::CONTAINER),
            Self::Ephemeral(agent) => (&status.ephemeral_container_statuses, agent.container.as_str()),
        };
        all.iter().flatten().find(|status| status.name == name)
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => write!(f, "job {} in namespace {}", job.name, job.namespace),
            Self::Ephemeral(EphemeralAgent { container, pod, .. }) => {
                write!(f, "container {container} in pod {pod}, which keeps the entry as long as it exists")
            }
        }
    }
}
