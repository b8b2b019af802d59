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

/// The folder of all of [`POD_FILES`].
const ETC: &[u8] = b"/etc/";

/// Longest folder before one of the four names that is looked at, with a NUL: the hook may run on a signal
/// handler's small stack, and nobody writes `/etc` at such length.
const FOLDER_ROOM: usize = 512;

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

/// Who has the file behind `path`, which may be relative to `directory` (`openat(2)`).
///
/// Every path that a program looks at comes here, so it is told by its last part first: only a path that ends in
/// one of four names goes on.
pub(crate) fn place(directory: c_int, path: &[u8]) -> Place {
    let Some((index, folder)) = named(path) else { return Place::Native };
    let Some(session) = session::get() else { return Place::Native };
    let kept = match session.files.get(index) {
        None | Some(PodFile::Local) => return Place::Native,
        Some(kept) => *kept,
    };
    // In a closed sandbox a call of ours might end the program.
    let is_pods = is_written_etc(folder) || (!sandbox::is_closed() && is_etc(directory, folder));
    match kept {
        _ if !is_pods => Place::Native,
        PodFile::Absent => Place::Absent,
        PodFile::Descriptor(_) if sandbox::is_closed() => Place::Native,
        PodFile::Descriptor(fd) => in_host(File::in_host(index, session.host, fd)),
        PodFile::Local => Place::Native,
    }
}

/// The pod's version of one of [`POD_FILES`].
pub(crate) fn pods(path: &str) -> Place {
    place(libc::AT_FDCWD, path.as_bytes())
}

fn in_host(file: File) -> Place {
    let mut target = [0; OURS.len()];
    match sys::read_link(file.path(), &mut target) {
        Ok(OURS) => Place::At(file),
        _ => Place::Lost,
    }
}

/// Which of [`POD_FILES`] has the last name of `path`, and what stands before that name. No folder of that name is
/// one of them, so a path that asks for a folder (`/` at its end) has none.
fn named(path: &[u8]) -> Option<(usize, &[u8])> {
    let length = path.iter().rev().take_while(|byte| **byte != b'/').count();
    let (folder, name) = path.split_at_checked(path.len() - length)?;
    let index = POD_FILES.iter().position(|file| file.as_bytes().strip_prefix(ETC) == Some(name))?;
    Some((index, folder))
}

/// Whether a folder is `/etc` as it is written, also with more slashes than needed and `.` in it.
fn is_written_etc(folder: &[u8]) -> bool {
    let mut parts = folder.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    folder.starts_with(b"/") && parts.next() == Some(b"etc") && parts.next().is_none()
}

/// Whether a folder is `/etc` for the kernel: through `..` and links, or from `directory` on.
fn is_etc(directory: c_int, folder: &[u8]) -> bool {
    let mut room = [0; FOLDER_ROOM];
    let folder = if folder.is_empty() { b"." } else { folder };
    let Some(place) = room.get_mut(..folder.len()).filter(|_| folder.len() < FOLDER_ROOM) else { return false };
    place.copy_from_slice(folder);
    let folder = CStr::from_bytes_until_nul(&room).unwrap_or_default();
    let identity = sys::identity(directory, folder);
    identity.is_ok() && identity == sys::identity(libc::AT_FDCWD, c"/etc")
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
    fn a_path_is_told_by_its_last_name() {
        for (path, expected) in [
            ("/etc/resolv.conf", Some((0, "/etc/"))),
            ("//etc///hosts", Some((1, "//etc///"))),
            ("hosts", Some((1, ""))),
            ("/etc/nsswitch.conf", Some((2, "/etc/"))),
            ("../etc/hostname", Some((3, "../etc/"))),
            ("/etc/hosts/", None),
            ("/etc/hosts/.", None),
            ("/etc/hosts.allow", None),
            ("/etc/host", None),
            ("/etc/my-hosts", None),
            ("/", None),
            ("", None),
        ] {
            let expected = expected.map(|(index, folder): (usize, &str)| (index, folder.as_bytes()));
            assert_eq!(named(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn a_folder_is_told_by_its_parts_or_by_the_kernel() {
        for (folder, written, asked) in [
            ("/etc/", true, true),
            ("//etc/./", true, true),
            ("/./etc//", true, true),
            ("/etc/../etc/", false, true),
            ("/proc/self/root/etc/", false, true),
            ("/", false, false),
            ("/usr/", false, false),
            ("/none/../etc/", false, false),
            ("", false, false),
            (&"/".repeat(FOLDER_ROOM), false, false),
        ] {
            assert_eq!(is_written_etc(folder.as_bytes()), written, "{folder}");
            assert_eq!(is_etc(libc::AT_FDCWD, folder.as_bytes()), asked, "{folder}");
        }
        let folder = std::fs::File::open("/etc").expect("a folder");
        let directory = std::os::fd::AsRawFd::as_raw_fd(&folder);
        for (written, expected) in [("", true), ("./", true), ("../", false), ("../etc/", true)] {
            assert_eq!(is_etc(directory, written.as_bytes()), expected, "{written}");
        }
        assert!(!is_etc(-1, b""));
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
