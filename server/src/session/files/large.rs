//! Files of the pod that are too large to be fetched whole: a file system of this session's own, next to the shadow and
//! with the same paths, that reads what is asked for (FUSE, `fuse(4)`). It is mounted once there is such a file.
//!
//! What programs have open is the file of the pod at the time of each read; if it is replaced, reading fails (`ESTALE`).
//! Nothing here may be touched by this process itself: it would wait for its own answer.

mod mount;
mod reading;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, SessionACL,
};
use protocol::files::{LookAt, Metadata};
use protocol::layer::SHADOW_LARGE;
use tokio::sync::OnceCell;

use super::{answered, lock};
use crate::session::startup::Links;
use mount::Mount;
use reading::Reading;

/// How long a file is taken to be what it was.
const FRESH: Duration = Duration::from_secs(1);

/// Most large files of a session.
const MAX_FILES: usize = 65_536;

/// The largest request of the kernel's for a file that is read in order.
const READ_AHEAD: u32 = 1 << 20;

/// All large files.
pub(super) struct Large {
    links: Links,
    place: PathBuf,
    nodes: Arc<Mutex<Nodes>>,
    mount: OnceCell<Result<Mutex<Option<Mount>>, String>>,
}

impl Large {
    /// In the folder of a session, where nothing is mounted yet.
    pub(super) fn new(folder: &Path, links: &Links) -> Self {
        let place = folder.join(SHADOW_LARGE);
        Self { links: links.clone(), place, nodes: Arc::default(), mount: OnceCell::new() }
    }

    /// Makes a file be there; or the reason why it cannot be.
    pub(super) async fn place(&self, path: &[u8], about: &Metadata) -> Result<(), String> {
        let mounted = self.mount.get_or_init(|| self.mount()).await;
        mounted.as_ref().map_err(Clone::clone)?;
        let (links, mut nodes) = (&self.links, lock(&self.nodes));
        nodes.place(path, about, || Reading::new(links, path)).ok_or_else(|| format!("there are {MAX_FILES} of them"))
    }

    async fn mount(&self) -> Result<Mutex<Option<Mount>>, String> {
        let (place, links, nodes) = (self.place.clone(), self.links.clone(), self.nodes.clone());
        let runtime = tokio::runtime::Handle::current();
        let mount = move || -> io::Result<Mount> {
            std::fs::create_dir_all(&place)?;
            let (mount, kernel) = Mount::new(&place)?;
            let files = Answering { links, nodes, runtime };
            let session = fuser::Session::from_fd(files, kernel, SessionACL::Owner, Config::default())?;
            std::thread::Builder::new().name("large-files".to_owned()).spawn(move || session.run())?;
            Ok(mount)
        };
        let mounted = tokio::task::spawn_blocking(mount).await.map_err(|error| error.to_string())?;
        let reason = |error: io::Error| error.to_string().trim().replace('\n', "; ");
        mounted.map(|mount| Mutex::new(Some(mount))).map_err(reason)
    }

    /// Unmounts. Waits for another program.
    pub(super) fn end(&self) {
        let mount = self.mount.get().and_then(|mounted| lock(mounted.as_ref().ok()?).take());
        mount.into_iter().for_each(Mount::end);
    }
}

/// Unmounts what a session has left in its folder that was killed together with what would unmount it.
pub(super) fn end_leftover(folder: &Path) {
    let place = folder.join(SHADOW_LARGE);
    if std::fs::symlink_metadata(&place).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
        mount::unmount(&place);
    }
}

/// What the kernel knows by numbers.
struct Nodes {
    by_path: HashMap<Vec<u8>, u64>,
    by_number: HashMap<u64, Node>,
    last: u64,
}

#[derive(Clone)]
enum Node {
    Directory(Vec<u8>),
    File(Arc<LargeFile>),
}

struct LargeFile {
    path: Vec<u8>,
    reading: Reading,
    state: Mutex<FileState>,
}

struct FileState {
    about: Metadata,
    seen: Instant,
    opens: usize,
}

impl Default for Nodes {
    fn default() -> Self {
        let root = INodeNo::ROOT.0;
        Self {
            by_path: HashMap::from([(Vec::new(), root)]),
            by_number: HashMap::from([(root, Node::Directory(Vec::new()))]),
            last: root,
        }
    }
}

impl Nodes {
    /// A file that is the same one as before keeps its number.
    fn place(&mut self, path: &[u8], about: &Metadata, reading: impl FnOnce() -> Reading) -> Option<()> {
        if let Some(Node::File(file)) = self.by_path.get(path).and_then(|number| self.by_number.get(number)) {
            let mut state = lock(&file.state);
            if state.about.identity == about.identity {
                (state.about, state.seen) = (*about, Instant::now());
                return Some(());
            }
        }
        if self.by_number.len() >= MAX_FILES {
            return None;
        }
        for (at, _) in path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/') {
            if !self.by_path.contains_key(&path[..at]) {
                self.add(&path[..at], Node::Directory(path[..at].to_vec()));
            }
        }
        let state = Mutex::new(FileState { about: *about, seen: Instant::now(), opens: 0 });
        self.add(path, Node::File(Arc::new(LargeFile { path: path.to_vec(), reading: reading(), state })));
        Some(())
    }

    fn add(&mut self, path: &[u8], node: Node) {
        self.last += 1;
        self.by_number.insert(self.last, node);
        self.by_path.insert(path.to_vec(), self.last);
    }

    fn below(&self, parent: u64, name: &OsStr) -> Option<(u64, Node)> {
        let Node::Directory(above) = self.by_number.get(&parent)? else { return None };
        let number = *self.by_path.get(&[above, &b"/"[..], name.as_bytes()].concat())?;
        Some((number, self.by_number.get(&number)?.clone()))
    }
}

