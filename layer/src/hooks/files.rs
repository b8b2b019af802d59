//! Functions that take a path: for a file of the pod the same function is called with the path of the pod's
//! version, so that everything after it is native.
//!
//! `open` and its relatives have a variable argument in C (the mode), which Rust cannot define. On x86-64 and
//! arm64 it is passed like a declared one, and reading it when it was not given reads a register that nobody
//! uses.
//!
//! On 64-bit machines the `…64` names are the same functions. Nothing here allocates or locks (`open` and
//! `stat` are async-signal-safe), except `realpath`, which may allocate itself. The bare code between [`seek`] and the
//! next symbol may be left for good (see `interpose`).

use core::ffi::{CStr, c_char, c_void};
use core::ptr::{null, null_mut};

use libc::{AT_FDCWD, FILE, c_int, c_uint, mode_t, size_t, ssize_t};

use crate::interpose::{Stage, Verdict, guard};
use crate::ops::files::{self, Decision, File, Place};
use crate::ops::shadow::{self, Wish};
use crate::sys::Errno;
use crate::table::next;

/// No object lives below, so that a bad pointer there is left to the kernel to refuse.
const FIRST_PAGE: usize = 4096;

/// A path that may be the pod's. Most are not, so this is small and says so at once.
#[derive(Clone, Copy)]
pub(super) struct Sought {
    directory: c_int,
    /// Null where the path is this machine's.
    path: *const c_char,
    wish: Wish,
}

/// What is to be decided about a path, which may be relative to `directory`.
///
/// # Safety
/// `path` must lie below [`FIRST_PAGE`], or be a C string for as long as the answer is used.
#[inline]
pub(super) unsafe fn seek(directory: c_int, path: *const c_char, wish: Wish) -> Sought {
    let concerns = path.addr() >= FIRST_PAGE
        // SAFETY: by the caller's word.
        && guard(Stage::Before, false, || files::concerns(unsafe { CStr::from_ptr(path) }.to_bytes()));
    Sought { directory, path: if concerns { path } else { null() }, wish }
}

impl Sought {
    /// The same path for something else.
    fn to(self, wish: Wish) -> Self {
        Self { wish, ..self }
    }

    pub(super) fn is_native(&self) -> bool {
        self.path.is_null()
    }

    /// Decides what can be decided without the host.
    pub(super) fn decision(&self) -> Decision {
        let native = Decision::Settled(Place::Native);
        if self.is_native() {
            return native;
        }
        // SAFETY: by the word of whoever called `seek`.
        let path = || unsafe { CStr::from_ptr(self.path) }.to_bytes();
        guard(Stage::Before, native, || files::decide(self.directory, path(), self.wish))
    }

    /// Decides, and asks the host where it must: then it waits.
    pub(super) fn place(&self) -> Place {
        match self.decision() {
            Decision::Settled(place) => place,
            Decision::Ask(whole) => shadow::ask(&whole, self.wish),
        }
    }
}

/// Runs `at` for a file that is elsewhere. Where there is none, it can be made or not.
#[inline]
pub(super) fn with<T>(sought: Sought, makes: bool, at: impl FnOnce(File) -> Verdict<T>) -> Verdict<T> {
    if sought.is_native() { Verdict::Bypass } else { at_place(sought.place(), makes, at) }
}

/// As [`with`], for a place that is known.
pub(super) fn at_place<T>(place: Place, makes: bool, at: impl FnOnce(File) -> Verdict<T>) -> Verdict<T> {
    match place {
        Place::Native => Verdict::Bypass,
        Place::Absent(errno) => Verdict::Fail(if makes { errno } else { libc::ENOENT }),
        Place::Failed(errno) => Verdict::Fail(errno),
        Place::At(file) => at(file),
    }
}

/// Whether `open` makes a file that is not there.
fn makes(flags: c_int) -> bool {
    flags & libc::O_CREAT != 0 && flags & libc::O_PATH == 0
}

