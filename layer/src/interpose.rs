//! The machinery under every hook: the next symbol, errno, unwinding. Knows no hook by name.
//!
//! A hook of the table is either *plain*, run as a whole under [`guard`], or *waiting*. A waiting hook asks
//! the session host, and the thread may leave that wait for good: by cancellation, which unwinds, or by a
//! handler's `siglongjmp`. Unwinding by cancellation must meet neither `catch_unwind` (which aborts on what
//! is not a Rust panic) nor anything to drop. So a waiting hook is a sequence of guarded pieces with bare
//! code between them, and the wait is in the bare code.

use core::ffi::{CStr, c_int, c_long, c_void};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a hook wants the program to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict<R> {
    /// The next symbol's answer to the same arguments, with errno as it was at the call.
    Bypass,
    /// A success of ours: errno is as it was at the call.
    Success(R),
    /// A failure of ours: the type's failing value, with this errno.
    Fail(c_int),
    /// What a next symbol returned to us, with errno as that left it.
    Passed(R),
}

impl<R: Failing + PartialEq> Verdict<R> {
    /// What a next symbol returned, after calls of ours that may have changed errno.
    pub(crate) fn of(result: R) -> Self {
        if result == R::FAILURE { Self::Passed(result) } else { Self::Success(result) }
    }
}

/// The value with which a C function says that it failed.
pub(crate) trait Failing {
    const FAILURE: Self;
}

impl Failing for c_int {
    const FAILURE: Self = -1;
}

impl Failing for c_long {
    const FAILURE: Self = -1;
}

impl Failing for isize {
    const FAILURE: Self = -1;
}

impl Failing for () {
    const FAILURE: Self = ();
}

impl<T> Failing for *mut T {
    const FAILURE: Self = core::ptr::null_mut();
}

/// The definition after ours of one symbol, as a function of type `F`.
///
/// The address comes first, for hooks in assembly that jump to it: null is not looked up yet, 1 is missing.
#[repr(C)]
pub(crate) struct Next<F> {
    address: AtomicPtr<c_void>,
    symbol: &'static CStr,
    function: PhantomData<F>,
}

/// Stands in [`Next::address`] for a symbol that this C library does not have. No function lives at 1.
const MISSING: *mut c_void = core::ptr::without_provenance_mut(1);

impl<F: Copy> Next<F> {
    /// # Safety
    /// `F` must be the `extern "C-unwind"` function pointer type of `symbol` as its man page declares it.
    pub(crate) const unsafe fn new(symbol: &'static CStr) -> Self {
        Self { symbol, address: AtomicPtr::new(core::ptr::null_mut()), function: PhantomData }
    }

    /// The function, `None` where the C library lacks it.
    ///
    /// The unversioned look-up gives a symbol's default version. Where glibc has an older one beside it
    /// (`posix_spawn` before 2.15 ran scripts without `#!`), no program of the last ten years asks for that.
    pub(crate) fn get(&self) -> Option<F> {
        let mut address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            // SAFETY: dlsym(3) with RTLD_NEXT and a C string.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.symbol.as_ptr()) };
            if address.is_null() {
                // SAFETY: dlerror(3). Takes our failure away, so that the program does not read it as its own.
                unsafe { libc::dlerror() };
                address = MISSING;
            }
            self.address.store(address, Ordering::Relaxed);
        }
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the address is that of `symbol`, whose type `F` is by the contract of `new`.
        (address != MISSING).then(|| unsafe { core::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

/// Runs `work`; a panic (ours, thus a bug) becomes `fallback` and the process lives.
pub(crate) fn guard<T>(stage: Stage, fallback: T, work: impl FnOnce() -> T) -> T {
    let work = || {
        fault::trip(stage);
        work()
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(payload) => {
            // Dropping a payload may panic in turn.
            core::mem::forget(payload);
            fallback
        }
    }
}

/// Where in a hook a guarded piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing has been done yet: the fallback is the bypass.
    Before,
    /// The session host or the kernel has been asked: the fallback is an error.
    After,
}

/// The thread's errno.
pub(crate) fn errno() -> c_int {
    // SAFETY: the C library's location is valid for the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets the thread's errno.
pub(crate) fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value }
}

/// Runs calls of the C library that may be cancellation points where unwinding is not possible (under
/// [`guard`], or while something of ours waits to be dropped). A cancellation stays pending meanwhile.
pub(crate) fn without_cancellation<T>(work: impl FnOnce() -> T) -> T {
    const PTHREAD_CANCEL_DISABLE: c_int = 1;
    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    let mut old = 0;
    // SAFETY: pthread_setcancelstate(3) with a valid place for the old state.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut old) };
    let result = work();
    // SAFETY: as above; only the state from before is put back.
    unsafe { pthread_setcancelstate(old, core::ptr::null_mut()) };
    result
}

/// Panics on purpose, for the tests of [`guard`]. Not in release builds.
#[cfg(debug_assertions)]
pub(crate) mod fault {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Stage;

    /// Environment variable that asks for it: `before` or `after`.
    pub(crate) const VARIABLE: &str = "MIRROR_LAYER_FAULT";

    static WANTED: AtomicU8 = AtomicU8::new(0);

    pub(crate) fn arm(value: &[u8]) {
        let wanted = match value {
            b"before" => Stage::Before as u8 + 1,
            b"after" => Stage::After as u8 + 1,
            _ => 0,
        };
        WANTED.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn trip(stage: Stage) {
        assert!(WANTED.load(Ordering::Relaxed) != stage as u8 + 1, "asked for by the environment");
    }
}

#[cfg(not(debug_assertions))]
mod fault {
    pub(super) fn trip(_: super::Stage) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard(Stage::Before, 7, || panic!("on purpose")), 7);
        assert_eq!(guard(Stage::Before, 7, || 8), 8);
    }

    #[test]
    fn a_missing_symbol_is_none_and_leaves_no_message() {
        // SAFETY: the symbol does not exist, so that its type does not matter.
        let next: Next<extern "C-unwind" fn()> = unsafe { Next::new(c"mirror_no_such_symbol") };
        assert!(next.get().is_none());
        assert!(next.get().is_none());
        // SAFETY: dlerror(3).
        assert!(unsafe { libc::dlerror() }.is_null());
    }
}
