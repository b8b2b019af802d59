//! What the user may do in clusters: a right that is missing is asked about each time, one that is granted now and
//! then, and all of them when a kubeconfig changes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rpc::Place;
use super::watches::Watches;
use crate::kube::client::Cluster;
use crate::kube::permissions::{self, Question, Subject};

/// Kubeconfig, context.
type Key = (Option<String>, String);

/// How long a right that was granted is not asked about again: somebody may take it away.
pub(super) const GRANTED: Duration = Duration::from_secs(30);

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
    /// When it was said of what may be done.
    granted: HashMap<(Key, Question), Instant>,
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
            known.granted.retain(|_, since| since.elapsed() < GRANTED);
            open.retain(|question| !known.granted.contains_key(&(key.clone(), question.clone())));
        }
        let (answers, user) = tokio::join!(permissions::review(&cluster, &open), self.user(&cluster, &key));
        let mut missing = Vec::new();
        for (question, answer) in open.into_iter().zip(answers) {
            match answer {
                Some(true) => _ = self.known().granted.insert((key.clone(), question), Instant::now()),
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
