//! The older name calls, which answer with a `struct hostent`: `gethostbyname` and its relatives.
//!
//! Those without `_r` answer in one static place per process, as `gethostbyname(3)` says ("MT-Unsafe
//! race:hostbyname"): no lock that a fork could find held, no memory that grows.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;
use std::net::IpAddr;

use decide::names::is_numeric;
use libc::{c_int, hostent, size_t, socklen_t};
use protocol::agent::{Families, Named};

use crate::hooks::state;
use crate::interpose::{self, Stage, Verdict, guard};
use crate::ops::names::{self, Answer, Failure};

/// Room for 256 addresses of 16 bytes and for 2 KiB of aliases, with a pointer to each, and a name.
const ROOM: usize = 20 * 1024;

/// Where an answer stands.
#[repr(C, align(16))]
pub(super) struct Static {
    entry: UnsafeCell<hostent>,
    bytes: UnsafeCell<[u8; ROOM]>,
}

// SAFETY: only written through raw pointers; races are the caller's by the man page's contract, and all
// pointers that a race could tear point into this static.
unsafe impl Sync for Static {}

impl Static {
    pub(super) const fn new() -> Self {
        let entry =
            hostent { h_name: null_mut(), h_aliases: null_mut(), h_addrtype: 0, h_length: 0, h_addr_list: null_mut() };
        Self { entry: UnsafeCell::new(entry), bytes: UnsafeCell::new([0; ROOM]) }
    }
}

static ANSWER: Static = Static::new();

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// A finished look-up: a name with the addresses that belong to it, all of one family.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) family: c_int,
    pub(super) addresses: Vec<IpAddr>,
}

/// # Safety
/// As `gethostbyname(3)`.
pub(crate) unsafe fn gethostbyname(name: *const c_char) -> Verdict<*mut hostent> {
    // SAFETY: the program's own argument.
    unsafe { gethostbyname2(name, libc::AF_INET) }
}

/// # Safety
/// As `gethostbyname2(3)`.
pub(crate) unsafe fn gethostbyname2(name: *const c_char, family: c_int) -> Verdict<*mut hostent> {
    // SAFETY: the program's own argument.
    in_static(&ANSWER, unsafe { forward(name, family) })
}

/// # Safety
/// As `gethostbyaddr(3)`.
pub(crate) unsafe fn gethostbyaddr(place: *const c_void, length: socklen_t, family: c_int) -> Verdict<*mut hostent> {
    // SAFETY: the program's own arguments.
    in_static(&ANSWER, unsafe { backward(place, length, family) })
}

/// Where the `_r` calls want their answer.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) entry: *mut hostent,
    pub(crate) buffer: *mut c_char,
    pub(crate) room: size_t,
    pub(crate) result: *mut *mut hostent,
    pub(crate) h_errno: *mut c_int,
}

/// # Safety
/// As `gethostbyname_r(3)`.
pub(crate) unsafe fn gethostbyname_r(
    name: *const c_char,
    entry: *mut hostent,
    buffer: *mut c_char,
    room: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { gethostbyname2_r(name, libc::AF_INET, entry, buffer, room, result, h_errno) }
}

/// # Safety
/// As `gethostbyname2_r(3)`.
pub(crate) unsafe fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    room: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    let answer = unsafe { forward(name, family) };
    // SAFETY: gethostbyname_r(3): all places are valid and `room` bytes of the buffer writable.
    unsafe { in_places(answer, Places { entry, buffer, room, result, h_errno }) }
}

/// # Safety
/// As `gethostbyaddr_r(3)`.
#[expect(clippy::too_many_arguments, reason = "the C library's own list")]
pub(crate) unsafe fn gethostbyaddr_r(
    place: *const c_void,
    length: socklen_t,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    room: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let answer = unsafe { backward(place, length, family) };
    // SAFETY: gethostbyaddr_r(3): all places are valid and `room` bytes of the buffer writable.
    unsafe { in_places(answer, Places { entry, buffer, room, result, h_errno }) }
}

/// Looks a name up.
///
/// # Safety
/// `name` must be null or a C string.
unsafe fn forward(name: *const c_char, family: c_int) -> Answer<Host> {
    let families = match family {
        libc::AF_INET => Families::V4,
        libc::AF_INET6 => Families::V6,
        _ => return Answer::Native,
    };
    let allowed = names::families(family, 0).is_some();
    if name.is_null() {
        return Answer::Native;
    }
    // SAFETY: by the caller's word.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    if name.is_empty() {
        return Answer::Failed(Failure::Fail);
    }
    if guard(Stage::Before, true, || is_numeric(name) || names::is_native(name)) {
        return Answer::Native;
    }
    if !allowed {
        return Answer::Failed(Failure::NoData);
    }
    match names::addresses(name, families) {
        Answer::Native => Answer::Native,
        Answer::Failed(failure) => Answer::Failed(failure),
        Answer::Found(names::Host { canonical, aliases, mut addresses }) => {
            addresses.retain(|address| address.is_ipv4() == (family == libc::AF_INET));
            if addresses.is_empty() {
                return Answer::Failed(Failure::NoData);
            }
            Answer::Found(Host { name: canonical, aliases, family, addresses })
        }
    }
}

