//! The kinds of targets with their words and API resources.
//!
//! Called by the parser of targets, and by the server to find the object in the API.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of object that has, or is, a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A ReplicaSet.
    ReplicaSet,
    /// A Job.
    Job,
    /// A CronJob.
    CronJob,
    /// A Service: the pods of its selector.
    Service,
    /// An Argo Rollout.
    Rollout,
}

/// One row of [`KINDS`].
#[derive(Debug)]
pub struct Kind {
    /// The kind.
    pub kind: TargetKind,
    /// The word in a target path.
    pub word: &'static str,
    /// Other words for the same.
    pub aliases: &'static [&'static str],
    /// The key in the object form of a target.
    pub key: &'static str,
    /// `kind` in the Kubernetes API.
    pub api_kind: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural resource name.
    pub resource: &'static str,
}

/// Every kind of target.
#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    row(TargetKind::Pod, "pod", &["po", "pods"], "pod", "Pod", "", "v1", "pods"),
    row(TargetKind::Deployment, "deployment", &["deploy", "deployments"], "deployment", "Deployment", "apps", "v1", "deployments"),
    row(TargetKind::StatefulSet, "statefulset", &["sts", "statefulsets"], "stateful_set", "StatefulSet", "apps", "v1", "statefulsets"),
    row(TargetKind::DaemonSet, "daemonset", &["ds", "daemonsets"], "daemon_set", "DaemonSet", "apps", "v1", "daemonsets"),
    row(TargetKind::ReplicaSet, "replicaset", &["rs", "replicasets"], "replica_set", "ReplicaSet", "apps", "v1", "replicasets"),
    row(TargetKind::Job, "job", &["jobs"], "job", "Job", "batch", "v1", "jobs"),
    row(TargetKind::CronJob, "cronjob", &["cj", "cronjobs"], "cron_job", "CronJob", "batch", "v1", "cronjobs"),
    row(TargetKind::Service, "service", &["svc", "services"], "service", "Service", "", "v1", "services"),
    row(TargetKind::Rollout, "rollout", &["ro", "rollouts"], "rollout", "Rollout", "argoproj.io", "v1alpha1", "rollouts"),
];

#[expect(clippy::too_many_arguments, reason = "the columns of the table")]
const fn row(
    kind: TargetKind,
    word: &'static str,
    aliases: &'static [&'static str],
    key: &'static str,
    api_kind: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
) -> Kind {
    Kind { kind, word, aliases, key, api_kind, group, version, resource }
}

impl TargetKind {
    /// Reads the word of a target path, aliases included.
    pub fn from_word(word: &str) -> Option<Self> {
        KINDS.iter().find(|row| row.word == word || row.aliases.contains(&word)).map(|row| row.kind)
    }

    /// The kind's row.
    pub fn row(self) -> &'static Kind {
        KINDS.iter().find(|row| row.kind == self).expect("KINDS has a row for each kind, by a test")
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().word)
    }
}

/// The nearest word to a misspelt one.
pub(super) fn nearest(given: &str) -> Option<&'static str> {
    crate::nearest::nearest(given, KINDS.iter().map(|row| row.word).chain([super::LABEL]))
}

/// All words, for a message.
pub(super) fn all_words() -> String {
    let mut words: Vec<_> = KINDS.iter().map(|row| row.word).collect();
    words.push(super::LABEL);
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_no_word_is_used_twice() {
        use TargetKind::*;
        for kind in [Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob, Service, Rollout] {
            assert_eq!(kind.row().kind, kind);
            assert_eq!(TargetKind::from_word(&kind.to_string()), Some(kind));
        }
        let mut words: Vec<_> = KINDS.iter().flat_map(|row| row.aliases.iter().chain([&row.word])).collect();
        let n_words = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), n_words);
    }
}
