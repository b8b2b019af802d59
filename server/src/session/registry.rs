//! How sessions are found again: a file for each in the user's state folder, and the session's control socket.
//!
//! The file is for the user's eyes only and holds the token without which the host answers nobody; the host holds a
//! lock on it for as long as it lives, so what a killed host has left is known and removed by whoever looks next.
//! The socket is an abstract one, which ends with its host. Lines of JSON travel on it: one [`Hello`] to the host, then
//! [`Answer`]s.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use super::board::Event;
use super::message::Ready;
use super::spawn;
use crate::failure::{Class, Failure, Result};
use crate::folders;
use crate::serve::rpc::SessionUpdated;

/// Longest line on the control socket, in bytes: an environment fits.
pub(super) const LONGEST_LINE: usize = 8 << 20;

/// What a session's file says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The session's name.
    pub session: String,
    /// Version of the host.
    pub version: String,
    /// Who knows it may control the session.
    token: String,
}

/// What is wanted of a host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Everything, and then what is new, until either side ends.
    Follow,
    /// What a program needs to be part of the session.
    Plan,
    /// That one is about to be started in it: it is waited for as the first one was.
    Join,
    /// The end of the session.
    Stop,
    /// Another configuration: a `SessionSpec` as JSON, with what `Plan` says of it.
    Update {
        /// The spec.
        spec: String,
        /// Its fingerprint.
        fingerprint: String,
    },
}

/// The first line of a connection.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) token: String,
    pub(super) command: Command,
}

/// What a host answers. Has no `Debug`: plans hold secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// One event of many.
    Event(Event),
    /// How to start a program.
    Plan(Box<Plan>),
    /// It is done.
    Done,
    /// What came of an update.
    Updated(SessionUpdated),
    /// It cannot be done.
    Failed(Failure),
}

/// What a host keeps for those who start programs in its session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The environment.
    pub ready: Ready,
    /// What the session was asked for, as its starter wrote it.
    pub request: String,
    /// Equal for equal sessions.
    pub fingerprint: String,
}

/// A session's entry, held by its host.
pub(super) struct Registration {
    pub(super) token: String,
    path: PathBuf,
    /// Its lock says that the host lives.
    _file: File,
}

impl Registration {
    /// Enters a session.
    pub(super) fn enter(session: &str) -> Result<Self> {
        let cannot = |reason: String| Failure::system("cannot register the session", reason);
        let folder = folder().map_err(cannot)?;
        let token = super::startup::random_name(26)?;
        let entry = Entry { session: session.to_owned(), version: protocol::VERSION.to_owned(), token: token.clone() };
        // Readers see a whole file that is locked already, or none.
        let (path, hidden) = (folder.join(format!("{session}.json")), folder.join(format!(".{session}.new")));
        let write = || -> io::Result<File> {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&hidden)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            file.write_all(serde_json::to_string(&entry)?.as_bytes())?;
            fs::rename(&hidden, &path)?;
            Ok(file)
        };
        let file = write().map_err(|error| cannot(error.to_string()))?;
        Ok(Self { token, path, _file: file })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// Name of a session's control socket.
pub(super) fn socket_name(session: &str) -> String {
    format!("mirror-{session}-control")
}

/// Where their files are.
pub fn folder() -> std::result::Result<PathBuf, String> {
    folders::own(&spawn::state_folder(), &["sessions"], 0o700)
}

/// The sessions whose hosts live. Removes what dead ones have left.
pub fn entries() -> Vec<Entry> {
    let Ok(folder) = folder() else { return Vec::new() };
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries = Vec::new();
    for path in files.flatten().map(|file| file.path()) {
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            fs::remove_file(&path).ok();
            continue;
        }
        let entry = folders::is_own_file(&path).then(|| fs::read_to_string(&path).ok()).flatten();
        entries.extend(entry.and_then(|text| serde_json::from_str::<Entry>(&text).ok()));
    }
    entries
}

/// The entry of one session.
pub fn entry(session: &str) -> Result<Entry> {
    entries().into_iter().find(|entry| entry.session == session).ok_or_else(|| gone(session))
}

/// There is no such session (any more).
pub fn gone(session: &str) -> Failure {
    Failure::new(Class::SessionNotFound, format!("there is no session {session}"))
        .next("it may have ended: start another")
}

/// Answers of one host.
pub struct Answers {
    session: String,
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// Its end would be the end of the connection.
    _writer: tokio::net::unix::OwnedWriteHalf,
}

impl Answers {
    /// The next answer; none at the end.
    pub async fn next(&mut self) -> Result<Option<Answer>> {
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::new(Class::Internal, format!("session {} does not answer as one: {error}", self.session))
                .next("it may be held by another version of mirror: stop its program")
        };
        match self.lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).map(Some).map_err(|error| cannot(&error)),
            Ok(None) => Ok(None),
            Err(error) => Err(cannot(&error)),
        }
    }
}

impl Entry {
    /// Asks the host for something.
    pub async fn ask(&self, command: Command) -> Result<Answers> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => gone(&self.session),
            _ => Failure::system(format!("cannot reach session {}", self.session), error),
        };
        let stream = connect(&socket_name(&self.session)).map_err(cannot)?;
        let (reader, mut writer) = stream.into_split();
        let hello = Hello { token: self.token.clone(), command };
        let mut line = serde_json::to_vec(&hello).map_err(|error| cannot(error.into()))?;
        line.push(b'\n');
        writer.write_all(&line).await.map_err(cannot)?;
        Ok(Answers { session: self.session.clone(), lines: BufReader::new(reader).lines(), _writer: writer })
    }

    /// Asks for something that has one answer.
    pub async fn ask_once(&self, command: Command) -> Result<Answer> {
        match self.ask(command).await?.next().await? {
            Some(Answer::Failed(failure)) => Err(failure),
            Some(answer) => Ok(answer),
            None => Err(gone(&self.session)),
        }
    }
}

/// Whoever takes the name after the host's end must not get the token.
fn connect(name: &str) -> io::Result<UnixStream> {
    let stream =
        std::os::unix::net::UnixStream::connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if peer.uid != rustix::process::getuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "its socket belongs to another user"));
    }
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
