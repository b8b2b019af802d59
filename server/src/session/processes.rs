//! The user's processes of a session: the session lasts as long as one of them.
//!
//! The first is the one that `mirror exec` becomes, if there is one. Others tell their pid when they load the layer. A
//! process that forked and stays when its parent ends (a daemon) told nothing, so when all known ones are
//! gone `/proc` is searched for processes that carry the session in their environment.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::board::{self, Board};
use crate::serve::rpc::Process;

/// Lists of processes that are looked at for one that nobody has told of, where each has new ones.
const LISTS: usize = 100;

/// Tells the watcher of new processes.
#[derive(Clone)]
pub(super) struct Announce(mpsc::UnboundedSender<Attached>);

/// A process that has loaded the layer.
struct Attached {
    pid: i32,
    skipped: bool,
}

impl Announce {
    /// A process has loaded the layer; `skipped` ones are left alone.
    pub(super) fn attached(&self, pid: i32, skipped: bool) {
        self.0.send(Attached { pid, skipped }).ok();
    }
}

/// Watches processes until none is left.
pub(super) struct Processes {
    mark: Vec<u8>,
    announced: mpsc::UnboundedReceiver<Attached>,
    known: HashSet<i32>,
    alive: JoinSet<i32>,
    /// Those that take part, for whoever follows the session.
    shown: BTreeMap<i32, Process>,
    board: Arc<Board>,
}

impl Processes {
    /// `mark` is what stands in the environment of the session's processes.
    pub(super) fn new(first: Option<(OwnedFd, i32)>, mark: Vec<u8>, board: Arc<Board>) -> (Self, Announce) {
        let (announce, announced) = mpsc::unbounded_channel();
        let (known, alive) = (HashSet::new(), JoinSet::new());
        let mut processes = Self { mark, announced, known, alive, shown: BTreeMap::new(), board };
        if let Some((fd, pid)) = first {
            processes.known.insert(pid);
            processes.alive.spawn(ended(fd, pid));
        }
        (processes, Announce(announce))
    }

    /// Returns when a process takes part.
    pub(super) async fn one_began(&mut self) {
        while self.alive.is_empty() {
            match self.announced.recv().await {
                Some(attached) => self.attached(&attached),
                None => return std::future::pending().await,
            }
        }
    }

    /// Returns when the session has no process any more.
    pub(super) async fn all_ended(&mut self) {
        loop {
            tokio::select! {
                Some(attached) = self.announced.recv() => self.attached(&attached),
                ended = self.alive.join_next() => match ended {
                    Some(Ok(pid)) => self.has_ended(pid),
                    Some(Err(_)) => {}
                    None => {
                        while let Ok(attached) = self.announced.try_recv() {
                            self.attached(&attached);
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

    fn attached(&mut self, attached: &Attached) {
        let pid = attached.pid;
        self.watch(pid);
        if self.known.contains(&pid) {
            // The same process after `exec`: another program.
            self.shown.insert(pid, board::process(pid, attached.skipped));
            self.show();
        }
    }

    fn has_ended(&mut self, pid: i32) {
        self.known.remove(&pid);
        if self.shown.remove(&pid).is_some() {
            self.show();
        }
    }

    fn show(&self) {
        self.board.processes(self.shown.values().cloned().collect(), "");
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
            marked.into_iter().for_each(|pid| self.attached(&Attached { pid, skipped: false }));
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
pub(crate) fn open(pid: i32) -> rustix::io::Result<OwnedFd> {
    pidfd_open(Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?, PidfdFlags::empty())
}

/// Returns when the process `pid` has ended.
pub(super) async fn end_of(pid: i32) {
    if let Ok(fd) = open(pid) {
        ended(fd, pid).await;
    }
}

/// A pidfd becomes readable when its process ends (`pidfd_open(2)`).
pub(crate) async fn ended(fd: OwnedFd, pid: i32) -> i32 {
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
        let (mut processes, _announce) =
            Processes::new(Some((open(pid).expect("opens"), pid)), mark, board::tests::board());
        let began = std::time::Instant::now();
        processes.all_ended().await;
        assert!(began.elapsed() > std::time::Duration::from_millis(900), "{:?}", began.elapsed());
        first.wait().expect("ended");
    }
}
