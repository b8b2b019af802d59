//! `sendto`, `sendmsg`, `recvfrom`, `recvmsg`: addresses of messages. Data is never touched.
//!
//! All are async-signal-safe (`signal-safety(7)`) and cancellation points, as the functions behind them, which
//! get the program's own arguments but for the address.

use core::ptr::null;
use std::net::SocketAddr;

use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use crate::address::{self, Encoded};
use crate::control;
use crate::hooks::socket::{Written, copy_name, name_length, name_pointer, unix_route, written_name};
use crate::interpose::{Stage, Verdict, guard};
use crate::ops::datagram::{self, NameRoom, Route};
use crate::ops::unix::Purpose;
use crate::ops::{outgoing, unix};
use crate::sys;
use crate::sys::memory::{self, is_readable_range};
use crate::table::next;

/// Most control data, in bytes, in which a source address is found.
const CONTROL: usize = 256;

/// Room in which no more of an address than its family can be told.
const FAMILY_ONLY: usize = 2;

/// Least room for a whole internet address.
const WHOLE_V4: usize = size_of::<libc::sockaddr_in>();

/// What becomes of a message.
#[derive(Clone, Copy)]
pub(super) enum Outlet {
    Native,
    /// It goes to this address instead.
    To(Encoded),
    /// Its socket is connected by now, which `MSG_FASTOPEN` was to do.
    Opened,
    Fail(c_int),
}

impl From<Route> for Outlet {
    fn from(route: Route) -> Self {
        match route {
            Route::Native => Self::Native,
            Route::To(name) => Self::To(name),
            Route::Fail(errno) => Self::Fail(errno),
        }
    }
}

/// Decides about a message of `fd` to `address`.
///
/// # Safety
/// As `sendto(2)`.
pub(super) unsafe fn outlet(fd: c_int, flags: c_int, address: *const sockaddr, length: socklen_t) -> Outlet {
    let opens = flags & libc::MSG_FASTOPEN != 0;
    let waits = flags & libc::MSG_DONTWAIT == 0;
    if address.is_null() || !(opens || datagram::is_on() || unix::is_on()) {
        return Outlet::Native;
    }
    // SAFETY: sendto(2): the program passes `length` readable bytes; a bad pointer is noticed.
    let Some(destination) = (unsafe { sys::address_at(address, length) }) else {
        // SAFETY: likewise.
        if let Some(destination) = unsafe { sys::address_without_family_at(address, length) } {
            return datagram::route_without_family(fd, destination, waits).into();
        }
        // SAFETY: likewise.
        return unsafe { unix_route(fd, address, length, Purpose::Send) }.map_or(Outlet::Native, Outlet::from);
    };
    match if opens { outgoing::open_by_data(fd, destination) } else { Verdict::Bypass } {
        Verdict::Success(_) => Outlet::Opened,
        Verdict::Fail(errno) => Outlet::Fail(errno),
        Verdict::Bypass | Verdict::Passed(_) => datagram::route(fd, destination, waits).into(),
    }
}

/// # Safety
/// As `sendto(2)`.
pub(crate) unsafe fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> Verdict<ssize_t> {
    let Some(next) = next::sendto.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments, or an address that is ours.
    unsafe {
        match outlet(fd, flags, address, address_length) {
            Outlet::Native => Verdict::Bypass,
            Outlet::To(name) => Verdict::of(next(fd, buffer, length, flags, name_pointer(&name), name_length(&name))),
            Outlet::Opened => Verdict::of(next(fd, buffer, length, flags & !libc::MSG_FASTOPEN, null(), 0)),
            Outlet::Fail(errno) => Verdict::Fail(errno),
        }
    }
}

