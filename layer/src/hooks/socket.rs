//! `connect`, `bind`, `getpeername`, `getsockname`, `getsockopt`. All of them are async-signal-safe
//! (`signal-safety(7)`): nothing on their way allocates or locks.
//!
//! libc has no other public function that connects for its caller, apart from the resolver's and those that
//! send with `MSG_FASTOPEN`.

use libc::{c_int, c_void, sockaddr, socklen_t};

use crate::address;
use crate::address::Encoded;
use crate::interpose::Verdict;
use crate::ops::datagram::{self, Route};
use crate::ops::unix::Purpose;
use crate::ops::{ends, outgoing, unix};
use crate::sys::memory::is_readable_range;
use crate::sys::{self, End};
use crate::table::next;

/// # Safety
/// As `connect(2)`.
pub(crate) unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> Verdict<c_int> {
    // SAFETY: connect(2): the program passes `length` readable bytes; a bad pointer is noticed.
    if let Some(destination) = unsafe { sys::address_at(address, length) } {
        return outgoing::connect(fd, destination);
    }
    let Some(next) = next::connect.get() else { return Verdict::Bypass };
    // SAFETY: as above.
    if let Some(route) = unsafe { unix_route(fd, address, length, Purpose::Connect) } {
        return match route {
            Route::Native => Verdict::Bypass,
            Route::Fail(errno) => Verdict::Fail(errno),
            // SAFETY: connect(2) with bytes that are ours.
            Route::To(name) => Verdict::of(unsafe { next(fd, name_pointer(&name), name_length(&name)) }),
        };
    }
    // SAFETY: as above.
    if datagram::is_on() && unsafe { sys::family_at(address, length) } == Some(libc::AF_UNSPEC) {
        let own = datagram::address_to_keep(fd);
        // SAFETY: the program's own arguments.
        let result = unsafe { next(fd, address, length) };
        datagram::keep_port(fd, own.filter(|_| result == 0));
        return Verdict::of(result);
    }
    Verdict::Bypass
}

/// # Safety
/// As `bind(2)`.
pub(crate) unsafe fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> Verdict<c_int> {
    let Some(next) = next::bind.get() else { return Verdict::Bypass };
    // SAFETY: bind(2): the program passes `length` readable bytes; a bad pointer is noticed.
    match unsafe { sys::address_at(address, length) }.and_then(|own| ends::stand_in(fd, own)) {
        // SAFETY: bind(2) with bytes that are ours.
        Some(name) => Verdict::of(unsafe { next(fd, name_pointer(&name), name_length(&name)) }),
        None => Verdict::Bypass,
    }
}

/// Where a Unix address leads; `None` for addresses of other kinds, and where all of these are local.
///
/// # Safety
/// As `connect(2)`.
pub(super) unsafe fn unix_route(
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    purpose: Purpose,
) -> Option<Route> {
    // SAFETY: by the caller's word.
    if !unix::is_on() || unsafe { sys::family_at(address, length) } != Some(libc::AF_UNIX) {
        return None;
    }
    // SAFETY: likewise.
    let (bytes, used) = unsafe { sys::unix_address_at(address, length) }?;
    Some(unix::route(fd, bytes.get(..used)?, purpose))
}

pub(super) fn name_pointer(name: &Encoded) -> *const sockaddr {
    name.as_bytes().as_ptr().cast()
}

pub(super) fn name_length(name: &Encoded) -> socklen_t {
    name.as_bytes().len() as socklen_t
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
    // The kernel reads the length first; a bad pointer is its to refuse, and then is not touched again.
    if !is_readable_range(length.addr(), size_of::<socklen_t>()) {
        return Verdict::Bypass;
    }
    // SAFETY: readable, as just asked.
    let room = unsafe { length.read_unaligned() } as usize;
    // SAFETY: the program's own arguments.
    let result = unsafe { next(fd, address, length) };
    if result != 0 {
        return Verdict::Passed(result);
    }
    // SAFETY: the kernel has just written both.
    unsafe { show_pod_side(fd, end, address, room, length) };
    Verdict::Success(0)
}

/// # Safety
/// As `getsockopt(2)`.
pub(crate) unsafe fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> Verdict<c_int> {
    let is_error = (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR);
    let Some(next) = next::getsockopt.get().filter(|_| is_error) else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    let result = unsafe { next(fd, level, name, value, length) };
    if result != 0 {
        return Verdict::Passed(result);
    }
    // SAFETY: the kernel has just written both, the number as far as there was room for it.
    unsafe {
        let value = value.cast::<c_int>();
        if length.read_unaligned() as usize == size_of::<c_int>()
            && let Some(errno) = outgoing::late_failure(fd, value.read_unaligned())
        {
            value.write_unaligned(errno);
        }
    }
    Verdict::Success(0)
}

/// Puts the pod's name of an end of `fd` in the place of the kernel's.
///
/// # Safety
/// The kernel has written the length of the name to `length`, and to `address` that many bytes, at most `room`.
pub(super) unsafe fn show_pod_side(fd: c_int, end: End, address: *mut sockaddr, room: usize, length: *mut socklen_t) {
    // SAFETY: by the caller's word.
    let said = unsafe { written_name(address, room, length.read_unaligned() as usize) };
    let said = match said {
        Written::Internet(said) => Some(said),
        Written::Cut => sys::name_of(fd, end),
        Written::Other => None,
    };
    if said.is_none()
        && end == End::Peer
        && let Some(name) = unix::peer_name(fd)
    {
        // SAFETY: as above; the kernel tells the whole length, too.
        unsafe {
            copy_name(&name, address, room);
            length.write_unaligned(name_length(&name));
        }
    } else if let Some(name) = said.and_then(|said| ends::pod_side_name(fd, end, said)) {
        // SAFETY: as above; the new name has the same family, thus the same length.
        unsafe { copy_name(&name, address, room) };
    }
}

/// What the kernel has written as a name.
pub(super) enum Written {
    Internet(std::net::SocketAddr),
    /// An internet address, or any other, of which there is a part only.
    Cut,
    Other,
}

/// Reads the name of `told` bytes that the kernel has written to `address`.
///
/// # Safety
/// `told` bytes at `address` must be readable, but no more than `room`.
pub(super) unsafe fn written_name(address: *const sockaddr, room: usize, told: usize) -> Written {
    if told > room {
        return Written::Cut;
    }
    let mut bytes = [0u8; address::ROOM];
    let Some(name) = bytes.get_mut(..told) else { return Written::Other };
    // SAFETY: by the caller's word.
    unsafe { core::ptr::copy_nonoverlapping(address.cast::<u8>(), name.as_mut_ptr(), told) };
    address::decode(name).map_or(Written::Other, Written::Internet)
}

/// Writes as the kernel does: cut to `room`.
///
/// # Safety
/// `room` bytes at `address` must be writable, as far as `name` goes.
pub(super) unsafe fn copy_name(name: &Encoded, address: *mut sockaddr, room: usize) {
    let bytes = name.as_bytes();
    // SAFETY: by the caller's word.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address.cast(), bytes.len().min(room)) };
}
