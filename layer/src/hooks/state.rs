//! `res_init` and `res_ninit`: the resolver's state says what the pod's `resolv.conf` says, for programs that read
//! it there. The C library fills it first, so that all that is its own in it is in order.
//!
//! When the C library then looks a name up by itself, because it is this machine's, it would ask the pod's servers
//! from here: see [`give_back`].

use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;
use std::net::SocketAddr;

use libc::{c_int, c_uint, c_ulong, c_ushort, sockaddr_in, sockaddr_in6};

use crate::address;
use crate::interpose::{Next, Stage, Verdict, guard, without_cancellation};
use crate::ops::files::{self, Place};
use crate::ops::settings::{DOMAIN_ROOM, DOMAINS, SERVERS, Settings, all_flags};
use crate::session;
use crate::sys;
use crate::table::next;

/// Longest `resolv.conf` that is read, in bytes.
const LONGEST: usize = 64 << 10;

/// `resolv.h`: the state is in use.
const RES_INIT: c_ulong = 1;

/// Seconds and attempts of a new state (`resolv.h`).
const TIMEOUT: c_int = 5;
const ATTEMPTS: c_int = 2;

/// A bit of the state that nobody uses: the servers are the pod's.
const OURS: c_uint = 1 << 31;

/// The bits that `ndots` has.
const NDOTS: c_uint = 0xf;

/// glibc's `struct __res_state` (`bits/types/res_state.h`, the same since 2.2; its size is part of the ABI).
#[repr(C)]
pub(crate) struct State {
    retrans: c_int,
    retry: c_int,
    options: c_ulong,
    nscount: c_int,
    nsaddr_list: [sockaddr_in; SERVERS],
    id: c_ushort,
    dnsrch: [*mut c_char; DOMAINS + 1],
    defdname: [c_char; DOMAIN_ROOM],
    pfcode: c_ulong,
    /// `ndots`, `nsort` and others.
    bits: c_uint,
    sort_list: [[u32; 2]; 10],
    hooks: [*mut c_void; 2],
    pub(super) h_errno: c_int,
    vcsock: c_int,
    flags: c_uint,
    extension: Extension,
}

#[repr(C)]
struct Extension {
    nscount: u16,
    nsmap: [u16; SERVERS],
    nssocks: [c_int; SERVERS],
    nscount6: u16,
    nsinit: u16,
    nsaddrs: [*mut sockaddr_in6; SERVERS],
    index: [c_uint; 2],
}

const _: () = assert!(offset_of!(State, nsaddr_list) == 20 && offset_of!(State, dnsrch) == 72);
const _: () = assert!(offset_of!(State, defdname) == 128 && offset_of!(State, h_errno) == 496);
const _: () = assert!(offset_of!(State, extension.nsaddrs) == 536 && size_of::<State>() == 568);

unsafe extern "C" {
    fn __res_state() -> *mut State;
}

/// Stands for the thread's own state.
pub(super) const OWN: *mut State = core::ptr::null_mut();

/// `state`, or the thread's own for [`OWN`].
pub(super) fn or_own(state: *mut State) -> *mut State {
    // SAFETY: the C library's state is valid for the thread.
    if state.is_null() { unsafe { __res_state() } } else { state }
}

/// What a state says before it is filled, and keeps.
struct Before {
    timeout: c_int,
    attempts: c_int,
    flags: c_ulong,
}

/// # Safety
/// As `res_init(3)`.
pub(crate) unsafe fn res_init() -> Verdict<c_int> {
    let Some(next) = next::__res_init.get() else { return Verdict::Bypass };
    let state = or_own(OWN);
    // SAFETY: the thread's own state.
    let (retrans, retry, options) = unsafe { ((*state).retrans, (*state).retry, (*state).options) };
    let or = |value, default| if value == 0 { default } else { value };
    let flags = if options & RES_INIT == 0 { 0 } else { options & all_flags() };
    let before = Before { timeout: or(retrans, TIMEOUT), attempts: or(retry, ATTEMPTS), flags };
    // SAFETY: res_init(3).
    let result = without_cancellation(|| unsafe { next() });
    // SAFETY: the thread's own state, which has just been filled.
    unsafe { filled(state, result, &before) }
}

