//! Answers the requests of [`protocol::files`].
//!
//! Nothing here can block for long: what is no regular file or directory is named, never opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use link::{Call, MessageError, Stream, write_message};
use protocol::agent::RemoteError;
use protocol::files::{
    ENTRIES, Entry, FileKind, Identity, ListDirectory, Listed, LookAt, Looked, Metadata, PIECE, ReadFile, SMALL, Time,
};
use rustix::fs::{CWD, Dir, DirEntry, Mode, OFlags, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;

use super::Root;
use super::described::{Described, kind};
use super::rights::Rights;
use crate::dispatch::reply;
use crate::target::Target;

/// File systems of the kernel's own (`statfs(2)`): their files tell of the agent, not of the pod, and may wait.
const KERNELS: [i64; 2] = [0x9fa0, 0x6265_6572];

/// What is at the path.
pub(crate) fn look_at(root: &Root, target: Option<&Target>, request: &LookAt) -> Result<Looked, RemoteError> {
    with_rights("look at", &request.path, target, |rights| {
        let found = find(root, &request.path, request.follow)?;
        let wanted =
            request.content && found.described.about.kind == FileKind::Regular && found.described.about.size <= SMALL;
        let content = match wanted && request.known != Some(found.described.about) {
            true => Some(read_small(&found)?),
            false => None,
        };
        let destination = match found.described.about.kind {
            FileKind::Link => Some(readlinkat(&found.descriptor, "", Vec::new())?.into_bytes()),
            _ => None,
        };
        let may = found.described.may(rights);
        Ok(Looked { path: found.path, about: found.described.about, destination, may, content })
    })
}

/// Replies, and then lists.
pub(crate) async fn list_directory(
    root: &Root,
    target: Option<&Target>,
    call: Call,
    request: ListDirectory,
) -> Result<(), MessageError> {
    let opened = with_rights("list", &request.path, target, |_| {
        let found = find(root, &request.path, true)?;
        Dir::new(reopen(&found.descriptor, OFlags::RDONLY | OFlags::DIRECTORY)?)
    });
    let mut directory = match opened {
        Ok(directory) => directory,
        Err(error) => return reply::<ListDirectory>(call, &Err(error)).await,
    };
    let mut stream = call.reply::<ListDirectory>(&Ok(())).await?;
    loop {
        let listed = with_rights("list", &request.path, target, |rights| entries(&mut directory, rights));
        let listed = match listed {
            Ok(entries) if entries.is_empty() => Listed::End,
            Ok(entries) => Listed::Entries(entries),
            Err(error) => Listed::Failed(error.errno),
        };
        let goes_on = matches!(listed, Listed::Entries(_));
        write_message(&mut stream, &listed).await?;
        if !goes_on {
            return stream.shutdown().await.map_err(MessageError::Io);
        }
    }
}

/// Replies, and then sends the content.
pub(crate) async fn read_file(
    root: &Root,
    target: Option<&Target>,
    call: Call,
    request: ReadFile,
) -> Result<(), MessageError> {
    let opened = with_rights("read", &request.path, target, |_| {
        let found = find(root, &request.path, true)?;
        let mut file = open_regular(&found)?;
        file.seek(SeekFrom::Start(request.offset)).map_err(|error| errno(&error))?;
        let rest = found.described.about.size.saturating_sub(request.offset);
        if rest > request.limit { Err(Errno::FBIG) } else { Ok((file, found.described.about)) }
    });
    match opened {
        Err(error) => reply::<ReadFile>(call, &Err(error)).await,
        Ok((file, about)) => {
            let stream = call.reply::<ReadFile>(&Ok(about)).await?;
            send(file, request.limit, stream).await.map_err(MessageError::Io)
        }
    }
}

async fn send(mut file: File, limit: u64, mut stream: Stream) -> std::io::Result<()> {
    let (mut piece, mut sent) = (vec![0; 4 + PIECE], 0);
    loop {
        let (head, room) = piece.split_at_mut(4);
        let read = file.read(room);
        let (number, length) = match &read {
            Ok(length) if sent + *length as u64 > limit => (-Errno::FBIG.raw_os_error(), 0),
            Ok(length) => (*length as i32, *length),
            Err(error) => (-error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), 0),
        };
        head.copy_from_slice(&number.to_le_bytes());
        stream.write_all(&piece[..4 + length]).await?;
        sent += length as u64;
        if length == 0 {
            return stream.shutdown().await;
        }
        tokio::task::yield_now().await;
    }
}