/// # Safety
/// As `sendmsg(2)`.
pub(crate) unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> Verdict<ssize_t> {
    let Some(next) = next::sendmsg.get() else { return Verdict::Bypass };
    if !is_readable_range(message.addr(), size_of::<msghdr>()) {
        return Verdict::Bypass;
    }
    // SAFETY: readable, as just asked.
    let mut header = unsafe { message.read_unaligned() };
    // SAFETY: the program's own arguments.
    match unsafe { outlet(fd, flags, header.msg_name.cast(), header.msg_namelen) } {
        Outlet::Native => Verdict::Bypass,
        Outlet::To(name) => {
            let mut room = [0; CONTROL];
            // SAFETY: the message is used while `name` and `room` live; the rest is the program's own.
            unsafe {
                redirect(&mut header, &name, &mut room);
                Verdict::of(next(fd, &header, flags))
            }
        }
        // SAFETY: the program's own arguments. A connected TCP socket does not look at the address.
        Outlet::Opened => Verdict::of(unsafe { next(fd, message, flags & !libc::MSG_FASTOPEN) }),
        Outlet::Fail(errno) => Verdict::Fail(errno),
    }
}

/// Puts `name` into a message, and takes the source out of its control data. `room` is for that.
///
/// # Safety
/// The header's control data must be the program's as `sendmsg(2)` has it. The header must not be used longer
/// than `name` and `room` live.
pub(super) unsafe fn redirect(header: &mut msghdr, name: &Encoded, room: &mut [u8]) {
    header.msg_name = name_pointer(name).cast_mut().cast();
    header.msg_namelen = name_length(name);
    let (control, length) = (header.msg_control.cast::<u8>().cast_const(), header.msg_controllen);
    if length == 0 || length > CONTROL || !is_readable_range(control.addr(), length) {
        return;
    }
    let used = guard(Stage::Before, None, || {
        let mut copy = [0; CONTROL];
        let copy = copy.get_mut(..length)?;
        // SAFETY: readable, as just asked.
        unsafe { core::ptr::copy_nonoverlapping(control, copy.as_mut_ptr(), length) };
        control::without_source(copy, room)
    });
    if let Some(used) = used {
        header.msg_control = if used == 0 { core::ptr::null_mut() } else { room.as_mut_ptr().cast() };
        header.msg_controllen = used as _;
    }
}

/// How a name is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// By the kernel alone.
    Native,
    /// Into the program's room, in which it is then replaced.
    InPlace,
    /// Into room of ours: the program's has place for a part only.
    Cut,
}

/// Decides how a message's name is received, by the program's room for it.
pub(super) fn naming(fd: c_int, flags: c_int, room: usize) -> Naming {
    if flags & libc::MSG_ERRQUEUE != 0 || room <= FAMILY_ONLY || !datagram::is_on() {
        Naming::Native
    } else if room >= WHOLE_V4 {
        Naming::InPlace
    } else if matches!(sys::socket_family(fd), Ok(libc::AF_INET | libc::AF_INET6)) {
        Naming::Cut
    } else {
        Naming::Native
    }
}

/// Replaces the name that the kernel has written by that of the true sender.
///
/// # Safety
/// The kernel must have written a name of `told` bytes to `address`, at most `room`.
pub(super) unsafe fn rename(fd: c_int, address: *mut sockaddr, room: usize, told: usize) {
    // SAFETY: by the caller's word.
    let Written::Internet(said) = (unsafe { written_name(address, room, told) }) else { return };
    if let Some(name) = datagram::sender(fd, said) {
        // SAFETY: likewise; the new name has the form of the old one, thus its length.
        unsafe { copy_name(&name, address, told) };
    }
}