/// # Safety
/// As `res_ninit(3)`.
pub(crate) unsafe fn res_ninit(state: *mut c_void) -> Verdict<c_int> {
    let Some(next) = next::__res_ninit.get() else { return Verdict::Bypass };
    // SAFETY: the program's own argument.
    let result = without_cancellation(|| unsafe { next(state) });
    // SAFETY: res_ninit(3): a state, which has just been filled.
    unsafe { filled(state.cast(), result, &Before { timeout: TIMEOUT, attempts: ATTEMPTS, flags: 0 }) }
}

/// # Safety
/// The C library must have filled the state with `result`.
unsafe fn filled(state: *mut State, result: c_int, before: &Before) -> Verdict<c_int> {
    if result != 0 {
        return Verdict::Passed(result);
    }
    guard(Stage::After, Verdict::Fail(libc::EIO), || {
        let text = match files::pods("/etc/resolv.conf") {
            Place::Native => {
                // The memory may have been another state's before.
                // SAFETY: by the caller's word.
                unsafe { (*state).bits &= !OURS };
                return Verdict::Success(0);
            }
            Place::Absent(_) => Vec::new(),
            Place::Failed(errno) => return Verdict::Fail(errno),
            Place::At(file) => match sys::read_file(file.path(), LONGEST) {
                Some(text) => text,
                None => return Verdict::Fail(libc::EIO),
            },
        };
        let text = String::from_utf8_lossy(&text);
        let host_name = session::get().and_then(|session| session.host_name()).unwrap_or_default();
        let mut settings = Settings::read(&text, core::str::from_utf8(host_name).unwrap_or_default());
        if let Some(options) = variable(c"RES_OPTIONS") {
            settings.follow(options);
        }
        // SAFETY: by the caller's word.
        unsafe { fill(&mut *state, &settings, before) };
        Verdict::Success(0)
    })
}

fn variable(name: &CStr) -> Option<&'static str> {
    // SAFETY: getenv(3), whose text stays at least until the environment is changed, which nobody may do meanwhile.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: getenv(3): null or a C string.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_str().ok()).flatten()
}

fn fill(state: &mut State, settings: &Settings<'_>, before: &Before) {
    state.retrans = settings.timeout.unwrap_or(before.timeout);
    state.retry = settings.attempts.unwrap_or(before.attempts);
    state.options = state.options & !all_flags() | before.flags | settings.flags;
    state.bits = state.bits & !NDOTS | settings.ndots as c_uint & NDOTS | OURS;
    // Of servers beyond its own count the C library has written nothing.
    let known = usize::try_from(state.nscount).unwrap_or(0).min(SERVERS);
    state.extension.nsaddrs[known..].fill(core::ptr::null_mut());
    for (index, server) in settings.servers.iter().take(SERVERS).enumerate() {
        set_server(state, index, *server);
    }
    for unused in state.extension.nsaddrs.iter_mut().take(known).skip(settings.servers.len()) {
        // SAFETY: free(3) of null or of what the C library got from malloc(3).
        unsafe { libc::free(unused.cast()) };
        *unused = core::ptr::null_mut();
    }
    state.nscount = settings.servers.len().min(SERVERS) as c_int;
    // The variable comes before the file, and the C library has heeded it.
    if variable(c"LOCALDOMAIN").is_some() {
        return;
    }
    let (mut used, mut count) = (0, 0);
    for domain in settings.search.iter().take(DOMAINS) {
        let Some(place) = state.defdname.get_mut(used..used + domain.len() + 1) else { break };
        for (place, byte) in place.iter_mut().zip(domain.bytes().chain([0])) {
            *place = byte as c_char;
        }
        state.dnsrch[count] = place.as_mut_ptr();
        (used, count) = (used + domain.len() + 1, count + 1);
    }
    state.dnsrch[count] = core::ptr::null_mut();
    if count == 0 {
        state.defdname[0] = 0;
    }
}

