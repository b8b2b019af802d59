//! Files that are open to be written: one per stream of [`OpenFile`], with the rights of whoever opened it.

use std::fs::File;
use std::os::fd::OwnedFd;

use link::{Call, MessageError, Stream, read_message, write_message};
use protocol::files::{Edit, FileKind, Flushed, OpenFile, Opened, Opening, SMALL};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, ftruncate};
use rustix::io::{Errno, pwrite, write};
use tokio::io::AsyncWriteExt;

use super::Root;
use super::answers::{Found, check_file_system, errno, find, read_small, reopen, with_rights};
use super::described::Described;
use super::rights::Rights;
use crate::dispatch::reply;
use crate::target::Target;

/// Replies, and then does what the host says until the stream ends.
pub(crate) async fn open_file(
    root: &Root,
    target: Option<&Target>,
    call: Call,
    request: OpenFile,
) -> Result<(), MessageError> {
    let opened = with_rights("open", &request.path, target, |rights| {
        let (file, found) = open(root, &request.path, &request.how)?;
        let wanted =
            request.content && found.described.about.size <= SMALL && request.known != Some(found.described.about);
        let content = if wanted { Some(read_small(&found)?) } else { None };
        let may = found.described.may(rights);
        let opened = Opened { path: found.path, about: found.described.about, may, content };
        Ok((Editing { file, rights: rights.cloned(), failed: None }, opened))
    });
    match opened {
        Err(error) => reply::<OpenFile>(call, &Err(error)).await,
        Ok((editing, opened)) => {
            let stream = call.reply::<OpenFile>(&Ok(opened)).await?;
            editing.serve(stream).await
        }
    }
}

