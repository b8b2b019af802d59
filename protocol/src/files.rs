//! What host and agent say about files of the pod. The requests are rows of [`crate::agent`]'s table.
//!
//! Paths are bytes, absolute below the container's root. Every request is carried out with the rights of the target's
//! user.

use serde::{Deserialize, Serialize};

/// Largest content that comes along with [`Looked`], in bytes.
pub const SMALL: u64 = 32 * 1024;

/// Largest piece of [`ReadFile`]'s content, in bytes.
pub const PIECE: usize = 60 * 1024;

/// Most entries in one [`Listed::Entries`].
pub const ENTRIES: usize = 256;

/// Asks what is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookAt {
    /// Where.
    pub path: Vec<u8>,
    /// Whether a link at the end of the path is followed.
    pub follow: bool,
    /// Whether the content is wanted: that of a regular file of at most [`SMALL`] bytes comes along, unless it is the
    /// file that the host knows already.
    pub content: bool,
    /// The file whose content the host has.
    pub known: Option<Metadata>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Its path without links; with a link at its end only where that was not followed.
    pub path: Vec<u8>,
    /// Itself.
    pub about: Metadata,
    /// Where it leads, if it is a link.
    pub destination: Option<Vec<u8>>,
    /// What the target's user may do with it, as the last digit of a mode: 4 read, 2 write, 1 execute.
    pub may: u8,
    /// The content, if it was wanted and is small.
    pub content: Option<Vec<u8>>,
}

/// A file as `stat(2)` describes it. Two that are equal have equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Permissions and the bits above them (`07777`).
    pub mode: u16,
    /// In bytes.
    pub size: u64,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of anything.
    pub changed: Time,
    /// Tells it from every other file.
    pub identity: Identity,
}

/// Which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its device.
    pub device: u64,
    /// Its number there; the next file gets it when this one is gone.
    pub number: u64,
    /// When it was made (`STATX_BTIME`), where the file system knows.
    pub born: Option<Time>,
}

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A device.
    Device,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

/// Asks for a directory's entries. [`Listed`] messages follow a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDirectory {
    /// Where; links are followed.
    pub path: Vec<u8>,
}

/// What follows [`ListDirectory`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    /// More entries, at most [`ENTRIES`].
    Entries(Vec<Entry>),
    /// That was all.
    End,
    /// Reading failed with this error number.
    Failed(i32),
}

/// One entry of a directory; `.` and `..` are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name: any bytes.
    pub name: Vec<u8>,
    /// Itself; a link is not followed.
    pub about: Metadata,
    /// Where it leads, if it is a link.
    pub destination: Option<Vec<u8>>,
    /// As in [`Looked`].
    pub may: u8,
}

/// Asks for what a program is likely to look at next. [`Ahead`] messages follow a success, until there is no more or
/// enough of it: [`AHEAD_BYTES`] or [`AHEAD_ENTRIES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReadAhead {
    /// The regular files of a directory that are no longer than [`SMALL`], with their content.
    Files {
        /// The directory, without links.
        path: Vec<u8>,
        /// The name behind which to begin, in the order in which the directory is read.
        after: Vec<u8>,
    },
    /// The directories below one, deepest first as programs walk them.
    Directories {
        /// The directory, without links.
        path: Vec<u8>,
    },
}

/// Most bytes of content that are read ahead at a time.
pub const AHEAD_BYTES: u64 = 4 << 20;

/// Most entries that are read ahead at a time.
pub const AHEAD_ENTRIES: usize = 16_384;

/// What follows [`ReadAhead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ahead {
    /// Files with their content.
    Files(Vec<Looked>),
    /// A directory with all its entries.
    Directory {
        /// Its path.
        path: Vec<u8>,
        /// Itself, before it was read.
        about: Metadata,
        /// As in [`Looked`].
        may: u8,
        /// In the order in which it is read.
        entries: Vec<Entry>,
    },
    /// That was all.
    End,
}