/// Runs `work` as the target's user; an error says what was tried. What it finds while the container ends is no answer.
pub(super) fn with_rights<T>(
    what: &str,
    path: &[u8],
    target: Option<&Target>,
    work: impl FnOnce(Option<&Rights>) -> Result<T, Errno>,
) -> Result<T, RemoteError> {
    let tried = Rights::of(target).and_then(|rights| match &rights {
        Some(rights) => rights.lend(|| work(Some(rights)))?,
        None => work(None),
    });
    let tried = if target.is_none_or(Target::has_mounts) { tried } else { Err(Errno::SRCH) };
    tried.map_err(|errno| RemoteError {
        errno: errno.raw_os_error(),
        context: format!("{what} {}: {errno}", String::from_utf8_lossy(path)),
    })
}

/// A file that was found but not opened.
pub(super) struct Found {
    pub(super) descriptor: OwnedFd,
    pub(super) path: Vec<u8>,
    pub(super) described: Described,
}

pub(super) fn find(root: &Root, path: &[u8], follow: bool) -> Result<Found, Errno> {
    if !path.starts_with(b"/") {
        return Err(Errno::INVAL);
    }
    let opened = if follow { root.open_path(path) } else { root.open_link(path) };
    let descriptor = opened.map_err(|error| errno(&error))?;
    check_file_system(&descriptor)?;
    let described = Described::of(&descriptor)?;
    let path = root.path_of(&descriptor).map_err(|error| errno(&error))?;
    Ok(Found { descriptor, path, described })
}

/// What is the kernel's own is out of reach.
pub(super) fn check_file_system(descriptor: &OwnedFd) -> Result<(), Errno> {
    if KERNELS.contains(&fstatfs(descriptor)?.f_type) { Err(Errno::ACCESS) } else { Ok(()) }
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The same file once more, opened as `how` says. It is the one that was found, whatever its path names by now.
pub(super) fn reopen(descriptor: &OwnedFd, how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | how;
    openat(CWD, format!("/proc/self/fd/{}", descriptor.as_raw_fd()), flags, Mode::empty())
}

fn open_regular(found: &Found) -> Result<File, Errno> {
    match found.described.about.kind {
        FileKind::Regular => Ok(reopen(&found.descriptor, OFlags::RDONLY)?.into()),
        FileKind::Directory => Err(Errno::ISDIR),
        FileKind::Link => Err(Errno::LOOP),
        FileKind::Fifo | FileKind::Socket => Err(Errno::NXIO),
        FileKind::Device => Err(Errno::NODEV),
    }
}

pub(super) fn read_small(found: &Found) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(found.described.about.size as usize);
    open_regular(found)?.take(SMALL).read_to_end(&mut bytes).map_err(|error| errno(&error))?;
    Ok(bytes)
}

/// The next entries of a directory; none at its end.
pub(super) fn entries(directory: &mut Dir, rights: Option<&Rights>) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    while entries.len() < ENTRIES {
        let Some(read) = directory.read() else { break };
        let read = read?;
        let name = read.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        match entry(directory.fd()?, name, &read, rights) {
            // Gone since.
            Err(Errno::NOENT) => {}
            entry => entries.push(entry?),
        }
    }
    Ok(entries)
}

fn entry(directory: BorrowedFd<'_>, name: &[u8], read: &DirEntry, rights: Option<&Rights>) -> Result<Entry, Errno> {
    let path = OsStr::from_bytes(name);
    let (about, may) = match Described::at(directory, path) {
        Ok(described) => (described.about, described.may(rights)),
        // Who may list a directory but not enter it learns names and kinds only.
        Err(Errno::ACCESS) => {
            let never = Time { seconds: 0, nanoseconds: 0 };
            let identity = Identity { device: 0, number: read.ino(), born: None };
            let kind = kind(read.file_type());
            (Metadata { kind, mode: 0, size: 0, modified: never, changed: never, identity }, 0)
        }
        Err(errno) => return Err(errno),
    };
    let destination = match about.kind {
        FileKind::Link => Some(readlinkat(directory, path, Vec::new()).unwrap_or_default().into_bytes()),
        _ => None,
    };
    Ok(Entry { name: name.to_vec(), about, destination, may })
}
