//! Pauses that are shorter than tokio's timers can make them (1 ms, up to 2 in effect).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use tokio::io::Interest;

use super::readiness;

/// From here on tokio's timers do, which cost no system calls.
const COARSE: Duration = Duration::from_millis(5);

/// Returns after the duration, give or take the kernel's slack of 50 µs.
pub(super) async fn sleep(duration: Duration) -> io::Result<()> {
    if duration >= COARSE {
        tokio::time::sleep(duration).await;
        return Ok(());
    }
    let timer = timer(duration)?;
    readiness::watch(timer, Interest::READABLE)?.readable().await.map(drop)
}

fn timer(duration: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    // Zero would mean never.
    let nanoseconds = duration.subsec_nanos().max(1).into();
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    let once = Itimerspec { it_interval: none, it_value: Timespec { tv_sec: 0, tv_nsec: nanoseconds } };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(timer)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_pause_is_never_shorter_than_asked_for() {
        for micros in [0, 1, 60, 900, 4_999, 5_000] {
            let (began, pause) = (Instant::now(), Duration::from_micros(micros));
            sleep(pause).await.expect("a timer");
            assert!(began.elapsed() >= pause, "{micros}");
        }
    }
}
