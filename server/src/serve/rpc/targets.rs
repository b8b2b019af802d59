//! Contexts, namespaces and targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// A namespace of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Kubeconfig file [default: `KUBECONFIG`, then `~/.kube/config`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// Context [default: the current one].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespace [default: the context's].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Which kubeconfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContextsParams {
    /// Kubeconfig file [default: `KUBECONFIG`, then `~/.kube/config`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
}

/// The contexts of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Contexts {
    /// The contexts, the current one first.
    pub contexts: Vec<ContextRow>,
    /// The files they come from.
    pub files: Vec<String>,
}

/// One context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContextRow {
    /// Its name.
    pub name: String,
    /// Address of the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Name of the cluster's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Name of the user's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Default namespace.
    pub namespace: String,
    /// Whether it is the current one.
    pub current: bool,
    /// Whether its name, cluster or namespace looks like production.
    pub production: bool,
}

/// The kubeconfig has changed on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContextsChanged {
    /// The files that have changed.
    pub files: Vec<String>,
}

/// The namespaces of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// The context.
    pub context: String,
    /// By name.
    pub namespaces: Vec<NamespaceRow>,
    /// Why they could not be listed; the list then has those that are known otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NamespaceRow {
    /// Its name.
    pub name: String,
    /// Whether it is the context's default.
    pub current: bool,
}

/// Which targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetsParams {
    /// Where.
    #[serde(default)]
    pub place: Place,
    /// Kinds: `pod`, `deployment`, `statefulset`, … [default: all].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
}

/// What can be a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    /// The context.
    pub context: String,
    /// The namespace.
    pub namespace: String,
    /// By kind and name; objects that another one owns come last.
    pub targets: Vec<TargetRow>,
    /// False while a list is still on its way.
    pub complete: bool,
    /// Kinds that could not be listed, with the reason, and what else is wrong; the others are there.
    pub problems: Vec<Problem>,
}

/// A watch that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// Names the watch.
    pub watch: String,
    /// What is known now.
    pub targets: Targets,
}

/// Which watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Unwatch {
    /// The name that `mirror/targets/watch` gave.
    pub watch: String,
}

/// What has changed in a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetsChanged {
    /// The watch.
    pub watch: String,
    /// Targets that are new or have changed, whole.
    pub changed: Vec<TargetRow>,
    /// Paths of targets that are gone.
    pub removed: Vec<String>,
    /// False while a list is still on its way.
    pub complete: bool,
    /// All problems of the watch as they are now: forbidden kinds, a login that has expired, a cluster that does not answer.
    pub problems: Vec<Problem>,
}

/// One possible target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetRow {
    /// What `target` takes: `deployment/web`.
    pub path: String,
    /// Its kind: `deployment`.
    pub kind: String,
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
    /// Its containers.
    pub containers: Vec<TargetContainer>,
    /// Ports that its containers or the Service declare.
    pub ports: Vec<TargetPort>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether another object made it (a ReplicaSet of a Deployment, a pod of either).
    pub owned: bool,
    /// When it was made, in seconds since 1970; 0 if unknown.
    pub created: i64,
    /// Who has a session there now.
    pub users: Vec<TargetUser>,
}

/// A container of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetContainer {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
}

/// A port of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetPort {
    /// The number.
    pub port: u16,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Somebody's session on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetUser {
    /// Who: `user@host`, as the agent's Job says.
    pub who: String,
    /// `mirror`, `steal` or `off`, as the agent's Job says.
    pub mode: String,
}

/// Which target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetParams {
    /// Where.
    #[serde(default)]
    pub place: Place,
    /// Its path: `deployment/web`.
    pub target: String,
}

/// Everything about one target that is of use in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetDetails {
    /// The target.
    pub target: TargetRow,
    /// Its pods.
    pub pods: Vec<PodRow>,
    /// The containers of its pods, init containers among them.
    pub containers: Vec<ContainerDetails>,
    /// Services that lead to it.
    pub services: Vec<ServiceRow>,
    /// What could not be found out.
    pub problems: Vec<Problem>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodRow {
    /// Its name.
    pub name: String,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether a session can be started on it.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContainerDetails {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Whether it is an init container (one that stays is a sidecar, and no init container here).
    pub init: bool,
    /// Declared ports.
    pub ports: Vec<TargetPort>,
    /// Names of the variables that its spec sets, never values.
    pub variables: Vec<VariableName>,
    /// Mounted volumes.
    pub mounts: Vec<VolumeMount>,
}

/// The name of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VariableName {
    /// The name.
    pub name: String,
    /// Where its value comes from: `value`, `secret db-login`, `config map settings`, `field status.podIP`, …
    pub source: String,
}

/// A mounted volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// Where it is.
    pub path: String,
    /// What it is: `secret db-login`, `config map settings`, `empty directory`, …
    pub source: String,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// The port or the port's name in the pod.
    pub target_port: String,
}
