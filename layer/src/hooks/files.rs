//! Functions that take a path: for a file of the pod the same function is called with the path of the pod's
//! version, so that everything after it is native.
//!
//! `open` and its relatives have a variable argument in C (the mode), which Rust cannot define. On x86-64 and
//! arm64 it is passed like a declared one, and reading it when it was not given reads a register that nobody
//! uses.
//!
//! On 64-bit machines the `…64` names are the same functions. Nothing here allocates or locks (`open` and
//! `stat` are async-signal-safe), except `realpath`, which may allocate itself.

use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;

use libc::{AT_FDCWD, FILE, c_int, c_uint, mode_t, size_t, ssize_t};

use crate::interpose::{Stage, Verdict, guard};
use crate::ops::files::{self, File, Place};
use crate::sys::Errno;
use crate::table::next;

/// No object lives below, so that a bad pointer there is left to the kernel to refuse.
const FIRST_PAGE: usize = 4096;

/// Decides for a path, which may be relative to `directory`.
///
/// # Safety
/// `path` must be a C string, or lie below [`FIRST_PAGE`].
#[inline]
unsafe fn place(directory: c_int, path: *const c_char) -> Place {
    if path.addr() < FIRST_PAGE {
        return Place::Native;
    }
    // SAFETY: by the caller's word.
    guard(Stage::Before, Place::Native, || files::place(directory, unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// Runs `at` for a file that the pod has; `absent` is the error where it has none.
fn with<T>(place: Place, absent: Errno, at: impl FnOnce(File) -> Verdict<T>) -> Verdict<T> {
    match place {
        Place::Native => Verdict::Bypass,
        Place::Absent => Verdict::Fail(absent),
        Place::Lost => Verdict::Fail(libc::EIO),
        Place::At(file) => at(file),
    }
}

/// `$symbol` with the given arguments in place of the program's.
macro_rules! instead {
    ($symbol:ident($($argument:expr),*)) => {
        match next::$symbol.get() {
            // SAFETY: the program's own arguments, but for the path, which is a C string of ours.
            Some(next) => Verdict::Passed(unsafe { next($($argument),*) }),
            None => Verdict::Fail(libc::ENOSYS),
        }
    };
}

/// Defines hooks of `open`'s kind: `$hook(before…, path, flags, after…)`.
macro_rules! opens {
    (@from) => { AT_FDCWD };
    (@from $directory:ident) => { $directory };
    ($($hook:ident [$($before:ident: $before_type:ty)?] path flags [$($after:ident: $after_type:ty)?];)*) => {$(
        /// # Safety
        /// As `open(2)`.
        pub(crate) unsafe fn $hook(
            $($before: $before_type,)?
            path: *const c_char,
            flags: c_int,
            $($after: $after_type,)?
        ) -> Verdict<c_int> {
            // SAFETY: the program's own argument.
            with(unsafe { place(opens!(@from $($before)?), path) }, files::absent(flags), |file| match files::open_flags(flags) {
                Ok(flags) => instead!($hook($($before,)? file.path().as_ptr(), flags $(, $after)?)),
                Err(errno) => Verdict::Fail(errno),
            })
        }
    )*};
}

opens! {
    open [] path flags [mode: mode_t];
    openat [directory: c_int] path flags [mode: mode_t];
    __open_2 [] path flags [];
    __openat_2 [directory: c_int] path flags [];
}

/// # Safety
/// As `creat(2)`.
pub(crate) unsafe fn creat(path: *const c_char, _: mode_t) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { place(AT_FDCWD, path) }, libc::EACCES, |_| Verdict::Fail(libc::EACCES))
}

/// What `fopen` may do with a file.
///
/// # Safety
/// `mode` must be null or a C string.
unsafe fn stream_flags(mode: *const c_char) -> c_int {
    // SAFETY: by the caller's word.
    if mode.is_null() { libc::O_RDONLY } else { files::mode_flags(unsafe { CStr::from_ptr(mode) }.to_bytes()) }
}

/// # Safety
/// As `fopen(3)`.
pub(crate) unsafe fn fopen(path: *const c_char, mode: *const c_char) -> Verdict<*mut FILE> {
    // SAFETY: the program's own argument.
    let place = unsafe { place(AT_FDCWD, path) };
    if place == Place::Native {
        return Verdict::Bypass;
    }
    // SAFETY: fopen(3): a C string.
    let flags = unsafe { stream_flags(mode) };
    with(place, files::absent(flags), |file| match files::open_flags(flags) {
        Ok(_) => instead!(fopen(file.path().as_ptr(), mode)),
        Err(errno) => Verdict::Fail(errno),
    })
}

/// # Safety
/// As `freopen(3)`.
pub(crate) unsafe fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> Verdict<*mut FILE> {
    // SAFETY: the program's own argument.
    let place = unsafe { place(AT_FDCWD, path) };
    if place == Place::Native {
        return Verdict::Bypass;
    }
    // SAFETY: freopen(3): a C string.
    let flags = unsafe { stream_flags(mode) };
    let verdict = with(place, files::absent(flags), |file| match files::open_flags(flags) {
        Ok(_) => instead!(freopen(file.path().as_ptr(), mode, stream)),
        Err(errno) => Verdict::Fail(errno),
    });
    if let (Verdict::Fail(_), Some(next)) = (verdict, next::freopen.get()) {
        // The old stream closes also when the new file cannot be had: no path names a file below one.
        // SAFETY: C strings and the program's own stream.
        unsafe { next(c"/dev/null/none".as_ptr(), c"r".as_ptr(), stream) };
    }
    verdict
}

/// # Safety
/// As `stat(2)`.
pub(crate) unsafe fn stat(path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { place(AT_FDCWD, path) }, libc::ENOENT, |file| instead!(stat(file.path().as_ptr(), out)))
}

