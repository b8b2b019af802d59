//! Datagrams of the user's sockets, by way of the pod.
//!
//! For each pair of socket and remote address there is a *mapping*: a socket of ours on loopback, connected to
//! the user's, so that only the two reach each other, under an address that stands for that remote address.
//! All mappings of one socket are its *association*, which has up to three streams to the agent, each with a
//! socket in the pod: one connected, and one unconnected for each family. An association lives exactly as long
//! as the user's socket: what was sent before the close still leaves.
//!
//! As on any network, a datagram for which there is no room is dropped.

mod addresses;
mod association;
mod own;
mod refusal;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use protocol::layer::{NamesReply, Over, UdpPeerReply, UdpReply};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::closed::Closings;
use super::names::{Local, Names};
use super::rules::Rules;
use super::sock_diag;
use addresses::Addresses;
use association::Association;
use own::{Own, Passing};
use refusal::Descriptors;

/// Sockets of a session that may have associations at a time: each takes at least one descriptor of the host
/// and one stream.
const MAX_ASSOCIATIONS: usize = 8192;

/// Mappings of a session at a time, each of which takes a descriptor.
const MAX_MAPPINGS: usize = 16_384;

/// A request about a socket and a remote address, as the layer's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) cookie: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) source_port: u16,
    pub(super) over: Over,
    pub(super) connect: bool,
}

impl Ask {
    /// Where our sockets reach the user's.
    fn user(&self) -> SocketAddr {
        let ip = match (self.over, self.local.ip().to_canonical()) {
            (Over::V4, ip @ IpAddr::V4(v4)) if !v4.is_unspecified() => ip,
            (Over::V6, ip @ IpAddr::V6(v6)) if !v6.is_unspecified() => ip,
            (Over::V4, _) => Ipv4Addr::LOCALHOST.into(),
            (Over::V6, _) => Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(ip, self.local.port())
    }
}

/// The associations of a session.
pub(super) struct Udp {
    data: link::Link,
    rules: Arc<Rules>,
    closings: Arc<Closings>,
    names: Arc<Names>,
    addresses: Addresses,
    descriptors: Arc<Descriptors>,
    own: Own,
    associations: Mutex<HashMap<u64, Arc<Association>>>,
    /// Which remote address each mapping's stands for.
    peers: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

impl Udp {
    /// Mappings over IPv4 are in the /24 of `v4`; streams are opened on `data`. The addresses of `pod` are also those
    /// of the user's sockets.
    pub(super) fn new(
        v4: Ipv4Addr,
        pod: Vec<IpAddr>,
        data: link::Link,
        rules: Arc<Rules>,
        closings: Arc<Closings>,
        names: Arc<Names>,
    ) -> Arc<Self> {
        let (own, passing) = Own::new(pod, v4);
        let udp = Arc::new(Self {
            data,
            rules,
            closings,
            names,
            addresses: Addresses::new(v4),
            descriptors: Arc::default(),
            own,
            associations: Mutex::default(),
            peers: Mutex::default(),
        });
        tokio::spawn(hand_over(Arc::downgrade(&udp), passing));
        udp
    }

    /// The address that stands for the remote one, once the pod has a socket for it. `descriptor` is the user's
    /// socket, if the layer has passed it along.
    pub(super) async fn answer(self: &Arc<Self>, ask: &Ask, descriptor: Option<OwnedFd>) -> UdpReply {
        match self.relay(ask, descriptor).await {
            Ok(relay) => UdpReply::Relay(relay),
            Err(errno) => UdpReply::Failed(errno),
        }
    }

    async fn relay(self: &Arc<Self>, ask: &Ask, descriptor: Option<OwnedFd>) -> Result<SocketAddr, i32> {
        let association = self.association(ask.cookie)?;
        let opened = association.open(ask).await?;
        let relay = association.relay(ask).map_err(|error| {
            tracing::warn!(%error, "cannot make a socket for datagrams");
            Errno::NOBUFS.raw_os_error()
        })?;
        // A connected socket that sends elsewhere, too, keeps its names.
        if let Some(local) = opened.filter(|_| ask.connect || self.names.get(ask.cookie) == NamesReply::Unknown) {
            self.names.set(self.closings.watch(ask.cookie), Local::Known(local), ask.peer);
        }
        if let Some(descriptor) = descriptor.filter(|_| ask.connect) {
            self.descriptors.hold(ask.cookie, descriptor);
        }
        Ok(relay)
    }

    /// Who stands behind a mapping's address.
    pub(super) fn peer(&self, relay: SocketAddr) -> UdpPeerReply {
        let relay = SocketAddr::new(relay.ip().to_canonical(), relay.port());
        self.peers().get(&relay).map_or(UdpPeerReply::Unknown, |peer| UdpPeerReply::Known(*peer))
    }

    fn association(self: &Arc<Self>, cookie: u64) -> Result<Arc<Association>, i32> {
        let mut associations = self.associations();
        if let Some(association) = associations.get(&cookie) {
            return Ok(association.clone());
        }
        if associations.len() >= MAX_ASSOCIATIONS {
            tracing::warn!("too many sockets send datagrams");
            return Err(Errno::NOBUFS.raw_os_error());
        }
        let association = Arc::new(Association::new(cookie, self.clone()));
        associations.insert(cookie, association.clone());
        drop(associations);
        let (udp, mut watch) = (self.clone(), self.closings.watch(cookie));
        watch.listed();
        tokio::spawn(async move {
            watch.closed().await;
            let association = udp.associations().remove(&cookie);
            udp.descriptors.release(cookie);
            association.inspect(|association| association.close());
            udp.own.forget(cookie);
        });
        Ok(association)
    }

    /// As `association`, for a socket whose process does not wait for us.
    fn association_of_listed(self: &Arc<Self>, cookie: u64) -> Option<Arc<Association>> {
        if let Some(association) = self.associations().get(&cookie) {
            return Some(association.clone());
        }
        let association = self.association(cookie).ok()?;
        // Its end may have been announced before anybody watched.
        if sock_diag::cookies().is_ok_and(|existing| !existing.contains(&cookie)) {
            self.closings.closed(cookie);
            return None;
        }
        Some(association)
    }

    fn associations(&self) -> MutexGuard<'_, HashMap<u64, Arc<Association>>> {
        self.associations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<SocketAddr, SocketAddr>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what goes from one of the user's sockets to another.
async fn hand_over(udp: Weak<Udp>, mut passing: mpsc::Receiver<Passing>) {
    while let Some(datagram) = passing.recv().await {
        let Some(udp) = udp.upgrade() else { return };
        let cookie = datagram.to.cookie;
        // A known one that has none any more is closed.
        let association = match datagram.is_new {
            true => udp.association_of_listed(cookie),
            false => udp.associations().get(&cookie).cloned(),
        };
        association.inspect(|association| association.hear(&datagram));
    }
}

#[cfg(test)]
mod tests;
