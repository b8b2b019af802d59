//! `getaddrinfo` and `getnameinfo`. The pod's answers become numbers that the real `getaddrinfo` expands, so
//! services, socket types, hints and `freeaddrinfo` behave natively.

use core::ffi::{CStr, c_char};
use core::ptr::null_mut;
use std::ffi::CString;
use std::net::Ipv6Addr;

use libc::{addrinfo, c_int, sockaddr, socklen_t};
use protocol::agent::Families;

use crate::address;
use crate::hooks::idn;
use crate::hooks::state;
use crate::interpose::{self, Stage, Verdict, guard, without_cancellation};
use crate::ops::names::{self, Answer, Failure, Host};
use crate::sys;
use crate::table::next;

/// `netdb.h`: the name is converted before it is asked for.
const AI_IDN: c_int = 0x0040;

/// `netdb.h`: the canonical name is converted back.
const AI_CANONIDN: c_int = 0x0080;

/// `netdb.h`: names are converted back.
const NI_IDN: c_int = 32;

/// Every flag of `getnameinfo` in glibc's `netdb.h`; two more are accepted and mean nothing.
const NI_FLAGS: c_int =
    libc::NI_NUMERICHOST | libc::NI_NUMERICSERV | libc::NI_NOFQDN | libc::NI_NAMEREQD | libc::NI_DGRAM | NI_IDN | 0xc0;

/// Flags of `netdb.h` that concern names only: numbers have no canonical name and no IDN.
const NAME_FLAGS: c_int = libc::AI_CANONNAME | libc::AI_ADDRCONFIG | 0x03c0;

/// `netdb.h`: the name cannot be converted.
const EAI_IDN_ENCODE: c_int = -105;

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
    let asked = match guard(Stage::Before, Err(Verdict::Bypass), || query.prepare()) {
        Ok(asked) => asked,
        Err(verdict) => return verdict,
    };
    let answer = query.ask(asked.as_bytes());
    guard(Stage::After, failed(Failure::System(libc::EIO)), || match answer {
        Answer::Native => {
            state::give_back();
            Verdict::Bypass
        }
        Answer::Failed(failure) => failed(failure),
        Answer::Found(host) => query.expand(&host, out),
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
    /// What to ask the pod for. Numbers and names of this machine are a bypass. The C library tells what is a
    /// number, and finds fault with the other arguments.
    fn prepare(&self) -> Result<idn::Name, Verdict<c_int>> {
        let (family, flags, ..) = self.hints;
        let name = self.name.to_bytes();
        if flags & libc::AI_NUMERICHOST != 0 {
            return Err(Verdict::Bypass);
        }
        if names::is_native(name) {
            state::give_back();
            return Err(Verdict::Bypass);
        }
        match self.try_as_number(self.name) {
            0 => return Err(Verdict::Bypass),
            libc::EAI_NONAME => {}
            code => return Err(Verdict::Passed(code)),
        }
        // The same answer is a service that is no number where it must be: then a good number has it too.
        let good = if family == libc::AF_INET6 { c"::1" } else { c"127.0.0.1" };
        match self.try_as_number(good) {
            0 => {}
            code => return Err(Verdict::Passed(code)),
        }
        // An address with an unknown scope is no name either.
        let address = name.split(|byte| *byte == b'%').next().unwrap_or_default();
        if address.len() < name.len() && core::str::from_utf8(address).is_ok_and(|ip| ip.parse::<Ipv6Addr>().is_ok()) {
            return Err(Verdict::Passed(libc::EAI_NONAME));
        }
        if flags & AI_IDN != 0 {
            return without_cancellation(|| idn::to_ascii(name)).ok_or(Verdict::Passed(EAI_IDN_ENCODE));
        }
        idn::Name::new(name).ok_or(Verdict::Passed(libc::EAI_NONAME))
    }

    /// The C library's verdict on `name` as a number, with all the other arguments.
    ///
    /// Without `AI_ADDRCONFIG`, for which glibc takes a lock that a fork in another thread may have copied.
    fn try_as_number(&self, name: &CStr) -> c_int {
        let mut number = null_mut();
        let code = self.native(name, self.hints.1 & !libc::AI_ADDRCONFIG, &mut number);
        if code == 0 {
            // SAFETY: freeaddrinfo(3) with a fresh list.
            unsafe { libc::freeaddrinfo(number) };
        }
        code
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

    fn ask(&self, name: &[u8]) -> Answer<Host> {
        let (family, flags, ..) = self.hints;
        let Some(families) = names::families(family, flags) else {
            // What this machine's sockets cannot use does not exist for `AI_ADDRCONFIG`.
            let adapts = flags & libc::AI_ADDRCONFIG != 0;
            return Answer::Failed(if adapts { Failure::NoName } else { Failure::NoData });
        };
        let answer = names::addresses(name, families);
        let empty = matches!(answer, Answer::Failed(Failure::NoName | Failure::NoData));
        if empty && families == Families::V6 && flags & libc::AI_V4MAPPED != 0 {
            return names::addresses(name, Families::V4);
        }
        answer
    }

    /// Expands each address and joins the chains: `freeaddrinfo` frees entry by entry.
    fn expand(&self, host: &Host, out: *mut *mut addrinfo) -> Verdict<c_int> {
        let mut chain = Chain { first: null_mut(), last: null_mut() };
        for address in &host.addresses {
            let Ok(number) = CString::new(address.to_string()) else { continue };
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
            let name = readable(host.canonical.as_bytes(), self.hints.1 & AI_CANONIDN != 0);
            // SAFETY: strdup(3) of a C string; freeaddrinfo frees it with the entry, which is ours to change.
            let copy = unsafe { libc::strdup(name.as_ptr()) };
            if copy.is_null() {
                chain.free();
                return Verdict::Passed(libc::EAI_MEMORY);
            }
            // SAFETY: the chain's first entry, which nobody else has yet.
            unsafe { (*chain.first).ai_canonname = copy };
        }
        // SAFETY: getaddrinfo(3): the place for the result.
        unsafe { *out = chain.first };
        Verdict::Success(0)
    }
}

/// A name from the pod as the program gets it: with `convert` in the form that people read, if there is one.
fn readable(name: &[u8], convert: bool) -> CString {
    let converted = if convert { without_cancellation(|| idn::to_unicode(name)) } else { None };
    // Names with a NUL in them are refused where they arrive.
    CString::new(converted.as_ref().map_or(name, idn::Name::as_bytes)).unwrap_or_default()
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
    if host.is_null() || host_room == 0 || flags & libc::NI_NUMERICHOST != 0 || flags & !NI_FLAGS != 0 {
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
        Answer::Native => {
            state::give_back();
            Verdict::Bypass
        }
        Answer::Found(named) => {
            let name = readable(named.name.as_bytes(), flags & NI_IDN != 0);
            let bytes = name.as_bytes_with_nul();
            if bytes.len() > host_room as usize {
                return Verdict::Passed(libc::EAI_OVERFLOW);
            }
            if !service.is_null() && service_room != 0 {
                let code = next(null_mut(), 0, flags);
                if code != 0 {
                    return Verdict::Passed(code);
                }
            }
            // SAFETY: `host_room` bytes are writable and the name with its NUL is not longer.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), host.cast(), bytes.len()) };
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
