//! Files of the pod: for each that a program asks for, a real file on this machine, in the session's [`shadow`].
//!
//! The layer asks with a path before each call; here it is decided again whose it is, the agent is asked what is
//! there now, and the shadow is brought up to that. Questions for the same path at the same time are one.

mod rules;
mod shadow;
mod tree;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use decide::files::Rule;
use decide::files::defaults::CERTIFICATES;
use link::{LinkError, read_message};
use protocol::agent::RemoteError;
use protocol::files::{Entry, FileKind, ListDirectory, Listed, LookAt, Looked, Metadata, PIECE, ReadFile};
use protocol::layer::{self, FileReply, MAX_PATH, MAX_SHADOW, Purpose};
use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

use super::host::tell;
use super::pod_files::sealed;
use super::startup::Links;
use crate::failure::{Failure, Result};
use shadow::Shadow;
use tree::Tree;

pub use rules::{Decision, FileRules, Pattern, Source};

/// Most entries of a directory.
const MAX_ENTRIES: usize = 100_000;

/// Paths of which it is remembered where they lead.
const MAX_ALIASES: usize = 65_536;

/// What a program wants of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) path: Vec<u8>,
    pub(super) follow: bool,
    pub(super) purpose: Purpose,
}

/// Where a file is; the path is the pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    path: Vec<u8>,
    may: u8,
}

/// The files of a session.
pub(super) struct Files {
    rules: FileRules,
    table: OwnedFd,
    links: Links,
    max_size: u64,
    tree: Arc<Mutex<Tree>>,
    root: Vec<u8>,
    /// Where paths led when they were looked at last: only a guess.
    aliases: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    shows: Shared<Wish, Shown>,
    fills: Shared<Vec<u8>, ()>,
    /// Paths of which the user was told that they are too large.
    too_large: Mutex<HashSet<Vec<u8>>>,
    shadow: Shadow,
}

impl Files {
    /// The files that can be the pod's by the rules, of at most `max_size` bytes.
    pub(super) fn start(session: &str, rules: FileRules, max_size: u64, links: &Links) -> Result<Self> {
        let cannot = |error: std::io::Error| Failure::system("cannot keep files of the pod", error);
        let shadow = Shadow::new(session)?;
        let tree = Tree::new(shadow.path()).map_err(cannot)?;
        let root = shadow.path().join("root").as_os_str().as_bytes().to_vec();
        if root.len() > MAX_SHADOW {
            return Err(Failure::system("cannot keep files of the pod", "the path of the runtime folder is too long"));
        }
        Ok(Self {
            table: sealed("file-rules", rules.table()).map_err(cannot)?,
            rules,
            links: links.clone(),
            max_size,
            tree: Arc::new(Mutex::new(tree)),
            root,
            aliases: Mutex::default(),
            shows: Shared::default(),
            fills: Shared::default(),
            too_large: Mutex::default(),
            shadow,
        })
    }

    /// Removes the files. Nobody asks for any more.
    pub(super) fn remove(&self) {
        self.shadow.remove();
    }

