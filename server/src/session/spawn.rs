//! Starting a session host: a process of its own that nobody has to wait for.
//!
//! `mirror exec` becomes the user's program, which must not find a child it did not make. So the host is
//! started by a short-lived middle process (`mirror session-host --detach`) and adopted by init.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use protocol::codec;
use tokio::io::AsyncReadExt;

use super::message::{self, HostMessage, Keeper, Start};
use crate::failure::{Class, Failure, Remedy, Result};
use crate::folders;

/// The hidden command that runs the host.
pub const COMMAND: &str = "session-host";

/// Logs that are kept; older ones are removed when a session begins.
const LOGS: usize = 50;

/// A host that was just started.
pub struct Host {
    socket: UnixStream,
}

impl Host {
    /// Starts a host and hands it its task.
    pub fn start(start: &Start) -> Result<Self> {
        let failed = |error: std::io::Error| Failure::system("cannot start the session host", error);
        let (mut socket, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = middle("--detach");
        command.stdin(OwnedFd::from(theirs));
        if matches!(start.keeper, Keeper::Editor { .. }) {
            // An editor waits for the end of its helper's stderr; the host outlives the helper.
            command.stderr(Stdio::null());
        }
        let status = command.status().map_err(failed)?;
        if !status.success() {
            return Err(Failure::new(Class::Internal, format!("cannot start the session host: {status}")));
        }
        message::send(&mut socket, start).map_err(failed)?;
        Ok(Self { socket })
    }

    /// The next message; an end of stream before [`HostMessage::Ready`] is the host's death.
    pub fn receive(&mut self) -> Result<HostMessage> {
        message::receive(&mut self.socket).map_err(unreadable)?.ok_or_else(ended)
    }

    /// For those who wait for other things, too. The host gives up when this is dropped before it is ready.
    pub fn into_messages(self) -> Result<Messages> {
        self.socket.set_nonblocking(true).map_err(unreadable)?;
        Ok(Messages { socket: tokio::net::UnixStream::from_std(self.socket).map_err(unreadable)? })
    }
}

/// What a host says while it starts.
pub struct Messages {
    socket: tokio::net::UnixStream,
}

impl Messages {
    /// As [`Host::receive`].
    pub async fn receive(&mut self) -> Result<HostMessage> {
        let mut prefix = [0; codec::PREFIX];
        if self.socket.read_exact(&mut prefix).await.is_err() {
            return Err(ended());
        }
        let length = codec::length(prefix).map_err(unreadable)?;
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await.map_err(unreadable)?;
        codec::decode(&body).map_err(unreadable)
    }
}

fn ended() -> Failure {
    let failure = Failure::new(Class::Internal, "the session host ended without a word");
    match by_age(&log_folder()).pop() {
        Some(log) => {
            failure.next(format!("{} may say why", log.display())).remedy(Remedy::ReadLog(log.display().to_string()))
        }
        None => failure.next("it has written no log: run it with MIRROR_LOG=debug"),
    }
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::system("cannot read from the session host", error)
}

fn middle(argument: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).arg(argument).current_dir("/").stdout(Stdio::null());
    // The host lives in another folder.
    if let Some(list) = std::env::var_os("KUBECONFIG") {
        command.env("KUBECONFIG", absolute_paths(&list));
    }
    command
}

/// A list of paths as they are meant in the current folder.
fn absolute_paths(list: &OsStr) -> OsString {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    std::env::join_paths(std::env::split_paths(list).map(absolute)).unwrap_or_else(|_| list.to_owned())
}

/// The middle process: starts the real host in a session of its own and ends.
pub fn detach() -> std::io::Result<()> {
    rustix::process::setsid().ok();
    // Whatever else the user's shell keeps open (locks, pipes) must not stay open because of the host.
    close_fds::set_fds_cloexec(3, &[]);
    middle("--run").spawn().map(drop)
}

/// Where session hosts write their logs, if they can.
pub fn log_folder() -> PathBuf {
    state_folder().join("log")
}

/// Where what outlives a process is kept.
pub(super) fn state_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".local/state"));
    state.or_else(home).map_or_else(folders::temporary, |dir| dir.join("mirror"))
}

/// Opens the log of one session, for this user's eyes only, and removes the oldest of the others.
pub fn open_log(session: &str) -> Result<(File, PathBuf), String> {
    let folder = folders::own(&state_folder(), &["log"], 0o700)?;
    let path = folder.join(format!("{session}.log"));
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = file.map_err(|error| error.to_string())?;
    remove_oldest(&folder, LOGS);
    Ok((file, path))
}

/// Keeps the `kept` logs that were written to last. A log that goes away too early is no harm.
fn remove_oldest(folder: &Path, kept: usize) {
    let logs = by_age(folder);
    let surplus = logs.len().saturating_sub(kept);
    for path in logs.into_iter().take(surplus) {
        fs::remove_file(path).ok();
    }
}

/// The logs in a folder; that which was written to last is the last.
fn by_age(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = entries.filter(|entry| Path::new(&entry.file_name()).extension() == Some(OsStr::new("log")));
    let mut logs: Vec<(SystemTime, PathBuf)> =
        logs.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    logs.sort();
    logs.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_newest_logs_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        for age in 0..5 {
            let file = File::create(folder.path().join(format!("{age}.log"))).expect("a log");
            file.set_modified(SystemTime::now() - Duration::from_secs(age * 60)).expect("an age");
        }
        fs::write(folder.path().join("other"), "").expect("written");
        remove_oldest(folder.path(), 2);
        let mut left: Vec<_> = fs::read_dir(folder.path()).expect("read").flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left, ["0.log", "1.log", "other"]);
    }

    #[test]
    fn relative_kubeconfigs_are_those_of_the_current_folder() {
        let here = std::env::current_dir().expect("a folder");
        let expected = format!("/a:{}", here.join("b").display());
        assert_eq!(absolute_paths(OsStr::new("/a:b")), OsString::from(expected));
        assert_eq!(absolute_paths(OsStr::new("")), OsString::new());
    }
}