/// Opens a regular file; what is none is never opened.
fn open(root: &Root, path: &[u8], how: &Opening) -> Result<(File, Found), Errno> {
    let access = match (how.read, how.write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let flags = if how.truncate { access | OFlags::TRUNC } else { access };
    let follow = how.follow && !(how.create.is_some() && how.exclusive);
    match (find(root, path, follow), how.create) {
        (Ok(_), Some(_)) if how.exclusive => Err(Errno::EXIST),
        (Ok(mut found), _) => {
            match found.described.about.kind {
                FileKind::Regular => {}
                FileKind::Directory => return Err(Errno::ISDIR),
                FileKind::Link => return Err(Errno::LOOP),
                FileKind::Fifo | FileKind::Socket => return Err(Errno::NXIO),
                FileKind::Device => return Err(Errno::NODEV),
            }
            let file = File::from(reopen(&found.descriptor, flags)?);
            found.described = Described::of(&file)?;
            Ok((file, found))
        }
        (Err(Errno::NOENT), Some(mode)) => {
            let exclusive = if how.exclusive { OFlags::EXCL } else { OFlags::empty() };
            let kept = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
            let mode = Mode::from_raw_mode(mode & 0o7777);
            made(root, root.create(path, flags | exclusive | kept, mode).map_err(|error| errno(&error))?)
        }
        (Err(errno), _) => Err(errno),
    }
}

fn made(root: &Root, descriptor: OwnedFd) -> Result<(File, Found), Errno> {
    check_file_system(&descriptor)?;
    let described = Described::of(&descriptor)?;
    if described.about.kind != FileKind::Regular {
        return Err(Errno::NXIO);
    }
    let path = root.path_of(&descriptor).map_err(|error| errno(&error))?;
    let file = File::from(descriptor.try_clone().map_err(|error| errno(&error))?);
    Ok((file, Found { descriptor, path, described }))
}

/// An open file.
struct Editing {
    file: File,
    rights: Option<Rights>,
    /// What went wrong since the last flush.
    failed: Option<Errno>,
}

impl Editing {
    async fn serve(mut self, mut stream: Stream) -> Result<(), MessageError> {
        // The end of the stream is the end of the file.
        while let Ok(edit) = read_message::<Edit>(&mut stream).await {
            match edit {
                Edit::Flush { durable } => write_message(&mut stream, &self.flush(durable).await).await?,
                edit if self.failed.is_none() => self.failed = self.edit(&edit).err(),
                _ => {}
            }
            tokio::task::yield_now().await;
        }
        stream.shutdown().await.map_err(MessageError::Io)
    }

    /// As the target's user: there is room that only root may fill.
    fn edit(&self, edit: &Edit) -> Result<(), Errno> {
        match &self.rights {
            Some(rights) => rights.lend(|| apply(&self.file, edit))?,
            None => apply(&self.file, edit),
        }
    }

    async fn flush(&mut self, durable: bool) -> Flushed {
        let failed = |errno: Errno| errno.raw_os_error();
        if let Some(errno) = self.failed.take() {
            return Err(failed(errno));
        }
        if durable {
            let file = self.file.try_clone().map_err(|error| failed(errno(&error)))?;
            // Disks are slow, and nothing else waits for this one.
            let synced = tokio::task::spawn_blocking(move || file.sync_all()).await;
            synced.map_err(|_| failed(Errno::IO))?.map_err(|error| failed(errno(&error)))?;
        }
        Described::of(&self.file).map(|described| described.about).map_err(failed)
    }
}

fn apply(file: &File, edit: &Edit) -> Result<(), Errno> {
    match edit {
        Edit::Write { offset, bytes } => {
            set_append(file, false)?;
            let mut done = 0;
            while done < bytes.len() {
                done += pwrite(file, &bytes[done..], offset + done as u64)?;
            }
            Ok(())
        }
        Edit::Append(bytes) => {
            set_append(file, true)?;
            let mut done = 0;
            while done < bytes.len() {
                done += write(file, &bytes[done..])?;
            }
            Ok(())
        }
        Edit::SetLength(length) => ftruncate(file, *length),
        Edit::Flush { .. } => Ok(()),
    }
}

/// The kernel finds the end for each write, so that nothing is lost of what others append.
fn set_append(file: &File, wanted: bool) -> Result<(), Errno> {
    let flags = fcntl_getfl(file)?;
    if flags.contains(OFlags::APPEND) == wanted {
        return Ok(());
    }
    let mut changed = flags;
    changed.set(OFlags::APPEND, wanted);
    fcntl_setfl(file, changed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const WRITE: Opening = Opening {
        follow: true,
        read: false,
        write: true,
        create: None,
        exclusive: false,
        truncate: false,
        append: false,
    };

    #[test]
    fn files_are_made_and_found_as_open_does() {
        let folder = tempfile::tempdir().expect("creates");
        fs::create_dir(folder.path().join("dir")).expect("creates");
        fs::write(folder.path().join("old"), "old").expect("writes");
        symlink("../../made", folder.path().join("dir/link")).expect("links");
        let root = Root::open(folder.path()).expect("opens");
        let create = Opening { create: Some(0o640), ..WRITE };
        let exclusive = Opening { exclusive: true, ..create };
        let tried = |path: &str, how: &Opening| open(&root, path.as_bytes(), how).map(|(_, found)| found.path);
        for (path, how, expected) in [
            ("/none", &WRITE, Err(Errno::NOENT)),
            ("/none/x", &create, Err(Errno::NOENT)),
            ("/old", &exclusive, Err(Errno::EXIST)),
            ("/dir/link", &exclusive, Err(Errno::EXIST)),
            ("/dir", &create, Err(Errno::ISDIR)),
            ("/dir/link", &create, Ok("/made")),
            ("/dir/link", &WRITE, Ok("/made")),
            ("/dir/link", &Opening { follow: false, ..WRITE }, Err(Errno::LOOP)),
            ("/dir/new", &exclusive, Ok("/dir/new")),
            ("/old", &WRITE, Ok("/old")),
        ] {
            let expected = expected.map(|path: &str| path.as_bytes().to_vec());
            assert_eq!(tried(path, how), expected, "{path} {how:?}");
        }
        assert_eq!(fs::read(folder.path().join("old")).expect("reads"), b"old");
        tried("/old", &Opening { truncate: true, ..WRITE }).expect("opens");
        assert_eq!(fs::read(folder.path().join("old")).expect("reads"), b"");
    }

    #[test]
    fn appends_go_to_the_end_and_writes_to_their_place() {
        let folder = tempfile::tempdir().expect("creates");
        let path = folder.path().join("log");
        fs::write(&path, "one\n").expect("writes");
        let file = File::options().write(true).open(&path).expect("opens");
        let other = |text: &str| fs::write(&path, fs::read_to_string(&path).expect("reads") + text).expect("writes");
        apply(&file, &Edit::Append(b"two\n".to_vec())).expect("appends");
        other("three\n");
        apply(&file, &Edit::Append(b"four\n".to_vec())).expect("appends");
        apply(&file, &Edit::Write { offset: 0, bytes: b"ONE".to_vec() }).expect("writes");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "ONE\ntwo\nthree\nfour\n");
        apply(&file, &Edit::SetLength(3)).expect("cuts");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "ONE");
    }
}
