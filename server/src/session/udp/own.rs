//! Datagrams from one of the user's sockets to another by the pod's address.
//!
//! What a program sends to the pod's own address is for the socket of the session's user that is bound to the port
//! there, if there is one, and for the pod's own processes otherwise. Such a datagram does not leave this machine,
//! but it goes from mapping to mapping, so that each end sees the other under the pod's address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use decide::outgoing::stand_in;
use protocol::layer::Over;
use tokio::sync::mpsc;

use super::Ask;
use crate::session::sock_diag;

/// Datagrams on their way; more are dropped.
const WAITING: usize = 256;

/// How long it is believed that a socket which has sent nothing is bound, or is not: a burst of datagrams costs one look.
const BELIEVED: Duration = Duration::from_millis(100);

/// A socket of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cookie: u64,
    pub(super) over: Over,
    /// Where our sockets reach it.
    pub(super) user: SocketAddr,
}

/// A datagram on its way.
pub(super) struct Passing {
    pub(super) to: Place,
    /// The socket has sent nothing yet, but exists.
    pub(super) is_new: bool,
    /// The pod's address, with the sender's port there.
    pub(super) from: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// The user's sockets as the pod's address has them.
pub(super) struct Own {
    /// The pod's addresses.
    pod: Vec<IpAddr>,
    /// The relay of the session, which tells where sockets are that are bound to the pod's address.
    relay: Ipv4Addr,
    known: Mutex<Known>,
    outbox: mpsc::Sender<Passing>,
}

/// The sockets that have sent something. Those that have only been bound are not among them.
#[derive(Default)]
struct Known {
    /// By the ports at which the pod's address has them.
    places: HashMap<u16, Place>,
    /// By cookie, the port from which they send.
    ports: HashMap<u64, u16>,
    /// What the kernel said last: of which port and family, when, and which socket.
    looked_up: Option<(SocketAddr, Instant, Option<Place>)>,
}

impl Own {
    /// What has been passed comes out of the second half.
    pub(super) fn new(pod: Vec<IpAddr>, relay: Ipv4Addr) -> (Self, mpsc::Receiver<Passing>) {
        let (outbox, passing) = mpsc::channel(WAITING);
        (Self { pod, relay, known: Mutex::default(), outbox }, passing)
    }

    /// Notes that the socket of `ask` has `port` in the pod, besides the one that the program has bound, which may be
    /// taken there.
    pub(super) fn note(&self, ask: &Ask, port: u16) {
        let place = Place { cookie: ask.cookie, over: ask.over, user: ask.user() };
        let mut known = self.known();
        // Nobody reaches it by the pod's address.
        let own = ask.local.ip().to_canonical();
        if own.is_loopback() && own != IpAddr::from(stand_in(self.relay)) {
            known.ports.entry(ask.cookie).or_insert(port);
            return;
        }
        known.places.insert(port, place);
        if ask.source_port == 0 {
            known.ports.entry(ask.cookie).or_insert(port);
        } else {
            known.places.insert(ask.source_port, place);
            known.ports.insert(ask.cookie, ask.source_port);
        }
    }

    /// Forgets the ports of a socket.
    pub(super) fn forget(&self, cookie: u64) {
        let mut known = self.known();
        known.places.retain(|_, place| place.cookie != cookie);
        known.ports.remove(&cookie);
    }

    /// Takes a datagram of the socket `cookie` to `peer`; whether a socket of the user's is what hears it.
    pub(super) fn pass(&self, cookie: u64, peer: SocketAddr, payload: &[u8]) -> bool {
        if !self.pod.contains(&peer.ip()) {
            return false;
        }
        let Some(port) = self.known().ports.get(&cookie).copied() else { return false };
        let Some((to, is_new)) = self.place(peer) else { return false };
        let from = SocketAddr::new(peer.ip(), port);
        if self.outbox.try_send(Passing { to, is_new, from, payload: payload.to_vec() }).is_err() {
            tracing::debug!(%peer, "dropped a datagram between two of the user's sockets");
        }
        true
    }

    /// Who hears what is sent to `peer`, and whether it is a socket that has sent nothing yet.
    fn place(&self, peer: SocketAddr) -> Option<(Place, bool)> {
        let mut known = self.known();
        let place = known.places.get(&peer.port()).filter(|place| place.over == over(peer.ip()));
        if let Some(place) = place {
            return Some((*place, false));
        }
        let found = match known.looked_up {
            Some((of, when, found)) if of == peer && when.elapsed() < BELIEVED => found,
            _ => {
                let found = self.look_up(peer);
                known.looked_up = Some((peer, Instant::now(), found));
                found
            }
        };
        found.map(|place| (place, true))
    }

    fn look_up(&self, peer: SocketAddr) -> Option<Place> {
        let uid = rustix::process::geteuid().as_raw();
        let found = sock_diag::datagrams_to_pod(peer.is_ipv4(), peer.port(), uid, self.relay);
        let (cookie, user) = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look for the program's own sockets");
            None
        })?;
        Some(Place { cookie, over: over(peer.ip()), user })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over(ip: IpAddr) -> Over {
    if ip.is_ipv4() { Over::V4 } else { Over::V6 }
}