    /// What layers decide by.
    pub(super) fn rules(&self) -> layer::FileRules<'_> {
        let table = self.table.as_raw_fd() as u32;
        layer::FileRules { table, size: self.rules.table().len() as u32, shadow: &self.root }
    }

    /// Answers a layer.
    pub(super) async fn answer(&self, wish: Wish) -> Answer {
        let decision = self.rules.decide(&wish.path);
        let rule = decision.rule();
        let path = decision.path;
        match rule {
            Some(Rule::NotFound) => Answer::Failed(Errno::NOENT),
            Some(Rule::ReadWrite | Rule::ReadOnly | Rule::Read) => {
                let wish = Wish { path, ..wish };
                match self.shows.once(&wish, self.show(&wish)).await {
                    Ok(shown) => Answer::Shadow(shown.path, shown.may),
                    Err(Errno::NOENT) if self.has_no_certificates(rule, &wish.path).await => Answer::Local(wish.path),
                    Err(errno) => Answer::Failed(errno),
                }
            }
            _ if path.len() > MAX_PATH || !path.starts_with(b"/") => Answer::Failed(Errno::NAMETOOLONG),
            _ => Answer::Local(path),
        }
    }

    /// Whether a path is among those of certificates by default, and the pod has none at all.
    async fn has_no_certificates(&self, rule: Option<Rule>, path: &[u8]) -> bool {
        let folder = CERTIFICATES.as_bytes();
        if rule != Some(Rule::Read) || !path.to_ascii_lowercase().starts_with(folder) {
            return false;
        }
        let wish = Wish { path: folder.to_vec(), follow: true, purpose: Purpose::Look };
        matches!(self.look(&wish).await, Err(Errno::NOENT | Errno::NOTDIR))
    }

    /// Brings the shadow up to what the pod has at a path.
    async fn show(&self, wish: &Wish) -> Result<Shown, Errno> {
        let Looked { path, about, destination, may, content } = self.look(wish).await?;
        match (wish.purpose, about.kind) {
            (Purpose::Open, FileKind::Regular) => self.open(&path, &about, content).await?,
            (Purpose::Open | Purpose::List, FileKind::Directory) => self.list(&path, &about).await?,
            (Purpose::Open, FileKind::Fifo | FileKind::Socket) => return Err(Errno::NXIO),
            (Purpose::Open, FileKind::Device) => return Err(Errno::NODEV),
            _ => self.tree().place(&path, &about, destination.as_deref()).map_err(own_errno)?,
        }
        if about.kind != FileKind::Link {
            self.tree().tell(&path);
        }
        Ok(Shown { path, may })
    }

    async fn look(&self, wish: &Wish) -> Result<Looked, Errno> {
        let Wish { path, follow, purpose } = wish;
        let guess = lock(&self.aliases).get(path).cloned();
        let known = self.tree().content(guess.as_deref().unwrap_or(path));
        let request = LookAt { path: path.clone(), follow: *follow, content: *purpose == Purpose::Open, known };
        let looked = answered(self.links.control.call(request).await)?;
        if looked.path != *path {
            let mut aliases = lock(&self.aliases);
            if aliases.len() >= MAX_ALIASES {
                aliases.clear();
            }
            aliases.insert(path.clone(), looked.path.clone());
        }
        Ok(looked)
    }

    /// Makes the content of a regular file be there.
    async fn open(&self, path: &[u8], about: &Metadata, content: Option<Vec<u8>>) -> Result<(), Errno> {
        if about.size > self.max_size {
            self.tell_too_large(path, about.size).await;
            return Err(Errno::FBIG);
        }
        if self.tree().content(path) == Some(*about) {
            return Ok(());
        }
        match content {
            Some(content) => self.tree().write(path, about, &content).map_err(own_errno),
            None => self.fills.once(&path.to_vec(), self.fetch(path)).await,
        }
    }

    async fn fetch(&self, path: &[u8]) -> Result<(), Errno> {
        let request = ReadFile { path: path.to_vec(), limit: self.max_size };
        let (reply, mut stream) = self.links.data.open(request).await.map_err(|error| lost(&error))?;
        let about = reply.map_err(|error| remote(&error))?;
        if self.tree().content(path) == Some(about) {
            return Ok(());
        }
        let mut file = self.tree().fill(path, &about).map_err(own_errno)?;
        let filled = receive(&mut stream, &mut file).await;
        match filled {
            Ok(size) => {
                file.set_len(size).map_err(own_errno)?;
                self.tree().filled(path, &about, &file).map_err(own_errno)
            }
            Err(errno) => {
                tracing::warn!(path = %String::from_utf8_lossy(path), %errno, "a file of the pod was not read to its end");
                // A placeholder again.
                file.set_len(0).and_then(|()| file.set_len(about.size)).map_err(own_errno)?;
                Err(errno)
            }
        }
    }

    async fn list(&self, path: &[u8], about: &Metadata) -> Result<(), Errno> {
        let request = ListDirectory { path: path.to_vec() };
        let (reply, mut stream) = self.links.data.open(request).await.map_err(|error| lost(&error))?;
        reply.map_err(|error| remote(&error))?;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            match read_message::<Listed>(&mut stream).await.map_err(|_| Errno::IO)? {
                Listed::Entries(more) if entries.len() + more.len() > MAX_ENTRIES => return Err(Errno::FBIG),
                Listed::Entries(more) => entries.extend(more),
                Listed::End => break,
                Listed::Failed(errno) => return Err(Errno::from_raw_os_error(errno)),
            }
        }
        let (tree, path, about) = (self.tree.clone(), path.to_vec(), *about);
        let place = move || lock(&tree).list(&path, &about, &entries);
        tokio::task::spawn_blocking(place).await.map_err(|_| Errno::IO)?.map_err(own_errno)
    }

    async fn tell_too_large(&self, path: &[u8], size: u64) {
        if lock(&self.too_large).insert(path.to_vec()) {
            let path = String::from_utf8_lossy(path);
            let limit = format!("feature.fs.max_file_size, {} bytes", self.max_size);
            tell(format!("mirror: {path} in the pod is not read: it has {size} bytes, more than {limit}")).await;
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }
}

