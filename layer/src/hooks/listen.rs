//! `listen` and `accept`: listeners of the program for connections of the pod.

use libc::{c_int, sockaddr, socklen_t};

use super::socket::show_pod_side;
use crate::interpose::{Verdict, without_cancellation};
use crate::ops::listening;
use crate::sys::End;
use crate::sys::memory::is_readable_range;
use crate::table::next;

/// The socket listens before the pod's connections come, and `listen` returns only then: the first one cannot be
/// missed.
///
/// # Safety
/// As `listen(2)`.
pub(crate) unsafe fn listen(fd: c_int, backlog: c_int) -> Verdict<c_int> {
    let Some(next) = next::listen.get().filter(|_| listening::is_on()) else { return Verdict::Bypass };
    // SAFETY: listen(2).
    let result = unsafe { next(fd, backlog) };
    match if result == 0 { listening::announce(fd) } else { 0 } {
        0 => Verdict::of(result),
        errno => Verdict::Fail(errno),
    }
}

/// # Safety
/// As `accept(2)`.
pub(crate) unsafe fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> Verdict<c_int> {
    let Some(next) = next::accept.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    unsafe { accept_by(|| next(fd, address, length), address, length) }
}

/// # Safety
/// As `accept4(2)`.
pub(crate) unsafe fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> Verdict<c_int> {
    let Some(next) = next::accept4.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    unsafe { accept_by(|| next(fd, address, length, flags), address, length) }
}

/// Nothing here needs dropping while `next` waits: the thread may be cancelled there (see `interpose`).
unsafe fn accept_by(next: impl FnOnce() -> c_int, address: *mut sockaddr, length: *mut socklen_t) -> Verdict<c_int> {
    if address.is_null() || !is_readable_range(length.addr(), size_of::<socklen_t>()) {
        return Verdict::Bypass;
    }
    // SAFETY: readable, as just asked.
    let room = unsafe { length.read_unaligned() } as usize;
    let accepted = next();
    if accepted >= 0 {
        // SAFETY: the kernel has just written both.
        without_cancellation(|| unsafe { show_pod_side(accepted, End::Peer, address, room, length) });
    }
    Verdict::of(accepted)
}