/// Answers the kernel, on a thread of its own; what needs the pod is answered by tasks.
struct Answering {
    links: Links,
    nodes: Arc<Mutex<Nodes>>,
    runtime: tokio::runtime::Handle,
}

impl Answering {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        lock(&self.nodes)
    }

    fn node(&self, number: INodeNo) -> Option<Node> {
        self.nodes().by_number.get(&number.0).cloned()
    }

    fn file(&self, number: INodeNo) -> Option<Arc<LargeFile>> {
        match self.node(number)? {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        }
    }
}

impl LargeFile {
    /// Looks at the pod's again, unless that was just done. Another file at the path is not this one.
    async fn refresh(&self, links: &Links) {
        if lock(&self.state).seen.elapsed() < FRESH {
            return;
        }
        let request = LookAt { path: self.path.clone(), follow: false, content: false, known: None };
        let looked = answered(links.control.call(request).await);
        let mut state = lock(&self.state);
        match looked {
            Ok(looked) if looked.about.identity == state.about.identity => state.about = looked.about,
            other => tracing::debug!(?other, "a large file is not there any more"),
        }
        state.seen = Instant::now();
    }
}

/// What the kernel shows of a node.
fn attributes(number: u64, node: &Node) -> FileAttr {
    let (kind, mode, size, time) = match node {
        Node::Directory(_) => (FileType::Directory, 0o700, 0, UNIX_EPOCH),
        Node::File(file) => {
            let about = lock(&file.state).about;
            (FileType::RegularFile, super::tree::mode(&about).as_raw_mode(), about.size, time(&about))
        }
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: mode as u16,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn time(about: &Metadata) -> SystemTime {
    let (seconds, nanoseconds) = (about.modified.seconds, about.modified.nanoseconds);
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    at.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(u64::from(nanoseconds))
}

impl Filesystem for Answering {
    fn init(&mut self, _: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        // A file that has changed is read anew; requests need not wait for each other.
        for wanted in [InitFlags::FUSE_AUTO_INVAL_DATA, InitFlags::FUSE_ASYNC_READ] {
            config.add_capabilities(wanted).ok();
        }
        if let Err(most) = config.set_max_readahead(READ_AHEAD) {
            config.set_max_readahead(most).ok();
        }
        Ok(())
    }

    fn lookup(&self, _: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.nodes().below(parent.0, name) {
            // What is at a path may be another file at once, which this session is told of before the kernel asks.
            Some((number, node)) => {
                reply.entry_with_ttls(&FRESH, &Duration::ZERO, &attributes(number, &node), Generation(0));
            }
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &fuser::Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let Some(node) = self.node(number) else { return reply.error(fuser::Errno::ENOENT) };
        let links = self.links.clone();
        self.runtime.spawn(async move {
            if let Node::File(file) = &node {
                file.refresh(&links).await;
            }
            reply.attr(&FRESH, &attributes(number.0, &node));
        });
    }

    fn open(&self, _: &fuser::Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let Some(file) = self.file(number) else { return reply.error(fuser::Errno::EISDIR) };
        lock(&file.state).opens += 1;
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &fuser::Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.file(number) else { return reply.error(fuser::Errno::EISDIR) };
        let about = lock(&file.state).about;
        let part = offset..offset.saturating_add(u64::from(size)).min(about.size.max(offset));
        let answer = Box::new(move |read: Result<&[u8], rustix::io::Errno>| match read {
            Ok(bytes) => reply.data(bytes),
            Err(errno) => reply.error(fuser::Errno::from_i32(errno.raw_os_error())),
        });
        file.reading.read(&self.runtime, &about, part, answer);
    }

    fn release(
        &self,
        _: &fuser::Request,
        number: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(file) = self.file(number) {
            let mut state = lock(&file.state);
            state.opens = state.opens.saturating_sub(1);
            if state.opens == 0 {
                file.reading.rest();
            }
        }
        reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use protocol::files::{FileKind, Identity, Time};

    use super::*;

    #[test]
    fn times_before_and_after_the_epoch_are_shown() {
        for (seconds, expected) in
            [(3, UNIX_EPOCH + Duration::from_millis(3500)), (-3, UNIX_EPOCH - Duration::from_millis(2500))]
        {
            let modified = Time { seconds, nanoseconds: 500_000_000 };
            let about = Metadata {
                kind: FileKind::Regular,
                mode: 0o440,
                size: 0,
                modified,
                changed: modified,
                identity: Identity { device: 1, number: 1, born: None },
            };
            assert_eq!(time(&about), expected, "{seconds}");
        }
    }
}
