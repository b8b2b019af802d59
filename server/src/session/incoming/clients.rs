//! Who the clients are, by the address from which each connection reaches the program's listener.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::agent::Accepted;
use tokio::sync::Notify;

/// How long a client is known after its connection has ended: the program may ask late.
const KEPT: Duration = Duration::from_secs(10);

/// The clients of all connections.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<SocketAddr, Known>,
    entries: u64,
}

#[derive(Debug)]
struct Known {
    /// The kernel gives an address to another connection some time.
    entry: u64,
    accepted: Accepted,
    asked: Arc<Notify>,
}

impl Clients {
    /// Names the client behind `source` until some time after the returned value is dropped.
    pub(super) fn enter(self: &Arc<Self>, source: SocketAddr, accepted: Accepted) -> Entered {
        let mut state = self.state();
        state.entries += 1;
        let (entry, asked) = (state.entries, Arc::new(Notify::new()));
        state.known.insert(source, Known { entry, accepted, asked: Arc::clone(&asked) });
        Entered { source, entry, asked, clients: Arc::clone(self) }
    }

    /// The client behind `source`, for a program that has accepted its connection.
    pub(super) fn get(&self, source: SocketAddr) -> Option<Accepted> {
        let state = self.state();
        let known = state.known.get(&source)?;
        known.asked.notify_one();
        Some(known.accepted)
    }

    fn forget(&self, source: SocketAddr, entry: u64) {
        let mut state = self.state();
        if state.known.get(&source).is_some_and(|known| known.entry == entry) {
            state.known.remove(&source);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Clients::enter`].
#[derive(Debug)]
pub(super) struct Entered {
    source: SocketAddr,
    entry: u64,
    asked: Arc<Notify>,
    clients: Arc<Clients>,
}

impl Entered {
    /// Returns once the program has asked for the client: it has accepted the connection.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let (clients, source, entry) = (Arc::clone(&self.clients), self.source, self.entry);
        let forget = async move {
            tokio::time::sleep(KEPT).await;
            clients.forget(source, entry);
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(forget);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_known_for_some_time_after_its_end_unless_another_has_its_place() {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let accepted = |port| Accepted { peer: address(port), local: address(80) };
        let (clients, source) = (Arc::new(Clients::default()), SocketAddr::from(([127, 3, 2, 255], 4242)));
        assert_eq!(clients.get(source), None);
        let first = clients.enter(source, accepted(1));
        assert_eq!(clients.get(source), Some(accepted(1)));
        first.asked().await;
        drop(first);
        assert_eq!(clients.get(source), Some(accepted(1)));
        tokio::time::sleep(KEPT / 2).await;
        let second = clients.enter(source, accepted(2));
        tokio::time::sleep(KEPT).await;
        assert_eq!(clients.get(source), Some(accepted(2)));
        drop(second);
        tokio::time::sleep(2 * KEPT).await;
        assert_eq!(clients.get(source), None);
    }
}
