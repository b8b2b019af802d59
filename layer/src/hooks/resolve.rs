//! `getaddrinfo` and `getnameinfo`. The pod's answers become numbers that the real `getaddrinfo` expands, so
//! services, socket types, hints and `freeaddrinfo` behave natively.
//!
//! glibc's `getaddrinfo_a` calls `getaddrinfo` inside libc, out of reach.

use core::ffi::{CStr, c_char};
use core::ptr::null_mut;
use std::net::IpAddr;

use libc::{addrinfo, c_int, sockaddr, socklen_t};
use protocol::agent::Families;

use crate::address;
use crate::interpose::{self, Stage, Verdict, guard, without_cancellation};
use crate::ops::names::{self, Answer, Failure};
use crate::sys;
use crate::table::next;

/// Flags of `netdb.h` that concern names only: numbers have no canonical name and no IDN.
const NAME_FLAGS: c_int = libc::AI_CANONNAME | libc::AI_ADDRCONFIG | 0x03c0;

/// # Safety
/// As `getaddrinfo(3)`.
pub(crate) unsafe fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    out: *mut *mut addrinfo,
) -> Verdict<c_int> {
    if node.is_null() || out.is_null() {
        return Verdict::Bypass;
    }
    // SAFETY: getaddrinfo(3): a C string.
    let name = unsafe { CStr::from_ptr(node) };
    // SAFETY: getaddrinfo(3): null or valid hints, of which null means these.
    let hints = unsafe { hints.as_ref() }
        .map_or((libc::AF_UNSPEC, libc::AI_V4MAPPED | libc::AI_ADDRCONFIG, 0, 0), |hints| {
            (hints.ai_family, hints.ai_flags, hints.ai_socktype, hints.ai_protocol)
        });
    let query = Query { name, service, hints };
    match guard(Stage::Before, Verdict::Bypass, || query.try_as_number()) {
        // Not a number, and the arguments are sound: it takes the pod.
        Verdict::Passed(libc::EAI_NONAME) => {}
        done => return done,
    }
    let answer = query.ask();
    guard(Stage::After, failed(Failure::System(libc::EIO)), || match answer {
        Answer::Native => Verdict::Bypass,
        Answer::Failed(failure) => failed(failure),
        Answer::Found(addresses) => query.expand(&addresses, out),
    })
}

fn failed(failure: Failure) -> Verdict<c_int> {
    if let Failure::System(errno) = failure {
        interpose::set_errno(errno);
    }
    Verdict::Passed(failure.eai())
}

/// The arguments of `getaddrinfo`.
struct Query<'a> {
    name: &'a CStr,
    service: *const c_char,
    /// Family, flags, socket type, protocol.
    hints: (c_int, c_int, c_int, c_int),
}

impl Query<'_> {
    /// Numbers and names of this machine are a bypass. The C library tells what is a number, and finds fault
    /// with the other arguments on the way.
    ///
    /// Without `AI_ADDRCONFIG`, for which glibc takes a lock that a fork in another thread may have copied.
    fn try_as_number(&self) -> Verdict<c_int> {
        if self.hints.1 & libc::AI_NUMERICHOST != 0 || names::is_native(self.name.to_bytes()) {
            return Verdict::Bypass;
        }
        let mut number = null_mut();
        match self.native(self.name, self.hints.1 & !libc::AI_ADDRCONFIG, &mut number) {
            0 => {
                // SAFETY: freeaddrinfo(3) with a fresh list.
                unsafe { libc::freeaddrinfo(number) };
                Verdict::Bypass
            }
            code => Verdict::Passed(code),
        }
    }

    /// The real `getaddrinfo` for the number `host`.
    fn native(&self, host: &CStr, flags: c_int, out: *mut *mut addrinfo) -> c_int {
        let Some(next) = next::getaddrinfo.get() else { return libc::EAI_FAIL };
        // SAFETY: all zero is a valid addrinfo.
        let mut hints: addrinfo = unsafe { core::mem::zeroed() };
        (hints.ai_family, _, hints.ai_socktype, hints.ai_protocol) = self.hints;
        hints.ai_flags = flags | libc::AI_NUMERICHOST;
        // SAFETY: C strings, valid hints and a place for the result, as getaddrinfo(3) wants them.
        without_cancellation(|| unsafe { next(host.as_ptr(), self.service, &hints, out) })
    }

    fn ask(&self) -> Answer<Vec<IpAddr>> {
        let (family, flags, ..) = self.hints;
        let Some(families) = names::families(family, flags) else { return Answer::Failed(Failure::NoData) };
        let answer = names::addresses(self.name.to_bytes(), families);
        let empty = matches!(answer, Answer::Failed(Failure::NoName | Failure::NoData));
        if empty && families == Families::V6 && flags & libc::AI_V4MAPPED != 0 {
            return names::addresses(self.name.to_bytes(), Families::V4);
        }
        answer
    }

    /// Expands each address and joins the chains: `freeaddrinfo` frees entry by entry.
    fn expand(&self, addresses: &[IpAddr], out: *mut *mut addrinfo) -> Verdict<c_int> {
        let mut chain = Chain { first: null_mut(), last: null_mut() };
        for address in addresses {
            let Ok(number) = std::ffi::CString::new(address.to_string()) else { continue };
            let mut part = null_mut();
            match self.native(&number, self.hints.1 & !NAME_FLAGS, &mut part) {
                // SAFETY: a fresh chain of the real getaddrinfo.
                0 => unsafe { chain.append(part, self.hints.1) },
                // Not of the wanted family.
                libc::EAI_NONAME | EAI_ADDRFAMILY => {}
                code => {
                    chain.free();
                    return Verdict::Passed(code);
                }
            }
        }
        if chain.first.is_null() {
            return failed(Failure::NoData);
        }
        if self.hints.1 & libc::AI_CANONNAME != 0 {
            // SAFETY: strdup(3) of a C string; freeaddrinfo frees it with the entry, which is ours to change.
            unsafe { (*chain.first).ai_canonname = libc::strdup(self.name.as_ptr()) };
        }
        // SAFETY: getaddrinfo(3): the place for the result.
        unsafe { *out = chain.first };
        Verdict::Success(0)
    }
}