/// Flags that calls of the family of `stat` know. The kernel refuses others before it looks at the path.
const STAT_FLAGS: c_int =
    libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH | libc::AT_STATX_SYNC_TYPE;

/// What `access` can be asked for. The kernel refuses other bits before it looks at the path.
const ACCESS_MODES: c_int = libc::R_OK | libc::W_OK | libc::X_OK;

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

pub(super) use instead;

/// Defines hooks of `open`'s kind: `$hook(before…, path, flags, after…)`.
macro_rules! opens {
    (@from) => { AT_FDCWD };
    (@from $directory:ident) => { $directory };
    (@mode) => { 0 };
    (@mode $mode:ident) => { $mode };
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
            let sought = unsafe { seek(opens!(@from $($before)?), path, Wish::open(flags, opens!(@mode $($after)?))) };
            with(sought, makes(flags), |file| match file.open_flags(flags) {
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
pub(crate) unsafe fn creat(path: *const c_char, mode: mode_t) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    unsafe { open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, mode) }
}

/// The mode of files that `fopen` makes.
const STREAM_MODE: mode_t = 0o666;

/// Longest mode of `fopen` with an `x`, with its NUL.
const STREAM_ROOM: usize = 64;

/// A mode of `fopen` without its `x`: the host has made the file.
fn without_exclusive(mode: &CStr, room: &mut [u8; STREAM_ROOM]) -> Option<()> {
    let bytes = mode.to_bytes();
    let at = bytes.iter().take_while(|byte| **byte != b',').position(|byte| *byte == b'x')?;
    room.get_mut(..at)?.copy_from_slice(bytes.get(..at)?);
    room.get_mut(at..bytes.len() - 1)?.copy_from_slice(bytes.get(at + 1..)?);
    room.last().filter(|last| **last == 0).map(|_| ())
}

/// What `fopen` may do with a file.
///
/// # Safety
/// `mode` must be a C string.
unsafe fn stream_flags(mode: *const c_char) -> c_int {
    // SAFETY: by the caller's word.
    files::mode_flags(unsafe { CStr::from_ptr(mode) }.to_bytes())
}

/// # Safety
/// As `fopen(3)`.
pub(crate) unsafe fn fopen(path: *const c_char, mode: *const c_char) -> Verdict<*mut FILE> {
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(AT_FDCWD, path, Wish::OPEN) };
    if sought.is_native() || mode.addr() < FIRST_PAGE {
        return Verdict::Bypass;
    }
    // SAFETY: fopen(3): a C string.
    let (flags, given) = unsafe { (stream_flags(mode), CStr::from_ptr(mode)) };
    let mut room = [0; STREAM_ROOM];
    with(sought.to(Wish::open(flags, STREAM_MODE)), makes(flags), |file| match file.open_flags(flags) {
        Ok(_) if file.is_local() || without_exclusive(given, &mut room).is_none() => {
            instead!(fopen(file.path().as_ptr(), mode))
        }
        Ok(_) => instead!(fopen(file.path().as_ptr(), room.as_ptr().cast())),
        Err(errno) => Verdict::Fail(errno),
    })
}

/// # Safety
/// As `freopen(3)`.
pub(crate) unsafe fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> Verdict<*mut FILE> {
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(AT_FDCWD, path, Wish::OPEN) };
    if sought.is_native() || mode.addr() < FIRST_PAGE {
        return Verdict::Bypass;
    }
    // SAFETY: freopen(3): a C string.
    let (flags, given) = unsafe { (stream_flags(mode), CStr::from_ptr(mode)) };
    let mut room = [0; STREAM_ROOM];
    let sought = sought.to(Wish::open(flags, STREAM_MODE));
    let verdict = with(sought, makes(flags), |file| match file.open_flags(flags) {
        Ok(_) if file.is_local() || without_exclusive(given, &mut room).is_none() => {
            instead!(freopen(file.path().as_ptr(), mode, stream))
        }
        Ok(_) => instead!(freopen(file.path().as_ptr(), room.as_ptr().cast(), stream)),
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
    with(unsafe { seek(AT_FDCWD, path, Wish::STAT) }, false, |file| instead!(stat(file.path().as_ptr(), out)))
}

/// # Safety
/// As `lstat(2)`.
pub(crate) unsafe fn lstat(path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LSTAT) }, false, |file| match file.is_kept() {
        true => instead!(stat(file.path().as_ptr(), out)),
        false => instead!(lstat(file.path().as_ptr(), out)),
    })
}

