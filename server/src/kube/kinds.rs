//! How each kind of target leads to its pods. Names and API resources of the kinds are `config`'s table.

use config::target::{Kind, TargetKind};
use kube::core::{ApiResource, GroupVersionKind};

/// How an object leads to its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    /// It is a pod.
    Itself,
    /// `spec.selector` is a label selector with `matchLabels` and `matchExpressions`.
    Selector,
    /// `spec.selector` is a plain map of labels.
    Map,
    /// It owns Jobs, and those have a selector.
    OwnedJobs,
}

/// The way from an object of `kind` to its pods.
pub(super) fn pods(kind: TargetKind) -> Pods {
    match kind {
        TargetKind::Pod => Pods::Itself,
        TargetKind::Service => Pods::Map,
        TargetKind::CronJob => Pods::OwnedJobs,
        TargetKind::Deployment
        | TargetKind::StatefulSet
        | TargetKind::DaemonSet
        | TargetKind::ReplicaSet
        | TargetKind::Job
        | TargetKind::Rollout => Pods::Selector,
    }
}

/// How `kube` names a kind.
pub(super) fn resource(kind: &Kind) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(kind.group, kind.version, kind.api_kind), kind.resource)
}
