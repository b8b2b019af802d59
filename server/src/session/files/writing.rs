//! Files of the pod that programs write: what they write to the session's copies is carried to the pod.
//!
//! For each there is one file that is open in the pod, whatever becomes of its path. It is brought up to the copy when
//! a layer says that a program closes or synchronises it, which waits for that, and when the kernel says that the copy
//! has changed (`inotify(7)`), for programs that are killed and for those that never close their log.

mod watching;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::hash::RandomState;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use link::{Stream, read_message, write_message};
use protocol::files::{Edit, Flushed, Metadata, OpenFile, Opened, Opening};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use watching::is_open;

use super::ahead::Ahead;
use super::content::fetch;
use super::sent::{Changes, Sent};
use super::tree::Tree;
use super::{lock, lost, own_errno, remote};
use crate::session::readiness::watch;
use crate::session::startup::Links;

/// A program that was let in has opened the file by then.
const OPENS_WITHIN: Duration = Duration::from_secs(10);

/// All files that are written.
pub(super) struct Writing {
    links: Links,
    tree: Arc<Mutex<Tree>>,
    ahead: Arc<Ahead>,
    /// Largest file that is read.
    max_size: u64,
    hasher: RandomState,
    notices: Option<AsyncFd<OwnedFd>>,
    writers: Mutex<Writers>,
    /// Held while it is found out whether a file has a writer, so that it gets only one.
    pub(super) opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Writers {
    by_inode: HashMap<u64, Arc<Writer>>,
    by_watch: HashMap<i32, Arc<Writer>>,
    by_path: HashMap<Vec<u8>, Arc<Writer>>,
    idle: VecDeque<u64>,
}

/// One file.
pub(super) struct Writer {
    inode: u64,
    copy: File,
    watch: Option<i32>,
    books: Mutex<Books>,
    remote: tokio::sync::Mutex<Remote>,
}

struct Books {
    /// None when it was removed.
    path: Option<Vec<u8>>,
    /// Programs that were let in, and times that the kernel said that one is done.
    granted: u64,
    closed: u64,
    last_grant: Instant,
    /// What went wrong and was not told yet.
    failed: Option<Errno>,
    /// What a program was told, while it stays so.
    told: Option<Errno>,
    /// Programs that wait to be told.
    asking: usize,
    /// A program has written, and the file will be brought up to it.
    scheduled: bool,
}

struct Remote {
    /// The pod's file; none when nobody has written for long, or when it was lost.
    stream: Option<Stream>,
    sent: Sent,
    /// The copy has all that the pod has.
    whole: bool,
}

impl Writer {
    pub(super) fn path(&self) -> Option<Vec<u8>> {
        lock(&self.books).path.clone()
    }

    fn is_live(&self) -> bool {
        let books = lock(&self.books);
        books.closed < books.granted
    }

    fn grant(&self) {
        let mut books = lock(&self.books);
        books.granted += 1;
        books.last_grant = Instant::now();
    }

    /// Nobody has it open.
    fn end(&self) {
        let mut books = lock(&self.books);
        books.closed = books.granted;
    }

    /// Notes an error, unless a program was told of it; it waits for one that asks.
    fn fail(&self, errno: Errno) {
        let mut books = lock(&self.books);
        if books.told != Some(errno) {
            books.failed = Some(errno);
        }
    }

    /// While this lives, a program waits to be told how it went.
    fn asking(&self) -> impl Drop {
        struct Asking<'a>(&'a Writer);
        impl Drop for Asking<'_> {
            fn drop(&mut self) {
                lock(&self.0.books).asking -= 1;
            }
        }
        lock(&self.books).asking += 1;
        Asking(self)
    }

    /// The error that nobody was told yet, and that nobody waits for.
    fn claim(&self) -> Option<Errno> {
        let mut books = lock(&self.books);
        let nobody_asks = books.asking == 0;
        books.failed.take_if(|_| nobody_asks)
    }
}