/// # Safety
/// As `fstatat(2)`.
pub(crate) unsafe fn fstatat(directory: c_int, path: *const c_char, out: *mut c_void, flags: c_int) -> Verdict<c_int> {
    if flags & !STAT_FLAGS != 0 {
        return Verdict::Bypass;
    }
    // SAFETY: the program's own argument.
    with(unsafe { seek(directory, path, Wish::STAT.at(flags)) }, false, |file| {
        instead!(fstatat(directory, file.path().as_ptr(), out, file.at_flags(flags)))
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
    if flags & !STAT_FLAGS != 0 {
        return Verdict::Bypass;
    }
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(directory, path, Wish::STAT.at(flags)) };
    with(sought, false, |file| instead!(statx(directory, file.path().as_ptr(), file.at_flags(flags), mask, out)))
}

/// # Safety
/// As `stat(2)`, for programs built before glibc 2.33.
pub(crate) unsafe fn __xstat(version: c_int, path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::STAT) }, false, |file| {
        instead!(__xstat(version, file.path().as_ptr(), out))
    })
}

/// # Safety
/// As `lstat(2)`, for programs built before glibc 2.33.
pub(crate) unsafe fn __lxstat(version: c_int, path: *const c_char, out: *mut c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LSTAT) }, false, |file| match file.is_kept() {
        true => instead!(__xstat(version, file.path().as_ptr(), out)),
        false => instead!(__lxstat(version, file.path().as_ptr(), out)),
    })
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
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(directory, path, Wish::STAT.at(flags)) };
    with(sought, false, |file| {
        instead!(__fxstatat(version, directory, file.path().as_ptr(), out, file.at_flags(flags)))
    })
}

fn accessed(known: Option<Result<(), Errno>>, ask: impl FnOnce() -> Verdict<c_int>) -> Verdict<c_int> {
    match known {
        None => ask(),
        Some(Ok(())) => Verdict::Success(0),
        Some(Err(errno)) => Verdict::Fail(errno),
    }
}

/// # Safety
/// As `access(2)`.
pub(crate) unsafe fn access(path: *const c_char, mode: c_int) -> Verdict<c_int> {
    if mode & !ACCESS_MODES != 0 {
        return Verdict::Bypass;
    }
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LOOK.changing(mode & libc::W_OK != 0)) }, false, |file| {
        accessed(file.access(mode), || instead!(access(file.path().as_ptr(), mode)))
    })
}

/// # Safety
/// As `euidaccess(3)`.
pub(crate) unsafe fn euidaccess(path: *const c_char, mode: c_int) -> Verdict<c_int> {
    if mode & !ACCESS_MODES != 0 {
        return Verdict::Bypass;
    }
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LOOK.changing(mode & libc::W_OK != 0)) }, false, |file| {
        accessed(file.access(mode), || instead!(euidaccess(file.path().as_ptr(), mode)))
    })
}

/// # Safety
/// As `faccessat(2)`.
pub(crate) unsafe fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> Verdict<c_int> {
    if mode & !ACCESS_MODES != 0 {
        return Verdict::Bypass;
    }
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(directory, path, Wish::LOOK.at(flags).changing(mode & libc::W_OK != 0)) };
    with(sought, false, |file| {
        let flags = file.at_flags(flags);
        accessed(file.access(mode), || instead!(faccessat(directory, file.path().as_ptr(), mode, flags)))
    })
}