/// glibc's `netdb.h`.
const EAI_ADDRFAMILY: c_int = -9;

struct Chain {
    first: *mut addrinfo,
    last: *mut addrinfo,
}

impl Chain {
    /// # Safety
    /// `part` must be a chain of the real `getaddrinfo` that nobody else holds.
    unsafe fn append(&mut self, part: *mut addrinfo, flags: c_int) {
        if self.first.is_null() {
            self.first = part;
        } else {
            // SAFETY: `last` is the last entry of our chain.
            unsafe { (*self.last).ai_next = part };
        }
        let mut entry = part;
        // SAFETY: the entries of `part`, up to the null at their end.
        while let Some(present) = unsafe { entry.as_mut() } {
            present.ai_flags = flags;
            self.last = entry;
            entry = present.ai_next;
        }
    }

    fn free(&mut self) {
        if !self.first.is_null() {
            // SAFETY: freeaddrinfo(3) with a chain whose entries all came from getaddrinfo.
            unsafe { libc::freeaddrinfo(self.first) };
        }
    }
}

/// # Safety
/// As `getnameinfo(3)`.
pub(crate) unsafe fn getnameinfo(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_room: socklen_t,
    service: *mut c_char,
    service_room: socklen_t,
    flags: c_int,
) -> Verdict<c_int> {
    if host.is_null() || host_room == 0 || flags & libc::NI_NUMERICHOST != 0 {
        return Verdict::Bypass;
    }
    // SAFETY: getnameinfo(3): `length` readable bytes.
    let Some(named) = (unsafe { sys::address_at(address, length) }) else { return Verdict::Bypass };
    let answer = names::name_of(named.ip());
    let next = |host: *mut c_char, host_room, flags| {
        let Some(next) = next::getnameinfo.get() else { return libc::EAI_FAIL };
        // SAFETY: the program's own arguments, or less than those.
        without_cancellation(|| unsafe { next(address, length, host, host_room, service, service_room, flags) })
    };
    guard(Stage::After, failed(Failure::System(libc::EIO)), || match answer {
        Answer::Native => Verdict::Bypass,
        Answer::Found(name) if name.len() >= host_room as usize => Verdict::Passed(libc::EAI_OVERFLOW),
        Answer::Found(name) => {
            if !service.is_null() && service_room != 0 {
                let code = next(null_mut(), 0, flags);
                if code != 0 {
                    return Verdict::Passed(code);
                }
            }
            // SAFETY: `host_room` bytes are writable and the name with its NUL is shorter.
            unsafe { core::ptr::copy_nonoverlapping(name.as_ptr(), host.cast(), name.len()) };
            // SAFETY: as above.
            unsafe { *host.add(name.len()) = 0 };
            Verdict::Success(0)
        }
        Answer::Failed(Failure::Again) => failed(Failure::Again),
        Answer::Failed(failure @ Failure::System(_)) => failed(failure),
        Answer::Failed(_) if flags & libc::NI_NAMEREQD != 0 => failed(Failure::NoName),
        Answer::Failed(_) => Verdict::Passed(next(host, host_room, flags | libc::NI_NUMERICHOST)),
    })
}

/// Keeps [`address::ROOM`] and the C library's idea of a socket address together.
const _: () = assert!(address::ROOM == size_of::<libc::sockaddr_in6>());
