//! Starting a session host: a process of its own that nobody has to wait for.
//!
//! `mirror exec` becomes the user's program, which must not find a child it did not make. So the host is
//! started by a short-lived middle process (`mirror session-host --detach`) and adopted by init.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::message::{self, HostMessage, Start};
use crate::failure::{Class, Failure, Result};

/// The hidden command that runs the host.
pub const COMMAND: &str = "session-host";

/// A host that was just started.
pub struct Host {
    socket: UnixStream,
}

impl Host {
    /// Starts a host and hands it its task.
    pub fn start(start: &Start) -> Result<Self> {
        let failed = |error: std::io::Error| Failure::system("cannot start the session host", error);
        let (mut socket, theirs) = UnixStream::pair().map_err(failed)?;
        let status = middle("--detach").stdin(OwnedFd::from(theirs)).status().map_err(failed)?;
        if !status.success() {
            return Err(Failure::new(Class::Internal, format!("cannot start the session host: {status}")));
        }
        message::send(&mut socket, start).map_err(failed)?;
        Ok(Self { socket })
    }

    /// The next message; an end of stream before [`HostMessage::Ready`] is the host's death.
    pub fn receive(&mut self) -> Result<HostMessage> {
        match message::receive(&mut self.socket) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Failure::new(Class::Internal, "the session host ended without a word")
                .next(format!("its log is in {}", log_folder().display()))),
            Err(error) => Err(Failure::system("cannot read from the session host", error)),
        }
    }
}

fn middle(argument: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).arg(argument).current_dir("/").stdout(Stdio::null());
    command
}

/// The middle process: starts the real host in a session of its own and ends.
pub fn detach() -> std::io::Result<()> {
    rustix::process::setsid().ok();
    // Whatever else the user's shell keeps open (locks, pipes) must not stay open because of the host.
    close_fds::set_fds_cloexec(3, &[]);
    middle("--run").spawn().map(drop)
}

/// Where session hosts write their logs.
pub fn log_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".local/state"));
    let user = rustix::process::getuid().as_raw();
    state.or_else(home).map_or_else(|| PathBuf::from(format!("/tmp/mirror-{user}/log")), |dir| dir.join("mirror/log"))
}

/// Opens the log of one session.
pub fn open_log(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
