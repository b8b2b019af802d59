//! Tells when a socket of the user has been closed by all who had it.
//!
//! The kernel announces it about 0.1 ms after the last close, of every socket of the network namespace and to
//! everybody. Where announcements are lost (a burst overflows their buffer) or cannot be had (some sandboxes),
//! the sockets in question are looked up among those that exist, now and then.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::sync::watch::{Receiver, Sender};

use super::readiness;
use super::sock_diag::{self, Announcements};

/// Before the announcements are read again after an error that is no loss: it would come back at once.
const PAUSE: Duration = Duration::from_secs(1);

/// How often sockets are looked up where announcements do not tell.
const RECONCILE: Duration = Duration::from_secs(30);

/// The sockets whose end somebody waits for.
#[derive(Default)]
pub(super) struct Closings {
    open: Mutex<HashMap<u64, Open>>,
}

struct Open {
    /// Dropped when the socket is closed, which tells the receivers.
    alive: Sender<()>,
    /// Since when the kernel's tables list the socket: an unbound one is not there, though it is open.
    listed: Option<Instant>,
}

/// Waits for the end of one socket. Clones wait for the same.
#[derive(Clone)]
pub(super) struct Watch {
    cookie: u64,
    alive: Receiver<()>,
    closings: Arc<Closings>,
}

impl Closings {
    /// Listens from here on, until the runtime ends.
    pub(super) fn start() -> Arc<Self> {
        let closings = Arc::new(Self::default());
        tokio::spawn(follow(closings.clone(), Announcements::join()));
        closings
    }

    /// Watches a socket that is open now: its process waits for our answer.
    pub(super) fn watch(self: &Arc<Self>, cookie: u64) -> Watch {
        let mut open = self.open();
        let entry = open.entry(cookie).or_insert_with(|| Open { alive: Sender::new(()), listed: None });
        Watch { cookie, alive: entry.alive.subscribe(), closings: self.clone() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the watches of a socket.
    pub(super) fn closed(&self, cookie: u64) {
        self.open().remove(&cookie);
    }

    /// Ends whatever is not among `existing`, if it was listed before `then`.
    fn reconcile(&self, existing: &HashSet<u64>, then: Instant) {
        self.open().retain(|cookie, open| existing.contains(cookie) || open.listed.is_none_or(|since| since > then));
    }
}

impl Watch {
    /// `SO_COOKIE` of the socket.
    pub(super) fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Returns once the socket is closed. May be dropped and called again.
    pub(super) async fn closed(&mut self) {
        while self.alive.changed().await.is_ok() {}
    }

    /// Whether the socket is closed.
    #[cfg(test)]
    fn is_closed(&self) -> bool {
        self.alive.has_changed().is_err()
    }

    /// From here on the kernel's tables list the socket for as long as it is in use.
    pub(super) fn listed(&self) {
        if let Some(open) = self.closings.open().get_mut(&self.cookie) {
            open.listed.get_or_insert_with(Instant::now);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut open = self.closings.open();
        // This one's receiver is still counted.
        if open.get(&self.cookie).is_some_and(|open| open.alive.receiver_count() <= 1) {
            open.remove(&self.cookie);
        }
    }
}

async fn follow(closings: Arc<Closings>, announcements: io::Result<Announcements>) {
    let announcements = announcements.and_then(|socket| readiness::watch(socket, Interest::READABLE));
    let announcements = match announcements {
        Ok(announcements) => announcements,
        Err(error) => {
            tracing::warn!(%error, "the kernel does not announce closed sockets; they are looked up");
            loop {
                tokio::time::sleep(RECONCILE).await;
                look_up(&closings).await;
            }
        }
    };
    // Two looks after a loss: sockets that are not listed at the first are judged by the second.
    let (mut looks_due, mut next_look) = (0, Instant::now());
    loop {
        tokio::select! {
            next = announcements.async_io(Interest::READABLE, Announcements::next) => match next {
                Ok(Some(cookie)) => closings.closed(cookie),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "announcements of closed sockets were lost");
                    (looks_due, next_look) = (2, Instant::now() + RECONCILE);
                    if !is_loss(&error) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            },
            () = tokio::time::sleep_until(next_look.into()), if looks_due > 0 => {
                look_up(&closings).await;
                (looks_due, next_look) = (looks_due - 1, Instant::now() + RECONCILE);
            }
        }
    }
}

fn is_loss(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error())
}

async fn look_up(closings: &Closings) {
    let then = Instant::now();
    match tokio::task::spawn_blocking(sock_diag::cookies).await {
        Ok(Ok(existing)) => closings.reconcile(&existing, then),
        Ok(Err(error)) => tracing::warn!(%error, "cannot list the sockets of this machine"),
        Err(error) => tracing::warn!(%error, "listing the sockets of this machine failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_cookie;
    use std::net::{TcpListener, UdpSocket};

    #[tokio::test]
    async fn a_socket_is_closed_when_its_last_descriptor_is() {
        let closings = Closings::start();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(udp) = UdpSocket::bind(address) else { continue };
            let tcp = TcpListener::bind(address).expect("a listener");
            let mut watch = closings.watch(socket_cookie(&udp).expect("a cookie"));
            let mut other = closings.watch(socket_cookie(&tcp).expect("a cookie"));
            let copy = udp.try_clone().expect("a copy");
            drop(udp);
            drop(tcp);
            other.closed().await;
            assert!(!watch.is_closed(), "one copy is open");
            drop(copy);
            watch.closed().await;
            assert!(watch.is_closed());
        }
        assert!(closings.open().is_empty());
    }

    #[tokio::test]
    async fn where_nothing_is_announced_missing_sockets_are_closed() {
        let closings = Arc::new(Closings::default());
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let alive = closings.watch(socket_cookie(&udp).expect("a cookie"));
        let gone = closings.watch(u64::MAX - 1);
        let unbound = closings.watch(u64::MAX - 2);
        alive.listed();
        gone.listed();
        look_up(&closings).await;
        assert_eq!([alive.is_closed(), gone.is_closed(), unbound.is_closed()], [false, true, false]);
        drop((alive, gone, unbound));
        assert!(closings.open().is_empty());
    }
}
