//! Files of the pod at their own paths: which paths, and where the pod's version is.
//!
//! [`decide`] is the one decision; whatever hooks a path asks it. What the user's patterns name is in the session's
//! shadow ([`shadow`](super::shadow)), and the host is asked for it; the four of [`POD_FILES`] are in the host's memory.

use core::ffi::CStr;
use std::io::Write;

use libc::c_int;
use protocol::agent::POD_FILES;
use protocol::layer::{MAX_PATH, MAX_SHADOW, PodFile};

use crate::ops::shadow::{self, Whole, Wish};
use crate::sys::{self, Errno};
use crate::{sandbox, session};

/// Longest path at which a file of the pod can be opened, with its NUL.
const ROOM: usize = MAX_SHADOW + MAX_PATH + 1;

/// The folder of all of [`POD_FILES`].
const ETC: &[u8] = b"/etc/";

/// Longest folder before one of the four names that is looked at, with a NUL: the hook may run on a signal
/// handler's small stack, and nobody writes `/etc` at such length.
const FOLDER_ROOM: usize = 512;

/// Names of the host's files, which `/proc/<pid>/fd` shows: another process that got the host's number has none.
const OURS: &[u8] = b"/memfd:mirror-";

/// Who has the file behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nothing allocates where a signal handler may run")]
pub(crate) enum Place {
    /// This machine.
    Native,
    /// Nobody; whoever would make it gets this error.
    Absent(Errno),
    /// The pod; but it is out of reach, or the pod says no. This machine's never stands in for it.
    Failed(Errno),
    /// The pod, or this machine under another path than the program's.
    At(File),
}

/// Where a file can be opened in place of the program's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    side: Side,
    /// With a NUL.
    path: [u8; ROOM],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Which of [`POD_FILES`]; the path is a link into the host's memory.
    Kept(usize),
    /// In the shadow; the pod's path begins there in the path, the pod's user may do that with it, and the session may
    /// change it or not.
    Shadow { at: usize, may: u8, writable: bool },
    /// This machine's.
    Local,
}

impl File {
    fn in_host(index: usize, host: u32, fd: u32) -> Self {
        let mut path = [0; ROOM];
        // The room is enough for the longest numbers, and stays NUL behind them.
        let _ = write!(&mut path[..], "/proc/{host}/fd/{fd}");
        Self { side: Side::Kept(index), path }
    }

    /// The file of the pod at `path` below the folder `root`; `None` if one is too long.
    pub(crate) fn in_shadow(root: &[u8], path: &[u8], may: u8, writable: bool) -> Option<Self> {
        let mut room = [0; ROOM];
        room.get_mut(..root.len())?.copy_from_slice(root);
        room.get_mut(root.len()..root.len() + path.len()).filter(|_| path.len() <= MAX_PATH)?.copy_from_slice(path);
        room.last().filter(|last| **last == 0)?;
        Some(Self { side: Side::Shadow { at: root.len(), may, writable }, path: room })
    }

    /// The file of this machine at `path`; `None` if it is too long.
    pub(crate) fn local(path: &[u8]) -> Option<Self> {
        let mut room = [0; ROOM];
        room.get_mut(..path.len()).filter(|_| path.len() <= MAX_PATH)?.copy_from_slice(path);
        Some(Self { side: Side::Local, path: room })
    }