type RecvFrom =
    unsafe extern "C-unwind" fn(c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;

/// # Safety
/// As `recvfrom(2)`.
pub(crate) unsafe fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> Verdict<ssize_t> {
    let Some(next) = next::recvfrom.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    unsafe { receive(next, fd, (buffer, length), flags, address, address_length) }
}

/// # Safety
/// As `recvfrom(2)`, with the true size of the buffer.
pub(crate) unsafe fn recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    size: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> Verdict<ssize_t> {
    match next::recvfrom.get() {
        // SAFETY: the program's own arguments.
        Some(next) if length <= size => unsafe { receive(next, fd, (buffer, length), flags, address, address_length) },
        // The C library ends the program.
        _ => Verdict::Bypass,
    }
}

unsafe fn receive(
    next: RecvFrom,
    fd: c_int,
    (buffer, length): (*mut c_void, size_t),
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> Verdict<ssize_t> {
    if address.is_null() || !datagram::is_on() {
        return Verdict::Bypass;
    }
    if !is_readable_range(address_length.addr(), size_of::<socklen_t>()) {
        return Verdict::Bypass;
    }
    // SAFETY: readable, as just asked.
    let room = unsafe { address_length.read_unaligned() };
    match naming(fd, flags, i32::try_from(room).unwrap_or(0) as usize) {
        Naming::Native => Verdict::Bypass,
        Naming::InPlace => {
            // SAFETY: the program's own arguments.
            let received = unsafe { next(fd, buffer, length, flags, address, address_length) };
            if received >= 0 {
                // SAFETY: the kernel has just written both.
                unsafe { rename(fd, address, room as usize, address_length.read_unaligned() as usize) };
            }
            Verdict::of(received)
        }
        Naming::Cut => {
            let mut data = iovec { iov_base: buffer, iov_len: length };
            // SAFETY: a msghdr is numbers and pointers, which may be null.
            let mut header: msghdr = unsafe { core::mem::zeroed() };
            (header.msg_iov, header.msg_iovlen) = (&raw mut data, 1);
            (header.msg_name, header.msg_namelen) = (address.cast(), room);
            // SAFETY: the program's own buffers.
            let verdict = unsafe { receive_cut(fd, &mut header, flags) };
            match verdict {
                Verdict::Success(_) => {
                    match memory::write(address_length.expose_provenance(), &header.msg_namelen.to_ne_bytes()) {
                        Ok(()) => verdict,
                        Err(errno) => Verdict::Fail(errno),
                    }
                }
                other => other,
            }
        }
    }
}

/// `recvmsg(2)` with a name of ours, of which the program gets as much as it has room for. The header says
/// afterwards what the kernel said.
///
/// # Safety
/// As `recvmsg(2)`.
pub(super) unsafe fn receive_cut(fd: c_int, header: &mut msghdr, flags: c_int) -> Verdict<ssize_t> {
    let Some(next) = next::recvmsg.get() else { return Verdict::Fail(libc::ENOSYS) };
    let (place, room) = (header.msg_name, header.msg_namelen as usize);
    let mut name: NameRoom = [0; address::ROOM];
    (header.msg_name, header.msg_namelen) = (name.as_mut_ptr().cast(), name.len() as socklen_t);
    // SAFETY: the program's own buffers, and a name of ours.
    let received = unsafe { next(fd, header, flags) };
    header.msg_name = place;
    if received < 0 {
        return Verdict::Passed(received);
    }
    let told = name.get(..header.msg_namelen as usize).unwrap_or_default();
    let said: Option<SocketAddr> = address::decode(told);
    let sender = said.and_then(|said| datagram::sender(fd, said));
    let shown = sender.as_ref().map_or(told, Encoded::as_bytes);
    match memory::write(place.expose_provenance(), shown.get(..room.min(shown.len())).unwrap_or_default()) {
        Ok(()) => Verdict::Success(received),
        Err(errno) => Verdict::Fail(errno),
    }
}

/// # Safety
/// As `recvmsg(2)`.
pub(crate) unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> Verdict<ssize_t> {
    let Some(next) = next::recvmsg.get() else { return Verdict::Bypass };
    if !datagram::is_on() || !is_readable_range(message.addr(), size_of::<msghdr>()) {
        return Verdict::Bypass;
    }
    // SAFETY: readable, as just asked.
    let mut header = unsafe { message.read_unaligned() };
    if header.msg_name.is_null() {
        return Verdict::Bypass;
    }
    match naming(fd, flags, header.msg_namelen as usize) {
        Naming::Native => Verdict::Bypass,
        Naming::InPlace => {
            // SAFETY: the program's own arguments.
            let received = unsafe { next(fd, message, flags) };
            if received >= 0 {
                // SAFETY: the kernel has just written the name and its length.
                unsafe {
                    let told = (&raw const (*message).msg_namelen).read_unaligned() as usize;
                    rename(fd, header.msg_name.cast(), header.msg_namelen as usize, told);
                }
            }
            Verdict::of(received)
        }
        Naming::Cut => {
            // SAFETY: the program's own arguments.
            let verdict = unsafe { receive_cut(fd, &mut header, flags) };
            if let Verdict::Success(_) = verdict {
                // SAFETY: the message is the program's to be written to.
                unsafe { message.write_unaligned(header) };
            }
            verdict
        }
    }
}
