//! The open ports, and the connections to them that the session has not taken yet.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::agent::{Accepted, PortMode};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::copies::Copy;
use super::http::Wanted;

/// Connections that may wait for the session; more go to the application.
const MAX_WAITING: usize = 1024;

/// How long one may wait. The session asks ahead, so only one that is lost or overwhelmed takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// All open ports. The session takes the connections of all of them in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Ports {
    open: RefCell<HashMap<u16, Opened>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// Wakes one taker for each connection.
    arrived: Notify,
}

/// What the session wants of a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub(super) mode: PortMode,
    /// The kubelet's probes are the application's.
    pub(super) probed: bool,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    connection: (Arrived, Accepted),
}

/// What the session gets of a connection.
#[derive(Debug)]
pub(super) enum Arrived {
    /// The connection itself.
    Stolen(TcpStream),
    /// What its client sends.
    Mirrored(Copy),
    /// A connection to the program, for the requests that a filter chooses, or their copies. Dropped, the application answers them.
    Wanted(PortMode, Wanted),
}

impl Ports {
    /// What the session wants of a port; none if it is not open.
    pub(super) fn get(&self, port: u16) -> Option<Opened> {
        self.open.borrow().get(&port).copied()
    }

    pub(super) fn insert(&self, port: u16, opened: Opened) {
        self.open.borrow_mut().insert(port, opened);
    }

    /// All open ports.
    pub(super) fn numbers(&self) -> Vec<u16> {
        self.open.borrow().keys().copied().collect()
    }

    /// Returns what was waiting; none if the port was not open.
    pub(super) fn remove(&self, port: u16) -> Option<Vec<(Arrived, Accepted)>> {
        self.open.borrow_mut().remove(&port)?;
        Some(self.take(|waiting| waiting.connection.1.local.port() == port))
    }

    /// Returns what has waited too long.
    pub(super) fn late(&self) -> Vec<(Arrived, Accepted)> {
        self.take(|waiting| waiting.since.elapsed() >= PATIENCE)
    }

    /// Keeps a connection for the session, or gives it back: too many wait.
    pub(super) fn push(&self, arrived: Arrived, accepted: Accepted) -> Result<(), Arrived> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MAX_WAITING {
            return Err(arrived);
        }
        waiting.push_back(Waiting { since: Instant::now(), connection: (arrived, accepted) });
        self.arrived.notify_one();
        Ok(())
    }

    /// The next connection. Cancel safe.
    pub(super) async fn next(&self) -> (Arrived, Accepted) {
        loop {
            let arrived = self.arrived.notified();
            if let Some(next) = self.waiting.borrow_mut().pop_front() {
                return next.connection;
            }
            arrived.await;
        }
    }

    fn take(&self, is_wanted: impl Fn(&Waiting) -> bool) -> Vec<(Arrived, Accepted)> {
        let mut waiting = self.waiting.borrow_mut();
        let (taken, kept): (VecDeque<_>, _) = waiting.drain(..).partition(is_wanted);
        *waiting = kept;
        taken.into_iter().map(|waiting| waiting.connection).collect()
    }
}
