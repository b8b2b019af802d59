//! The clusters that are in use: one client for each kubeconfig and context, opened once. Kubeconfigs are followed on
//! disk; when one changes everything that came of it is opened anew.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{OnceCell, mpsc, watch};
use tower_lsp::Client;

use super::rpc::notification::ContextsChangedNotification;
use super::rpc::{ContextsChanged, Place};
use crate::failure::Result;
use crate::kube::client::{Cluster, ClusterOptions};
use crate::kube::contexts;
use crate::settings;

/// How long changes of a file are collected: editors and tools write in several steps.
const SETTLE: Duration = Duration::from_millis(150);

/// Kubeconfig and context.
type Key = (Option<String>, Option<String>);

/// The clusters.
pub(super) struct Clusters {
    open: Mutex<HashMap<Key, Arc<OnceCell<Cluster>>>>,
    files: Mutex<Followed>,
    /// Counts the changes of kubeconfigs.
    changes: watch::Sender<u64>,
}

/// Files that are followed on disk.
struct Followed {
    watcher: Option<RecommendedWatcher>,
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Clusters {
    /// Begins without any.
    pub(super) fn start(client: &Client) -> Arc<Self> {
        let (changed, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event.map_err(|error| tracing::warn!(%error, "files are not followed"))
                && !matches!(event.kind, notify::EventKind::Access(_))
            {
                event.paths.into_iter().for_each(|path| drop(changed.send(path)));
            }
        });
        let watcher = watcher.map_err(|error| tracing::warn!(%error, "kubeconfigs are not followed on disk")).ok();
        let clusters = Arc::new(Self {
            open: Mutex::default(),
            files: Mutex::new(Followed { watcher, files: BTreeSet::new(), folders: BTreeSet::new() }),
            changes: watch::Sender::new(0),
        });
        tokio::spawn(follow(clusters.clone(), changes, client.clone()));
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
        let mut followed = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in contexts::files(kubeconfig) {
            // Files are replaced, so their folders are watched.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = folder.to_owned();
            if followed.files.insert(file) && followed.folders.insert(folder.clone()) {
                let watched =
                    followed.watcher.as_mut().map(|watcher| watcher.watch(&folder, RecursiveMode::NonRecursive));
                if let Some(Err(error)) = watched {
                    tracing::info!(folder = %folder.display(), %error, "a kubeconfig is not followed on disk");
                }
            }
        }
    }

    fn is_followed(&self, path: &Path) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).files.contains(path)
    }

    fn forget(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changes.send_modify(|count| *count += 1);
    }
}

async fn follow(clusters: Arc<Clusters>, mut paths: mpsc::UnboundedReceiver<PathBuf>, client: Client) {
    while let Some(path) = paths.recv().await {
        let mut changed = BTreeSet::from([path]);
        tokio::time::sleep(SETTLE).await;
        while let Ok(path) = paths.try_recv() {
            changed.insert(path);
        }
        let files: Vec<String> =
            changed.iter().filter(|path| clusters.is_followed(path)).map(|path| path.display().to_string()).collect();
        if files.is_empty() {
            continue;
        }
        tracing::info!(?files, "kubeconfig changed");
        clusters.forget();
        client.send_notification::<ContextsChangedNotification>(ContextsChanged { files }).await;
    }
}
