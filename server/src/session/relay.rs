//! The loopback listeners to which the user's sockets connect, and what becomes of those connections.
//!
//! A connection that the layer announced is known by its socket's cookie. Who connects without being
//! announced (any local process can) is reset.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::agent::Connected;
use protocol::layer::NamesReply;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::sock_diag;

/// Copy buffer of each direction of a connection in bytes.
const BUFFER: usize = 64 * 1024;

/// How long an announced socket may take to connect to the relay before it is forgotten.
const ARRIVAL: Duration = Duration::from_secs(30);

/// The pod's side of a connection, or the errno that came of trying.
pub(super) type Outcome = Result<(Connected, link::Stream), i32>;

/// The pod's side of an announced connection.
pub(super) enum PodSide {
    /// It stands.
    Ready(Connected, Box<link::Stream>),
    /// It is still being made.
    Pending(JoinHandle<Outcome>),
}

/// The relay of a session.
pub(super) struct Relay {
    /// Where IPv4 sockets connect.
    pub(super) v4: SocketAddrV4,
    /// Where IPv6 sockets connect; none where this machine has no IPv6.
    pub(super) v6: Option<SocketAddrV6>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    expected: HashMap<u64, PodSide>,
    names: HashMap<u64, (SocketAddr, SocketAddr)>,
}

impl Relay {
    /// Binds the listeners and serves them until the runtime ends. `spread` chooses the address in 127/8.
    pub(super) fn start(spread: [u8; 2]) -> io::Result<Arc<Self>> {
        // Never 127.0: that is where ordinary local services are.
        let address = Ipv4Addr::new(127, spread[0].max(1), spread[1], 1);
        let v4 = listen(SocketAddr::from((address, 0)))?;
        let v6 = listen(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).ok();
        let relay = Arc::new(Self {
            v4: match v4.local_addr()? {
                SocketAddr::V4(address) => address,
                SocketAddr::V6(_) => return Err(io::Error::other("an IPv4 listener has an IPv6 address")),
            },
            v6: v6.as_ref().and_then(|listener| match listener.local_addr() {
                Ok(SocketAddr::V6(address)) => Some(address),
                _ => None,
            }),
            state: Mutex::default(),
        });
        for listener in std::iter::once(v4).chain(v6) {
            tokio::spawn(accept(relay.clone(), listener));
        }
        Ok(relay)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces that the socket `cookie` is about to connect on behalf of `destination`.
    pub(super) fn expect(self: &Arc<Self>, cookie: u64, destination: SocketAddr, pod_side: PodSide) {
        let local = match &pod_side {
            PodSide::Ready(connected, _) => connected.local,
            PodSide::Pending(_) if destination.is_ipv4() => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            PodSide::Pending(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let mut state = self.state();
        state.expected.insert(cookie, pod_side);
        state.names.insert(cookie, (local, destination));
        drop(state);
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(ARRIVAL).await;
            let mut state = relay.state();
            if state.expected.remove(&cookie).is_some() {
                state.names.remove(&cookie);
            }
        });
    }

    /// What the ends of a socket are called in the pod.
    pub(super) fn names(&self, cookie: u64) -> NamesReply {
        match self.state().names.get(&cookie) {
            Some((local, peer)) => NamesReply::Known { local: *local, peer: *peer },
            None => NamesReply::Unknown,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(relay: Arc<Relay>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(relay.clone(), stream, peer));
            }
            Err(error) => {
                // Out of descriptors: connections wait in the kernel's queue meanwhile.
                tracing::warn!(%error, "the relay cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(relay: Arc<Relay>, stream: TcpStream, peer: SocketAddr) {
    let owner = stream.local_addr().and_then(|local| sock_diag::owner(peer, local));
    let expected = owner.as_ref().ok().and_then(|owner| relay.state().expected.remove(&owner.cookie));
    let (Ok(owner), Some(pod_side)) = (owner, expected) else {
        tracing::warn!(%peer, "reset a connection that no process of the session announced");
        reset(stream);
        return;
    };
    let outcome = match pod_side {
        PodSide::Ready(connected, stream) => Ok((connected, *stream)),
        PodSide::Pending(task) => task.await.unwrap_or(Err(rustix::io::Errno::CONNABORTED.raw_os_error())),
    };
    match outcome {
        Ok((connected, pod)) => {
            if let Some((local, _)) = relay.state().names.get_mut(&owner.cookie) {
                *local = connected.local;
            }
            copy(stream, pod).await;
        }
        Err(errno) => {
            tracing::debug!(errno, "a connection failed in the pod after the program was told to wait");
            reset(stream);
        }
    }
    relay.state().names.remove(&owner.cookie);
}

/// Copies both ways, half-close kept; a broken side breaks the other.
async fn copy(mut stream: TcpStream, mut pod: link::Stream) {
    stream.set_nodelay(true).ok();
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut pod, BUFFER, BUFFER).await {
        tracing::debug!(%error, "a connection broke");
        reset(stream);
    }
}

/// Ends a connection by RST, as a refusing or dying peer does.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().ok();
}
