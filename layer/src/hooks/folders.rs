//! Folders of the pod: entered, listed, and asked for as the current one.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use libc::{AT_FDCWD, DIR, c_int, size_t};

use super::files::{hand_out, instead, seek, with};
use crate::interpose::Verdict;
use crate::ops::shadow::{self, FOLDER, Wish};
use crate::sys;
use crate::table::next;

/// # Safety
/// As `opendir(3)`.
pub(crate) unsafe fn opendir(path: *const c_char) -> Verdict<*mut DIR> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LIST) }, false, |file| instead!(opendir(file.path().as_ptr())))
}

/// # Safety
/// As `scandir(3)`.
pub(crate) unsafe fn scandir(
    path: *const c_char,
    list: *mut c_void,
    filter: *const c_void,
    compare: *const c_void,
) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LIST) }, false, |file| {
        instead!(scandir(file.path().as_ptr(), list, filter, compare))
    })
}

/// # Safety
/// As `scandirat(3)`.
pub(crate) unsafe fn scandirat(
    directory: c_int,
    path: *const c_char,
    list: *mut c_void,
    filter: *const c_void,
    compare: *const c_void,
) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(directory, path, Wish::LIST) }, false, |file| {
        instead!(scandirat(directory, file.path().as_ptr(), list, filter, compare))
    })
}

/// # Safety
/// As `chdir(2)`.
pub(crate) unsafe fn chdir(path: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LOOK) }, false, |file| match file.access(libc::X_OK) {
        Some(Err(errno)) => Verdict::Fail(if sys::is_directory(file.path()) { errno } else { libc::ENOTDIR }),
        _ => instead!(chdir(file.path().as_ptr())),
    })
}

/// # Safety
/// As `getcwd(3)`.
pub(crate) unsafe fn getcwd(room: *mut c_char, size: size_t) -> Verdict<*mut c_char> {
    let mut path = [0; FOLDER];
    match shadow::current_folder(&mut path) {
        None => Verdict::Bypass,
        Some(_) if size == 0 && !room.is_null() => Verdict::Fail(libc::EINVAL),
        Some(path) if size != 0 && path.len() >= size => Verdict::Fail(libc::ERANGE),
        // SAFETY: getcwd(3): `size` bytes, or nothing.
        Some(path) => unsafe { hand_out(path, room) },
    }
}

/// # Safety
/// As `getcwd(3)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __getcwd_chk(room: *mut c_char, size: size_t, known: size_t) -> Verdict<*mut c_char> {
    if size > known {
        // The C library ends such a program.
        return Verdict::Bypass;
    }
    // SAFETY: the program's own arguments.
    unsafe { getcwd(room, size) }
}

/// # Safety
/// As `getwd(3)`.
pub(crate) unsafe fn getwd(room: *mut c_char) -> Verdict<*mut c_char> {
    if room.is_null() {
        return Verdict::Bypass;
    }
    // SAFETY: getwd(3): `PATH_MAX` bytes.
    unsafe { getcwd(room, libc::PATH_MAX as size_t) }
}

/// # Safety
/// As `get_current_dir_name(3)`.
pub(crate) unsafe fn get_current_dir_name() -> Verdict<*mut c_char> {
    // SAFETY: getcwd(3) with no room.
    unsafe { getcwd(null_mut(), 0) }
}
