//! Changes what is at a path ([`protocol::files::ChangePath`]).
//!
//! Each change is a system call on the last name of the path in the directory above it, which was found inside the
//! root, or on the file itself, which was found so; the kernel decides as for the target's user.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use protocol::agent::RemoteError;
use protocol::files::{Change, ChangePath, Changed, FileKind, Metadata, Removal, Time};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, chmodat, chownat, fsync, ftruncate,
    linkat, mkdirat, renameat_with, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::Root;
use super::answers::{Found, check_file_system, errno, find, reopen, with_rights};
use super::described::Described;
use crate::target::Target;

/// Carries a change out.
pub(crate) async fn change_path(
    root: &Root,
    target: Option<&Target>,
    request: &ChangePath,
) -> Result<Changed, RemoteError> {
    let path = &request.path;
    if request.change == Change::Sync {
        let (directory, path) = with_rights("sync", path, target, |_| {
            let found = find(root, path, true)?;
            Ok((reopen(&found.descriptor, OFlags::RDONLY | OFlags::DIRECTORY)?, found.path))
        })?;
        let synced = tokio::task::spawn_blocking(move || fsync(directory)).await.unwrap_or(Err(Errno::IO));
        return with_rights("sync", &request.path, target, |_| {
            synced.map(|()| Changed { path, to: None, about: None })
        });
    }
    with_rights("change", path, target, |_| change(root, path, &request.change))
}

fn change(root: &Root, path: &[u8], change: &Change) -> Result<Changed, Errno> {
    match change {
        Change::MakeDirectory { mode } => {
            let place = Place::find(root, path, Errno::EXIST)?;
            mkdirat(&place.directory, place.name, Mode::from_raw_mode(mode & 0o7777))?;
            place.changed()
        }
        Change::Symlink { destination } => {
            let place = Place::find(root, path, Errno::EXIST)?;
            symlinkat(OsStr::from_bytes(destination), &place.directory, place.name)?;
            place.changed()
        }
        Change::Remove(removal) => {
            let place = Place::find(root, path, Errno::BUSY)?;
            let remove = |flags| unlinkat(&place.directory, place.name, flags);
            match removal {
                Removal::File => remove(AtFlags::empty())?,
                Removal::Directory => remove(AtFlags::REMOVEDIR)?,
                Removal::Any => match remove(AtFlags::empty()) {
                    Err(Errno::ISDIR) => remove(AtFlags::REMOVEDIR)?,
                    removed => removed?,
                },
            }
            Ok(Changed { path: place.path, to: None, about: None })
        }
        Change::Rename { to, flags } => {
            let (from, to) = (Place::find(root, path, Errno::BUSY)?, Place::find(root, to, Errno::BUSY)?);
            let flags = RenameFlags::from_bits_retain(*flags);
            renameat_with(&from.directory, from.name, &to.directory, to.name, flags)?;
            to.follows(from.path)
        }
        Change::Link { to, follow } => {
            let to = Place::find(root, to, Errno::EXIST)?;
            if *follow {
                let found = find(root, path, true)?;
                linkat(CWD, itself(&found), &to.directory, to.name, AtFlags::SYMLINK_FOLLOW)?;
                return to.follows(found.path);
            }
            let from = Place::find(root, path, Errno::PERM)?;
            linkat(&from.directory, from.name, &to.directory, to.name, AtFlags::empty())?;
            to.follows(from.path)
        }
        _ => describe_anew(root, path, change),
    }
}

/// Carries out a change of a file that stays where it is.
fn describe_anew(root: &Root, path: &[u8], change: &Change) -> Result<Changed, Errno> {
    match change {
        Change::SetMode { mode, follow } => {
            let found = find(root, path, *follow)?;
            if found.described.about.kind == FileKind::Link {
                return Err(Errno::OPNOTSUPP);
            }
            chmodat(CWD, itself(&found), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
            changed(found)
        }
        Change::SetOwner { user, group, follow } => {
            let found = find(root, path, *follow)?;
            let some = |id: u32| (id != u32::MAX).then_some(id);
            let (user, group) = (some(*user).map(Uid::from_raw), some(*group).map(Gid::from_raw));
            chownat(&found.descriptor, "", user, group, AtFlags::EMPTY_PATH)?;
            changed(found)
        }
        Change::SetTimes { accessed, modified, follow } => {
            let times = Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) };
            let found = find(root, path, *follow)?;
            if found.described.about.kind == FileKind::Link {
                let place = Place::find(root, path, Errno::BUSY)?;
                utimensat(&place.directory, place.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            } else {
                utimensat(CWD, itself(&found), &times, AtFlags::empty())?;
            }
            changed(found)
        }
        Change::SetLength(length) => {
            let found = find(root, path, true)?;
            match found.described.about.kind {
                FileKind::Regular => {}
                FileKind::Directory => return Err(Errno::ISDIR),
                _ => return Err(Errno::INVAL),
            }
            let length = u64::try_from(*length).map_err(|_| Errno::INVAL)?;
            ftruncate(reopen(&found.descriptor, OFlags::WRONLY)?, length)?;
            changed(found)
        }
        _ => Err(Errno::INVAL),
    }
}

/// The last name of a path in its directory.
struct Place<'a> {
    directory: OwnedFd,
    /// With the slashes that stand behind it: they have a meaning for the kernel.
    name: &'a OsStr,
    path: Vec<u8>,
}

