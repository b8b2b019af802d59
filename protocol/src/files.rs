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
    /// Its device and its number there, which tell it from every other file.
    pub identity: (u64, u64),
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
}

/// Asks for a regular file's content. Pieces follow a success, each after its length as a little-endian `i32`: of at
/// most [`PIECE`] bytes; 0 is the end, and a negative number an error number that ends it early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Where; links are followed.
    pub path: Vec<u8>,
    /// Most bytes that are wanted: a larger file is `EFBIG`.
    pub limit: u64,
}
