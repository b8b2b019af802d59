//! The open ports, each with the connections that the session has not taken yet.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use protocol::agent::{Accepted, PortMode};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::copies::Copy;

/// Connections of one port that may wait for the session; more go to the application.
const MAX_WAITING: usize = 1024;

/// All open ports.
#[derive(Debug, Default)]
pub(super) struct Ports(RefCell<HashMap<u16, Rc<Port>>>);

impl Ports {
    pub(super) fn get(&self, port: u16) -> Option<Rc<Port>> {
        self.0.borrow().get(&port).cloned()
    }

    pub(super) fn insert(&self, number: u16, port: Port) {
        self.0.borrow_mut().insert(number, Rc::new(port));
    }

    /// Returns what was waiting.
    pub(super) fn remove(&self, number: u16) -> Vec<(Arrived, Accepted)> {
        let port = self.0.borrow_mut().remove(&number);
        port.map(|port| port.close()).unwrap_or_default()
    }
}

/// What the session gets of a connection.
#[derive(Debug)]
pub(super) enum Arrived {
    /// The connection itself.
    Stolen(TcpStream),
    /// What its client sends.
    Mirrored(Copy),
}

/// One open port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) mode: PortMode,
    waiting: RefCell<VecDeque<(Arrived, Accepted)>>,
    /// Wakes one taker for each connection, and all of them at the end.
    arrived: Notify,
    closed: RefCell<bool>,
}

impl Port {
    pub(super) fn new(mode: PortMode) -> Self {
        Self { mode, waiting: RefCell::default(), arrived: Notify::new(), closed: RefCell::new(false) }
    }

    /// Keeps a connection for the session, or gives it back: too many wait.
    pub(super) fn push(&self, arrived: Arrived, accepted: Accepted) -> Result<(), Arrived> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MAX_WAITING {
            return Err(arrived);
        }
        waiting.push_back((arrived, accepted));
        self.arrived.notify_one();
        Ok(())
    }

    /// The next connection; none once the port is closed. Cancel safe.
    pub(super) async fn next(&self) -> Option<(Arrived, Accepted)> {
        loop {
            let arrived = self.arrived.notified();
            if *self.closed.borrow() {
                return None;
            }
            if let Some(next) = self.waiting.borrow_mut().pop_front() {
                return Some(next);
            }
            arrived.await;
        }
    }

    fn close(&self) -> Vec<(Arrived, Accepted)> {
        *self.closed.borrow_mut() = true;
        self.arrived.notify_waiters();
        self.waiting.borrow_mut().drain(..).collect()
    }
}
