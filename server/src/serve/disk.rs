//! Files that are followed on disk: kubeconfigs, and the configurations of sessions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{broadcast, mpsc};

/// How long changes of a file are collected: editors and tools write in several steps.
const SETTLE: Duration = Duration::from_millis(150);

/// Changes that a slow listener may be behind.
const BEHIND: usize = 64;

/// Files that have changed together.
pub(super) type Changed = Arc<BTreeSet<PathBuf>>;

/// The files.
pub(super) struct Disk {
    followed: Mutex<Followed>,
    changes: broadcast::Sender<Changed>,
}

struct Followed {
    watcher: Option<RecommendedWatcher>,
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Disk {
    /// Begins without any.
    pub(super) fn start() -> Arc<Self> {
        let (changed, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event.map_err(|error| tracing::warn!(%error, "files are not followed"))
                && !matches!(event.kind, notify::EventKind::Access(_))
            {
                event.paths.into_iter().for_each(|path| drop(changed.send(path)));
            }
        });
        let watcher = watcher.map_err(|error| tracing::warn!(%error, "no file is followed on disk")).ok();
        let followed = Followed { watcher, files: BTreeSet::new(), folders: BTreeSet::new() };
        let disk = Arc::new(Self { followed: Mutex::new(followed), changes: broadcast::Sender::new(BEHIND) });
        tokio::spawn(collect(disk.clone(), changes));
        disk
    }

    /// Follows a file, which need not be there.
    pub(super) fn follow(&self, file: PathBuf) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        // Files are replaced, so their folders are watched.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        if followed.files.insert(file) && followed.folders.insert(folder.clone()) {
            let watched = followed.watcher.as_mut().map(|watcher| watcher.watch(&folder, RecursiveMode::NonRecursive));
            if let Some(Err(error)) = watched {
                tracing::info!(folder = %folder.display(), %error, "a file is not followed on disk");
            }
        }
    }

    /// What changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    fn is_followed(&self, path: &Path) -> bool {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).files.contains(path)
    }
}

async fn collect(disk: Arc<Disk>, mut paths: mpsc::UnboundedReceiver<PathBuf>) {
    while let Some(path) = paths.recv().await {
        let mut changed = BTreeSet::from([path]);
        tokio::time::sleep(SETTLE).await;
        while let Ok(path) = paths.try_recv() {
            changed.insert(path);
        }
        changed.retain(|path| disk.is_followed(path));
        if !changed.is_empty() {
            tracing::info!(?changed, "files changed on disk");
            // Nobody may be listening.
            disk.changes.send(Arc::new(changed)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replaced_and_new_files_are_told_others_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let disk = Disk::start();
        ["a", "b"].into_iter().for_each(|name| disk.follow(path(name)));
        let mut changes = disk.changes();
        std::fs::write(path("other"), "1").expect("written");
        std::fs::write(path("new"), "1").expect("written");
        std::fs::rename(path("new"), path("b")).expect("renamed");
        assert_eq!(*changes.recv().await.expect("told"), BTreeSet::from([path("b")]));
        std::fs::write(path("a"), "1").expect("written");
        assert_eq!(*changes.recv().await.expect("told"), BTreeSet::from([path("a")]));
    }
}
