//! One receive buffer for all sockets of a thread, so that thousands of idle ones cost none.

use std::cell::RefCell;

/// More than any datagram of IP has (65,535 with its headers).
pub(crate) const SCRATCH: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Lends the thread's buffer of [`SCRATCH`] bytes out; what is in it is left over from others. Must not be
/// called from within `use_it`.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| use_it(buffer))
}
