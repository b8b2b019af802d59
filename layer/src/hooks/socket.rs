//! `connect`, `getpeername`, `getsockname`. All three are async-signal-safe (`signal-safety(7)`): nothing on
//! their way allocates or locks.
//!
//! libc has no other public function that connects for its caller, apart from the resolver's.

use libc::{c_int, sockaddr, socklen_t};

use crate::address::Encoded;
use crate::interpose::Verdict;
use crate::ops::outgoing;
use crate::sys::{self, End};
use crate::table::next;

/// # Safety
/// As `connect(2)`.
pub(crate) unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> Verdict<c_int> {
    // SAFETY: connect(2): the program passes `length` readable bytes; a bad pointer is noticed.
    match unsafe { sys::address_at(address, length) } {
        Some(destination) => outgoing::connect(fd, destination),
        None => Verdict::Bypass,
    }
}

type NameFn = unsafe extern "C-unwind" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;

/// # Safety
/// As `getpeername(2)`.
pub(crate) unsafe fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { name(next::getpeername.get(), End::Peer, fd, address, length) }
}

/// # Safety
/// As `getsockname(2)`.
pub(crate) unsafe fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { name(next::getsockname.get(), End::Local, fd, address, length) }
}

/// The kernel answers first, into the program's own room: then the pointers are known to be good, and
/// sockets that are not the session's are done.
unsafe fn name(
    next: Option<NameFn>,
    end: End,
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> Verdict<c_int> {
    let Some(next) = next else { return Verdict::Bypass };
    if length.is_null() {
        return Verdict::Bypass;
    }
    // The kernel reads the length first; a bad pointer is its to refuse, and then is not touched again.
    if !sys::is_readable(length.addr()) {
        return Verdict::Bypass;
    }
    // SAFETY: readable, as just asked.
    let room = unsafe { length.read_unaligned() };
    // SAFETY: the program's own arguments.
    let result = unsafe { next(fd, address, length) };
    if result != 0 {
        return Verdict::Passed(result);
    }
    if let Some(name) = outgoing::pod_side_name(fd, end) {
        // SAFETY: the kernel has just written an address of the same family, thus the same size, to
        // `address`, at most `room` bytes, and its length to `length`.
        unsafe { write(&name, address, length, room) };
    }
    Verdict::Success(0)
}

/// Writes as the kernel does: cut to `room`, with the full length told.
unsafe fn write(name: &Encoded, address: *mut sockaddr, length: *mut socklen_t, room: socklen_t) {
    let bytes = name.as_bytes();
    // SAFETY: `room` bytes are writable by the caller's word.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address.cast(), bytes.len().min(room as usize)) };
    // SAFETY: likewise the length.
    unsafe { length.write_unaligned(bytes.len() as socklen_t) };
}
