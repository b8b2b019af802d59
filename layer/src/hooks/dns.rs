//! The resolver's functions (`resolver(3)`): questions to name servers, which go to the pod's.
//!
//! Programs built before glibc 2.34 call them by names with `__` in front, and there the library
//! `libresolv.so.2` has them.

use core::ffi::{CStr, c_char, c_void};

use libc::c_int;
use protocol::layer::DnsQuestion;

use crate::hooks::state::{self, OWN, State};
use crate::interpose::{Next, Stage, Verdict, guard};
use crate::ops::dns::{self, HEADER, NAME_ROOM, Refusal};
use crate::ops::names::Answer;
use crate::table::next;

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// Where an answer goes.
#[derive(Clone, Copy)]
struct Room {
    place: *mut u8,
    size: c_int,
}

/// Whether the search list applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Yes,
    No,
}

/// `h_errno` for the thread and in `state`.
fn set_h_errno(state: *mut State, value: c_int) {
    // SAFETY: resolver(3): a valid state, or the thread's own; the field is inside it.
    unsafe { (&raw mut (*state::or_own(state)).h_errno).write(value) };
    // SAFETY: the C library's location is valid for the thread.
    unsafe { *__h_errno_location() = value };
}

fn refuse(state: *mut State, Refusal { h_errno, errno }: Refusal) -> Verdict<c_int> {
    set_h_errno(state, h_errno);
    match errno {
        Some(errno) => Verdict::Fail(errno),
        None => Verdict::Passed(-1),
    }
}

/// Copies an answer out; what the call returns.
///
/// # Safety
/// The room must be writable.
unsafe fn give(answer: &[u8], room: Room) -> c_int {
    const CUT: u8 = 2;
    let (copied, told, is_cut) = dns::fit(answer.len(), usize::try_from(room.size).unwrap_or(0));
    // SAFETY: no more than the room.
    unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), room.place, copied) };
    if is_cut && copied >= HEADER {
        // SAFETY: inside the header that has just been written.
        unsafe { *room.place.add(2) |= CUT };
    }
    told as c_int
}

/// The C library asks this machine's servers.
///
/// # Safety
/// `state` must be [`OWN`] or valid.
unsafe fn native(state: *mut State) -> Verdict<c_int> {
    // SAFETY: by the caller's word.
    unsafe { state::give_back_given(state) };
    Verdict::Bypass
}

/// Asks for records.
///
/// # Safety
/// `state` must be [`OWN`] or valid, and the room writable.
unsafe fn records(
    state: *mut State,
    name: Result<&[u8], Refusal>,
    [class, kind]: [c_int; 2],
    search: Search,
    room: Room,
) -> Verdict<c_int> {
    let search = search == Search::Yes;
    let checked = guard(Stage::Before, Err(Refusal::TOO_LONG), || {
        let name = dns::name(name?)?;
        // A search for nothing finds no name to try.
        if search && name.is_empty() {
            return Err(Refusal::NAME);
        }
        if room.size < HEADER as c_int { Err(Refusal::ROOM) } else { Ok(name) }
    });
    let name = match checked {
        Ok(name) => name,
        Err(refusal) => return refuse(state, refusal),
    };
    let question = DnsQuestion::Records { name, class: class as u16, kind: kind as u16, search };
    let answer = dns::query(question);
    guard(Stage::After, Verdict::Fail(libc::EIO), || match answer {
        // SAFETY: by the caller's word.
        Answer::Native => unsafe { native(state) },
        Answer::Failed(failure) => refuse(state, Refusal::of_query(failure)),
        Answer::Found(message) => {
            if search {
                set_h_errno(state, Refusal::SEARCHING);
            }
            // SAFETY: by the caller's word.
            Verdict::Success(unsafe { give(&message, room) })
        }
    })
}

