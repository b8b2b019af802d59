//! Functions that change what is at a path, or ask for little about it. The pod's files can only be read: what would
//! change them fails as on a file system that is mounted so.

use core::ffi::{c_char, c_void};

use libc::{AT_FDCWD, c_int, c_uint, dev_t, gid_t, mode_t, off_t, size_t, ssize_t, uid_t};

use super::files::{Sought, at_place, instead, seek, with};
use crate::interpose::Verdict;
use crate::ops::files::Place;
use crate::ops::shadow::Wish;
use crate::table::next;

/// The wish for an entry of a directory that is to be changed.
const ENTRY: Wish = Wish::LINK.changing(true);

/// Defines hooks: `$hook(directory?, path, after…)`, each with what it does to the path.
macro_rules! on_path {
    (@from) => { AT_FDCWD };
    (@from $directory:ident) => { $directory };

    // What is there cannot be changed; what is not there is missing.
    (@do changes $file:ident $call:expr) => {
        match $file.is_local() {
            true => $call,
            false => Verdict::Fail($file.refusal()),
        }
    };
    // What is there is in the way; what is not there cannot be made.
    (@do makes $file:ident $call:expr) => {
        match $file.is_local() {
            true => $call,
            false => Verdict::Fail(libc::EEXIST),
        }
    };
    (@do asks $file:ident $call:expr) => { $call };
    (@makes makes) => { true };
    (@makes $other:ident) => { false };
    (@changes asks) => { false };
    (@changes $other:ident) => { true };

    ($($what:ident $wish:ident $hook:ident [$($directory:ident)?] path [$($after:ident: $after_type:ty),*] -> $result:ty;)*) => {$(
        /// # Safety
        /// As the libc function of this name.
        pub(crate) unsafe fn $hook(
            $($directory: c_int,)?
            path: *const c_char,
            $($after: $after_type,)*
        ) -> Verdict<$result> {
            // SAFETY: the program's own argument.
            let sought = unsafe { seek(on_path!(@from $($directory)?), path, Wish::$wish.changing(on_path!(@changes $what))) };
            with(sought, on_path!(@makes $what), |file| {
                on_path!(@do $what file instead!($hook($($directory,)? file.path().as_ptr() $(, $after)*)))
            })
        }
    )*};
}

on_path! {
    changes LOOK truncate [] path [length: off_t] -> c_int;
    changes LOOK chmod [] path [mode: mode_t] -> c_int;
    changes LOOK fchmodat [directory] path [mode: mode_t, flags: c_int] -> c_int;
    changes LOOK chown [] path [user: uid_t, group: gid_t] -> c_int;
    changes LINK lchown [] path [user: uid_t, group: gid_t] -> c_int;
    changes LINK fchownat [directory] path [user: uid_t, group: gid_t, flags: c_int] -> c_int;
    changes LOOK utime [] path [times: *const c_void] -> c_int;
    changes LOOK utimes [] path [times: *const c_void] -> c_int;
    changes LINK lutimes [] path [times: *const c_void] -> c_int;
    changes LOOK futimesat [directory] path [times: *const c_void] -> c_int;
    changes LINK utimensat [directory] path [times: *const c_void, flags: c_int] -> c_int;
    changes LINK unlink [] path [] -> c_int;
    changes LINK unlinkat [directory] path [flags: c_int] -> c_int;
    changes LINK rmdir [] path [] -> c_int;
    changes LINK remove [] path [] -> c_int;
    changes LOOK setxattr [] path [name: *const c_char, value: *const c_void, size: size_t, flags: c_int] -> c_int;
    changes LINK lsetxattr [] path [name: *const c_char, value: *const c_void, size: size_t, flags: c_int] -> c_int;
    changes LOOK removexattr [] path [name: *const c_char] -> c_int;
    changes LINK lremovexattr [] path [name: *const c_char] -> c_int;
    makes LINK mkdir [] path [mode: mode_t] -> c_int;
    makes LINK mkdirat [directory] path [mode: mode_t] -> c_int;
    makes LINK mknod [] path [mode: mode_t, device: dev_t] -> c_int;
    makes LINK mknodat [directory] path [mode: mode_t, device: dev_t] -> c_int;
    makes LINK mkfifo [] path [mode: mode_t] -> c_int;
    makes LINK mkfifoat [directory] path [mode: mode_t] -> c_int;
    asks LOOK getxattr [] path [name: *const c_char, value: *mut c_void, size: size_t] -> ssize_t;
    asks LINK lgetxattr [] path [name: *const c_char, value: *mut c_void, size: size_t] -> ssize_t;
    asks LOOK listxattr [] path [list: *mut c_char, size: size_t] -> ssize_t;
    asks LINK llistxattr [] path [list: *mut c_char, size: size_t] -> ssize_t;
    asks LOOK statfs [] path [out: *mut c_void] -> c_int;
    asks LOOK statvfs [] path [out: *mut c_void] -> c_int;
}

