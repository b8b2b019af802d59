//! `gethostname` and `uname`: the name of the pod in place of this machine's.

use core::ffi::c_char;

use libc::{c_int, size_t, utsname};

use crate::interpose::Verdict;
use crate::session;
use crate::table::next;

/// # Safety
/// As `gethostname(2)`.
pub(crate) unsafe fn gethostname(room: *mut c_char, size: size_t) -> Verdict<c_int> {
    let Some(name) = session::get().and_then(|session| session.host_name()) else { return Verdict::Bypass };
    // SAFETY: gethostname(2): `size` writable bytes.
    if unsafe { write(name, room, size) } { Verdict::Success(0) } else { Verdict::Fail(libc::ENAMETOOLONG) }
}

/// # Safety
/// As `gethostname(2)`, with the size of the room as the compiler knows it.
pub(crate) unsafe fn __gethostname_chk(room: *mut c_char, size: size_t, known: size_t) -> Verdict<c_int> {
    if size > known {
        // The C library ends such a program.
        return Verdict::Bypass;
    }
    // SAFETY: the program's own arguments.
    unsafe { gethostname(room, size) }
}

/// # Safety
/// As `uname(2)`.
pub(crate) unsafe fn uname(out: *mut utsname) -> Verdict<c_int> {
    let Some(name) = session::get().and_then(|session| session.host_name()) else { return Verdict::Bypass };
    let Some(next) = next::uname.get() else { return Verdict::Bypass };
    // The kernel answers first: then the place is known to be good.
    // SAFETY: the program's own argument.
    let result = unsafe { next(out) };
    if result == 0 {
        // SAFETY: the kernel has just written a whole `utsname` there.
        let node = unsafe { &raw mut (*out).nodename };
        // SAFETY: as above.
        unsafe { write(name, node.cast(), size_of_val(&*node)) };
    }
    Verdict::Passed(result)
}

/// Writes `name` with a NUL, cut to `size` bytes as glibc does it; whether it was whole.
///
/// # Safety
/// `size` bytes at `room` must be writable.
unsafe fn write(name: &[u8], room: *mut c_char, size: size_t) -> bool {
    // SAFETY: by the caller's word.
    unsafe { core::ptr::copy_nonoverlapping(name.as_ptr(), room.cast(), name.len().min(size)) };
    if name.len() < size {
        // SAFETY: by the caller's word.
        unsafe { room.add(name.len()).write(0) };
    }
    name.len() < size
}
