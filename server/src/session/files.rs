//! Files of the pod: for each that a program asks for, a real file on this machine, in the session's [`shadow`].
//!
//! The layer asks with a path before each call; here it is decided again whose it is, the agent is asked what is
//! there now, and the shadow is brought up to that. Questions for the same path at the same time are one.

mod ahead;
mod changes;
mod content;
mod follow;
mod large;
mod rules;
mod sent;
mod shadow;
mod shared;
mod tree;
mod writing;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use decide::files::Rule;
use decide::files::defaults::CERTIFICATES;
use link::{LinkError, read_message};
use protocol::agent::RemoteError;
use protocol::files::{Entry, FileKind, ListDirectory, Listed, LookAt, Looked, Metadata, OpenFile, Opening, ReadFile};
use protocol::layer::{self, FileReply, MAX_PATH, MAX_SHADOW, Purpose, SHADOW};
use rustix::io::Errno;

use super::host::tell;
use super::pod_files::sealed;
use super::startup::Links;
use crate::failure::{Failure, Result};
use ahead::Ahead;
use content::receive;
use follow::Followed;
use large::Large;
use shadow::Shadow;
use shared::Shared;
use tree::Tree;
use writing::Writing;

pub(super) use changes::ChangeAnswer;
pub use rules::{Decision, FileRules, Pattern, Source};

/// Most entries of a directory.
const MAX_ENTRIES: usize = 100_000;

/// What one may do with a directory whose entries one may look at, as the last digit of a mode.
const SEARCH: u8 = 1;

/// How often a file that is changing in the pod is looked at until it is what is here.
const ATTEMPTS: usize = 5;

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
pub(super) struct Shown {
    path: Vec<u8>,
    may: u8,
    large: bool,
}