    /// Where it can be opened.
    pub(crate) fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.path).unwrap_or_default()
    }

    /// The path by which programs know it.
    pub(crate) fn own_path(&self) -> &[u8] {
        match self.side {
            Side::Kept(index) => POD_FILES.get(index).copied().unwrap_or_default().as_bytes(),
            Side::Shadow { at, .. } => self.path().to_bytes().get(at..).unwrap_or_default(),
            Side::Local => self.path().to_bytes(),
        }
    }

    /// Whether a call on [`File::path`] is all that there is to do, whatever it changes.
    pub(crate) fn is_local(&self) -> bool {
        self.side == Side::Local
    }

    /// Whether the path is a link where the program's is none, so that it must be followed.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.side, Side::Kept(_))
    }

    /// Why it cannot be changed.
    pub(crate) fn refusal(&self) -> Errno {
        if self.is_kept() { libc::EACCES } else { libc::EROFS }
    }

    /// Flags of a call that takes `AT_SYMLINK_NOFOLLOW`.
    pub(crate) fn at_flags(&self, flags: c_int) -> c_int {
        if self.is_kept() { flags & !libc::AT_SYMLINK_NOFOLLOW } else { flags }
    }

    /// The flags with which to open it, or why it cannot be opened so.
    pub(crate) fn open_flags(&self, flags: c_int) -> Result<c_int, Errno> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        let is_named_only = flags & libc::O_PATH != 0;
        match self.side {
            Side::Local => return Ok(flags),
            _ if is_named_only => {}
            Side::Shadow { writable: true, .. } if flags & libc::O_TMPFILE == libc::O_TMPFILE => {
                return Err(libc::EOPNOTSUPP);
            }
            // The host has done the rest.
            Side::Shadow { writable: true, .. } => {
                return Ok(flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC));
            }
            _ if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 => return Err(libc::EEXIST),
            Side::Kept(_) if writes && flags & libc::O_DIRECTORY == 0 => return Err(libc::EACCES),
            Side::Shadow { .. } if writes => return Err(libc::EROFS),
            Side::Kept(_) | Side::Shadow { .. } => {}
        }
        let flags = flags & !(libc::O_CREAT | libc::O_EXCL);
        Ok(if self.is_kept() { flags & !libc::O_NOFOLLOW } else { flags })
    }

    /// What `access` says: an error, success, or nothing where the path's own answer counts.
    pub(crate) fn access(&self, mode: c_int) -> Option<Result<(), Errno>> {
        match self.side {
            Side::Local => None,
            Side::Kept(_) | Side::Shadow { writable: false, .. } if mode & libc::W_OK != 0 => Some(Err(self.refusal())),
            Side::Kept(_) => None,
            Side::Shadow { may, .. } if mode & !c_int::from(may) & 7 != 0 => Some(Err(libc::EACCES)),
            Side::Shadow { .. } => Some(Ok(())),
        }
    }
}

/// What can be said of a path without the host.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Decision {
    /// All.
    Settled(Place),
    /// Nothing: [`shadow::ask`] knows.
    Ask(Whole),
}

/// Whether [`decide`] may say anything but that a path is this machine's. Every path that a program looks at comes
/// here.
pub(crate) fn concerns(path: &[u8]) -> bool {
    let Some(session) = session::get() else { return false };
    match &session.shadow {
        Some(shadow) if !shadow.leaves_alone(path) => true,
        _ => named(path).is_some(),
    }
}

/// Who has the file behind `path`, which may be relative to `directory` (`openat(2)`).
pub(crate) fn decide(directory: c_int, path: &[u8], wish: Wish) -> Decision {
    let Some(session) = session::get() else { return Decision::Settled(Place::Native) };
    let decided = session.shadow.as_ref().and_then(|shadow| shadow::decide(shadow, directory, path, wish));
    decided.unwrap_or_else(|| Decision::Settled(kept(directory, path)))
}

/// As [`decide`], for [`POD_FILES`].
///
/// A path is told by its last part first: only one that ends in one of four names goes on.
fn kept(directory: c_int, path: &[u8]) -> Place {
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
        PodFile::Absent => Place::Absent(libc::EACCES),
        PodFile::Descriptor(_) if sandbox::is_closed() => Place::Native,
        PodFile::Descriptor(fd) => in_host(File::in_host(index, session.host, fd)),
        PodFile::Local => Place::Native,
    }
}

/// The pod's version of one of [`POD_FILES`].
pub(crate) fn pods(path: &str) -> Place {
    kept(libc::AT_FDCWD, path.as_bytes())
}

