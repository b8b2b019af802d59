//! What the user may do in clusters: each right is asked about until it is granted, and again when a kubeconfig changes.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rpc::Place;
use super::watches::Watches;
use crate::kube::client::Cluster;
use crate::kube::permissions::{self, Question, Subject};

/// Kubeconfig, context.
type Key = (Option<String>, String);

/// What is known of rights for one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// Namespace of the target.
    pub(super) namespace: Option<String>,
    /// What the cluster calls the user.
    pub(super) user: Option<String>,
    /// What the user may not do and must, in words.
    pub(super) missing: Vec<String>,
}

/// Answers that clusters have given.
#[derive(Default)]
pub(super) struct Reviews(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Which state of the kubeconfigs they come of.
    kubeconfigs: u64,
    /// What may be done. What may not is asked again: somebody may have granted it.
    granted: HashSet<(Key, Question)>,
    users: HashMap<Key, String>,
}

impl Reviews {
    /// What the user lacks for sessions of a subject. What no cluster has answered is not missing.
    pub(super) async fn of(&self, watches: &Watches, place: &Place, subject: &Subject) -> Rights {
        let Ok(cluster) = watches.clusters().get(place).await else { return Rights::default() };
        let kubeconfigs = *watches.clusters().changes().borrow();
        let key = (place.kubeconfig.clone(), cluster.context.clone());
        let mut open = permissions::questions(&permissions::needs(subject, &cluster.namespace));
        {
            let mut known = self.known();
            if std::mem::replace(&mut known.kubeconfigs, kubeconfigs) != kubeconfigs {
                (known.granted, known.users) = Default::default();
            }
            open.retain(|question| !known.granted.contains(&(key.clone(), question.clone())));
        }
        let (answers, user) = tokio::join!(permissions::review(&cluster, &open), self.user(&cluster, &key));
        let mut missing = Vec::new();
        for (question, answer) in open.into_iter().zip(answers) {
            match answer {
                Some(true) => _ = self.known().granted.insert((key.clone(), question)),
                Some(false) => missing.push(question.words()),
                None => {}
            }
        }
        Rights { namespace: Some(cluster.namespace), user, missing }
    }

    async fn user(&self, cluster: &Cluster, key: &Key) -> Option<String> {
        let known = self.known().users.get(key).cloned();
        if known.is_some() {
            return known;
        }
        let user = permissions::user(cluster).await?;
        self.known().users.insert(key.clone(), user.clone());
        Some(user)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
