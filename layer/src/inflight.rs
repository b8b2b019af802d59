//! The request sockets that a thread has open now, so that those of abandoned requests can be closed.
//!
//! A signal handler may `siglongjmp` out of a wait, and a cancelled thread never comes back from one. What
//! such a request leaves is its descriptor. Each thread notes the descriptors of its requests with the
//! address of the waiting frame; a later hook of the same thread closes those whose frame is gone, and the
//! thread's end closes the rest. Nothing is shared between threads, so there is no lock and `fork` is safe.

use core::cell::Cell;

use crate::sys::{self, Errno};

/// Requests that one thread can have under way: a handler may interrupt a wait and ask in turn.
const DEPTH: usize = 4;

/// Frames further apart than this may lie on different stacks (coroutines), which proves nothing.
const SAME_STACK: usize = 8 << 20;

#[derive(Clone, Copy)]
struct Entry {
    fd: i32,
    /// Tells our socket from a later one with the same number.
    cookie: u64,
    frame: usize,
    alternate_stack: bool,
}

/// A request under way.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) fd: i32,
    cookie: u64,
    slot: Option<usize>,
}

/// The cookie of a socket that was left before it was asked for. The kernel gives no socket this one.
const UNKNOWN: u64 = 0;

const FREE: Entry = Entry { fd: -1, cookie: UNKNOWN, frame: 0, alternate_stack: false };

thread_local! {
    // Without a destructor, and in a library that is loaded at start: reading it never allocates.
    static ENTRIES: [Cell<Entry>; DEPTH] = const { [const { Cell::new(FREE) }; DEPTH] };
}

/// Opens a request socket by `open` and notes it for the frame that holds the address `frame`. A handler may jump away
/// at any moment, but not before the number is noted: a signal that came meanwhile is delivered when the call returns.
pub(crate) fn enter(frame: usize, open: impl FnOnce() -> Result<i32, Errno>) -> Result<Ticket, Errno> {
    let alternate_stack = sys::on_alternate_stack();
    sys::watch_thread_end();
    ENTRIES.with(|entries| {
        let blocked = sys::signal_mask(u64::MAX);
        let slot = entries.iter().position(|entry| entry.get().fd < 0);
        let place = slot.and_then(|slot| entries.get(slot));
        let opened = open().map(|fd| Entry { fd, cookie: UNKNOWN, frame, alternate_stack });
        let noted = opened.inspect(|entry| place.into_iter().for_each(|place| place.set(*entry)));
        sys::signal_mask(blocked);
        let mut entry = noted?;
        let fd = entry.fd;
        entry.cookie = sys::cookie(fd).unwrap_or(UNKNOWN);
        place.inspect(|place| place.set(entry));
        Ok(Ticket { fd, cookie: entry.cookie, slot })
    })
}

/// Ends the request of [`enter`] and closes its socket.
pub(crate) fn leave(ticket: Ticket) {
    close_ours(ticket.fd, ticket.cookie);
    ENTRIES.with(|entries| {
        if let Some(place) = ticket.slot.and_then(|slot| entries.get(slot)) {
            place.set(FREE);
        }
    });
}

/// Closes the sockets of requests that this thread has left by a jump. Called first in each hook that waits,
/// with an address in that hook's outermost frame.
#[inline]
pub(crate) fn reclaim(frame: usize) {
    ENTRIES.with(|entries| {
        if entries.iter().any(|entry| entry.get().fd >= 0) {
            reclaim_below(entries, frame);
        }
    });
}

#[cold]
fn reclaim_below(entries: &[Cell<Entry>; DEPTH], present: usize) {
    if sys::on_alternate_stack() {
        // A handler's stack says nothing about the frames of the stack that it interrupted.
        return;
    }
    // A handler must not jump away between the two halves of forgetting one.
    let blocked = sys::signal_mask(u64::MAX);
    for cell in entries {
        let entry = cell.get();
        let below = present.checked_sub(entry.frame).is_some_and(|distance| distance < SAME_STACK);
        if entry.fd >= 0 && (entry.alternate_stack || below) {
            cell.set(FREE);
            close_ours(entry.fd, entry.cookie);
        }
    }
    sys::signal_mask(blocked);
}

/// Closes everything that an ending thread has left. Runs as the destructor of thread-specific data.
pub(crate) fn reclaim_all() {
    ENTRIES.with(|entries| {
        for cell in entries {
            let entry = cell.replace(FREE);
            if entry.fd >= 0 {
                close_ours(entry.fd, entry.cookie);
            }
        }
    });
}

/// Closes `fd` if it still is the socket with `cookie`: the program may have closed every number it does
/// not know (`close_range`) and opened something else there.
fn close_ours(fd: i32, cookie: u64) {
    let ours = match cookie {
        UNKNOWN => sys::is_idle_unix_socket(fd),
        cookie => sys::cookie(fd) == Ok(cookie),
    };
    if ours {
        sys::close(fd);
    }
}
