//! `mkstemp` and its relatives, inside which the C library makes files by itself: where the name is not this machine's,
//! they are made here, by hooked functions.

use core::ffi::{CStr, c_char};

use libc::{AT_FDCWD, c_int};

use super::files::seek;
use crate::interpose::{self, Verdict};
use crate::ops::files::Place;
use crate::ops::shadow::Wish;
use crate::sys;
use crate::table::exported;

const MARK: &[u8] = b"XXXXXX";
const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// How often another name is tried (`TMP_MAX` of `stdio.h`).
const TRIES: usize = 238_328;

/// A number that another process or call is unlikely to get; `O_EXCL` tells if one does.
fn anything() -> u64 {
    let now = sys::now();
    // SAFETY: getpid(2).
    let process = unsafe { libc::getpid() } as u64;
    let mixed =
        (u64::from(now.nanoseconds) ^ (now.seconds as u64) << 30 ^ process << 17).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// Puts other letters in the place of the mark until `make` does not fail with `EEXIST`.
///
/// # Safety
/// `template` must be the argument of `mkstemps(3)`.
unsafe fn make(template: *mut c_char, suffix: c_int, make: impl Fn(*const c_char) -> c_int) -> Verdict<c_int> {
    // SAFETY: by the caller's word.
    if unsafe { seek(AT_FDCWD, template, Wish::LINK.changing(true)) }.place() == Place::Native {
        return Verdict::Bypass;
    }
    // SAFETY: it concerns us, so it is a C string.
    let length = unsafe { CStr::from_ptr(template) }.count_bytes();
    let Some(at) = usize::try_from(suffix).ok().and_then(|suffix| length.checked_sub(suffix + MARK.len())) else {
        return Verdict::Fail(libc::EINVAL);
    };
    // SAFETY: the string is so long, and the program's to be changed.
    let mark = unsafe { core::slice::from_raw_parts_mut(template.add(at).cast::<u8>(), MARK.len()) };
    if mark != MARK {
        return Verdict::Fail(libc::EINVAL);
    }
    for attempt in 0..TRIES {
        let mut rest = anything() ^ (attempt as u64) << 40;
        for letter in mark.iter_mut() {
            *letter = LETTERS.get((rest % LETTERS.len() as u64) as usize).copied().unwrap_or(b'a');
            rest /= LETTERS.len() as u64;
        }
        let made = make(template);
        if made >= 0 || interpose::errno() != libc::EEXIST {
            return Verdict::Passed(made);
        }
    }
    Verdict::Fail(libc::EEXIST)
}

/// # Safety
/// As `mkostemps(3)`.
pub(crate) unsafe fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> Verdict<c_int> {
    let flags = flags & !libc::O_ACCMODE | libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: the program's own argument.
    unsafe { make(template, suffix, |path| exported::open(path, flags, 0o600)) }
}

/// # Safety
/// As `mkstemps(3)`.
pub(crate) unsafe fn mkstemps(template: *mut c_char, suffix: c_int) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    unsafe { mkostemps(template, suffix, 0) }
}

/// # Safety
/// As `mkostemp(3)`.
pub(crate) unsafe fn mkostemp(template: *mut c_char, flags: c_int) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    unsafe { mkostemps(template, 0, flags) }
}

/// # Safety
/// As `mkstemp(3)`.
pub(crate) unsafe fn mkstemp(template: *mut c_char) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    unsafe { mkostemps(template, 0, 0) }
}

/// # Safety
/// As `mkdtemp(3)`.
pub(crate) unsafe fn mkdtemp(template: *mut c_char) -> Verdict<*mut c_char> {
    // SAFETY: the program's own argument.
    match unsafe { make(template, 0, |path| exported::mkdir(path, 0o700)) } {
        Verdict::Bypass => Verdict::Bypass,
        Verdict::Fail(errno) => Verdict::Fail(errno),
        Verdict::Success(0) | Verdict::Passed(0) => Verdict::Passed(template),
        Verdict::Success(_) | Verdict::Passed(_) => Verdict::Passed(core::ptr::null_mut()),
    }
}
