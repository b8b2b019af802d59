//! `gethostent` and its relatives: the pod's hosts file, entry by entry.
//!
//! How far a process has read is one number for all of its threads, as `gethostent(3)` says ("MT-Unsafe
//! race:hostent").

use core::ffi::c_char;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use decide::hosts;
use libc::{c_int, hostent, size_t};

use crate::hooks::hostent::{Host, Places, Static, in_places, in_static};
use crate::interpose::{Verdict, set_errno};
use crate::ops::files::{self, Place};
use crate::ops::names::{Answer, Failure};
use crate::sys;

/// Longest hosts file that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Entries that have been told.
static TOLD: AtomicUsize = AtomicUsize::new(0);

static ENTRY: Static = Static::new();

/// The next entry; a failure at the end.
fn entry() -> Answer<Host> {
    let text = match files::pods("/etc/hosts") {
        Place::Native => return Answer::Native,
        Place::At(file) => sys::read_file(file.path(), LONGEST),
        Place::Absent(_) => Some(Vec::new()),
        Place::Failed(_) => None,
    };
    let Some(text) = text else { return Answer::Failed(Failure::System(libc::EIO)) };
    let text = String::from_utf8_lossy(&text);
    match hosts::entries(&text, hosts::as_v4).nth(TOLD.load(Ordering::Relaxed)) {
        None => Answer::Failed(Failure::NoName),
        Some(hosts::Host { addresses, name, aliases }) => {
            Answer::Found(Host { name, aliases, family: libc::AF_INET, addresses })
        }
    }
}

/// # Safety
/// As `sethostent(3)`. The C library begins anew with its file, too.
pub(crate) unsafe fn sethostent(_: c_int) -> Verdict<()> {
    TOLD.store(0, Ordering::Relaxed);
    Verdict::Bypass
}

/// # Safety
/// As `endhostent(3)`.
pub(crate) unsafe fn endhostent() -> Verdict<()> {
    TOLD.store(0, Ordering::Relaxed);
    Verdict::Bypass
}

/// # Safety
/// As `gethostent(3)`.
pub(crate) unsafe fn gethostent() -> Verdict<*mut hostent> {
    let verdict = in_static(&ENTRY, entry());
    if let Verdict::Success(_) = verdict {
        TOLD.fetch_add(1, Ordering::Relaxed);
    }
    verdict
}

/// # Safety
/// As `gethostent_r(3)`.
pub(crate) unsafe fn gethostent_r(
    entry_place: *mut hostent,
    buffer: *mut c_char,
    room: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> Verdict<c_int> {
    let places = Places { entry: entry_place, buffer, room, result, h_errno };
    // SAFETY: gethostent_r(3): all places are valid and `room` bytes of the buffer writable.
    match unsafe { in_places(entry(), places) } {
        Verdict::Success(0) => {
            TOLD.fetch_add(1, Ordering::Relaxed);
            Verdict::Success(0)
        }
        // The end is an error of this call.
        Verdict::Passed(0) => {
            // SAFETY: as above.
            unsafe { *result = null_mut() };
            set_errno(libc::ENOENT);
            Verdict::Passed(libc::ENOENT)
        }
        other => other,
    }
}
