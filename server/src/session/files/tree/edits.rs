//! What the session itself changes in the pod, shown in the tree without asking again, and files that programs write:
//! while they do, nothing takes the place of such a file, so that all of them have the same one.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use protocol::files::{FileKind, Metadata};
use rustix::fs::{AtFlags, Mode, OFlags, chmodat, fchmod, futimens, openat, renameat};
use rustix::io::Errno;

use super::{Tree, is_below, join, mode, parent_and_name, times};

impl Tree {
    /// The device that the files are on.
    pub(in crate::session::files) fn device(&self) -> io::Result<u64> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(openat(&self.aside, "device", flags, Mode::RUSR)?);
        rustix::fs::unlinkat(&self.aside, "device", AtFlags::empty())?;
        Ok(file.metadata()?.dev())
    }

    /// The regular file at a path, which programs are going to write; `EAGAIN` if it is not `about` any more, or if its
    /// content is wanted but not there.
    pub(in crate::session::files) fn begin_writing(
        &mut self,
        path: &[u8],
        about: &Metadata,
        content: bool,
    ) -> io::Result<File> {
        if self.known.get(path) != Some(about) || (content && !self.filled.contains(path)) {
            return Err(Errno::AGAIN.into());
        }
        let (parent, name) = parent_and_name(path).ok_or(Errno::ISDIR)?;
        let (directory, name) = (self.directory(parent)?, OsStr::from_bytes(name));
        // Whoever makes a file may write it whatever its mode.
        chmodat(&directory, name, mode(about) | Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        let file = openat(&directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        self.busy.insert(path.to_vec());
        Ok(file.into())
    }

    /// Whether programs write the file at a path.
    pub(in crate::session::files) fn is_busy(&self, path: &[u8]) -> bool {
        self.busy.contains(path)
    }

    /// Whether a file is the one at a path.
    pub(in crate::session::files) fn is_at(&self, path: &[u8], file: &File) -> bool {
        let name = OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path));
        let there = rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW);
        matches!((there, file.metadata()), (Ok(there), Ok(own)) if there.st_ino == own.ino())
    }

    /// Notes what the pod says of a file of which this is the copy; `whole` if the content is the same.
    pub(in crate::session::files) fn note(&mut self, path: &[u8], about: &Metadata, file: &File, whole: bool) {
        self.known.insert(path.to_vec(), *about);
        if whole {
            self.filled.insert(path.to_vec());
        } else {
            self.filled.remove(path);
        }
        futimens(file, &times(about)).ok();
        let more = if self.busy.contains(path) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        fchmod(file, mode(about) | more).ok();
    }

    /// A file has what the pod does not get.
    pub(in crate::session::files) fn differs(&mut self, path: &[u8]) {
        self.filled.remove(path);
    }

    /// Programs write a file no more. One that is not whole is not known any more.
    pub(in crate::session::files) fn end_writing(&mut self, path: &[u8], file: &File) {
        self.busy.remove(path);
        match self.known.get(path).copied().filter(|_| self.filled.contains(path)) {
            Some(about) => {
                fchmod(file, mode(&about)).ok();
            }
            None => {
                self.known.remove(path);
            }
        }
    }

    /// Makes a copy as small as the pod's file was made.
    pub(in crate::session::files) fn cut(file: &File, size: u64) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let permissions = file.metadata()?.permissions();
        file.set_permissions(Permissions::from_mode(permissions.mode() | 0o600))?;
        File::options().write(true).open(path)?.set_len(size)
    }

    /// The copy of a file that has grown from `old` on, to be written at its end; [`Tree::grown`] ends that.
    pub(in crate::session::files) fn grow(&mut self, path: &[u8], old: &Metadata) -> io::Result<File> {
        if self.content(path) != Some(*old) || self.is_busy(path) {
            return Err(Errno::AGAIN.into());
        }
        let (parent, name) = parent_and_name(path).ok_or(Errno::ISDIR)?;
        let (directory, name) = (self.directory(parent)?, OsStr::from_bytes(name));
        chmodat(&directory, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        let file = openat(&directory, name, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        fchmod(&file, mode(old))?;
        Ok(file.into())
    }

    /// A copy has what the pod's file has now.
    pub(in crate::session::files) fn grown(&mut self, path: &[u8], old: &Metadata, now: &Metadata, file: &File) {
        if self.content(path) == Some(*old) && !self.is_busy(path) && self.is_at(path, file) {
            self.note(path, now, file, true);
        }
    }

    /// What was at a path is gone.
    pub(in crate::session::files) fn removed(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = parent_and_name(path).ok_or(Errno::BUSY)?;
        let directory = self.directory(parent)?;
        self.remove(&directory, parent, name)
    }

    /// What was at a path is at another. Links are shown when they are looked at again.
    pub(in crate::session::files) fn renamed(&mut self, from: &[u8], to: &[u8], about: &Metadata) -> io::Result<()> {
        let (old_parent, old) = parent_and_name(from).ok_or(Errno::BUSY)?;
        let (parent, new) = parent_and_name(to).ok_or(Errno::BUSY)?;
        let (old_directory, directory) = (self.directory(old_parent)?, self.directory(parent)?);
        self.remove(&directory, parent, new)?;
        if !self.known.contains_key(from) || about.kind == FileKind::Link {
            return self.remove(&old_directory, old_parent, old);
        }
        renameat(&old_directory, OsStr::from_bytes(old), &directory, OsStr::from_bytes(new))?;
        let moved = |path: &[u8]| match path == from || is_below(path, from) {
            true => Some([to, &path[from.len()..]].concat()),
            false => None,
        };
        let known: Vec<_> = self.known.keys().filter_map(|path| Some((path.clone(), moved(path)?))).collect();
        for (old, new) in known {
            if let Some(about) = self.known.remove(&old) {
                self.known.insert(new.clone(), about);
            }
            for set in [&mut self.filled, &mut self.busy] {
                if set.remove(&old) {
                    set.insert(new.clone());
                }
            }
        }
        if let Some(known) = self.known.get_mut(to) {
            // Moving changes the change time only.
            let same = Metadata { changed: about.changed, ..*known };
            if same == *about {
                *known = same;
            }
        }
        Ok(())
    }

    /// Other rights or times of a file that stays what it is, as the pod says.
    pub(in crate::session::files) fn described(&mut self, path: &[u8], about: &Metadata) -> io::Result<()> {
        let known = self.known.get(path).copied();
        let is_same =
            known.is_some_and(|known| Metadata { mode: about.mode, changed: about.changed, ..known } == *about);
        if about.kind != FileKind::Regular || !(is_same || self.is_busy(path)) {
            return self.place(path, about, None);
        }
        let (parent, name) = parent_and_name(path).ok_or(Errno::ISDIR)?;
        let (directory, name) = (self.directory(parent)?, OsStr::from_bytes(name));
        let more = if self.is_busy(path) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        chmodat(&directory, name, mode(about) | more, AtFlags::empty())?;
        rustix::fs::utimensat(&directory, name, &times(about), AtFlags::SYMLINK_NOFOLLOW)?;
        self.known.insert(join(parent, name.as_bytes()), *about);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use protocol::files::Time;
    use protocol::layer::Lease;

    use super::super::tests::{about, entry, tree};
    use super::*;

    #[test]
    fn a_file_that_is_written_stays_the_same_one() {
        let (folder, mut tree) = tree();
        let path = folder.path().join("root/data/log");
        let file = about(FileKind::Regular, 3, 1);
        assert!(tree.begin_writing(b"/data/log", &file, false).is_err(), "not known");
        tree.place(b"/data/log", &file, None).expect("placed");
        assert!(tree.begin_writing(b"/data/log", &file, true).is_err(), "no content");
        tree.write(b"/data/log", &file, b"one").expect("written");
        let copy = tree.begin_writing(b"/data/log", &file, true).expect("begins");
        let mut program = fs::File::options().append(true).open(&path).expect("opens");
        let newer = about(FileKind::Regular, 9, 2);
        tree.place(b"/data/log", &newer, None).expect("left");
        tree.list(b"/data", &about(FileKind::Directory, 0, 4), &[entry(b"other", FileKind::Regular, None)])
            .expect("listed");
        program.write_all(b" two").expect("written");
        assert_eq!(fs::read(&path).expect("reads"), b"one two");
        let now = about(FileKind::Regular, 7, 1);
        tree.note(b"/data/log", &now, &copy, true);
        tree.end_writing(b"/data/log", &copy);
        assert_eq!(tree.content(b"/data/log"), Some(now));
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o640);
        tree.place(b"/data/log", &newer, None).expect("placed");
        assert_eq!((tree.content(b"/data/log"), tree.is_at(b"/data/log", &copy)), (None, false));
    }

    #[test]
    fn leases_stand_beside_the_directories_until_the_session_changes_something() {
        let (folder, mut tree) = tree();
        let directory = about(FileKind::Directory, 0, 4);
        let now = Time { seconds: 1_800_000_000, nanoseconds: 7 };
        tree.list(b"/data/sub", &directory, &[]).expect("listed");
        let changed = |folder: &Path| {
            let seen = fs::metadata(folder.join("root/data/sub")).expect("there");
            (seen.ctime(), seen.ctime_nsec())
        };
        let before = changed(folder.path());
        for path in [&b"/"[..], b"/data/sub", b"/data/sub"] {
            tree.lease(path, Lease::new(now, 1000));
        }
        let holds = |path: &[u8]| {
            let name = String::from_utf8(Lease::name(path).to_vec()).expect("text");
            let Ok(seen) = fs::metadata(folder.path().join("kept").join(name)) else { return false };
            Lease::holds(Time { seconds: seen.mtime(), nanoseconds: seen.mtime_nsec() as u32 }, now)
        };
        assert_eq!((holds(b"/"), holds(b"/data/sub"), holds(b"/data")), (true, true, false));
        tree.end_leases();
        assert_eq!((holds(b"/"), holds(b"/data/sub")), (false, false));
        assert_eq!(changed(folder.path()), before, "programs that read a directory see no change");
    }

    #[test]
    fn what_moves_takes_along_what_is_known() {
        let (folder, mut tree) = tree();
        let file = about(FileKind::Regular, 3, 1);
        tree.place(b"/a/b", &about(FileKind::Directory, 0, 2), None).expect("placed");
        tree.write(b"/a/b/c", &file, b"abc").expect("written");
        tree.write(b"/a/b/d", &file, b"abc").expect("written");
        tree.renamed(b"/a/b", b"/x", &about(FileKind::Directory, 0, 2)).expect("renamed");
        assert_eq!((tree.content(b"/x/c"), tree.content(b"/a/b/c")), (Some(file), None));
        let moved = Metadata { changed: Time { seconds: 9, nanoseconds: 9 }, ..file };
        tree.renamed(b"/x/c", b"/x/d", &moved).expect("renamed");
        assert_eq!(tree.content(b"/x/d"), Some(moved));
        let stricter = Metadata { mode: 0o400, ..moved };
        tree.described(b"/x/d", &stricter).expect("described");
        assert_eq!(tree.content(b"/x/d"), Some(stricter));
        assert_eq!(fs::metadata(folder.path().join("root/x/d")).expect("there").mode() & 0o777, 0o400);
        tree.removed(b"/x/d").expect("removed");
        assert_eq!(tree.content(b"/x/d"), None);
        assert_eq!(fs::read_dir(folder.path().join("root/x")).expect("reads").count(), 0);
    }
}