impl Writing {
    pub(super) fn start(links: &Links, tree: &Arc<Mutex<Tree>>, ahead: &Arc<Ahead>, max_size: u64) -> Arc<Self> {
        let notices = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from);
        let notices = notices.and_then(|notices| watch(notices, Interest::READABLE)).inspect_err(|error| {
            tracing::warn!(%error, "what programs write is only seen when they close or synchronise a file");
        });
        let writing = Arc::new(Self {
            links: links.clone(),
            tree: tree.clone(),
            ahead: ahead.clone(),
            max_size,
            hasher: RandomState::new(),
            notices: notices.ok(),
            writers: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        });
        tokio::spawn(writing.clone().watch());
        writing
    }

    /// The one who writes the file at a path.
    pub(super) fn at(&self, path: &[u8]) -> Option<Arc<Writer>> {
        self.writers().by_path.get(path).cloned()
    }

    /// Whether anything is written.
    pub(super) fn is_idle(&self) -> bool {
        self.writers().by_path.is_empty()
    }

    /// Opens the pod's file.
    pub(super) async fn open(&self, request: OpenFile) -> Result<(Opened, Stream), Errno> {
        let (reply, stream) = self.links.data.open(request).await.map_err(|error| lost(&error))?;
        Ok((reply.map_err(|error| remote(&error))?, stream))
    }

    /// Lets another program write a file that has a writer.
    pub(super) async fn join(self: &Arc<Self>, writer: &Arc<Writer>, how: &Opening) -> Result<(), Errno> {
        let mut remote = writer.remote.lock().await;
        if how.truncate {
            // The change that this is to the watched copy is ours.
            writer.grant();
            Tree::cut(&writer.copy, 0).map_err(own_errno)?;
            remote.sent = Sent::emptied(how.append && remote.sent.appends());
            remote.whole = true;
        }
        let reads = how.read || !how.append;
        if reads && !remote.whole {
            self.fill(writer, &mut remote).await?;
        }
        if remote.sent.appends() && !how.append {
            remote.sent.compare_from_now(&writer.copy, &self.hasher).map_err(own_errno)?;
        }
        writer.grant();
        drop(remote);
        if how.truncate { self.sync(writer, false).await } else { Ok(()) }
    }

    /// Makes what the pod had when the first program opened the file be there.
    async fn fill(&self, writer: &Writer, remote: &mut Remote) -> Result<(), Errno> {
        let path = writer.path().ok_or(Errno::NOENT)?;
        if remote.sent.size() > self.max_size {
            return Err(Errno::FBIG);
        }
        // The watched copy is opened by us.
        writer.grant();
        let place = format!("/proc/self/fd/{}", writer.copy.as_raw_fd());
        let copy = File::options().write(true).open(place).map_err(own_errno)?;
        fetch(&self.links, &path, &copy, 0..remote.sent.size()).await?;
        remote.whole = true;
        Ok(())
    }

    /// Makes the content of a file that is written be there for a reader.
    pub(super) async fn fill_for_reading(&self, writer: &Writer) -> Result<(), Errno> {
        let mut remote = writer.remote.lock().await;
        if remote.whole { Ok(()) } else { self.fill(writer, &mut remote).await }
    }

    /// Begins with a file that is open in the pod. Its copy is there, with the content unless it is only appended to;
    /// `EAGAIN` if it is not.
    pub(super) async fn begin(
        self: &Arc<Self>,
        opened: &Opened,
        how: &Opening,
        stream: &mut Option<Stream>,
        whole: bool,
    ) -> Result<(), Errno> {
        let Opened { path, about, .. } = opened;
        let copy = lock(&self.tree).begin_writing(path, about, whole).map_err(own_errno)?;
        let inode = copy.metadata().map_err(own_errno)?.ino();
        let is_emptied = how.truncate && about.size > 0;
        let sent = match is_emptied {
            true => Sent::emptied(how.append),
            false if how.append => Sent::beginning(about.size),
            false => {
                let (copy, hasher) = (copy.try_clone().map_err(own_errno)?, self.hasher.clone());
                let hashed = tokio::task::spawn_blocking(move || Sent::all(&copy, &hasher)).await;
                hashed.map_err(|_| Errno::IO)?.map_err(own_errno)?
            }
        };
        let watch = self.notices.as_ref().and_then(|notices| {
            let place = format!("/proc/self/fd/{}", copy.as_raw_fd());
            inotify::add_watch(notices, place, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE)
                .inspect_err(|errno| tracing::warn!(%errno, "cannot watch a file that is written"))
                .ok()
        });
        let books = Books {
            path: Some(path.clone()),
            granted: 1,
            closed: 0,
            last_grant: Instant::now(),
            failed: None,
            told: None,
            asking: 0,
            scheduled: false,
        };
        let remote = tokio::sync::Mutex::new(Remote { stream: stream.take(), sent, whole });
        let writer = Arc::new(Writer { inode, copy, watch, books: Mutex::new(books), remote });
        self.add(&writer, path);
        if is_emptied { self.sync(&writer, false).await } else { Ok(()) }
    }

    fn add(&self, writer: &Arc<Writer>, path: &[u8]) {
        let mut writers = self.writers();
        if let Some(watch) = writer.watch {
            writers.by_watch.insert(watch, writer.clone());
        }
        writers.by_inode.insert(writer.inode, writer.clone());
        writers.by_path.insert(path.to_vec(), writer.clone());
    }

    /// Brings the pod's file up to what a program has written, and says what went wrong since it was said last.
    pub(super) async fn settle(&self, inode: u64, durable: bool) -> Result<(), Errno> {
        let Some(writer) = self.writers().by_inode.get(&inode).cloned() else { return Ok(()) };
        let _asking = writer.asking();
        let synced = self.sync(&writer, durable).await;
        let mut books = lock(&writer.books);
        let failed = books.failed.take();
        books.told = failed.or(synced.err());
        failed.map_or(synced, Err)
    }

    /// As [`Writing::settle`], for all at a path and below it.
    pub(super) async fn settle_within(&self, path: &[u8]) -> Result<(), Errno> {
        let within = |writers: &Writers| {
            let paths = writers.by_path.iter().filter(|(key, _)| is_within(key, path));
            paths.map(|(_, writer)| writer.inode).collect::<Vec<_>>()
        };
        let inodes = within(&self.writers());
        for inode in inodes {
            self.settle(inode, false).await?;
        }
        Ok(())
    }

    /// Brings the pod's file up to the copy.
    async fn sync(&self, writer: &Arc<Writer>, durable: bool) -> Result<(), Errno> {
        let mut remote = writer.remote.lock().await;
        if !self.is_current(writer) {
            return Ok(());
        }
        let result = self.carry(writer, &mut remote, durable).await;
        match result {
            Ok(()) => {
                let mut books = lock(&writer.books);
                books.told = None;
                // What was not there is, unless it was only appended once.
                books.failed = books.failed.filter(|_| remote.sent.appends());
            }
            Err(errno) => {
                writer.fail(errno);
                let path = writer.path().unwrap_or_default();
                tracing::warn!(path = %String::from_utf8_lossy(&path), %errno, "cannot write a file of the pod");
                lock(&self.tree).differs(&path);
                remote.sent.forget();
            }
        }
        result
    }

    /// A file that was written, closed and opened again has another writer.
    fn is_current(&self, writer: &Arc<Writer>) -> bool {
        self.writers().by_inode.get(&writer.inode).is_some_and(|current| Arc::ptr_eq(current, writer))
    }

    async fn carry(&self, writer: &Arc<Writer>, remote: &mut Remote, durable: bool) -> Result<(), Errno> {
        if remote.stream.is_none() && writer.path().is_none() {
            return Ok(());
        }
        let (mut next, mut changed) = (Some(0), durable);
        while let Some(at) = next {
            let changes = self.changes(writer, remote, at).await?;
            next = changes.next;
            if changes.edits.is_empty() {
                continue;
            }
            changed = true;
            let stream = self.stream(writer, remote).await?;
            for edit in &changes.edits {
                if write_message(stream, edit).await.is_err() {
                    remote.stream = None;
                    return Err(Errno::IO);
                }
            }
        }
        if !changed {
            return Ok(());
        }
        let flushed = self.flush(writer, remote, durable).await;
        // Also what is on its way: it may be from before.
        self.ahead.forget();
        let about = flushed?;
        let path = writer.path();
        if let Some(path) = path.filter(|path| lock(&self.tree).is_at(path, &writer.copy)) {
            let whole = remote.whole && about.size == remote.sent.size();
            lock(&self.tree).note(&path, &about, &writer.copy, whole);
        }
        Ok(())
    }

    /// What the pod does not have yet, from a place in the file on.
    async fn changes(&self, writer: &Arc<Writer>, remote: &mut Remote, at: u64) -> Result<Changes, Errno> {
        let (mut sent, copy, hasher) = (std::mem::take(&mut remote.sent), writer.clone(), self.hasher.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let changes = sent.changes(&copy.copy, at, &hasher);
            (sent, changes)
        });
        let (sent, changes) = compared.await.map_err(|_| Errno::IO)?;
        remote.sent = sent;
        changes.map_err(own_errno)
    }

    /// The pod's file, opened again where it was closed.
    async fn stream<'a>(&self, writer: &Writer, remote: &'a mut Remote) -> Result<&'a mut Stream, Errno> {
        if remote.stream.is_none() {
            let path = writer.path().filter(|path| lock(&self.tree).is_at(path, &writer.copy)).ok_or(Errno::NOENT)?;
            let how = Opening {
                follow: false,
                read: false,
                write: true,
                create: None,
                exclusive: false,
                truncate: false,
                append: remote.sent.appends(),
            };
            let (_, stream) = self.open(OpenFile { path, how, content: false, known: None }).await?;
            remote.stream = Some(stream);
        }
        remote.stream.as_mut().ok_or(Errno::IO)
    }

    async fn flush(&self, writer: &Writer, remote: &mut Remote, durable: bool) -> Result<Metadata, Errno> {
        let stream = self.stream(writer, remote).await?;
        let flushed = match write_message(stream, &Edit::Flush { durable }).await {
            Ok(()) => read_message::<Flushed>(stream).await,
            Err(error) => Err(error),
        };
        match flushed {
            Ok(flushed) => flushed.map_err(Errno::from_raw_os_error),
            Err(_) => {
                remote.stream = None;
                Err(Errno::IO)
            }
        }
    }

    /// A file was removed: what is still written to it has no place to go but the file that is open.
    pub(super) fn removed(&self, path: &[u8]) {
        let mut writers = self.writers();
        for writer in writers.by_inode.values() {
            let mut books = lock(&writer.books);
            if books.path.as_deref().is_some_and(|known| is_within(known, path)) {
                books.path = None;
            }
        }
        writers.by_path.retain(|known, _| !is_within(known, path));
    }

    /// A file or directory has another path.
    pub(super) fn renamed(&self, from: &[u8], to: &[u8]) {
        self.removed(to);
        let mut writers = self.writers();
        let moved = |path: &[u8]| is_within(path, from).then(|| [to, &path[from.len()..]].concat());
        for writer in writers.by_inode.values() {
            let mut books = lock(&writer.books);
            if let Some(new) = books.path.as_deref().and_then(moved) {
                books.path = Some(new);
            }
        }
        let known: Vec<_> = writers.by_path.keys().filter_map(|path| Some((path.clone(), moved(path)?))).collect();
        for (old, new) in known {
            if let Some(writer) = writers.by_path.remove(&old) {
                writers.by_path.insert(new, writer);
            }
        }
    }

    /// The pod's file was made shorter or longer by its path.
    pub(super) async fn cut(self: &Arc<Self>, writer: &Arc<Writer>, size: u64) -> Result<(), Errno> {
        let mut remote = writer.remote.lock().await;
        writer.grant();
        Tree::cut(&writer.copy, size).map_err(own_errno)?;
        remote.sent = if remote.sent.appends() { Sent::beginning(size) } else { Sent::emptied(false) };
        drop(remote);
        self.sync(writer, false).await
    }

    /// Whether the file at a path is another in the pod than this session has made it, and nobody here has it open.
    pub(super) async fn is_abandoned(&self, path: &[u8]) -> bool {
        let Some(writer) = self.at(path) else { return false };
        if lock(&writer.books).last_grant.elapsed() < OPENS_WITHIN {
            return false;
        }
        let copy = writer.copy.metadata().map(|copy| (copy.dev(), copy.ino())).ok();
        let open = tokio::task::spawn_blocking(move || copy.is_none_or(is_open)).await;
        if open.unwrap_or(true) || self.sync(&writer, false).await.is_err() {
            return false;
        }
        writer.end();
        self.rest(&writer).await;
        true
    }

    /// Carries everything, at the session's end; the paths that did not arrive.
    pub(super) async fn finish(&self) -> Vec<String> {
        let writers: Vec<_> = self.writers().by_path.values().cloned().collect();
        let mut failed = HashSet::new();
        for writer in writers {
            let Some(path) = writer.path() else { continue };
            if self.sync(&writer, false).await.is_err() {
                failed.insert(String::from_utf8_lossy(&path).into_owned());
            }
        }
        failed.into_iter().collect()
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        lock(&self.writers)
    }
}

fn is_within(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