/// # Safety
/// As `lstat(2)`. In the pod's place none of the files is a link.
pub(crate) unsafe fn lstat(path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { stat(path, out) }
}

/// # Safety
/// As `fstatat(2)`.
pub(crate) unsafe fn fstatat(directory: c_int, path: *const c_char, out: *mut c_void, flags: c_int) -> Verdict<c_int> {
    let follow = flags & !libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the program's own argument.
    with(unsafe { place(directory, path) }, libc::ENOENT, |file| {
        instead!(fstatat(directory, file.path().as_ptr(), out, follow))
    })
}

/// # Safety
/// As `statx(2)`.
pub(crate) unsafe fn statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    out: *mut c_void,
) -> Verdict<c_int> {
    let follow = flags & !libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the program's own argument.
    let place = unsafe { place(directory, path) };
    with(place, libc::ENOENT, |file| instead!(statx(directory, file.path().as_ptr(), follow, mask, out)))
}

/// # Safety
/// As `stat(2)`, for programs built before glibc 2.33.
pub(crate) unsafe fn __xstat(version: c_int, path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { place(AT_FDCWD, path) }, libc::ENOENT, |file| instead!(__xstat(version, file.path().as_ptr(), out)))
}

/// # Safety
/// As `lstat(2)`, for programs built before glibc 2.33.
pub(crate) unsafe fn __lxstat(version: c_int, path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { __xstat(version, path, out) }
}

/// # Safety
/// As `fstatat(2)`, for programs built before glibc 2.33.
pub(crate) unsafe fn __fxstatat(
    version: c_int,
    directory: c_int,
    path: *const c_char,
    out: *mut c_void,
    flags: c_int,
) -> Verdict<c_int> {
    let follow = flags & !libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the program's own argument.
    let place = unsafe { place(directory, path) };
    with(place, libc::ENOENT, |file| instead!(__fxstatat(version, directory, file.path().as_ptr(), out, follow)))
}

/// # Safety
/// As `access(2)`.
pub(crate) unsafe fn access(path: *const c_char, mode: c_int) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { place(AT_FDCWD, path) }, libc::ENOENT, |file| match mode & libc::W_OK {
        0 => instead!(access(file.path().as_ptr(), mode)),
        _ => Verdict::Fail(libc::EACCES),
    })
}

