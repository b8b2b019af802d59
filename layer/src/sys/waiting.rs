//! Waiting for other threads, and telling them: futexes, queued signals and the clock.

use core::ffi::c_int;
use core::sync::atomic::AtomicU32;

use super::{call, numbers};

/// Sends this process a signal that says that a look-up of names is finished (`sigaction(2)`: `SI_ASYNCNL`).
pub(crate) fn queue_signal(signal: c_int, value: usize) {
    const SI_ASYNCNL: i32 = -60;
    let pid = numbers!(SYS_getpid).unwrap_or(0);
    let uid = numbers!(SYS_getuid).unwrap_or(0);
    // `siginfo_t`: signal, errno and code, then from byte 16 on pid, uid and value.
    let mut info = [0u64; 16];
    info[0] = u64::from(signal as u32);
    info[1] = u64::from(SI_ASYNCNL as u32);
    info[2] = (uid as u64) << 32 | pid as u64;
    info[3] = value as u64;
    // SAFETY: rt_sigqueueinfo(2) with a whole siginfo_t.
    let _ = unsafe { call(libc::SYS_rt_sigqueueinfo, [pid, signal as usize, info.as_ptr() as usize, 0, 0, 0]) };
}

/// How [`wait_for_change`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The value is another one, or may be.
    Changed,
    TimedOut,
    Interrupted,
}

/// The moment so long from now, on the monotonic clock.
pub(crate) fn time_from_now(wait: libc::timespec) -> libc::timespec {
    const SECOND: i64 = 1_000_000_000;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) with room for the answer.
    let _ =
        unsafe { call(libc::SYS_clock_gettime, [libc::CLOCK_MONOTONIC as usize, (&raw mut now).addr(), 0, 0, 0, 0]) };
    let nanoseconds = now.tv_nsec.saturating_add(wait.tv_nsec);
    let seconds = now.tv_sec.saturating_add(wait.tv_sec).saturating_add(nanoseconds.div_euclid(SECOND));
    libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds.rem_euclid(SECOND) }
}

/// Waits while `place` holds `value`, until `deadline` of the monotonic clock (`futex(2)`).
pub(crate) fn wait_for_change(place: &AtomicU32, value: u32, deadline: Option<libc::timespec>) -> Waited {
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let limit = deadline.as_ref().map_or(0, |deadline| (&raw const *deadline).addr());
    let any = u32::MAX as usize;
    let arguments = [place.as_ptr() as usize, operation as usize, value as usize, limit, 0, any];
    // SAFETY: futex(2) on a live value with null or a valid time.
    match unsafe { call(libc::SYS_futex, arguments) } {
        Err(libc::ETIMEDOUT) => Waited::TimedOut,
        Err(libc::EINTR) => Waited::Interrupted,
        _ => Waited::Changed,
    }
}

/// Wakes all who wait for a change of `place`.
pub(crate) fn wake_all(place: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let arguments = [place.as_ptr() as usize, operation as usize, i32::MAX as usize, 0, 0, 0];
    // SAFETY: futex(2) on a live value.
    let _ = unsafe { call(libc::SYS_futex, arguments) };
}
