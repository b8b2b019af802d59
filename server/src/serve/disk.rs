//! Files that are followed on disk: kubeconfigs, the configurations of sessions, and what tells of sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// By where they are: a link and the file that it leads to are two places of one name.
    files: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Those that are watched.
    folders: BTreeSet<PathBuf>,
    /// Those of which every file is followed.
    whole: BTreeSet<PathBuf>,
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
        let (files, folders, whole) = Default::default();
        let followed = Followed { watcher, files, folders, whole };
        let disk = Arc::new(Self { followed: Mutex::new(followed), changes: broadcast::Sender::new(BEHIND) });
        tokio::spawn(collect(disk.clone(), changes));
        disk
    }

    /// Follows a file, which need not be there. One whose folder is not there, either, is followed once somebody asks
    /// for that again.
    pub(super) fn follow(&self, file: PathBuf) {
        let mut followed = self.locked();
        let destination = file.canonicalize().ok();
        for place in destination.into_iter().chain([file.clone()]) {
            // Files are replaced, so their folders are watched.
            let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            followed.watch(folder);
            followed.files.entry(place).or_default().insert(file.clone());
        }
    }

    /// Follows every file of a folder.
    pub(super) fn follow_all_of(&self, folder: PathBuf) {
        let mut followed = self.locked();
        followed.watch(&folder);
        followed.whole.insert(folder);
    }

    /// What changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// The followed files of which one is at a path.
    fn at(&self, path: PathBuf) -> BTreeSet<PathBuf> {
        let followed = self.locked();
        match followed.files.get(&path) {
            Some(files) => files.clone(),
            None if path.parent().is_some_and(|folder| followed.whole.contains(folder)) => BTreeSet::from([path]),
            None => BTreeSet::new(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    fn watch(&mut self, folder: &Path) {
        let Some(watcher) = self.watcher.as_mut().filter(|_| !self.folders.contains(folder)) else { return };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => _ = self.folders.insert(folder.to_owned()),
            Err(error) => tracing::debug!(folder = %folder.display(), %error, "a file is not followed on disk"),
        }
    }
}

async fn collect(disk: Arc<Disk>, mut paths: mpsc::UnboundedReceiver<PathBuf>) {
    while let Some(path) = paths.recv().await {
        let mut changed = BTreeSet::from([path]);
        tokio::time::sleep(SETTLE).await;
        while let Ok(path) = paths.try_recv() {
            changed.insert(path);
        }
        let changed: BTreeSet<PathBuf> = changed.into_iter().flat_map(|path| disk.at(path)).collect();
        if !changed.is_empty() {
            tracing::debug!(?changed, "files changed on disk");
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

    #[tokio::test]
    async fn what_a_link_leads_to_is_told_by_the_links_name_and_a_folder_may_come_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("real")).expect("created");
        std::fs::write(path("real/config"), "1").expect("written");
        std::os::unix::fs::symlink("real/config", path("link")).expect("linked");
        let disk = Disk::start();
        ["link", "later/config"].into_iter().for_each(|name| disk.follow(path(name)));
        disk.follow_all_of(path("real"));
        let mut changes = disk.changes();
        std::fs::write(path("real/config"), "2").expect("written");
        assert_eq!(*changes.recv().await.expect("told"), BTreeSet::from([path("link")]));
        std::fs::write(path("real/other"), "1").expect("written");
        assert_eq!(*changes.recv().await.expect("told"), BTreeSet::from([path("real/other")]));
        std::fs::create_dir(path("later")).expect("created");
        disk.follow(path("later/config"));
        std::fs::write(path("later/config"), "1").expect("written");
        assert_eq!(*changes.recv().await.expect("told"), BTreeSet::from([path("later/config")]));
    }
}