/// Asks for a regular file's content. Pieces follow a success, each after its length as a little-endian `i32`: of at
/// most [`PIECE`] bytes; 0 is the end, and a negative number an error number that ends it early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Where; links are followed.
    pub path: Vec<u8>,
    /// Most bytes that are wanted: of a larger file, `EFBIG`.
    pub limit: u64,
    /// Where to begin.
    pub offset: u64,
}

/// Asks to open a regular file so that it can be written. [`Edit`]s follow a success, and [`Flushed`] after each
/// [`Edit::Flush`]. The file is open as long as the stream stands, whatever becomes of its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// Where.
    pub path: Vec<u8>,
    /// How.
    pub how: Opening,
    /// Its content is wanted as with [`LookAt::content`].
    pub content: bool,
    /// The file whose content the host has.
    pub known: Option<Metadata>,
}

/// How a file is opened, in the terms of `open(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// Whether a link at the end of the path is followed.
    pub follow: bool,
    /// It must be readable.
    pub read: bool,
    /// It must be writable.
    pub write: bool,
    /// It is made where it is not there, with this mode.
    pub create: Option<u32>,
    /// It must not be there yet.
    pub exclusive: bool,
    /// It loses its content.
    pub truncate: bool,
    /// Every write goes to its end.
    pub append: bool,
}

/// A file that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its path without links.
    pub path: Vec<u8>,
    /// Itself, as it is now.
    pub about: Metadata,
    /// As in [`Looked`].
    pub may: u8,
    /// As in [`Looked`].
    pub content: Option<Vec<u8>>,
}

/// A change of an open file. What fails is told by the next [`Flushed`], and what follows it until then is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// At most [`PIECE`] bytes at a place.
    Write {
        /// Where they begin.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// At most [`PIECE`] bytes, wherever the file ends by then (`O_APPEND`).
    Append(Vec<u8>),
    /// The file gets this size.
    SetLength(u64),
    /// All that came before is to be done, and if so wished to outlive the node's power.
    Flush {
        /// As `fsync(2)` does.
        durable: bool,
    },
}

/// The file after a [`Edit::Flush`], or the error number of the first change that failed.
pub type Flushed = Result<Metadata, i32>;

/// Asks to change what is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePath {
    /// Where; a link at its end is only followed where the change says so.
    pub path: Vec<u8>,
    /// How.
    pub change: Change,
}

/// A change of what is at a path, in the terms of the system call of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// `mkdir`.
    MakeDirectory {
        /// Its mode.
        mode: u32,
    },
    /// `unlink`, `rmdir`, or `remove` where it may be either.
    Remove(Removal),
    /// `renameat2`.
    Rename {
        /// The new path.
        to: Vec<u8>,
        /// `RENAME_…`.
        flags: u32,
    },
    /// `link`.
    Link {
        /// The new path.
        to: Vec<u8>,
        /// Whether a link at the end of the old path is followed.
        follow: bool,
    },
    /// `symlink`.
    Symlink {
        /// Where it leads.
        destination: Vec<u8>,
    },
    /// `chmod`.
    SetMode {
        /// The mode.
        mode: u32,
        /// Whether a link at the end of the path is followed; a link itself has no mode that can be set.
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
    /// `utimensat`, with its special values in the nanoseconds.
    SetTimes {
        /// Last access.
        accessed: Time,
        /// Last change of the content.
        modified: Time,
        /// Whether a link at the end of the path is followed.
        follow: bool,
    },
    /// `truncate`.
    SetLength(i64),
    /// `fsync` of a directory.
    Sync,
}

/// What a removal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Removal {
    /// `unlink`.
    File,
    /// `rmdir`.
    Directory,
    /// `remove`.
    Any,
}

/// What a change has led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The changed path without links above its last part, or without any where that was followed.
    pub path: Vec<u8>,
    /// The new path of a [`Change::Rename`] or [`Change::Link`], likewise.
    pub to: Option<Vec<u8>>,
    /// What is at the new path, or at the changed one; none after a removal.
    pub about: Option<Metadata>,
}