/// # Safety
/// As `euidaccess(3)`.
pub(crate) unsafe fn euidaccess(path: *const c_char, mode: c_int) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { place(AT_FDCWD, path) }, libc::ENOENT, |file| match mode & libc::W_OK {
        0 => instead!(euidaccess(file.path().as_ptr(), mode)),
        _ => Verdict::Fail(libc::EACCES),
    })
}

/// # Safety
/// As `faccessat(2)`.
pub(crate) unsafe fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> Verdict<c_int> {
    let follow = flags & !libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the program's own argument.
    with(unsafe { place(directory, path) }, libc::ENOENT, |file| match mode & libc::W_OK {
        0 => instead!(faccessat(directory, file.path().as_ptr(), mode, follow)),
        _ => Verdict::Fail(libc::EACCES),
    })
}

/// None of the files is a link.
///
/// # Safety
/// `path` must be as for [`place`].
unsafe fn link(directory: c_int, path: *const c_char) -> Verdict<ssize_t> {
    // SAFETY: by the caller's word.
    with(unsafe { place(directory, path) }, libc::ENOENT, |_| Verdict::Fail(libc::EINVAL))
}

/// # Safety
/// As `readlink(2)`.
pub(crate) unsafe fn readlink(path: *const c_char, _: *mut c_char, _: size_t) -> Verdict<ssize_t> {
    // SAFETY: the program's own argument.
    unsafe { link(AT_FDCWD, path) }
}

/// # Safety
/// As `readlinkat(2)`.
pub(crate) unsafe fn readlinkat(directory: c_int, path: *const c_char, _: *mut c_char, _: size_t) -> Verdict<ssize_t> {
    // SAFETY: the program's own argument.
    unsafe { link(directory, path) }
}

/// # Safety
/// As `readlink(2)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __readlink_chk(path: *const c_char, _: *mut c_char, _: size_t, _: size_t) -> Verdict<ssize_t> {
    // SAFETY: the program's own argument.
    unsafe { link(AT_FDCWD, path) }
}

/// # Safety
/// As `readlinkat(2)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __readlinkat_chk(
    directory: c_int,
    path: *const c_char,
    _: *mut c_char,
    _: size_t,
    _: size_t,
) -> Verdict<ssize_t> {
    // SAFETY: the program's own argument.
    unsafe { link(directory, path) }
}

/// # Safety
/// As `realpath(3)`.
pub(crate) unsafe fn realpath(path: *const c_char, room: *mut c_char) -> Verdict<*mut c_char> {
    // SAFETY: the program's own argument.
    with(unsafe { place(AT_FDCWD, path) }, libc::ENOENT, |file| {
        let own = file.own_path();
        let place = match room.is_null() {
            // SAFETY: malloc(3); the caller frees it.
            true => unsafe { libc::malloc(own.len() + 1) }.cast(),
            false => room,
        };
        if place.is_null() {
            return Verdict::Fail(libc::ENOMEM);
        }
        // SAFETY: realpath(3): `PATH_MAX` bytes, or so many as were just asked for.
        unsafe { core::ptr::copy_nonoverlapping(own.as_ptr(), place.cast(), own.len()) };
        // SAFETY: as above.
        unsafe { place.add(own.len()).write(0) };
        Verdict::Success(place)
    })
}

/// # Safety
/// As `realpath(3)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __realpath_chk(path: *const c_char, room: *mut c_char, size: size_t) -> Verdict<*mut c_char> {
    if size < libc::PATH_MAX as size_t {
        // The C library ends such a program.
        return Verdict::Bypass;
    }
    // SAFETY: the program's own arguments.
    unsafe { realpath(path, room) }
}

/// # Safety
/// As `canonicalize_file_name(3)`.
pub(crate) unsafe fn canonicalize_file_name(path: *const c_char) -> Verdict<*mut c_char> {
    // SAFETY: the program's own argument.
    unsafe { realpath(path, null_mut()) }
}
