//! Files of the pod at their own paths: which paths, and where the pod's version is.
//!
//! [`place`] is the one decision; whatever hooks a path asks it.

use core::ffi::CStr;
use std::io::Write;

use libc::c_int;
use protocol::agent::POD_FILES;
use protocol::layer::PodFile;

use crate::sys::{self, Errno};
use crate::{sandbox, session};

/// Longest path of a file in the host, with its NUL: `/proc/4294967295/fd/4294967295`.
const ROOM: usize = 32;

/// Names of the host's files, which `/proc/<pid>/fd` shows: another process that got the host's number has none.
const OURS: &[u8] = b"/memfd:mirror-";

/// Who has the file behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// This machine.
    Native,
    /// The pod has none.
    Absent,
    /// The pod; but its version is out of reach. This machine's never stands in for it.
    Lost,
    /// The pod; its version is there.
    At(File),
}

/// The pod's version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    /// Which of [`POD_FILES`].
    index: usize,
    /// Where it can be opened, with a NUL.
    path: [u8; ROOM],
}

impl File {
    fn in_host(index: usize, host: u32, fd: u32) -> Self {
        let mut path = [0; ROOM];
        // The room is enough for the longest numbers, and stays NUL behind them.
        let _ = write!(&mut path[..], "/proc/{host}/fd/{fd}");
        Self { index, path }
    }

    /// Where it can be opened: a link, so calls that would look at the link itself must not be made so.
    pub(crate) fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.path).unwrap_or_default()
    }

    /// The path by which programs know it.
    pub(crate) fn own_path(&self) -> &'static str {
        POD_FILES.get(self.index).copied().unwrap_or_default()
    }
}

/// Who has the file behind `path`.
pub(crate) fn place(path: &[u8]) -> Place {
    let Some((index, session)) = which(path).zip(session::get()) else { return Place::Native };
    let fd = match session.files.get(index) {
        None | Some(PodFile::Local) => return Place::Native,
        Some(PodFile::Absent) => return Place::Absent,
        Some(PodFile::Descriptor(fd)) => *fd,
    };
    // There a call of ours might end the program.
    if sandbox::is_closed() {
        return Place::Native;
    }
    let file = File::in_host(index, session.host, fd);
    let mut target = [0; OURS.len()];
    match sys::read_link(file.path(), &mut target) {
        Ok(OURS) => Place::At(file),
        _ => Place::Lost,
    }
}

/// Which of [`POD_FILES`] a path names, also with more slashes than needed and `.` in it.
fn which(path: &[u8]) -> Option<usize> {
    // Such a path asks for a directory, which none of them is.
    if path.ends_with(b"/") || path.ends_with(b"/.") {
        return None;
    }
    let parts = || path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    path.starts_with(b"/").then_some(())?;
    POD_FILES.iter().position(|file| parts().eq(file.as_bytes().split(|byte| *byte == b'/').skip(1)))
}

/// The flags with which to open the pod's version, or why it cannot be opened so. It cannot be written.
pub(crate) fn open_flags(flags: c_int) -> Result<c_int, Errno> {
    if flags & libc::O_PATH == 0 {
        if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
            return Err(libc::EEXIST);
        }
        if flags & libc::O_DIRECTORY == 0 && (flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0) {
            return Err(libc::EACCES);
        }
    }
    Ok(flags & !(libc::O_NOFOLLOW | libc::O_CREAT | libc::O_EXCL))
}

/// Why a file that the pod does not have cannot be opened: it cannot be made either.
pub(crate) fn absent(flags: c_int) -> Errno {
    if flags & libc::O_CREAT != 0 && flags & libc::O_PATH == 0 { libc::EACCES } else { libc::ENOENT }
}

/// The flags of `open` that a mode of `fopen(3)` stands for, as far as they matter here.
pub(crate) fn mode_flags(mode: &[u8]) -> c_int {
    let access = if mode.contains(&b'+') { libc::O_RDWR } else { libc::O_WRONLY };
    let exclusive = if mode.contains(&b'x') { libc::O_EXCL } else { 0 };
    match mode.first() {
        Some(b'w') => access | libc::O_CREAT | libc::O_TRUNC | exclusive,
        Some(b'a') => access | libc::O_CREAT | exclusive,
        Some(b'r') if mode.contains(&b'+') => libc::O_RDWR,
        _ => libc::O_RDONLY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_by_their_parts() {
        for (path, expected) in [
            ("/etc/resolv.conf", Some(0)),
            ("/etc/hosts", Some(1)),
            ("//etc///hosts", Some(1)),
            ("/./etc/./hosts", Some(1)),
            ("/etc/nsswitch.conf", Some(2)),
            ("/etc/hostname", Some(3)),
            ("etc/hosts", None),
            ("/etc/hosts/", None),
            ("/etc/hosts/.", None),
            ("/etc/hosts.allow", None),
            ("/etc/host", None),
            ("/etc", None),
            ("/", None),
            ("", None),
            ("/etc/x/hosts", None),
            ("/etc/../etc/hosts", None),
        ] {
            assert_eq!(which(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn the_longest_path_fits() {
        let file = File::in_host(1, u32::MAX, u32::MAX);
        assert_eq!(file.path(), c"/proc/4294967295/fd/4294967295");
        assert_eq!(file.own_path(), "/etc/hosts");
    }

    #[test]
    fn the_files_can_only_be_read() {
        use libc::{
            EACCES, EEXIST, O_APPEND, O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY,
        };
        for (flags, expected) in [
            (O_RDONLY, Ok(0)),
            (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_CREAT, Ok(O_CLOEXEC)),
            (O_WRONLY, Err(EACCES)),
            (O_RDWR | O_APPEND, Err(EACCES)),
            (O_RDONLY | O_TRUNC, Err(EACCES)),
            (O_WRONLY | O_CREAT | O_EXCL, Err(EEXIST)),
            (libc::O_PATH | O_NOFOLLOW, Ok(libc::O_PATH)),
        ] {
            assert_eq!(open_flags(flags), expected, "{flags:o}");
        }
        for (mode, expected) in [
            ("r", O_RDONLY),
            ("re", O_RDONLY),
            ("rb+", O_RDWR),
            ("w", O_WRONLY | O_CREAT | O_TRUNC),
            ("a+", O_RDWR | O_CREAT),
            ("wx", O_WRONLY | O_CREAT | O_TRUNC | O_EXCL),
        ] {
            assert_eq!(mode_flags(mode.as_bytes()), expected, "{mode}");
        }
    }
}