/// # Safety
/// As `inotify_add_watch(2)`.
pub(crate) unsafe fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::OPEN) }, false, |file| {
        instead!(inotify_add_watch(fd, file.path().as_ptr(), mask))
    })
}

/// # Safety
/// As `symlink(2)`. Where the link leads is text.
pub(crate) unsafe fn symlink(target: *const c_char, path: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(
        unsafe { seek(AT_FDCWD, path, ENTRY) },
        true,
        |file| on_path!(@do makes file instead!(symlink(target, file.path().as_ptr()))),
    )
}

/// # Safety
/// As `symlinkat(2)`. Where the link leads is text.
pub(crate) unsafe fn symlinkat(target: *const c_char, directory: c_int, path: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(
        unsafe { seek(directory, path, ENTRY) },
        true,
        |file| on_path!(@do makes file instead!(symlinkat(target, directory, file.path().as_ptr()))),
    )
}

/// Runs `call` with two paths, of which the first must be there. Between this machine and the pod is a border of file
/// systems.
fn between(
    from: Sought,
    to: Sought,
    paths: [*const c_char; 2],
    call: impl FnOnce(*const c_char, *const c_char) -> Verdict<c_int>,
) -> Verdict<c_int> {
    let (from, to) = (from.place(), to.place());
    let path = |place: &Place, path: *const c_char| match place {
        Place::At(file) if file.is_local() => Some(file.path().as_ptr()),
        Place::Native => Some(path),
        _ => None,
    };
    match (path(&from, paths[0]), path(&to, paths[1])) {
        (Some(_), Some(_)) if from == Place::Native && to == Place::Native => Verdict::Bypass,
        (Some(from), Some(to)) => call(from, to),
        (None, Some(_)) => at_place(from, false, |_| Verdict::Fail(libc::EXDEV)),
        (Some(_), None) => Verdict::Fail(libc::EXDEV),
        (None, None) => at_place(from, false, |file| Verdict::Fail(file.refusal())),
    }
}

/// # Safety
/// As `rename(2)`.
pub(crate) unsafe fn rename(from: *const c_char, to: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let (old, new) = unsafe { (seek(AT_FDCWD, from, ENTRY), seek(AT_FDCWD, to, ENTRY)) };
    between(old, new, [from, to], |from, to| instead!(rename(from, to)))
}

/// # Safety
/// As `renameat(2)`.
pub(crate) unsafe fn renameat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let (old, new) = unsafe { (seek(from_directory, from, ENTRY), seek(to_directory, to, ENTRY)) };
    between(old, new, [from, to], |from, to| instead!(renameat(from_directory, from, to_directory, to)))
}

/// # Safety
/// As `renameat2(2)`.
pub(crate) unsafe fn renameat2(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_uint,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let (old, new) = unsafe { (seek(from_directory, from, ENTRY), seek(to_directory, to, ENTRY)) };
    between(old, new, [from, to], |from, to| instead!(renameat2(from_directory, from, to_directory, to, flags)))
}

/// # Safety
/// As `link(2)`.
pub(crate) unsafe fn link(from: *const c_char, to: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let (old, new) = unsafe { (seek(AT_FDCWD, from, ENTRY), seek(AT_FDCWD, to, ENTRY)) };
    between(old, new, [from, to], |from, to| instead!(link(from, to)))
}

/// # Safety
/// As `linkat(2)`.
pub(crate) unsafe fn linkat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_int,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let (old, new) = unsafe { (seek(from_directory, from, ENTRY), seek(to_directory, to, ENTRY)) };
    between(old, new, [from, to], |from, to| instead!(linkat(from_directory, from, to_directory, to, flags)))
}
