//! Whether the program has shut itself into a seccomp sandbox, after which a call that it did not expect may
//! kill it. In a sandbox the hooks are passive.
//!
//! A filter is a thread's (and that of the threads and processes that it starts from then on) unless it is
//! spread over the process. Filters from before the library was loaded do not count: containers have one,
//! and the library has made its calls under it.

use core::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::sys;

/// `seccomp(2)`'s mode when the library was loaded.
static MODE_AT_LOAD: AtomicUsize = AtomicUsize::new(0);

/// The whole process must be taken for sandboxed.
static PROCESS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Notes the state at load.
pub(crate) fn note_load() {
    MODE_AT_LOAD.store(sys::seccomp_mode(), Ordering::Relaxed);
}

/// Notes that this thread has installed a filter, for itself or for the whole process.
pub(crate) fn note_filter(spread: bool) {
    THREAD.set(true);
    // With a filter from before, a thread that inherits this one can no longer be told by its mode.
    if spread || MODE_AT_LOAD.load(Ordering::Relaxed) != 0 {
        PROCESS.store(true, Ordering::Relaxed);
    }
}

/// Whether a filter is why the kernel has just refused us a plain socket; it is remembered. Without one it
/// was a security module, and the program should see an error instead of another network.
pub(crate) fn explains_refusal() -> bool {
    let filtered = sys::seccomp_mode() != 0;
    THREAD.set(filtered);
    filtered
}

/// Whether this thread is known to be in a sandbox, by what it was seen to do. Makes no call at all.
pub(crate) fn is_noted() -> bool {
    THREAD.get() || PROCESS.load(Ordering::Relaxed)
}

/// Whether this thread is in a sandbox. Makes no call that a known filter could punish.
pub(crate) fn is_closed() -> bool {
    is_noted() || (MODE_AT_LOAD.load(Ordering::Relaxed) == 0 && sys::seccomp_mode() != 0)
}
