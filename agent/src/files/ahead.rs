//! Reads ahead: what programs look at next when they have begun to read a directory's files, or to walk a tree.
//!
//! What cannot be read is left out: whoever asks for it by itself is told why.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use link::{Call, MessageError, write_message};
use protocol::files::{AHEAD_BYTES, AHEAD_ENTRIES, Ahead, FileKind, Looked, ReadAhead, SMALL};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Root;
use super::answers::{Found, entries, find, reopen, with_rights};
use super::described::Described;
use super::rights::Rights;
use crate::dispatch::reply;
use crate::target::Target;

/// Content that is sent at a time, in bytes.
const BATCH: u64 = 128 * 1024;

/// Replies, and then reads ahead.
pub(crate) async fn read_ahead(
    root: &Root,
    target: Option<&Target>,
    call: Call,
    request: ReadAhead,
) -> Result<(), MessageError> {
    let (ReadAhead::Files { path, .. } | ReadAhead::Directories { path }) = &request;
    let opened = with_rights("read ahead in", path, target, |_| open(root, path));
    let (found, mut directory) = match opened {
        Ok(opened) => opened,
        Err(error) => return reply::<ReadAhead>(call, &Err(error)).await,
    };
    let mut stream = call.reply::<ReadAhead>(&Ok(())).await?;
    match &request {
        ReadAhead::Files { after, .. } => {
            let (mut after, mut sent, mut count) = (Some(&after[..]).filter(|name| !name.is_empty()), 0, 0);
            while sent < AHEAD_BYTES && count < AHEAD_ENTRIES {
                let batch = with_rights("read ahead in", path, target, |rights| {
                    files(&mut directory, &found.path, &mut after, rights)
                });
                let Ok(batch) = batch else { break };
                if batch.is_empty() {
                    break;
                }
                count += batch.len();
                sent += batch.iter().map(|looked| looked.about.size).sum::<u64>();
                write_message(&mut stream, &Ahead::Files(batch)).await?;
            }
        }
        ReadAhead::Directories { .. } => {
            let (mut below, mut count) = (vec![found.path], 0);
            while let Some(path) = below.pop().filter(|_| count < AHEAD_ENTRIES) {
                let read = with_rights("read ahead in", &path, target, |rights| whole(root, &path, rights));
                let Ok(read) = read else { continue };
                if let Ahead::Directory { path, entries, .. } = &read {
                    count += entries.len();
                    let folders = entries.iter().rev().filter(|entry| entry.about.kind == FileKind::Directory);
                    let path = path.strip_suffix(b"/").unwrap_or(path);
                    below.extend(folders.map(|folder| [path, b"/", &folder.name[..]].concat()));
                }
                write_message(&mut stream, &read).await?;
            }
        }
    }
    write_message(&mut stream, &Ahead::End).await?;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.map_err(MessageError::Io)
}

fn open(root: &Root, path: &[u8]) -> Result<(Found, Dir), Errno> {
    let found = find(root, path, false)?;
    let directory = Dir::new(reopen(&found.descriptor, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
    Ok((found, directory))
}

/// The next small files of a directory, after that name if there is one; none at its end.
fn files(
    directory: &mut Dir,
    path: &[u8],
    after: &mut Option<&[u8]>,
    rights: Option<&Rights>,
) -> Result<Vec<Looked>, Errno> {
    let (mut batch, mut size) = (Vec::new(), 0);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    while size < BATCH {
        let Some(read) = directory.read() else { break };
        let read = read?;
        let name = read.file_name().to_bytes();
        if let Some(before) = *after {
            if before == name {
                *after = None;
            }
            continue;
        }
        if !matches!(read.file_type(), FileType::RegularFile | FileType::Unknown) {
            continue;
        }
        let Ok(Some(mut looked)) = file(directory, name, rights) else { continue };
        looked.path = [path, b"/", name].concat();
        size += looked.about.size + 256;
        batch.push(looked);
    }
    Ok(batch)
}

/// A file with its content, if it is a small one.
fn file(directory: &Dir, name: &[u8], rights: Option<&Rights>) -> Result<Option<Looked>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(directory.fd()?.as_fd(), OsStr::from_bytes(name), flags, Mode::empty())?);
    let described = Described::of(&file)?;
    let about = described.about;
    if about.kind != FileKind::Regular || about.size > SMALL {
        return Ok(None);
    }
    let mut content = Vec::with_capacity(about.size as usize);
    file.take(SMALL).read_to_end(&mut content).map_err(|_| Errno::IO)?;
    let may = described.may(rights);
    // One that grows just now is looked at by itself.
    let is_whole = content.len() as u64 == about.size;
    Ok(is_whole.then_some(Looked { path: Vec::new(), about, destination: None, may, content: Some(content) }))
}

/// A directory with all its entries.
fn whole(root: &Root, path: &[u8], rights: Option<&Rights>) -> Result<Ahead, Errno> {
    let (found, mut directory) = open(root, path)?;
    let mut all = Vec::new();
    loop {
        let more = entries(&mut directory, rights)?;
        if more.is_empty() || all.len() > AHEAD_ENTRIES {
            break;
        }
        all.extend(more);
    }
    if all.len() > AHEAD_ENTRIES {
        return Err(Errno::FBIG);
    }
    let may = found.described.may(rights);
    Ok(Ahead::Directory { path: found.path, about: found.described.about, may, entries: all })
}
