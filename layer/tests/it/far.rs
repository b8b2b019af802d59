//! `Far`: the pod's side of UDP, scripted, over real relay sockets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use libc::ECONNREFUSED;
use protocol::layer::{Over, Settings, UdpPeerReply, UdpReply};

use crate::host::{Asked, FakeHost, Reply};

/// Nobody is here, and the host knows it at once.
pub(crate) const REFUSED: u16 = 1;

/// Nobody is here, which shows when the first datagram arrives.
pub(crate) const REFUSED_LATE: u16 = 2;

/// Is this machine's.
pub(crate) const LOCAL: u16 = 3;

/// The host does not answer.
pub(crate) const SILENT: u16 = 7;

/// Whoever is asked to answer as somebody else answers as this port.
pub(crate) const OTHER: u16 = 99;

/// Every other remote address echoes what it gets; `other` is echoed from the port [`OTHER`] of the same host.
#[derive(Clone, Default)]
pub(crate) struct Far(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Where IPv4 relays are.
    network: OnceLock<Ipv4Addr>,
    relays: Mutex<HashMap<(u64, SocketAddr), Arc<UdpSocket>>>,
    behind: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session whose far side this is.
pub(crate) fn session() -> FakeHost {
    session_with(|_| {})
}

pub(crate) fn session_with(change: impl FnOnce(&mut Settings)) -> FakeHost {
    let far = Far::default();
    let noted = far.clone();
    let change = move |settings: &mut Settings| {
        settings.outgoing_udp = true;
        change(settings);
        noted.0.network.set(*settings.relay_v4.ip()).expect("once");
    };
    FakeHost::with_settings(change, move |asked| far.reply(asked))
}

impl Far {
    pub(crate) fn reply(&self, asked: &Asked) -> Reply {
        match *asked {
            Asked::Udp { peer, .. } if peer.port() == REFUSED => Reply::Udp(UdpReply::Failed(ECONNREFUSED)),
            Asked::Udp { peer, .. } if peer.port() == SILENT => Reply::Silence,
            Asked::Udp { peer, .. } if peer.port() == LOCAL => Reply::Udp(UdpReply::Local),
            Asked::Udp { cookie, peer, local, over, .. } => {
                let relay = self.relay(cookie, peer, local, over);
                Reply::Udp(UdpReply::Relay(relay.local_addr().expect("bound")))
            }
            Asked::UdpPeer { relay } => Reply::UdpPeer(match lock(&self.0.behind).get(&relay) {
                Some(peer) => UdpPeerReply::Known(*peer),
                None => UdpPeerReply::Unknown,
            }),
            _ => Reply::Default,
        }
    }

    /// The relay of a pair of socket and peer, which exchanges datagrams with the socket `local` only.
    fn relay(&self, cookie: u64, peer: SocketAddr, local: SocketAddr, over: Over) -> Arc<UdpSocket> {
        let ip = match over {
            Over::V4 => IpAddr::V4(*self.0.network.get().expect("a session")),
            Over::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let mut user = SocketAddr::new(local.ip().to_canonical(), local.port());
        if user.ip().is_unspecified() {
            user.set_ip(if over == Over::V4 { Ipv4Addr::LOCALHOST.into() } else { ip });
        }
        let mut relays = lock(&self.0.relays);
        if let Some(relay) = relays.get(&(cookie, peer)) {
            // The socket may have another address by this time.
            relay.connect(user).expect("connects");
            return relay.clone();
        }
        let relay = Arc::new(UdpSocket::bind((ip, 0)).expect("a relay"));
        relay.connect(if peer.port() == REFUSED_LATE { SocketAddr::new(ip, 9) } else { user }).expect("connects");
        relays.insert((cookie, peer), relay.clone());
        lock(&self.0.behind).insert(relay.local_addr().expect("bound"), peer);
        let (far, own) = (self.clone(), relay.clone());
        thread::spawn(move || far.serve(&own, cookie, peer, user, over));
        relay
    }

    fn serve(&self, relay: &UdpSocket, cookie: u64, peer: SocketAddr, user: SocketAddr, over: Over) {
        let mut buffer = vec![0; 65_536];
        loop {
            // A refusal that comes back from the program's socket concerns the next datagram only.
            let Ok(length) = relay.recv(&mut buffer) else { continue };
            let data = &buffer[..length];
            if data.starts_with(b"other") {
                let other = SocketAddr::new(peer.ip(), OTHER);
                let _ = self.relay(cookie, other, user, over).send(data);
            } else {
                let _ = relay.send(data);
            }
        }
    }
}
