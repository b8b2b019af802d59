//! Processes by number *and* start time, so that a number which the kernel gave to somebody else
//! is never taken for ours.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process of one boot of the machine.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// Its number, as seen from the machine's own namespace.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
}

impl Identity {
    /// The process that has this number at present.
    pub(crate) fn of(pid: i32) -> Result<Identity> {
        let (_, started) = stat(pid).with_context(|| format!("read the state of process {pid}"))?;
        Ok(Identity { pid, started })
    }

    /// Whether it still runs; a process that only waits to be buried does not.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| started == self.started && state != 'Z')
    }

    /// Ends it at once: nothing of a test cluster is worth waiting for, and the API server takes
    /// its time to say goodbye.
    pub(crate) fn kill(self) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) else {
            return Ok(());
        };
        let ended = || format!("end process {}", self.pid);
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(()),
            process => process.with_context(ended)?,
        };
        match pidfd_send_signal(&process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(ended),
        }
        // Its first thread may be gone, and it a zombie, while others still hold its ports. This waits for all.
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)).with_context(ended)? == 0 {
            bail!("process {} does not end after SIGKILL", self.pid);
        }
        Ok(())
    }
}

/// Waits for the only child of a process and returns its number.
pub(crate) fn only_child(parent: i32) -> Result<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let begin = Instant::now();
    loop {
        let children = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().with_context(|| format!("read the number in {path}"));
        }
        if begin.elapsed() > Duration::from_secs(5) {
            bail!("process {parent} started no child within 5 s");
        }
        sleep(Duration::from_millis(2));
    }
}

/// Every process whose network or process namespace is one of the given inode numbers.
pub(crate) fn inside(namespaces: &[u64]) -> Result<Vec<Identity>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list the processes")? {
        let name = entry.context("list the processes")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let is_inside = ["net", "pid"].iter().any(|kind| {
            fs::metadata(format!("/proc/{pid}/ns/{kind}")).is_ok_and(|namespace| namespaces.contains(&namespace.ino()))
        });
        if is_inside && let Ok(identity) = Identity::of(pid) {
            found.push(identity);
        }
    }
    Ok(found)
}

/// State letter and start time of a process.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold anything, also spaces and parentheses.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_only_with_its_own_start_time() {
        let own = Identity::of(std::process::id() as i32).expect("this process is there");
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own }.is_alive());
    }
}