/// What a layer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Shadow(Vec<u8>, u8),
    Local(Vec<u8>),
    Failed(Errno),
}

impl Answer {
    pub(super) fn reply(&self) -> FileReply<'_> {
        match self {
            Self::Shadow(path, may) => FileReply::Shadow { path, may: *may },
            Self::Local(path) => FileReply::Local(path),
            Self::Failed(errno) => FileReply::Failed(errno.raw_os_error()),
        }
    }
}

/// What comes of work that is being done.
type Outcome<T> = Arc<OnceCell<Result<T, Errno>>>;

/// Work that is done once for all who ask for it while it is being done.
struct Shared<K, T> {
    running: Mutex<HashMap<K, Outcome<T>>>,
}

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, T: Clone> Shared<K, T> {
    async fn once(&self, key: &K, work: impl Future<Output = Result<T, Errno>>) -> Result<T, Errno> {
        let cell = lock(&self.running).entry(key.clone()).or_default().clone();
        let result = cell.get_or_init(|| work).await.clone();
        let mut running = lock(&self.running);
        if running.get(key).is_some_and(|current| Arc::ptr_eq(current, &cell)) {
            running.remove(key);
        }
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives a file's content; its size.
async fn receive(stream: &mut link::Stream, file: &mut File) -> Result<u64, Errno> {
    let (mut piece, mut size) = (vec![0; PIECE], 0);
    loop {
        let number = stream.read_i32_le().await.map_err(|_| Errno::IO)?;
        let length = match usize::try_from(number) {
            Ok(0) => return Ok(size),
            Ok(length) if length <= PIECE => length,
            Ok(_) => return Err(Errno::IO),
            Err(_) => return Err(Errno::from_raw_os_error(number.checked_neg().unwrap_or(Errno::IO.raw_os_error()))),
        };
        stream.read_exact(&mut piece[..length]).await.map_err(|_| Errno::IO)?;
        file.write_all(&piece[..length]).map_err(own_errno)?;
        size += length as u64;
    }
}

fn answered<T>(reply: Result<Result<T, RemoteError>, LinkError>) -> Result<T, Errno> {
    reply.map_err(|error| lost(&error))?.map_err(|error| remote(&error))
}

fn remote(error: &RemoteError) -> Errno {
    tracing::debug!(%error, "a file of the pod");
    Errno::from_raw_os_error(error.errno)
}

fn lost(error: &LinkError) -> Errno {
    tracing::debug!(%error, "the agent was not asked for a file, or did not answer");
    Errno::IO
}

/// What went wrong with the shadow itself, such as a full disk.
fn own_errno(error: std::io::Error) -> Errno {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    tracing::warn!(%error, "cannot keep a file of the pod");
    errno
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_is_asked_for_meanwhile_is_done_once() {
        let shared = Shared::default();
        let runs = std::cell::Cell::new(0);
        let work = || async {
            runs.set(runs.get() + 1);
            tokio::task::yield_now().await;
            Ok(runs.get())
        };
        let (first, second) = tokio::join!(shared.once(&"a", work()), shared.once(&"a", work()));
        assert_eq!((first, second, runs.get()), (Ok(1), Ok(1), 1));
        assert_eq!(shared.once(&"a", work()).await, Ok(2));
        assert!(lock(&shared.running).is_empty());
    }
}
