//! The request sockets that a thread has open now, so that those of abandoned requests can be closed.
//!
//! A signal handler may `siglongjmp` out of a wait, and a cancelled thread never comes back from one. What
//! such a request leaves is its descriptor. Each thread notes the descriptors of its requests with the
//! address of the waiting frame; a later hook of the same thread closes those whose frame is gone, and the
//! thread's end closes the rest. Nothing is shared between threads, so there is no lock and `fork` is safe.

use core::cell::Cell;

use crate::sys;

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

const FREE: Entry = Entry { fd: -1, cookie: 0, frame: 0, alternate_stack: false };

thread_local! {
    // Without a destructor, and in a library that is loaded at start: reading it never allocates.
    static ENTRIES: [Cell<Entry>; DEPTH] = const { [const { Cell::new(FREE) }; DEPTH] };
}

/// Notes the request socket `fd`, used by the frame that holds the address `frame`.
pub(crate) fn enter(fd: i32, frame: usize) -> u64 {
    let cookie = sys::cookie(fd).unwrap_or(0);
    let entry = Entry { fd, cookie, frame, alternate_stack: sys::on_alternate_stack() };
    ENTRIES.with(|entries| {
        if let Some(free) = entries.iter().find(|entry| entry.get().fd < 0) {
            free.set(entry);
        }
    });
    sys::watch_thread_end();
    cookie
}

/// Ends the request of [`enter`] and closes its socket.
pub(crate) fn leave(fd: i32, cookie: u64) {
    ENTRIES.with(|entries| {
        let mine = |entry: &&Cell<Entry>| (entry.get().fd, entry.get().cookie) == (fd, cookie);
        if let Some(entry) = entries.iter().find(mine) {
            entry.set(FREE);
        }
    });
    close_ours(fd, cookie);
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
    for cell in entries {
        let entry = cell.get();
        let below = present.checked_sub(entry.frame).is_some_and(|distance| distance < SAME_STACK);
        if entry.fd >= 0 && (entry.alternate_stack || below) {
            cell.set(FREE);
            close_ours(entry.fd, entry.cookie);
        }
    }
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
    if sys::cookie(fd) == Ok(cookie) {
        sys::close(fd);
    }
}
