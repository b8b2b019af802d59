//! The shadow: files of the pod as files of this machine, at the pod's paths below one folder.
//!
//! Every name in it comes from the pod, which may be hostile. So each step below the root is taken by `openat(2)` into
//! a directory that is no link, and only a directory that a program was told of is entered. Links stand in
//! the tree to be listed and read, never to be followed: whoever follows them is told the path that they lead to in
//! the pod. A path that was told as no link never becomes one, so that no program that is about to open it is led out.

mod edits;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use protocol::files::{Entry, FileKind, Metadata, Time};
use protocol::layer::{Lease, MAX_PATH, SHADOW, SHADOW_LEASES};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chmodat, fchmod, futimens, mkdirat,
    mknodat, openat, renameat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Most files that a session shows.
const MAX_FILES: usize = 1_000_000;

/// Most directories with a lease at a time.
const MAX_LEASES: usize = 4096;

/// Longest name (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// The tree with what is known of the files in it.
pub(super) struct Tree {
    /// The pod's root.
    root: OwnedFd,
    /// What is removed waits here, and what is new is made here.
    aside: OwnedFd,
    aside_path: PathBuf,
    known: HashMap<Vec<u8>, Metadata>,
    /// Regular files whose content is there.
    filled: HashSet<Vec<u8>>,
    /// Regular files that programs write.
    busy: HashSet<Vec<u8>>,
    /// Paths that were told as no link, and the directories above them.
    told: HashSet<Vec<u8>>,
    /// The folder of leases, and the names in it.
    leases: OwnedFd,
    leased: HashSet<[u8; 16]>,
    counter: u64,
}