/// Servers with an IPv6 address stand in memory of their own, which the C library frees.
fn set_server(state: &mut State, index: usize, server: SocketAddr) {
    let bytes = address::encode(server);
    let (v4, v6) = (&mut state.nsaddr_list[index], &mut state.extension.nsaddrs[index]);
    state.extension.nssocks[index] = -1;
    // SAFETY: sockaddr_in is numbers only.
    *v4 = unsafe { core::mem::zeroed() };
    let place: *mut u8 = match server {
        SocketAddr::V4(_) => {
            // SAFETY: free(3) of null or of what the C library got from malloc(3).
            unsafe { libc::free(v6.cast()) };
            *v6 = core::ptr::null_mut();
            core::ptr::from_mut(v4).cast()
        }
        SocketAddr::V6(_) => {
            if v6.is_null() {
                // SAFETY: malloc(3).
                *v6 = unsafe { libc::malloc(size_of::<sockaddr_in6>()) }.cast();
            }
            v6.cast()
        }
    };
    if !place.is_null() {
        let bytes = bytes.as_bytes();
        // SAFETY: room for an address of this family.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }
}

/// Fills a state as this machine's files say if we have filled it before: the C library is about to ask this machine's
/// servers. A program that goes on to read it finds those.
///
/// # Safety
/// `state` must be [`OWN`] or valid.
pub(super) unsafe fn give_back_given(state: *mut State) {
    // SAFETY: the type is that of `res_nclose(3)`.
    static CLOSE: Next<unsafe extern "C-unwind" fn(*mut State)> = unsafe { Next::new(c"__res_nclose") };
    let state = or_own(state);
    // SAFETY: by the caller's word.
    if unsafe { (*state).bits } & OURS == 0 {
        return;
    }
    let (Some(close), Some(next)) = (CLOSE.get(), next::__res_ninit.get()) else { return };
    without_cancellation(|| {
        // SAFETY: a state that has been filled, which is given up for a new one.
        unsafe {
            close(state);
            (*state).bits &= !OURS;
            next(state.cast());
        }
    });
}

/// As [`give_back_given`] for the thread's own state.
pub(super) fn give_back() {
    // SAFETY: the thread's own state is valid.
    unsafe { give_back_given(OWN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_filled_from_settings() {
        // SAFETY: numbers and null pointers.
        let mut state: State = unsafe { core::mem::zeroed() };
        state.options = RES_INIT | 1 << 14;
        let text = "search a.example b.example\nnameserver fd00::1\nnameserver 10.0.0.1\noptions ndots:5 edns0\n";
        let before = Before { timeout: 7, attempts: 2, flags: 1 << 3 };
        fill(&mut state, &Settings::read("options ndots:0 attempts:0 timeout:1\n", ""), &before);
        assert_eq!((state.bits, state.retrans, state.retry), (OURS, 1, 0));
        fill(&mut state, &Settings::read(text, ""), &before);
        assert_eq!((state.bits, state.retrans, state.retry, state.nscount), (5 | OURS, 7, 2, 2));
        assert_eq!(state.options, RES_INIT | 1 << 3 | 1 << 20);
        assert_eq!((state.nsaddr_list[0].sin_family, state.nsaddr_list[1].sin_port), (0, 53u16.to_be()));
        // SAFETY: the address that has just been made.
        assert_eq!(unsafe { (*state.extension.nsaddrs[0]).sin6_port }, 53u16.to_be());
        // SAFETY: C strings inside the state.
        let domains = state.dnsrch.map(|domain| (!domain.is_null()).then(|| unsafe { CStr::from_ptr(domain) }));
        assert_eq!(domains[..3], [Some(c"a.example"), Some(c"b.example"), None]);
        fill(&mut state, &Settings::read("", ""), &before);
        assert!(state.extension.nsaddrs[0].is_null() && state.dnsrch[0].is_null() && state.nscount == 1);
    }

    #[test]
    fn what_the_c_library_has_not_written_is_not_believed() {
        // SAFETY: numbers and null pointers.
        let mut state: State = unsafe { core::mem::zeroed() };
        state.nscount = 1;
        state.extension.nsaddrs[1..].fill(core::ptr::dangling_mut());
        let before = Before { timeout: 5, attempts: 2, flags: 0 };
        let text = "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver fd00::1\n";
        fill(&mut state, &Settings::read(text, ""), &before);
        let six = state.extension.nsaddrs.map(|six| !six.is_null());
        assert_eq!(six, [false, false, true]);
        // SAFETY: the address that has just been made.
        assert_eq!(unsafe { (*state.extension.nsaddrs[2]).sin6_port }, 53u16.to_be());
        fill(&mut state, &Settings::read("nameserver 10.0.0.1\n", ""), &before);
        assert!(state.extension.nsaddrs.iter().all(|six| six.is_null()), "no memory is lost");
    }
}
