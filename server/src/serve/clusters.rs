//! The clusters that are in use: one client for each kubeconfig and context, opened once. Kubeconfigs are followed on
//! disk; when one changes everything that came of it is opened anew.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OnceCell, watch};
use tower_lsp::Client;

use super::disk::Disk;
use super::rpc::notification::ContextsChangedNotification;
use super::rpc::{ContextsChanged, Place};
use crate::failure::Result;
use crate::kube::client::{Cluster, ClusterOptions};
use crate::kube::contexts;
use crate::settings;

/// Kubeconfig and context.
type Key = (Option<String>, Option<String>);

/// The clusters.
pub(super) struct Clusters {
    open: Mutex<HashMap<Key, Arc<OnceCell<Cluster>>>>,
    disk: Arc<Disk>,
    /// The kubeconfigs that are followed.
    files: Mutex<BTreeSet<PathBuf>>,
    /// Counts the changes of kubeconfigs.
    changes: watch::Sender<u64>,
}

impl Clusters {
    /// Begins without any.
    pub(super) fn start(client: &Client, disk: Arc<Disk>) -> Arc<Self> {
        let (open, files, changes) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        let clusters = Arc::new(Self { open, disk, files, changes });
        tokio::spawn(follow(clusters.clone(), client.clone()));
        clusters
    }

    /// The cluster of a place, with the place's namespace.
    pub(super) async fn get(&self, place: &Place) -> Result<Cluster> {
        let kubeconfig = place.kubeconfig.as_deref().map(settings::expand_home);
        self.follow(kubeconfig.as_deref());
        let key = (place.kubeconfig.clone(), place.context.clone());
        let cell = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.entry(key).or_default().clone()
        };
        let options = ClusterOptions { kubeconfig, context: place.context.clone(), ..ClusterOptions::default() };
        let mut cluster = cell.get_or_try_init(|| Cluster::open(&options)).await?.clone();
        if let Some(namespace) = place.namespace.clone().filter(|name| !name.is_empty()) {
            cluster.namespace = namespace;
        }
        Ok(cluster)
    }

    /// Changes with every change of a kubeconfig.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows the files of a kubeconfig.
    pub(super) fn follow(&self, kubeconfig: Option<&Path>) {
        for file in contexts::files(kubeconfig) {
            self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(file.clone());
            self.disk.follow(file);
        }
    }

    fn is_followed(&self, path: &Path) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    fn forget(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changes.send_modify(|count| *count += 1);
    }
}

async fn follow(clusters: Arc<Clusters>, client: Client) {
    let mut changes = clusters.disk.changes();
    loop {
        let changed = match changes.recv().await {
            Ok(changed) => changed,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let files: Vec<String> =
            changed.iter().filter(|path| clusters.is_followed(path)).map(|path| path.display().to_string()).collect();
        if files.is_empty() {
            continue;
        }
        clusters.forget();
        client.send_notification::<ContextsChangedNotification>(ContextsChanged { files }).await;
    }
}
