//! What the layer asks about files, and is told of them.

use serde::{Deserialize, Serialize};

use crate::files::{Opening, Removal, Time};

/// A change of what is at a path, as [`crate::files::Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathChange<'a> {
    /// `mkdir`, with a mode from which the process's mask is not yet taken.
    MakeDirectory(u32),
    /// `unlink`, `rmdir`, `remove`.
    Remove(Removal),
    /// `rename` to a path that is the host's to decide, too.
    Rename {
        /// The new path.
        to: &'a [u8],
        /// `RENAME_…`.
        flags: u32,
    },
    /// `link` to a path that is the host's to decide, too.
    Link {
        /// The new path.
        to: &'a [u8],
        /// Whether a link at the end of the old path is followed.
        follow: bool,
    },
    /// `symlink`.
    Symlink(&'a [u8]),
    /// `chmod`.
    SetMode {
        /// The mode.
        mode: u32,
        /// Whether a link at the end of the path is followed.
        follow: bool,
    },
    /// `chown`.
    SetOwner {
        /// The user; all bits set for none.
        user: u32,
        /// The group; all bits set for none.
        group: u32,
        /// Whether a link at the end of the path is followed.
        follow: bool,
    },
    /// `utimensat`.
    SetTimes {
        /// Of the last access, and of the last change of the content.
        times: [Time; 2],
        /// Whether a link at the end of the path is followed.
        follow: bool,
    },
    /// `truncate`.
    SetLength(i64),
    /// `fsync` of a directory.
    Sync,
    /// What no file of the pod permits; it fails as on a file system without it.
    Unsupported {
        /// Whether there must be nothing at the path.
        makes: bool,
    },
}

/// What has become of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeReply<'a> {
    /// It is done.
    Done,
    /// The file is on this machine, at this path of at most [`MAX_PATH`] bytes.
    Local(&'a [u8]),
    /// Of two paths at least one is on this machine: each is to be asked for alone.
    Apart,
    /// Fail with this error number.
    Failed(i32),
}

/// What a program wants of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// To know about it.
    Look,
    /// To open it: its content or its entries must be there.
    Open,
    /// To open it if it is a directory.
    List,
    /// To open it so that it is made or written, with a mode from which the process's mask is not yet taken.
    Write(Opening),
    /// To know about it before it is changed.
    Change,
}

impl Purpose {
    /// Whether what is at the path may be another thing afterwards.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Change)
    }
}

/// The user's rules for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRules<'a> {
    /// The descriptor number in the host of the table that `decide::files` reads.
    pub table: u32,
    /// Bytes of that table.
    pub size: u32,
    /// The folder on this machine below which the pod's files stand at their paths, without a slash at its end; at
    /// most [`MAX_SHADOW`] bytes. Its name is [`SHADOW`], and the other two are beside it.
    pub shadow: &'a [u8],
    /// Regular files of more bytes may be in [`SHADOW_LARGE`] instead.
    pub largest: u64,
    /// The device that the files below it are on, if some of them may be written.
    pub written_on: Option<u64>,
}

/// A promise of the host's that the entries of a directory of the shadow are as they are in the pod, so that a program
/// that only wants to see one need not ask. It is an empty file in [`SHADOW_LEASES`], whose time of change tells how long
/// it holds: the directory itself must not change while programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Since 1970, in milliseconds.
    until: i64,
}

impl Lease {
    /// Longest, in milliseconds. A time that is further ahead is none.
    pub const LONGEST: i64 = 1000;

    /// What no clock shows by chance, below the milliseconds.
    const MARK: u32 = 714_025;

    /// For so many milliseconds from `now` on.
    pub fn new(now: Time, milliseconds: i64) -> Self {
        Self { until: milliseconds_of(now) + milliseconds.min(Self::LONGEST) }
    }

    /// The name of its file, for the directory at a path. Two directories of one name only share what is promised.
    pub fn name(path: &[u8]) -> [u8; 16] {
        // FNV-1a.
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = path.iter().fold(0xcbf2_9ce4_8422_2325, step);
        core::array::from_fn(|at| b"0123456789abcdef"[(hash >> (60 - 4 * at)) as usize & 15])
    }

    /// As the file's time of change.
    pub fn written(self) -> Time {
        let (seconds, milliseconds) = (self.until.div_euclid(1000), self.until.rem_euclid(1000) as u32);
        Time { seconds, nanoseconds: milliseconds * 1_000_000 + Self::MARK }
    }

    /// Whether a file's time of change is one that holds.
    pub fn holds(modified: Time, now: Time) -> bool {
        let left = milliseconds_of(modified).saturating_sub(milliseconds_of(now));
        modified.nanoseconds % 1_000_000 == Self::MARK && (1..=Self::LONGEST).contains(&left)
    }
}

fn milliseconds_of(time: Time) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanoseconds / 1_000_000))
}

/// Longest path that can be the pod's, in bytes.
pub const MAX_PATH: usize = 1024;

/// The name of the folder with the pod's files.
pub const SHADOW: &str = "root";

/// The name of the one with those that are too large to be fetched whole. Both are equally long, so that a path in one
/// becomes a path in the other in its place.
pub const SHADOW_LARGE: &str = "huge";

/// The name of the one with every [`Lease`].
pub const SHADOW_LEASES: &str = "kept";

const _: () = assert!(SHADOW.len() == SHADOW_LARGE.len() && SHADOW.len() == SHADOW_LEASES.len());

/// Longest [`FileRules::shadow`] in bytes.
pub const MAX_SHADOW: usize = 160;

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileReply<'a> {
    /// In the shadow.
    Shadow {
        /// Its path in the pod, without links but for a last one that was not to be followed; at most [`MAX_PATH`]
        /// bytes.
        path: &'a [u8],
        /// What the target's user may do with it, as the last digit of a mode.
        may: u8,
        /// Whether it is in [`SHADOW_LARGE`].
        large: bool,
        /// Whether the session may change it. If that was the purpose, all that `open` does beside opening is done.
        writable: bool,
    },
    /// On this machine, at this path of at most [`MAX_PATH`] bytes.
    Local(&'a [u8]),
    /// Fail with this error number.
    Failed(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_for_its_time_and_no_other_time_is_one() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let written = Lease::new(at(1_700_000_000, 999_123_456), 1000).written();
        assert_eq!(written, at(1_700_000_001, 999_714_025));
        assert_eq!(&Lease::name(b"/data"), b"2e61291ce2d9239e");
        for (accessed, now, expected) in [
            (written, at(1_700_000_000, 999_123_456), true),
            (written, at(1_700_000_001, 998_999_999), true),
            (written, at(1_700_000_001, 999_000_000), false),
            (written, at(1_700_000_000, 998_999_999), false),
            (at(1_700_000_001, 999_714_026), at(1_700_000_001, 0), false),
            (at(i64::MAX, 714_025), at(i64::MIN, 0), false),
        ] {
            assert_eq!(Lease::holds(accessed, now), expected, "{accessed:?} {now:?}");
        }
        assert_eq!(Lease::new(at(1, 0), 5000), Lease::new(at(1, 0), Lease::LONGEST));
    }
}