impl<'a> Place<'a> {
    /// The root has no place: `of_root` says what is wrong with it.
    fn find(root: &Root, path: &'a [u8], of_root: Errno) -> Result<Self, Errno> {
        let bare = bare(path);
        let at = bare.iter().rposition(|byte| *byte == b'/').ok_or(of_root)?;
        let directory = root.open_path(&path[..=at]).map_err(|error| errno(&error))?;
        check_file_system(&directory)?;
        let above = root.path_of(&directory).map_err(|error| errno(&error))?;
        let above = above.strip_suffix(b"/").unwrap_or(&above);
        let whole = [above, &bare[at..]].concat();
        Ok(Self { directory, name: OsStr::from_bytes(&path[at + 1..]), path: whole })
    }

    fn about(&self) -> Result<Metadata, Errno> {
        let at = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let name = OsStr::from_bytes(&self.path[at..]);
        Ok(Described::at(&self.directory, name)?.about)
    }

    fn changed(self) -> Result<Changed, Errno> {
        let about = self.about()?;
        Ok(Changed { about: Some(about), path: self.path, to: None })
    }

    fn follows(self, old: Vec<u8>) -> Result<Changed, Errno> {
        let about = self.about()?;
        Ok(Changed { path: old, about: Some(about), to: Some(self.path) })
    }
}

/// A path without the slashes at its end.
fn bare(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1)]
}

/// A path that is the file which was found, whatever its own path names by now.
fn itself(found: &Found) -> String {
    format!("/proc/self/fd/{}", found.descriptor.as_raw_fd())
}

fn changed(found: Found) -> Result<Changed, Errno> {
    let about = Described::of(&found.descriptor)?.about;
    Ok(Changed { path: found.path, to: None, about: Some(about) })
}

fn timespec(time: &Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn changes_stay_inside_the_root() {
        let outside = tempfile::tempdir().expect("creates");
        let folder = outside.path().join("root");
        fs::create_dir_all(folder.join("a")).expect("creates");
        fs::write(outside.path().join("b"), "outside").expect("writes");
        fs::write(folder.join("b"), "inside").expect("writes");
        symlink("../../..", folder.join("a/up")).expect("links");
        let root = Root::open(&folder).expect("opens");
        let apply = |path: &str, wanted: Change| change(&root, path.as_bytes(), &wanted);
        let made = apply("/a/up/new/", Change::MakeDirectory { mode: 0o751 }).expect("makes");
        assert_eq!((made.path, made.about.expect("there").mode & 0o700), (b"/new".to_vec(), 0o700));
        assert!(folder.join("new").is_dir());
        apply("/a/up/b", Change::SetLength(2)).expect("cuts");
        assert_eq!(fs::read(folder.join("b")).expect("reads"), b"in");
        let moved = apply("/a/up/b", Change::Rename { to: b"/a/c".to_vec(), flags: 0 }).expect("renames");
        assert_eq!((moved.path, moved.to), (b"/b".to_vec(), Some(b"/a/c".to_vec())));
        apply("/a/up/a/c", Change::Link { to: b"/a/d".to_vec(), follow: true }).expect("links");
        assert_eq!(fs::metadata(folder.join("a/d")).expect("there").nlink(), 2);
        let time = Time { seconds: 7, nanoseconds: 9 };
        apply("/a/c", Change::SetTimes { accessed: time, modified: time, follow: true }).expect("sets");
        apply("/a/c", Change::SetMode { mode: 0o604, follow: true }).expect("sets");
        let seen = fs::metadata(folder.join("a/d")).expect("there");
        assert_eq!((seen.mtime(), seen.mtime_nsec(), seen.mode() & 0o7777), (7, 9, 0o604));
        apply("/a/c", Change::Remove(Removal::File)).expect("removes");
        apply("/new", Change::Remove(Removal::Any)).expect("removes");
        assert_eq!(fs::read(outside.path().join("b")).expect("reads"), b"outside");
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let folder = tempfile::tempdir().expect("creates");
        fs::create_dir_all(folder.path().join("full/of")).expect("creates");
        fs::write(folder.path().join("file"), "x").expect("writes");
        symlink("file", folder.path().join("link")).expect("links");
        let root = Root::open(folder.path()).expect("opens");
        let directory = Change::MakeDirectory { mode: 0o755 };
        for (path, wanted, expected) in [
            ("/full", directory.clone(), Errno::EXIST),
            ("/", directory.clone(), Errno::EXIST),
            ("/none/x", directory, Errno::NOENT),
            ("/full", Change::Remove(Removal::Directory), Errno::NOTEMPTY),
            ("/full", Change::Remove(Removal::File), Errno::ISDIR),
            ("/file", Change::Remove(Removal::Directory), Errno::NOTDIR),
            ("/", Change::Remove(Removal::Any), Errno::BUSY),
            ("/full", Change::SetLength(0), Errno::ISDIR),
            ("/file", Change::SetLength(-1), Errno::INVAL),
            ("/file/", Change::Remove(Removal::File), Errno::NOTDIR),
            ("/link", Change::SetMode { mode: 0o600, follow: false }, Errno::OPNOTSUPP),
            ("/full", Change::Rename { to: b"/full/of/x".to_vec(), flags: 0 }, Errno::INVAL),
            ("/file", Change::Rename { to: b"/full".to_vec(), flags: 1 }, Errno::EXIST),
        ] {
            assert_eq!(change(&root, path.as_bytes(), &wanted), Err(expected), "{path} {wanted:?}");
        }
    }
}
