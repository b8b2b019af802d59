//! Reads and writes files as a container sees them: below its root directory, links resolved inside it.

mod ahead;
mod answers;
mod changes;
mod described;
mod rights;
mod writing;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use protocol::agent::POD_FILES;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;

pub(crate) use ahead::read_ahead;
pub(crate) use answers::{list_directory, look_at, read_file};
pub(crate) use changes::change_path;
pub(crate) use writing::open_file;

/// Links that one path may lead through (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// How often `openat2` is asked while anything is renamed on the machine (`EAGAIN`).
const TRIES: usize = 3;

/// How a file is made: what was put there meanwhile is not waited for.
const CREATE: OFlags = OFlags::CREATE.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Longest file of which a copy is kept, in bytes.
const MAX_COPY: u64 = 1 << 20;

/// A root directory, which goes on meaning the same one when its process is replaced.
#[derive(Debug)]
pub(crate) struct Root {
    directory: RefCell<OwnedFd>,
    /// The folder under `/proc` of the process whose root it is; none where that cannot end.
    process: RefCell<Option<OwnedFd>>,
    /// The files that are read again and again, as they were at the beginning. They are what is read once the mounts
    /// are gone, and until there is another root.
    copies: RefCell<HashMap<&'static str, Vec<u8>>>,
}

