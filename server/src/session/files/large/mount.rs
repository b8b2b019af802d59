//! Mounts a file system that this process answers for, without being root: `fusermount3` does it, and undoes it. If
//! this process is killed it may not; the next session does then.

use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// What mounts and unmounts (`fusermount3(1)`).
const PROGRAM: &str = "fusermount3";

/// Nobody but this user gets in, and root neither, which is what FUSE does unless it is told otherwise.
const OPTIONS: &str = "ro,nosuid,nodev,auto_unmount,fsname=mirror,subtype=mirror";

/// A file system that is mounted. If it is dropped, it is unmounted a little later.
pub(super) struct Mount {
    place: PathBuf,
    /// As long as it is open.
    _alive: UnixStream,
}

impl Mount {
    /// Mounts at a folder; also the kernel's end, on which to answer.
    pub(super) fn new(place: &Path) -> io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = UnixStream::pair()?;
        let mut command = Command::new(PROGRAM);
        command.args(["-o", OPTIONS, "--"]).arg(place).env("_FUSE_COMMFD", "0");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{PROGRAM}: {error}")))?;
        drop(command);
        let Ok(Some(kernel)) = receive_descriptor(&ours) else {
            let mut text = String::new();
            child.stderr.take().map(|mut said| said.read_to_string(&mut text)).transpose()?;
            child.wait()?;
            return Err(io::Error::other(if text.is_empty() { format!("{PROGRAM} failed") } else { text }));
        };
        // A process that is killed closes its descriptors in their order. Where the kernel's end were open still when
        // `fusermount3` hears of it, the file system would look alive and stay.
        let ours = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(&ours, kernel.as_raw_fd() + 1)?);
        // It stays until `ours` is closed.
        std::thread::Builder::new().name("fusermount".to_owned()).spawn(move || child.wait())?;
        Ok((Self { place: place.to_owned(), _alive: ours }, kernel))
    }

    /// Unmounts now, also what programs have open.
    pub(super) fn end(self) {
        unmount(&self.place);
    }
}

/// Unmounts what is mounted at a folder, if anything is.
pub(super) fn unmount(place: &Path) {
    let mut command = Command::new(PROGRAM);
    command.args(["-u", "-q", "-z", "--"]).arg(place);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok();
}

fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().next())
}
