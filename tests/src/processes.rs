//! Processes of this machine, as `/proc` shows them. The pods' are among them: the cluster's nodes are namespaces
//! of this machine.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid};

/// Processes for which `is_it` says yes.
pub(crate) fn find(is_it: impl Fn(i32) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| is_it(*pid)).collect()
}

/// A file of a process, empty when the process is gone.
pub(crate) fn read(pid: i32, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// Whether a list of texts that end with a zero (`cmdline`, `environ`) has one.
pub(crate) fn has(list: &[u8], text: &str) -> bool {
    list.split(|byte| *byte == 0).any(|part| part == text.as_bytes())
}

/// Waits until `list` lists nobody any more; at `deadline` the test fails and shows who is left.
pub(crate) fn wait_gone(list: impl Fn() -> Vec<i32>, deadline: Instant) {
    while let Some(pid) = list().first().copied() {
        let Some(Ok(fd)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { continue };
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).expect("a short time");
        let n_ended = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("poll");
        let command = String::from_utf8_lossy(&read(pid, "cmdline")).replace('\0', " ");
        assert_eq!(n_ended, 1, "process {pid} still runs: {command}");
    }
}

/// The time on the clock that this machine and all pods share (`CLOCK_MONOTONIC`).
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Kills processes by SIGKILL; that one is gone already is no failure.
pub fn kill(pids: &[i32]) {
    signal(pids, Signal::KILL);
}

/// Stops processes where they are. Children of ours have stopped when this returns: what comes later they do not read.
pub fn freeze(pids: &[i32]) {
    signal(pids, Signal::STOP);
    for pid in pids {
        let pid = Pid::from_raw(*pid).expect("a pid");
        // Of others nothing is told.
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT).ok();
    }
}

/// Lets frozen processes go on.
pub fn thaw(pids: &[i32]) {
    signal(pids, Signal::CONT);
}

fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        kill_process(Pid::from_raw(*pid).expect("a pid"), signal).ok();
    }
}