/// What `read` says of a link, where it is the pod's. The kernel's own links (`/proc/self/fd/<n>`) tell the pod's path
/// of what is in the shadow.
///
/// # Safety
/// `path` must be as for [`seek`], and `read` write into `room` as `readlink(2)`.
unsafe fn link(
    directory: c_int,
    path: *const c_char,
    room: *mut c_char,
    read: impl Fn(c_int, *const c_char) -> Verdict<ssize_t>,
) -> Verdict<ssize_t> {
    // SAFETY: by the caller's word.
    let sought = unsafe { seek(directory, path, Wish::LSTAT) };
    let place = sought.place();
    if place != Place::Native || !shadow::is_on() {
        return at_place(place, false, |file| match file.is_kept() {
            true => Verdict::Fail(libc::EINVAL),
            false => read(AT_FDCWD, file.path().as_ptr()),
        });
    }
    let verdict = read(directory, path);
    let Verdict::Passed(length @ 1..) = verdict else { return verdict };
    // SAFETY: so many bytes were just written there.
    let told = unsafe { core::slice::from_raw_parts_mut(room.cast::<u8>(), length as usize) };
    shadow::show(told).map_or(verdict, |shown| Verdict::Passed(shown as ssize_t))
}

/// # Safety
/// As `readlink(2)`.
pub(crate) unsafe fn readlink(path: *const c_char, room: *mut c_char, size: size_t) -> Verdict<ssize_t> {
    let read = |_: c_int, path: *const c_char| instead!(readlink(path, room, size));
    // SAFETY: the program's own arguments.
    unsafe { link(AT_FDCWD, path, room, read) }
}

/// # Safety
/// As `readlinkat(2)`.
pub(crate) unsafe fn readlinkat(
    directory: c_int,
    path: *const c_char,
    room: *mut c_char,
    size: size_t,
) -> Verdict<ssize_t> {
    let read = |from: c_int, path: *const c_char| instead!(readlinkat(from, path, room, size));
    // SAFETY: the program's own arguments.
    unsafe { link(directory, path, room, read) }
}

/// # Safety
/// As `readlink(2)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __readlink_chk(
    path: *const c_char,
    room: *mut c_char,
    size: size_t,
    known: size_t,
) -> Verdict<ssize_t> {
    let read = |_: c_int, path: *const c_char| instead!(__readlink_chk(path, room, size, known));
    // SAFETY: the program's own arguments.
    unsafe { link(AT_FDCWD, path, room, read) }
}

/// # Safety
/// As `readlinkat(2)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __readlinkat_chk(
    directory: c_int,
    path: *const c_char,
    room: *mut c_char,
    size: size_t,
    known: size_t,
) -> Verdict<ssize_t> {
    let read = |from: c_int, path: *const c_char| instead!(__readlinkat_chk(from, path, room, size, known));
    // SAFETY: the program's own arguments.
    unsafe { link(directory, path, room, read) }
}

/// Writes a path into `room`, or where there is none into memory of the C library's.
///
/// # Safety
/// `room` must be null, or have place for the path and a NUL.
pub(super) unsafe fn hand_out(path: &[u8], room: *mut c_char) -> Verdict<*mut c_char> {
    let place = match room.is_null() {
        // SAFETY: malloc(3); the caller frees it.
        true => unsafe { libc::malloc(path.len() + 1) }.cast(),
        false => room,
    };
    if place.is_null() {
        return Verdict::Fail(libc::ENOMEM);
    }
    // SAFETY: by the caller's word, or so many as were just asked for.
    unsafe { core::ptr::copy_nonoverlapping(path.as_ptr(), place.cast(), path.len()) };
    // SAFETY: as above.
    unsafe { place.add(path.len()).write(0) };
    Verdict::Success(place)
}

/// # Safety
/// As `realpath(3)`.
pub(crate) unsafe fn realpath(path: *const c_char, room: *mut c_char) -> Verdict<*mut c_char> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LOOK) }, false, |file| match file.is_local() {
        true => instead!(realpath(file.path().as_ptr(), room)),
        // SAFETY: realpath(3): `PATH_MAX` bytes, or nothing.
        false => unsafe { hand_out(file.own_path(), room) },
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
