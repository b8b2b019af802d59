//! The user's processes of a session: the session lasts as long as one of them.
//!
//! The first is the one that `mirror exec` becomes. Others tell their pid when they load the layer. A
//! process that forked and stays when its parent ends (a daemon) told nothing, so when all known ones are
//! gone `/proc` is searched for processes that carry the session in their environment.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Lists of processes that are looked at for one that nobody has told of, where each has new ones.
const LISTS: usize = 100;

/// Tells the watcher of new processes.
#[derive(Clone)]
pub(super) struct Announce(mpsc::UnboundedSender<i32>);

impl Announce {
    /// A process has loaded the layer.
    pub(super) fn attached(&self, pid: i32) {
        self.0.send(pid).ok();
    }
}

/// Watches processes until none is left.
pub(super) struct Processes {
    mark: Vec<u8>,
    announced: mpsc::UnboundedReceiver<i32>,
    known: HashSet<i32>,
    alive: JoinSet<i32>,
}

impl Processes {
    /// `mark` is what stands in the environment of the session's processes.
    pub(super) fn new(first: OwnedFd, first_pid: i32, mark: Vec<u8>) -> (Self, Announce) {
        let (announce, announced) = mpsc::unbounded_channel();
        let mut processes = Self { mark, announced, known: HashSet::from([first_pid]), alive: JoinSet::new() };
        processes.alive.spawn(ended(first, first_pid));
        (processes, Announce(announce))
    }

    /// Returns when the session has no process any more.
    pub(super) async fn all_ended(&mut self) {
        loop {
            tokio::select! {
                Some(pid) = self.announced.recv() => self.watch(pid),
                ended = self.alive.join_next() => match ended {
                    Some(Ok(pid)) => { self.known.remove(&pid); }
                    Some(Err(_)) => {}
                    None => {
                        while let Ok(pid) = self.announced.try_recv() {
                            self.watch(pid);
                        }
                        self.find_unannounced();
                        if self.alive.is_empty() {
                            return;
                        }
                    }
                },
            }
        }
    }

    fn watch(&mut self, pid: i32) {
        if self.known.contains(&pid) {
            return;
        }
        if let Ok(fd) = open(pid) {
            self.known.insert(pid);
            self.alive.spawn(ended(fd, pid));
        }
    }

    /// Looks until a list has no process that was not looked at: one that forks and ends while it is looked for is
    /// followed by its child.
    fn find_unannounced(&mut self) {
        let mut seen = HashSet::from([std::process::id() as i32]);
        for _ in 0..LISTS {
            let new: Vec<i32> = listed().into_iter().filter(|pid| seen.insert(*pid)).collect();
            let marked: Vec<i32> = new.iter().copied().filter(|pid| has_mark(*pid, &self.mark)).collect();
            marked.into_iter().for_each(|pid| self.watch(pid));
            if new.is_empty() || !self.alive.is_empty() {
                return;
            }
        }
    }
}

/// The processes that `/proc` lists.
fn listed() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn has_mark(pid: i32, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == mark)
}

/// Opens a process for watching.
pub(super) fn open(pid: i32) -> rustix::io::Result<OwnedFd> {
    pidfd_open(Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?, PidfdFlags::empty())
}

/// Returns when the process `pid` has ended.
pub(super) async fn end_of(pid: i32) {
    if let Ok(fd) = open(pid) {
        ended(fd, pid).await;
    }
}

/// A pidfd becomes readable when its process ends (`pidfd_open(2)`).
async fn ended(fd: OwnedFd, pid: i32) -> i32 {
    #[expect(deprecated, reason = "deprecated for types that may close their descriptor early; OwnedFd does not")]
    let fd = AsyncFd::with_interest(fd, tokio::io::Interest::READABLE);
    if let Ok(fd) = fd {
        fd.readable().await.map(drop).ok();
    }
    pid
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Forks again and again for a second, each time ending the parent; nobody tells of the children.
    const FLEETING: &str = r#"
import os, time
end = time.monotonic() + 1
while time.monotonic() < end:
    time.sleep(0.01)
    if os.fork():
        os._exit(0)
"#;

    #[tokio::test]
    async fn a_process_that_forks_and_ends_while_it_is_looked_for_is_found() {
        let mark = format!("of-test-{}", std::process::id());
        let mut command = Command::new("python3");
        command.args(["-c", FLEETING]).env("MIRROR_TEST_MARK", &mark);
        let mut first = command.spawn().expect("starts");
        let mark = format!("MIRROR_TEST_MARK={mark}").into_bytes();
        let pid = first.id() as i32;
        let (mut processes, _announce) = Processes::new(open(pid).expect("opens"), pid, mark);
        let began = std::time::Instant::now();
        processes.all_ended().await;
        assert!(began.elapsed() > std::time::Duration::from_millis(900), "{:?}", began.elapsed());
        first.wait().expect("ended");
    }
}