/// Looks an address up.
///
/// # Safety
/// `length` bytes at `place` must be readable.
unsafe fn backward(place: *const c_void, length: socklen_t, family: c_int) -> Answer<Host> {
    let address = match (family, length) {
        _ if place.is_null() => None,
        // SAFETY: by the caller's word.
        (libc::AF_INET, 4) => Some(IpAddr::from(unsafe { place.cast::<[u8; 4]>().read() })),
        // SAFETY: by the caller's word.
        (libc::AF_INET6, 16) => Some(IpAddr::from(unsafe { place.cast::<[u8; 16]>().read() })),
        _ => None,
    };
    // A v4-mapped address is an IPv4 one in the answer, too.
    let Some(address) = address.map(|address| address.to_canonical()) else { return Answer::Native };
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    match names::name_of(address) {
        Answer::Native => Answer::Native,
        Answer::Failed(failure) => Answer::Failed(failure),
        Answer::Found(Named { name, aliases }) => {
            Answer::Found(Host { name, aliases, family, addresses: vec![address] })
        }
    }
}

pub(super) fn in_static(place: &Static, answer: Answer<Host>) -> Verdict<*mut hostent> {
    guard(Stage::After, Verdict::Fail(libc::EIO), || {
        let failure = match answer {
            Answer::Native => {
                state::give_back();
                return Verdict::Bypass;
            }
            Answer::Failed(failure) => failure,
            Answer::Found(host) => {
                let (entry, bytes) = (place.entry.get(), place.bytes.get().cast());
                // SAFETY: both are ours and large enough as told.
                if unsafe { fill(&host, entry, bytes, ROOM) } {
                    return Verdict::Success(entry);
                }
                Failure::System(libc::ERANGE)
            }
        };
        // SAFETY: the C library's location is valid for the thread.
        unsafe { *__h_errno_location() = failure.h_errno() };
        if let Failure::System(errno) = failure {
            interpose::set_errno(errno);
        }
        Verdict::Passed(null_mut())
    })
}

/// # Safety
/// The places must be as `gethostbyname_r(3)` wants them.
pub(super) unsafe fn in_places(answer: Answer<Host>, places: Places) -> Verdict<c_int> {
    guard(Stage::After, Verdict::Passed(libc::EIO), || {
        let failure = match answer {
            Answer::Native => {
                state::give_back();
                return Verdict::Bypass;
            }
            Answer::Failed(failure) => failure,
            Answer::Found(host) => {
                // SAFETY: by the caller's word.
                if unsafe { fill(&host, places.entry, places.buffer.cast(), places.room) } {
                    // SAFETY: by the caller's word.
                    unsafe { *places.result = places.entry };
                    return Verdict::Success(0);
                }
                Failure::System(libc::ERANGE)
            }
        };
        // SAFETY: by the caller's word.
        unsafe { *places.result = null_mut() };
        // SAFETY: by the caller's word.
        unsafe { *places.h_errno = failure.h_errno() };
        if let Failure::System(errno) = failure {
            interpose::set_errno(errno);
        }
        Verdict::Passed(failure.code())
    })
}

/// Lays the answer out in `buffer`: the pointers (the aliases, the addresses, null behind each), the addresses, the
/// name, the aliases. False when there is not enough room.
///
/// # Safety
/// `entry` must be writable, and so must `room` bytes at `buffer`.
unsafe fn fill(host: &Host, entry: *mut hostent, buffer: *mut u8, room: usize) -> bool {
    const POINTER: usize = size_of::<*mut c_char>();
    let size = if host.family == libc::AF_INET { 4 } else { 16 };
    let (count, aliases) = (host.addresses.len(), host.aliases.len());
    let gap = buffer.align_offset(POINTER);
    let (pointers, data) = (POINTER * (aliases + count + 2), size * count);
    let text = host.name.len() + 1 + host.aliases.iter().map(|alias| alias.len() + 1).sum::<usize>();
    if gap.saturating_add(pointers + data + text) > room {
        return false;
    }
    // SAFETY: the three parts lie one behind the other inside the room, whose size has just been checked.
    let (list, numbers, name) = unsafe {
        let list = buffer.add(gap);
        (list.cast::<*mut c_char>(), list.add(pointers), list.add(pointers + data))
    };
    // SAFETY: the texts and their NULs end the room that was checked.
    let mut place = unsafe { put_text(&host.name, name) };
    for (index, alias) in host.aliases.iter().enumerate() {
        // SAFETY: the list begins with the aliases.
        unsafe { list.add(index).write(place.cast()) };
        // SAFETY: as for the name.
        place = unsafe { put_text(alias, place) };
    }
    // SAFETY: the list has `aliases + count + 2` aligned places.
    let addresses = unsafe {
        list.add(aliases).write(null_mut());
        list.add(aliases + 1)
    };
    for (index, address) in host.addresses.iter().enumerate() {
        let octets = match address {
            IpAddr::V4(ip) => &ip.octets()[..],
            IpAddr::V6(ip) => &ip.octets()[..],
        };
        // SAFETY: `count` places of `size` bytes each.
        let place = unsafe { numbers.add(index * size) };
        // SAFETY: as above; no address is longer than `size`.
        unsafe { core::ptr::copy_nonoverlapping(octets.as_ptr(), place, octets.len().min(size)) };
        // SAFETY: as for the list.
        unsafe { addresses.add(index).write(place.cast()) };
    }
    // SAFETY: as for the list.
    unsafe { addresses.add(count).write(null_mut()) };
    let filled = hostent {
        h_name: name.cast(),
        h_aliases: list,
        h_addrtype: host.family,
        h_length: size as c_int,
        h_addr_list: addresses,
    };
    // SAFETY: by the caller's word.
    unsafe { entry.write(filled) };
    true
}

/// Writes `text` with a NUL; the place behind it.
///
/// # Safety
/// There must be room for both.
unsafe fn put_text(text: &str, place: *mut u8) -> *mut u8 {
    // SAFETY: by the caller's word.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len());
        place.add(text.len()).write(0);
        place.add(text.len() + 1)
    }
}
