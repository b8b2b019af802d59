//! What a file is, as the kernel says.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use protocol::files::{FileKind, Identity, Metadata, Time};
use rustix::fs::{AtFlags, FileType, Stat, Statx, StatxFlags, StatxTimestamp, makedev, statat, statx};
use rustix::io::Errno;

use super::rights::Rights;

/// A file's description and its owner.
pub(super) struct Described {
    pub(super) about: Metadata,
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Described {
    /// Of an open file.
    pub(super) fn of(file: impl AsFd) -> Result<Self, Errno> {
        Self::with(file, OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    /// Of what a directory calls `name`; a link is described itself.
    pub(super) fn at(directory: impl AsFd, name: &OsStr) -> Result<Self, Errno> {
        Self::with(directory, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn with(directory: impl AsFd, name: &OsStr, flags: AtFlags) -> Result<Self, Errno> {
        match statx(&directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
            Ok(stat) => Ok(Self::from(&stat)),
            // Before Linux 4.11, or a container runtime does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => Ok(Self::from(&statat(&directory, name, flags)?)),
            Err(errno) => Err(errno),
        }
    }

    /// What somebody may do with it, as the last digit of a mode; without anybody the agent, which is root.
    pub(super) fn may(&self, rights: Option<&Rights>) -> u8 {
        rights.map_or(7, |rights| rights.on(self))
    }
}

impl From<&Statx> for Described {
    fn from(stat: &Statx) -> Self {
        let time = |time: StatxTimestamp| Time { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
        let is_born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let about = Metadata {
            kind: kind(FileType::from_raw_mode(stat.stx_mode.into())),
            mode: stat.stx_mode & 0o7777,
            size: stat.stx_size,
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
            identity: Identity {
                device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
                number: stat.stx_ino,
                born: is_born.then(|| time(stat.stx_btime)),
            },
        };
        Self { about, user: stat.stx_uid, group: stat.stx_gid }
    }
}

impl From<&Stat> for Described {
    fn from(stat: &Stat) -> Self {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let about = Metadata {
            kind: kind(FileType::from_raw_mode(stat.st_mode)),
            mode: (stat.st_mode & 0o7777) as u16,
            size: stat.st_size as u64,
            modified: time(stat.st_mtime, stat.st_mtime_nsec as u32),
            changed: time(stat.st_ctime, stat.st_ctime_nsec as u32),
            identity: Identity { device: stat.st_dev, number: stat.st_ino, born: None },
        };
        Self { about, user: stat.st_uid, group: stat.st_gid }
    }
}

pub(super) fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
        _ => FileKind::Regular,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs::File;

    use super::*;

    #[test]
    fn both_calls_say_the_same_but_for_when_a_file_was_made() {
        let file = tempfile::NamedTempFile::new().expect("made");
        let known = Described::of(file.as_file()).expect("described");
        let older = Described::from(&rustix::fs::fstat(file.as_file()).expect("described"));
        let identity = Identity { born: None, ..known.about.identity };
        assert_eq!(Metadata { identity, ..known.about }, older.about);
        assert_eq!((known.user, known.group), (older.user, older.group));
        let directory = File::open(file.path().parent().expect("a directory")).expect("opened");
        let named = Described::at(&directory, file.path().file_name().expect("a name")).expect("described");
        assert_eq!(named.about, known.about);
    }

    /// File systems give a number that is free again to the next file; ext4 does so at once.
    #[test]
    fn a_file_at_the_place_of_another_is_another_one() {
        let directory = tempfile::tempdir().expect("made");
        let path = directory.path().join("file");
        let mut known = HashSet::new();
        for _ in 0..20 {
            let file = File::create_new(&path).expect("made");
            std::fs::remove_file(&path).expect("removed");
            let identity = Described::of(&file).expect("described").about.identity;
            assert!(known.insert(identity), "{identity:?} is known: {known:?}");
            // Kernels tell times apart by some milliseconds.
            let made = file.metadata().expect("described").created().expect("a file system that knows");
            while made.elapsed().is_ok_and(|passed| passed.as_millis() < 10) {
                std::hint::spin_loop();
            }
        }
    }
}