impl Tree {
    /// A tree in `folder`, which is empty; the pod's root is the folder `root` in it.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let make = |name: &str| -> io::Result<OwnedFd> {
            mkdirat(CWD, folder.join(name), Mode::RWXU)?;
            Ok(openat(CWD, folder.join(name), DIRECTORY, Mode::empty())?)
        };
        let (root, aside) = (make(SHADOW)?, make("aside")?);
        Ok(Self {
            root,
            aside,
            aside_path: folder.join("aside"),
            known: HashMap::new(),
            filled: HashSet::new(),
            busy: HashSet::new(),
            told: HashSet::new(),
            leases: make(SHADOW_LEASES)?,
            leased: HashSet::new(),
            counter: 0,
        })
    }

    /// The file whose content is there.
    pub(super) fn content(&self, path: &[u8]) -> Option<Metadata> {
        self.filled.contains(path).then(|| self.known.get(path).copied()).flatten()
    }

    /// Where the copy of a file can be named.
    pub(super) fn place_of(&self, path: &[u8]) -> io::Result<PathBuf> {
        let (parent, name) = parent_and_name(path).ok_or(Errno::ISDIR)?;
        check_name(name)?;
        let root = self.aside_path.with_file_name(SHADOW);
        let parent = OsStr::from_bytes(parent.strip_prefix(b"/").unwrap_or(parent));
        Ok(root.join(parent).join(OsStr::from_bytes(name)))
    }

    /// What is known of a path.
    pub(super) fn about(&self, path: &[u8]) -> Option<Metadata> {
        self.known.get(path).copied()
    }

    /// Notes that a program is told of a path as no link.
    pub(super) fn tell(&mut self, path: &[u8]) {
        let mut path = path;
        while self.told.insert(path.to_vec()) {
            path = parent_and_name(path).map_or(&b"/"[..], |(parent, _)| parent);
        }
    }

    /// Makes the file at `path` be what the pod has there; the content of a regular file is left out.
    pub(super) fn place(&mut self, path: &[u8], about: &Metadata, destination: Option<&[u8]>) -> io::Result<()> {
        let Some((parent, name)) = parent_and_name(path) else { return self.place_root(about) };
        let directory = self.directory(parent)?;
        if self.place_in(&directory, parent, name, about, destination)? {
            self.restore_times(parent);
        }
        Ok(())
    }

    fn place_root(&mut self, about: &Metadata) -> io::Result<()> {
        if self.known.insert(b"/".to_vec(), *about) != Some(*about) {
            self.restore_times(b"/");
        }
        Ok(())
    }

    /// Makes a directory have these entries and no others.
    pub(super) fn list(&mut self, path: &[u8], about: &Metadata, entries: &[Entry]) -> io::Result<()> {
        self.place(path, about, None)?;
        let directory = self.directory(path)?;
        let names: HashSet<&[u8]> = entries.iter().map(|entry| &entry.name[..]).collect();
        let mut gone = Vec::new();
        for there in Dir::read_from(&directory)? {
            let name = there?.file_name().to_bytes().to_vec();
            let is_busy = !self.busy.is_empty() && self.busy.contains(&join(path, &name));
            if !matches!(&name[..], b"." | b"..") && !names.contains(&name[..]) && !is_busy {
                gone.push(name);
            }
        }
        let mut changed = !gone.is_empty();
        for name in gone {
            self.remove(&directory, path, &name)?;
        }
        for entry in entries {
            changed |= self.place_in(&directory, path, &entry.name, &entry.about, entry.destination.as_deref())?;
        }
        if changed {
            self.restore_times(path);
        }
        Ok(())
    }

    /// Promises layers that a directory that was just listed stays as it is until then. The directory itself is not
    /// touched, see [`Tree::place_in`].
    pub(super) fn lease(&mut self, path: &[u8], lease: Lease) {
        if self.leased.len() >= MAX_LEASES {
            self.end_leases();
        }
        let Time { seconds, nanoseconds } = lease.written();
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let last_modification = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
        let name = Lease::name(path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = openat(&self.leases, OsStr::from_bytes(&name), flags, Mode::RUSR | Mode::WUSR);
        if file.is_ok_and(|file| futimens(file, &Timestamps { last_access, last_modification }).is_ok()) {
            self.leased.insert(name);
        }
    }

    /// Takes all such promises back.
    pub(super) fn end_leases(&mut self) {
        for name in self.leased.drain() {
            unlinkat(&self.leases, OsStr::from_bytes(&name), AtFlags::empty()).ok();
        }
    }

    /// The file at `path`, for its content to be written into; [`Tree::filled`] ends that. Nobody has it open: a file
    /// that was filled before makes way for a new one, so that who has the old one open keeps it.
    pub(super) fn fill(&mut self, path: &[u8], about: &Metadata) -> io::Result<File> {
        if self.filled.contains(path) {
            self.known.remove(path);
        }
        self.place(path, about, None)?;
        let (parent, name) = parent_and_name(path).ok_or(Errno::ISDIR)?;
        let directory = self.directory(parent)?;
        let name = OsStr::from_bytes(name);
        // Its mode may forbid its owner to write.
        chmodat(&directory, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        let file = openat(&directory, name, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        fchmod(&file, mode(about))?;
        Ok(file.into())
    }

    /// Notes that the content of a file of [`Tree::fill`] is there, as far as it still is the one that was meant.
    pub(super) fn filled(&mut self, path: &[u8], about: &Metadata, file: &File) -> io::Result<()> {
        futimens(file, &times(about))?;
        if self.known.get(path) == Some(about) {
            self.filled.insert(path.to_vec());
        }
        Ok(())
    }

    /// Writes the whole content of a file.
    pub(super) fn write(&mut self, path: &[u8], about: &Metadata, content: &[u8]) -> io::Result<()> {
        let mut file = self.fill(path, about)?;
        file.set_len(0)?;
        file.write_all(content)?;
        self.filled(path, about, &file)
    }

    /// Whether anything had to be changed: programs watch the change time of a directory that they read.
    fn place_in(
        &mut self,
        directory: &OwnedFd,
        parent: &[u8],
        name: &[u8],
        about: &Metadata,
        destination: Option<&[u8]>,
    ) -> io::Result<bool> {
        check_name(name)?;
        let path = join(parent, name);
        let old = self.known.get(&path).copied();
        if old == Some(*about) || (about.kind == FileKind::Regular && self.busy.contains(&path)) {
            return Ok(false);
        }
        if path.len() > MAX_PATH {
            return Err(Errno::NAMETOOLONG.into());
        }
        if self.known.len() >= MAX_FILES {
            return Err(Errno::NOSPC.into());
        }
        let os_name = OsStr::from_bytes(name);
        if about.kind == FileKind::Directory {
            self.ensure_directory(directory, parent, name)?;
            chmodat(directory, os_name, mode(about), AtFlags::empty())?;
            utimensat(directory, os_name, &times(about), AtFlags::SYMLINK_NOFOLLOW)?;
        } else {
            if about.kind == FileKind::Link && self.told.contains(&path) {
                return Err(Errno::STALE.into());
            }
            self.counter += 1;
            let new = self.counter.to_string();
            self.make(&new, about, destination)?;
            if old.is_none_or(|old| old.kind == FileKind::Directory) {
                self.remove(directory, parent, name)?;
            }
            self.filled.remove(&path);
            renameat(&self.aside, &new, directory, os_name)?;
        }
        self.known.insert(path, *about);
        Ok(true)
    }

    /// A new file aside.
    fn make(&self, new: &str, about: &Metadata, destination: Option<&[u8]>) -> io::Result<()> {
        match about.kind {
            FileKind::Link => {
                let destination = destination.filter(|destination| !destination.is_empty()).unwrap_or(b"?");
                symlinkat(OsStr::from_bytes(destination), &self.aside, new)?;
            }
            FileKind::Fifo => mknodat(&self.aside, new, FileType::Fifo, mode(about), 0)?,
            FileKind::Socket => mknodat(&self.aside, new, FileType::Socket, mode(about), 0)?,
            FileKind::Regular | FileKind::Directory | FileKind::Device => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = File::from(openat(&self.aside, new, flags, Mode::RUSR)?);
                if about.kind == FileKind::Regular {
                    file.set_len(about.size)?;
                }
                fchmod(&file, mode(about))?;
            }
        }
        Ok(utimensat(&self.aside, new, &times(about), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The directory at `path`, made where it is missing.
    fn directory(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut directory = self.root.try_clone()?;
        let mut above = b"/".to_vec();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            check_name(name)?;
            if self.ensure_directory(&directory, &above, name)? {
                self.restore_times(&above);
            }
            directory = openat(&directory, OsStr::from_bytes(name), DIRECTORY, Mode::empty())?;
            above = join(&above, name);
        }
        Ok(directory)
    }

    /// Whether it had to be made.
    fn ensure_directory(&mut self, directory: &OwnedFd, parent: &[u8], name: &[u8]) -> io::Result<bool> {
        let os_name = OsStr::from_bytes(name);
        match mkdirat(directory, os_name, Mode::RWXU) {
            Err(Errno::EXIST) if openat(directory, os_name, DIRECTORY, Mode::empty()).is_ok() => return Ok(false),
            Err(Errno::EXIST) => {
                self.remove(directory, parent, name)?;
                mkdirat(directory, os_name, Mode::RWXU)?;
            }
            made => made?,
        }
        Ok(true)
    }

    /// Takes whatever stands there away, with all that is known of it.
    fn remove(&mut self, directory: &OwnedFd, parent: &[u8], name: &[u8]) -> io::Result<()> {
        let path = join(parent, name);
        let os_name = OsStr::from_bytes(name);
        self.filled.remove(&path);
        self.busy.remove(&path);
        let known = self.known.remove(&path);
        match unlinkat(directory, os_name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            Err(Errno::NOENT) => return Ok(()),
            removed => return Ok(removed?),
        }
        if known.is_some() || self.known.keys().any(|key| is_below(key, &path)) {
            self.known.retain(|key, _| !is_below(key, &path));
            self.filled.retain(|key| !is_below(key, &path));
            self.busy.retain(|key| !is_below(key, &path));
        }
        self.counter += 1;
        let old = self.counter.to_string();
        renameat(directory, os_name, &self.aside, &old)?;
        std::fs::remove_dir_all(self.aside_path.join(old))
    }

    /// A directory has the pod's times, whatever we have just put into it.
    fn restore_times(&self, path: &[u8]) {
        let Some(about) = self.known.get(path) else { return };
        utimensat(&self.root, relative(path), &times(about), AtFlags::SYMLINK_NOFOLLOW).ok();
    }
}

/// A path from the root on.
fn relative(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(path.strip_prefix(b"/").filter(|path| !path.is_empty()).unwrap_or(b"."))
}

/// How directories are opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Splits an absolute path that has no slash at its end; none for the root.
fn parent_and_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().rposition(|byte| *byte == b'/')?;
    let name = path.get(at + 1..).filter(|name| !name.is_empty())?;
    Some((if at == 0 { b"/" } else { &path[..at] }, name))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let parent = parent.strip_suffix(b"/").unwrap_or(parent);
    [parent, b"/", name].concat()
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// A name that a kernel would not give is none.
fn check_name(name: &[u8]) -> io::Result<()> {
    let bad = name.is_empty() || name.len() > MAX_NAME || matches!(name, b"." | b"..");
    if bad || name.iter().any(|byte| matches!(byte, b'/' | 0)) { Err(Errno::IO.into()) } else { Ok(()) }
}

/// The pod's permissions. The owner here must be able to read what the pod's user may read, and we to make entries.
pub(super) fn mode(about: &Metadata) -> Mode {
    let more = match about.kind {
        FileKind::Directory => Mode::RWXU,
        _ if about.mode & 0o444 != 0 => Mode::RUSR,
        _ => Mode::empty(),
    };
    // Nobody's rights on this machine come from the pod.
    (Mode::from_raw_mode(u32::from(about.mode)) | more) & !(Mode::SUID | Mode::SGID)
}

fn times(about: &Metadata) -> Timestamps {
    let Time { seconds, nanoseconds } = about.modified;
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access, last_modification: Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) } }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use protocol::files::Identity;

    use super::*;

    pub(super) fn about(kind: FileKind, size: u64, inode: u64) -> Metadata {
        let time = Time { seconds: 1_700_000_000, nanoseconds: 5 };
        let mode = if kind == FileKind::Directory { 0o755 } else { 0o640 };
        let identity = Identity { device: 1, number: inode, born: None };
        Metadata { kind, mode, size, modified: time, changed: time, identity }
    }

    pub(super) fn entry(name: &[u8], kind: FileKind, destination: Option<&[u8]>) -> Entry {
        Entry { name: name.to_vec(), about: about(kind, 3, 9), destination: destination.map(<[u8]>::to_vec), may: 7 }
    }

    pub(super) fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = Tree::new(folder.path()).expect("a tree");
        (folder, tree)
    }

    #[test]
    fn a_file_looks_as_in_the_pod_and_its_inode_stays_when_it_is_filled() {
        let (folder, mut tree) = tree();
        let path = folder.path().join("root/app/config.yaml");
        let file = about(FileKind::Regular, 7, 1);
        tree.place(b"/app/config.yaml", &file, None).expect("placed");
        let seen = fs::metadata(&path).expect("there");
        assert_eq!((seen.len(), seen.mode() & 0o7777, seen.mtime(), seen.mtime_nsec()), (7, 0o640, 1_700_000_000, 5));
        assert_eq!(tree.content(b"/app/config.yaml"), None);
        tree.write(b"/app/config.yaml", &file, b"a: one\n").expect("written");
        assert_eq!(fs::read(&path).expect("reads"), b"a: one\n");
        let filled = fs::metadata(&path).expect("there");
        assert_eq!((filled.ino(), filled.mtime(), filled.mode()), (seen.ino(), seen.mtime(), seen.mode()));
        assert_eq!(tree.content(b"/app/config.yaml"), Some(file));
        let mut open = File::open(&path).expect("opens");
        let newer = about(FileKind::Regular, 3, 2);
        tree.write(b"/app/config.yaml", &newer, b"b\n\n").expect("written");
        let mut text = String::new();
        io::Read::read_to_string(&mut open, &mut text).expect("reads");
        assert_eq!(text, "a: one\n", "who has it open keeps it");
        assert_eq!(fs::read(&path).expect("reads"), b"b\n\n");
    }

    #[test]
    fn a_directory_has_the_pods_entries_and_no_others() {
        let (folder, mut tree) = tree();
        let directory = about(FileKind::Directory, 0, 4);
        let names: [&[u8]; 3] = [b"plain", b"\xff \n", b"sub"];
        let kinds = [FileKind::Regular, FileKind::Fifo, FileKind::Directory];
        let entries: Vec<_> = names.iter().zip(kinds).map(|(name, kind)| entry(name, kind, None)).collect();
        tree.list(b"/data", &directory, &entries).expect("listed");
        let changed =
            || fs::metadata(folder.path().join("root/data")).map(|seen| (seen.ctime(), seen.ctime_nsec())).ok();
        let before = changed();
        tree.list(b"/data", &directory, &entries).expect("listed");
        tree.write(b"/data/plain", &entries[0].about, b"abc").expect("written");
        assert_eq!(changed(), before, "what changes nothing in a directory leaves it alone");
        tree.place(b"/data/sub/deep", &about(FileKind::Regular, 1, 5), None).expect("placed");
        let shown = |folder: &Path| {
            let names = fs::read_dir(folder).expect("reads").map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<_> = names.map(|name| name.as_bytes().to_vec()).collect();
            names.sort();
            names
        };
        let data = folder.path().join("root/data");
        assert_eq!(shown(&data), [b"plain".to_vec(), b"sub".to_vec(), b"\xff \n".to_vec()]);
        assert_eq!(fs::metadata(&data).expect("there").mtime(), 1_700_000_000);
        tree.place(b"/data/new/deep/file", &about(FileKind::Regular, 1, 6), None).expect("placed");
        assert_eq!(fs::metadata(&data).expect("there").mtime(), 1_700_000_000, "also by what is far below");
        tree.list(b"/data", &directory, &[entry(b"plain", FileKind::Link, Some(b"/etc/passwd"))]).expect("listed");
        assert_eq!(shown(&data), [b"plain".to_vec()]);
        assert_eq!(fs::read_link(data.join("plain")).expect("a link"), Path::new("/etc/passwd"));
        assert_eq!(shown(&folder.path().join("aside")), [b""; 0]);
    }

    #[test]
    fn hostile_names_and_links_never_lead_out() {
        let (folder, mut tree) = tree();
        let outside = tempfile::tempdir().expect("a folder");
        let file = about(FileKind::Regular, 1, 1);
        for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0", &[b'x'; 256]] {
            let listed = tree.list(b"/", &about(FileKind::Directory, 0, 2), &[entry(name, FileKind::Regular, None)]);
            assert!(listed.is_err(), "{name:?}");
        }
        for path in [&b"/../x"[..], b"/a/../../x", b"/a/./x", b"relative/..", b"/.."] {
            assert!(tree.place(path, &file, None).is_err(), "{}", path.escape_ascii());
        }
        // A link where a directory is to be makes way for it.
        let link = outside.path().as_os_str().as_bytes();
        tree.place(b"/app", &about(FileKind::Link, 1, 3), Some(link)).expect("placed");
        tree.write(b"/app/x", &file, b"x").expect("written");
        assert_eq!(fs::read(folder.path().join("root/app/x")).expect("reads"), b"x");
        assert_eq!(fs::read_dir(outside.path()).expect("reads").count(), 0);
        // What was told as no link becomes none, nor does what is above it.
        tree.tell(b"/app/x");
        for path in [&b"/app/x"[..], b"/app"] {
            let placed = tree.place(path, &about(FileKind::Link, 1, 7), Some(link));
            assert_eq!(placed.expect_err("refused").raw_os_error(), Some(Errno::STALE.raw_os_error()));
        }
    }

    #[test]
    fn rights_of_the_pod_give_nobody_more_here() {
        let with = |mode| Metadata { mode, ..about(FileKind::Regular, 0, 0) };
        assert_eq!(mode(&with(0o6755)).as_raw_mode(), 0o755);
        assert_eq!(mode(&with(0o040)).as_raw_mode(), 0o440);
        assert_eq!(mode(&with(0)).as_raw_mode(), 0);
        assert_eq!(mode(&Metadata { mode: 0o555, ..about(FileKind::Directory, 0, 0) }).as_raw_mode(), 0o755);
    }
}