/// The files of a session.
pub(super) struct Files {
    rules: FileRules,
    table: OwnedFd,
    links: Links,
    max_size: u64,
    tree: Arc<Mutex<Tree>>,
    large: Large,
    writing: Arc<Writing>,
    ahead: Arc<Ahead>,
    followed: Arc<Followed>,
    written_on: Option<u64>,
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
        let root = shadow.path().join(SHADOW).as_os_str().as_bytes().to_vec();
        if root.len() > MAX_SHADOW {
            return Err(Failure::system("cannot keep files of the pod", "the path of the runtime folder is too long"));
        }
        let written_on = if rules.may_write() { Some(tree.device().map_err(cannot)?) } else { None };
        let tree = Arc::new(Mutex::new(tree));
        let ahead = Ahead::new(links, &tree);
        Ok(Self {
            table: sealed("file-rules", rules.table()).map_err(cannot)?,
            rules,
            links: links.clone(),
            max_size,
            large: Large::new(shadow.path(), links),
            writing: Writing::start(links, &tree, &ahead, max_size),
            followed: Followed::start(links, &tree, &ahead, max_size),
            ahead,
            tree,
            written_on,
            root,
            aliases: Mutex::default(),
            shows: Shared::default(),
            fills: Shared::default(),
            too_large: Mutex::default(),
            shadow,
        })
    }

    /// Brings the pod what was written, and removes the files. Nobody asks for any more.
    pub(super) async fn finish(&self) {
        for path in self.writing.finish().await {
            tracing::error!(path, "the pod does not have all that was written");
        }
        self.large.end();
        self.shadow.remove();
    }

    /// What layers decide by.
    pub(super) fn rules(&self) -> layer::FileRules<'_> {
        let table = self.table.as_raw_fd() as u32;
        let size = self.rules.table().len() as u32;
        layer::FileRules { table, size, shadow: &self.root, largest: self.max_size, written_on: self.written_on }
    }

    /// Answers a layer.
    pub(super) async fn answer(&self, wish: Wish) -> Answer {
        let decision = self.rules.decide(&wish.path);
        let rule = decision.rule();
        let path = decision.path;
        match rule {
            Some(Rule::NotFound) => Answer::Failed(Errno::NOENT),
            Some(rule) if !rule.is_local(wish.purpose.changes()) => {
                let wish = Wish { path, ..wish };
                match self.shown(rule, &wish).await {
                    Ok(shown) => Answer::Shadow { shown, writable: rule == Rule::ReadWrite },
                    Err(Errno::NOENT) if self.has_no_certificates(rule, &wish.path).await => Answer::Local(wish.path),
                    Err(errno) => Answer::Failed(errno),
                }
            }
            _ if path.len() > MAX_PATH || !path.starts_with(b"/") => Answer::Failed(Errno::NAMETOOLONG),
            _ => Answer::Local(path),
        }
    }

    /// Brings the shadow up to what a program wants of a path of the pod's.
    async fn shown(&self, rule: Rule, wish: &Wish) -> Result<Shown, Errno> {
        match wish.purpose {
            Purpose::Write(how) if rule == Rule::ReadWrite => self.write(&wish.path, how).await,
            Purpose::Write(how) => self.show_unwritten(wish.path.clone(), how).await,
            Purpose::Change => self.show_once(Wish { purpose: Purpose::Look, ..wish.clone() }).await,
            Purpose::Look | Purpose::Open | Purpose::List => self.show_once(wish.clone()).await,
        }
    }

    /// Whether a path is among those of certificates by default, and the pod has none at all.
    async fn has_no_certificates(&self, rule: Rule, path: &[u8]) -> bool {
        let folder = CERTIFICATES.as_bytes();
        if rule != Rule::Read || !path.to_ascii_lowercase().starts_with(folder) {
            return false;
        }
        let wish = Wish { path: folder.to_vec(), follow: true, purpose: Purpose::Look };
        matches!(self.look(&wish).await, Err(Errno::NOENT | Errno::NOTDIR))
    }

    /// Returns once the pod has what was written to a file of the session, or why it has not.
    pub(super) async fn settle(&self, inode: u64, durable: bool) -> Result<(), Errno> {
        self.writing.settle(inode, durable).await
    }

    async fn show_once(&self, wish: Wish) -> Result<Shown, Errno> {
        self.shows.once(&wish, self.show(&wish)).await
    }

    /// A file that can only be read: the layer refuses to write what is there.
    async fn show_unwritten(&self, path: Vec<u8>, how: Opening) -> Result<Shown, Errno> {
        let look = |path: &[u8], follow| Wish { path: path.to_vec(), follow, purpose: Purpose::Look };
        if how.create.is_some() && path.ends_with(b"/") {
            return Err(Errno::ISDIR);
        }
        let shown = if how.create.is_some() && how.exclusive {
            // A link is there, wherever it leads.
            self.show_once(look(&path, false)).await.and(Err(Errno::EXIST))
        } else {
            let purpose = if how.write || how.truncate { Purpose::Look } else { Purpose::Open };
            self.show_once(Wish { path: path.clone(), follow: how.follow, purpose }).await
        };
        match shown {
            Err(Errno::NOENT) if how.create.is_some() => {
                let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
                self.show_once(look(&path[..end.max(1)], true)).await.and(Err(Errno::ROFS))
            }
            shown => shown,
        }
    }

    /// Opens a file of the pod so that it is made, emptied or written.
    async fn write(&self, path: &[u8], how: Opening) -> Result<Shown, Errno> {
        let guess = lock(&self.aliases).get(path).cloned().unwrap_or_else(|| path.to_vec());
        let (is_written, known) = (self.writing.at(&guess).is_some(), self.tree().content(&guess));
        let wants = !how.truncate && (how.read || !how.append);
        // What is written here is emptied here first.
        let remote = Opening { truncate: how.truncate && !is_written, ..how };
        let request = OpenFile { path: path.to_vec(), how: remote, content: wants && how.write, known };
        let (mut opened, stream) = self.writing.open(request).await?;
        self.ahead.forget();
        self.remember(path, &opened.path);
        if !how.write {
            let emptied = self.writing.at(&opened.path).filter(|_| how.truncate);
            if let Some(writer) = emptied {
                self.writing.cut(&writer, 0).await?;
            }
            let wish = Wish { path: opened.path, follow: false, purpose: Purpose::Open };
            return self.show_once(wish).await;
        }
        let (mut stream, mut attempts) = (Some(stream), 0);
        loop {
            let opening = self.writing.opening.lock().await;
            let begun = match self.writing.at(&opened.path) {
                Some(writer) => self.writing.join(&writer, &how).await,
                None => {
                    let is_empty = how.truncate || opened.about.size == 0;
                    match is_empty {
                        true => self.tree().write(&opened.path, &opened.about, b"").map_err(own_errno)?,
                        false if wants => self.open(&opened.path, &opened.about, opened.content.take()).await?,
                        false => self.tree().place(&opened.path, &opened.about, None).map_err(own_errno)?,
                    }
                    self.writing.begin(&opened, &how, &mut stream, wants || is_empty).await
                }
            };
            drop(opening);
            attempts += 1;
            match begun {
                Err(Errno::AGAIN) if attempts < ATTEMPTS => {
                    let wish = Wish { path: opened.path.clone(), follow: false, purpose: Purpose::Look };
                    opened.about = self.look(&wish).await?.about;
                }
                Err(Errno::AGAIN) => return Err(Errno::IO),
                begun => break begun?,
            }
        }
        self.tree().tell(&opened.path);
        Ok(Shown { path: opened.path, may: opened.may, large: false })
    }

    /// Whether programs write a file, so that it is what is here. If nobody does any more and the pod has another, it is
    /// not.
    async fn is_written(&self, path: &[u8], about: &Metadata) -> bool {
        let (is_busy, known) = {
            let tree = self.tree();
            (tree.is_busy(path), tree.about(path))
        };
        is_busy && (known == Some(*about) || !self.writing.is_abandoned(path).await)
    }

    /// Brings the shadow up to what the pod has at a path.
    async fn show(&self, wish: &Wish) -> Result<Shown, Errno> {
        let Looked { path, about, destination, may, content } = self.look(wish).await?;
        if wish.purpose == Purpose::Open && about.kind == FileKind::Regular {
            self.ahead.opened(&path);
        }
        if about.kind == FileKind::Regular && self.is_written(&path, &about).await {
            if let Some(writer) = self.writing.at(&path).filter(|_| wish.purpose == Purpose::Open) {
                self.writing.fill_for_reading(&writer).await?;
            }
            self.tree().tell(&path);
            return Ok(Shown { path, may, large: false });
        }
        let large = self.is_shown_large(wish, &path, &about).await?;
        match (wish.purpose, about.kind) {
            (Purpose::Open, FileKind::Regular) if !large => self.open(&path, &about, content).await?,
            (Purpose::Open | Purpose::List, FileKind::Directory) => self.list(&path, &about, may).await?,
            (Purpose::Open, FileKind::Fifo | FileKind::Socket) => return Err(Errno::NXIO),
            (Purpose::Open, FileKind::Device) => return Err(Errno::NODEV),
            _ => self.tree().place(&path, &about, destination.as_deref()).map_err(own_errno)?,
        }
        if wish.purpose == Purpose::Open && about.kind == FileKind::Regular && !large {
            self.followed.opened(&path);
        }
        if about.kind != FileKind::Link {
            self.tree().tell(&path);
        }
        Ok(Shown { path, may, large })
    }

    /// Whether a file that is too large to be fetched is shown by parts. If it cannot be, it cannot be opened.
    async fn is_shown_large(&self, wish: &Wish, path: &[u8], about: &Metadata) -> Result<bool, Errno> {
        if about.kind != FileKind::Regular || about.size <= self.max_size {
            return Ok(false);
        }
        match self.large.place(path, about).await {
            Ok(()) => Ok(true),
            Err(reason) if wish.purpose == Purpose::Open => {
                self.tell_too_large(path, about.size, &format!(", and cannot be read by parts: {reason}")).await;
                Err(Errno::FBIG)
            }
            Err(_) => Ok(false),
        }
    }

    async fn look(&self, wish: &Wish) -> Result<Looked, Errno> {
        if let Some(looked) = self.ahead.look(wish) {
            return Ok(looked);
        }
        let Wish { path, follow, purpose } = wish;
        let guess = lock(&self.aliases).get(path).cloned();
        let known = self.tree().content(guess.as_deref().unwrap_or(path));
        let request = LookAt { path: path.clone(), follow: *follow, content: *purpose == Purpose::Open, known };
        let looked = answered(self.links.control.call(request).await)?;
        self.remember(path, &looked.path);
        Ok(looked)
    }

    /// Notes where a path leads.
    fn remember(&self, path: &[u8], leads_to: &[u8]) {
        if path == leads_to {
            return;
        }
        let mut aliases = lock(&self.aliases);
        if aliases.len() >= MAX_ALIASES {
            aliases.clear();
        }
        aliases.insert(path.to_vec(), leads_to.to_vec());
    }

    /// Makes the content of a regular file be there.
    async fn open(&self, path: &[u8], about: &Metadata, content: Option<Vec<u8>>) -> Result<(), Errno> {
        if about.size > self.max_size {
            self.tell_too_large(path, about.size, "").await;
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
        let request = ReadFile { path: path.to_vec(), limit: self.max_size, offset: 0 };
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

    async fn list(&self, path: &[u8], about: &Metadata, may: u8) -> Result<(), Errno> {
        self.ahead.listed(path);
        let changes = self.ahead.changes();
        let (came, entries) = match self.ahead.listing(path, about) {
            Some(listing) => listing,
            None => (Instant::now(), self.fetch_listing(path).await?),
        };
        let (tree, place, about) = (self.tree.clone(), path.to_vec(), *about);
        let place = move || lock(&tree).list(&place, &about, &entries);
        tokio::task::spawn_blocking(place).await.map_err(|_| Errno::IO)?.map_err(own_errno)?;
        // Who may not search a directory sees its names only; where paths are mapped, layers do not know what they mean.
        if may & SEARCH != 0 && !self.rules.has_mappings() {
            self.ahead.lease(changes, path, came);
        }
        Ok(())
    }

    async fn fetch_listing(&self, path: &[u8]) -> Result<Vec<Entry>, Errno> {
        let changes = self.ahead.changes();
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
        self.ahead.note_listing(changes, path, &entries);
        Ok(entries)
    }

    async fn tell_too_large(&self, path: &[u8], size: u64, why: &str) {
        if lock(&self.too_large).insert(path.to_vec()) {
            let path = String::from_utf8_lossy(path);
            let limit = format!("feature.fs.max_file_size, {} bytes", self.max_size);
            tell(format!("mirror: {path} in the pod is not read: it has {size} bytes, more than {limit}{why}")).await;
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }
}

/// What a layer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Shadow { shown: Shown, writable: bool },
    Local(Vec<u8>),
    Failed(Errno),
}

impl Answer {
    pub(super) fn reply(&self) -> FileReply<'_> {
        match self {
            Self::Shadow { shown: Shown { path, may, large }, writable } => {
                FileReply::Shadow { path, may: *may, large: *large, writable: *writable }
            }
            Self::Local(path) => FileReply::Local(path),
            Self::Failed(errno) => FileReply::Failed(errno.raw_os_error()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