fn in_host(file: File) -> Place {
    let mut target = [0; OURS.len()];
    match sys::read_link(file.path(), &mut target) {
        Ok(OURS) => Place::At(file),
        _ => Place::Failed(libc::EIO),
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

/// The flags of `open` that a mode of `fopen(3)` stands for, as far as they matter here.
pub(crate) fn mode_flags(mode: &[u8]) -> c_int {
    let access = if mode.contains(&b'+') { libc::O_RDWR } else { libc::O_WRONLY };
    let exclusive = if mode.contains(&b'x') { libc::O_EXCL } else { 0 };
    match mode.first() {
        Some(b'w') => access | libc::O_CREAT | libc::O_TRUNC | exclusive,
        Some(b'a') => access | libc::O_CREAT | libc::O_APPEND | exclusive,
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
        assert_eq!(file.own_path(), b"/etc/hosts");
    }

    #[test]
    fn the_shadow_is_a_file_system_that_can_only_be_read() {
        let file = File::in_shadow(b"/run/x/root", b"/app/a", 5, false).expect("fits");
        assert_eq!((file.path(), file.own_path()), (c"/run/x/root/app/a", &b"/app/a"[..]));
        for (flags, expected) in [
            (libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CREAT, Ok(libc::O_NOFOLLOW)),
            (libc::O_WRONLY, Err(libc::EROFS)),
            (libc::O_RDONLY | libc::O_TRUNC, Err(libc::EROFS)),
            (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, Err(libc::EEXIST)),
            (libc::O_PATH, Ok(libc::O_PATH)),
        ] {
            assert_eq!(file.open_flags(flags), expected, "{flags:o}");
        }
        for (mode, expected) in [(0, Ok(())), (4, Ok(())), (5, Ok(())), (2, Err(libc::EROFS)), (6, Err(libc::EROFS))] {
            assert_eq!(file.access(mode), Some(expected), "{mode}");
        }
        let unreadable = File::in_shadow(b"/run/x/root", b"/app/a", 1, false).expect("fits");
        assert_eq!(unreadable.access(4), Some(Err(libc::EACCES)));
        assert!(File::in_shadow(&[b'x'; MAX_SHADOW], &[b'x'; MAX_PATH], 0, true).is_some());
        assert!(File::in_shadow(&[b'x'; MAX_SHADOW], &[b'x'; MAX_PATH + 1], 0, true).is_none());
        let local = File::local(b"/tmp/x").expect("fits");
        assert_eq!(
            (local.open_flags(libc::O_RDWR | libc::O_CREAT), local.access(2)),
            (Ok(libc::O_RDWR | libc::O_CREAT), None)
        );
    }

    #[test]
    fn what_may_be_written_is_opened_by_the_host_first() {
        let file = File::in_shadow(b"/run/x/root", b"/app/a", 6, true).expect("fits");
        for (flags, expected) in [
            (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC, Ok(libc::O_WRONLY)),
            (libc::O_RDWR | libc::O_APPEND, Ok(libc::O_RDWR | libc::O_APPEND)),
            (libc::O_RDWR | libc::O_TMPFILE, Err(libc::EOPNOTSUPP)),
        ] {
            assert_eq!(file.open_flags(flags), expected, "{flags:o}");
        }
        assert_eq!((file.access(6), file.access(1)), (Some(Ok(())), Some(Err(libc::EACCES))));
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
            assert_eq!(File::in_host(0, 1, 1).open_flags(flags), expected, "{flags:o}");
        }
        for (mode, expected) in [
            ("r", O_RDONLY),
            ("re", O_RDONLY),
            ("rb+", O_RDWR),
            ("w", O_WRONLY | O_CREAT | O_TRUNC),
            ("a+", O_RDWR | O_CREAT | O_APPEND),
            ("wx", O_WRONLY | O_CREAT | O_TRUNC | O_EXCL),
        ] {
            assert_eq!(mode_flags(mode.as_bytes()), expected, "{mode}");
        }
    }
}