impl Root {
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::with(open_root(CWD, path.as_ref())?, None)
    }

    /// The root of a process, by its folder under `/proc`.
    pub(crate) fn of_process(folder: OwnedFd) -> io::Result<Self> {
        Self::with(open_root(folder.as_fd(), Path::new("root"))?, Some(folder))
    }

    fn with(directory: OwnedFd, process: Option<OwnedFd>) -> io::Result<Self> {
        let root = Self { directory: directory.into(), process: process.into(), copies: RefCell::default() };
        root.copies.replace(root.copy());
        if root.has_mounts() { Ok(root) } else { Err(Errno::SRCH.into()) }
    }

    /// The root of another process takes the place of this one.
    pub(crate) fn follow(&self, folder: OwnedFd) -> io::Result<()> {
        let Self { directory, process, copies } = Self::of_process(folder)?;
        self.directory.swap(&directory);
        self.process.swap(&process);
        self.copies.swap(&copies);
        Ok(())
    }

    fn copy(&self) -> HashMap<&'static str, Vec<u8>> {
        let files = POD_FILES.map(|path| path.trim_start_matches('/'));
        files.into_iter().filter_map(|path| Some((path, self.read_now(path, MAX_COPY).ok()?))).collect()
    }

    fn has_mounts(&self) -> bool {
        self.process.borrow().as_ref().is_none_or(has_mounts)
    }

    /// Contents of a regular file of at most `limit` bytes; `path` is relative to the root. Without the mounts there
    /// are those of [`POD_FILES`] only.
    pub(crate) fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let read = self.read_now(path, limit);
        if self.has_mounts() {
            return read;
        }
        let copies = self.copies.borrow();
        copies.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn read_now(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let file = File::from(self.open_file(path)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > limit {
            return Err(io::Error::other(format!("/{path} is no regular file of at most {limit} bytes")));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The path below the root of what a descriptor of [`Root::open_path`] names, and that of the root itself where it
    /// is shown with one.
    fn path_of(&self, descriptor: &OwnedFd) -> io::Result<Vec<u8>> {
        let shown = |descriptor: &OwnedFd| {
            let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
            Ok::<_, Errno>(readlinkat(CWD, link, Vec::new())?.into_bytes())
        };
        let (root, path) = (shown(&self.directory.borrow())?, shown(descriptor)?);
        let root = root.strip_suffix(b"/").unwrap_or(&root);
        let below = path.strip_prefix(root).ok_or(Errno::XDEV)?;
        Ok(if below.is_empty() { b"/".to_vec() } else { below.to_vec() })
    }

    /// As [`Root::open_path`]; a link at the end of the path is not followed.
    fn open_link(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW)
    }

    /// What is at a path of the root, only to be named by it; `path` is meant from the root in any case.
    pub(crate) fn open_path(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH | OFlags::CLOEXEC)
    }

    /// Makes a file at `path` unless there is one; whoever calls it has looked already.
    fn create(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.open_or_make(path, flags | CREATE, mode)
    }

    fn open_file(&self, path: &str) -> io::Result<OwnedFd> {
        // Not blocking: whoever owns the container may have put a FIFO there.
        self.open_with(path.as_bytes(), OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    fn open_with(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        self.open_or_make(path, flags, Mode::empty())
    }

    fn open_or_make(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let tried = || openat2(&*self.directory.borrow(), path, flags, mode, ResolveFlags::IN_ROOT);
        let opened = (0..TRIES).map(|_| tried()).find(|opened| !matches!(opened, Err(Errno::AGAIN)));
        match opened.unwrap_or(Err(Errno::AGAIN)) {
            Err(errno) if is_for_hand(errno) => self.walk(path, flags, mode),
            opened => Ok(opened?),
        }
    }

    /// `openat2(RESOLVE_IN_ROOT)` by hand, one component after the other. Directories that are left by `..`
    /// are remembered instead of asked for, so that a rename meanwhile cannot lead outside.
    fn walk(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let makes = flags.contains(OFlags::CREATE);
        let names_folder = matches!(path.rsplit(|byte| *byte == b'/').next(), Some(b"" | b"."));
        if makes && names_folder {
            return Err(Errno::ISDIR.into());
        }
        // `O_EXCL` sees the link itself, as `O_NOFOLLOW` does.
        let kept = flags.intersects(OFlags::NOFOLLOW | OFlags::EXCL) && !names_folder;
        let flags = if names_folder { flags | OFlags::DIRECTORY } else { flags };
        let mut ahead: VecDeque<OsString> = components(path).collect();
        let mut above = vec![self.directory.borrow().try_clone()?];
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let here = above.last().ok_or(Errno::NOENT)?;
            match readlinkat(here, &name, Vec::new()) {
                Ok(_) if ahead.is_empty() && kept => return Ok(openat(here, &name, flags | OFlags::NOFOLLOW, mode)?),
                Ok(_) if links == MAX_LINKS => return Err(Errno::LOOP.into()),
                Ok(destination) => {
                    links += 1;
                    if destination.as_bytes().starts_with(b"/") {
                        above.truncate(1);
                    }
                    components(destination.as_bytes()).rev().for_each(|name| ahead.push_front(name));
                }
                Err(errno) if errno == Errno::INVAL || makes && errno == Errno::NOENT && ahead.is_empty() => {
                    let is_last = ahead.is_empty();
                    let how = if is_last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
                    match openat(here, &name, how | OFlags::NOFOLLOW, mode) {
                        // Somebody has just put a link there.
                        opened if !(is_last && kept) && links < MAX_LINKS && is_of_link(here, &name, &opened) => {
                            links += 1;
                            ahead.push_front(name);
                        }
                        opened if is_last => return Ok(opened?),
                        opened => above.push(opened?),
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        match above.pop() {
            // The root, or what `..` at the end leads to.
            Some(directory) if flags.contains(OFlags::PATH) => Ok(directory),
            _ => Err(Errno::ISDIR.into()),
        }
    }
}

/// Whether what was opened without following links, or could not be, is a link.
fn is_of_link(directory: &OwnedFd, name: &OsStr, opened: &Result<OwnedFd, Errno>) -> bool {
    match opened {
        Ok(descriptor) => readlinkat(descriptor, "", Vec::new()).is_ok(),
        Err(Errno::LOOP | Errno::NOTDIR) => readlinkat(directory, name, Vec::new()).is_ok(),
        Err(_) => false,
    }
}

/// Whether `openat2` leaves a path to [`Root::walk`]: kernels before 5.6, seccomp filters that do not know the call, and a
/// `..` while anything was renamed on the machine (`EAGAIN`), of which the kernel cannot tell whether it leads outside.
fn is_for_hand(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM | Errno::AGAIN)
}

fn open_root(directory: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, path, flags, Mode::empty())?)
}

/// Whether what a process of a container has mounted is still there; `folder` is that of the process under `/proc`.
///
/// When the last process of a mount namespace ends, its mounts come apart, and a path below the root leads to what
/// they covered: the image's `/etc/resolv.conf` instead of the pod's. A process loses its namespaces before that, and
/// only later does it tell that it has ended (`exit_task_namespaces`, `exit_notify` in Linux's `do_exit`). So what was
/// found before this says "yes" is the container's.
pub(crate) fn has_mounts(folder: &OwnedFd) -> bool {
    readlinkat(folder, "ns/mnt", Vec::new()).is_ok()
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| OsStr::from_bytes(name).to_owned()).map(|name| OsString::from_vec(name.into_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_never_lead_out_of_the_root_with_or_without_the_system_call() {
        let outside = tempfile::tempdir().expect("creates");
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("etc/real")).expect("creates");
        std::fs::create_dir_all(root.join("run")).expect("creates");
        std::fs::write(outside.path().join("secret"), "outside").expect("writes");
        std::fs::write(root.join("secret"), "inside").expect("writes");
        std::fs::write(root.join("run/resolv"), "stub").expect("writes");
        for (link, destination) in [
            ("etc/absolute", "/run/resolv"),
            ("etc/relative", "../run/resolv"),
            ("etc/up", "../../../secret"),
            ("etc/real/deep", "../../../../../secret"),
            ("etc/folder", "/run"),
            ("etc/chain", "absolute"),
            ("etc/loop", "loop"),
            ("etc/broken", "/nowhere"),
        ] {
            symlink(destination, root.join(link)).expect("links");
        }
        let root = Root::open(&root).expect("opens");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let by_hand = |path: &str| {
            let mut text = String::new();
            File::from(root.walk(path.as_bytes(), flags, Mode::empty())?).read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        let by_call = |path| root.read(path, 100).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        for (path, expected) in [
            ("secret", Ok("inside")),
            ("./etc//absolute", Ok("stub")),
            ("etc/relative", Ok("stub")),
            ("etc/up", Ok("inside")),
            ("etc/real/deep", Ok("inside")),
            ("../../secret", Ok("inside")),
            ("etc/folder/resolv", Ok("stub")),
            ("etc/chain", Ok("stub")),
            ("etc/loop", Err(Errno::LOOP)),
            ("etc/broken", Err(Errno::NOENT)),
            ("etc/none/such", Err(Errno::NOENT)),
            ("secret/below", Err(Errno::NOTDIR)),
            ("secret/", Err(Errno::NOTDIR)),
            ("etc/chain/.", Err(Errno::NOTDIR)),
        ] {
            let expected = expected.map(str::to_owned).map_err(|errno| Some(errno.raw_os_error()));
            assert_eq!(by_call(path).map_err(|error| error.raw_os_error()), expected, "{path}");
            assert_eq!(by_hand(path).map_err(|error| error.raw_os_error()), expected, "{path} by hand");
        }
    }

    #[test]
    fn files_are_made_inside_the_root_with_or_without_the_system_call() {
        let make = |path: &str, flags: OFlags, by_hand: bool| {
            let outside = tempfile::tempdir().expect("creates");
            let folder = outside.path().join("root");
            std::fs::create_dir_all(folder.join("dir")).expect("creates");
            for (link, destination) in [
                ("made", "../../file"),
                ("far", "/dir/file"),
                ("lost", "/none/file"),
                ("loop", "loop"),
                ("up", "/dir/../../.."),
            ] {
                symlink(destination, folder.join("dir").join(link)).expect("links");
            }
            let root = Root::open(&folder).expect("opens");
            let (path, flags, mode) = (path.as_bytes(), OFlags::WRONLY | flags, Mode::from_raw_mode(0o600));
            let made = if by_hand { root.walk(path, flags | CREATE, mode) } else { root.create(path, flags, mode) };
            made.map(|made| (root.path_of(&made).expect("a path"), rustix::fs::fstat(&made).expect("stats").st_mode))
                .map_err(|error| error.raw_os_error())
        };
        let (follow, kept, exclusive) = (OFlags::empty(), OFlags::NOFOLLOW, OFlags::EXCL);
        for (path, flags, expected) in [
            ("/file", follow, Ok("/file")),
            ("/dir/../../file", exclusive, Ok("/file")),
            ("/dir/made", follow, Ok("/file")),
            ("/dir/far", follow, Ok("/dir/file")),
            ("/dir/made", kept, Err(Errno::LOOP)),
            ("/dir/made", exclusive, Err(Errno::EXIST)),
            ("/dir/lost", follow, Err(Errno::NOENT)),
            ("/dir/loop", follow, Err(Errno::LOOP)),
            ("/none/file", follow, Err(Errno::NOENT)),
            ("/file/", follow, Err(Errno::ISDIR)),
            ("/dir", follow, Err(Errno::ISDIR)),
            ("/dir", exclusive, Err(Errno::EXIST)),
            ("/dir/up", follow, Err(Errno::ISDIR)),
        ] {
            let expected = expected.map(|path| (path.as_bytes().to_vec(), 0o100_600));
            let expected = expected.map_err(|errno| Some(errno.raw_os_error()));
            assert_eq!(make(path, flags, false), expected, "{path} {flags:?}");
            assert_eq!(make(path, flags, true), expected, "{path} {flags:?} by hand");
        }
    }

    #[test]
    fn ways_up_are_found_while_others_rename() {
        let folder = tempfile::tempdir().expect("creates");
        std::fs::create_dir_all(folder.path().join("root/a/b")).expect("creates");
        std::fs::write(folder.path().join("root/file"), "inside").expect("writes");
        std::fs::write(folder.path().join("one"), "").expect("writes");
        let root = Root::open(folder.path().join("root")).expect("opens");
        let ends = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                    std::fs::rename(folder.path().join("one"), folder.path().join("other")).expect("renames");
                    std::fs::rename(folder.path().join("other"), folder.path().join("one")).expect("renames");
                }
            });
            let found =
                (0..20_000).map(|_| root.open_path(b"a/b/../../../file").map(drop).map_err(|error| error.kind()));
            let first = found.into_iter().find(Result::is_err);
            ends.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(first, None);
        });
    }

    #[test]
    fn a_link_that_is_put_in_the_place_of_a_file_is_followed_by_hand() {
        let folder = tempfile::tempdir().expect("creates");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "").expect("writes");
        std::fs::hard_link(at("file"), at("place")).expect("links");
        let root = Root::open(folder.path()).expect("opens");
        let ends = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                    symlink("file", at("link")).expect("links");
                    std::fs::rename(at("link"), at("place")).expect("renames");
                    std::fs::write(at("other"), "").expect("writes");
                    std::fs::rename(at("other"), at("place")).expect("renames");
                }
            });
            let kind = |descriptor: OwnedFd| rustix::fs::fstat(descriptor).expect("stats").st_mode & 0o170_000;
            let mut found =
                (0..20_000).map(|_| root.walk(b"place", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map(kind));
            let other = found.find(|found| !matches!(found, Ok(0o100_000)));
            ends.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(other.is_none(), "{other:?}");
        });
    }

    #[test]
    fn what_is_no_small_regular_file_is_refused_without_blocking() {
        let folder = tempfile::tempdir().expect("creates");
        rustix::fs::mknodat(CWD, folder.path().join("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .expect("creates");
        std::fs::write(folder.path().join("large"), "12345").expect("writes");
        let root = Root::open(folder.path()).expect("opens");
        assert!(root.read("fifo", 100).is_err());
        assert!(root.read("large", 4).is_err());
        assert_eq!(root.read("large", 5).expect("reads"), b"12345");
    }

    #[test]
    fn once_the_process_has_ended_the_files_of_the_beginning_are_read_until_there_is_another_root() {
        let mut process = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
        let folder = || openat(CWD, format!("/proc/{}", process.id()), OFlags::PATH, Mode::empty()).expect("opens");
        let (first, other) = (tempfile::tempdir().expect("creates"), folder());
        std::fs::create_dir(first.path().join("etc")).expect("creates");
        let hosts = first.path().join("etc/hosts");
        std::fs::write(&hosts, "first").expect("writes");
        let root = Root::with(open_root(CWD, first.path()).expect("opens"), Some(folder())).expect("opens");
        std::fs::write(&hosts, "changed").expect("writes");
        let read = |path| root.read(path, 1 << 20).map_err(|error| error.kind());
        assert_eq!(read("etc/hosts").as_deref(), Ok(&b"changed"[..]));
        process.kill().expect("ends");
        // Not yet waited for, it is there as a zombie.
        while root.has_mounts() {
            std::thread::yield_now();
        }
        assert_eq!(read("etc/hosts").as_deref(), Ok(&b"first"[..]));
        assert_eq!(read("etc/other"), Err(io::ErrorKind::NotFound));
        process.wait().expect("its end");
        assert_eq!(read("etc/hosts").as_deref(), Ok(&b"first"[..]));
        assert!(root.follow(other).is_err(), "a process that has ended has no root");
        assert_eq!(read("etc/hosts").as_deref(), Ok(&b"first"[..]));
        root.follow(openat(CWD, "/proc/self", OFlags::PATH, Mode::empty()).expect("opens")).expect("follows");
        assert_eq!(read("etc/hosts").ok(), std::fs::read("/etc/hosts").ok());
    }

    #[test]
    fn a_socket_is_named_with_or_without_the_system_call() {
        let folder = tempfile::tempdir().expect("creates");
        let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("binds");
        symlink("/socket", folder.path().join("link")).expect("links");
        let root = Root::open(folder.path()).expect("opens");
        let inode = |descriptor: OwnedFd| rustix::fs::fstat(descriptor).expect("stats").st_ino;
        let expected = inode(root.open_path(b"socket").expect("opens"));
        assert_eq!(inode(root.open_path(b"/link").expect("opens")), expected);
        assert_eq!(inode(root.walk(b"/link", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("opens")), expected);
    }
}