/// Sends a whole message.
///
/// # Safety
/// `state` must be [`OWN`] or valid, `length` bytes of the message readable, and the room writable.
unsafe fn message(state: *mut State, message: *const u8, length: c_int, room: Room) -> Verdict<c_int> {
    if room.size < HEADER as c_int {
        return Verdict::Fail(libc::EINVAL);
    }
    let length = usize::try_from(length).unwrap_or(0);
    if length < HEADER || message.is_null() {
        return Verdict::Fail(libc::EINVAL);
    }
    // SAFETY: by the caller's word.
    let message = unsafe { core::slice::from_raw_parts(message, length) };
    let answer = dns::query(DnsQuestion::Message(message));
    guard(Stage::After, Verdict::Fail(libc::EIO), || match answer {
        // SAFETY: by the caller's word.
        Answer::Native => unsafe { native(state) },
        Answer::Failed(failure) => Verdict::Fail(dns::send_errno(failure)),
        Answer::Found(message) => {
            // SAFETY: by the caller's word.
            let told = unsafe { give(&message, room) };
            if dns::is_refused(&message) { Verdict::Fail(libc::ETIMEDOUT) } else { Verdict::Success(told) }
        }
    })
}

/// The answer of `libresolv.so.2` before glibc 2.34, which has some functions only by their old names.
macro_rules! or_old {
    ($verdict:expr, $symbol:ident, $old:literal, ($($argument:expr),*), ($($type:ty),*)) => {{
        // SAFETY: the old name has the type of the present one.
        static OLD: Next<unsafe extern "C-unwind" fn($($type),*) -> c_int> = unsafe { Next::new($old) };
        match ($verdict, next::$symbol.get()) {
            (Verdict::Bypass, None) => match OLD.get() {
                // SAFETY: the program's own arguments.
                Some(next) => Verdict::Passed(unsafe { next($($argument),*) }),
                None => Verdict::Bypass,
            },
            (verdict, _) => verdict,
        }
    }};
}

/// # Safety
/// `name` must be a C string.
unsafe fn bytes<'a>(name: *const c_char) -> Result<&'a [u8], Refusal> {
    // SAFETY: by the caller's word.
    if name.is_null() { Err(Refusal::TOO_LONG) } else { Ok(unsafe { CStr::from_ptr(name) }.to_bytes()) }
}

/// # Safety
/// Both must be C strings; `domain` may be null.
unsafe fn joined(name: *const c_char, domain: *const c_char, room: &mut [u8; NAME_ROOM]) -> Result<&[u8], Refusal> {
    // SAFETY: by the caller's word.
    let (name, domain) = unsafe { (bytes(name)?, bytes(domain).ok()) };
    guard(Stage::Before, Err(Refusal::TOO_LONG), || dns::joined(name, domain, room))
}

/// Defines functions in pairs, each with one body: `$own` with the thread's state, and `$given` with the program's.
macro_rules! pairs {
    ($($own:ident, $given:ident, $old:literal ($($argument:ident: $type:ty),*) |$state:ident, $room:ident| $body:expr;)*) => {$(
        /// # Safety
        /// As `resolver(3)`.
        pub(crate) unsafe fn $own($($argument: $type,)* place: *mut u8, size: c_int) -> Verdict<c_int> {
            let ($state, $room) = (OWN, Room { place, size });
            // SAFETY: the program's own arguments.
            unsafe { $body }
        }

        /// # Safety
        /// As `resolver(3)`.
        pub(crate) unsafe fn $given(
            state: *mut c_void,
            $($argument: $type,)*
            place: *mut u8,
            size: c_int,
        ) -> Verdict<c_int> {
            let ($state, $room) = (state.cast::<State>(), Room { place, size });
            // SAFETY: the program's own arguments.
            let verdict = unsafe { $body };
            or_old!(
                verdict,
                $given,
                $old,
                (state, $($argument,)* place, size),
                (*mut c_void, $($type,)* *mut u8, c_int)
            )
        }
    )*};
}

pairs! {
    res_query, res_nquery, c"__res_nquery" (name: *const c_char, class: c_int, kind: c_int)
        |state, room| records(state, bytes(name), [class, kind], Search::No, room);
    res_search, res_nsearch, c"__res_nsearch" (name: *const c_char, class: c_int, kind: c_int)
        |state, room| records(state, bytes(name), [class, kind], Search::Yes, room);
    res_querydomain, res_nquerydomain, c"__res_nquerydomain"
        (name: *const c_char, domain: *const c_char, class: c_int, kind: c_int)
        |state, room| {
            let mut joint = [0; NAME_ROOM];
            records(state, joined(name, domain, &mut joint), [class, kind], Search::No, room)
        };
    res_send, res_nsend, c"__res_nsend" (question: *const u8, length: c_int)
        |state, room| message(state, question, length, room);
}
