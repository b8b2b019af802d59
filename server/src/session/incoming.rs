//! Traffic of the pod for the program: a port of the pod is open for as long as the program listens on it.
//!
//! Each connection of the pod becomes one to the program's own listener, made from an address of the session's, by
//! which the program finds out who the client really is.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use decide::incoming::Rules;
use link::{Link, LinkError, Stream};
use protocol::agent::{Accept, Accepted, OpenPort, PortMode, RemoteError};
use protocol::layer::NamesReply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::closed::Watch;
use super::host;
use super::relay;
use super::sock_diag;
use super::spec::IncomingOptions;

/// How many connections of one port the agent may hand over before the host has asked for the next: at a round
/// trip of 20 ms that is 3,200 connections a second.
const AHEAD: usize = 64;

/// Longest wait for the agent to close a port.
const CLOSE: Duration = Duration::from_secs(5);

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Refused(#[from] RemoteError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Everything that the session's programs listen on.
pub(super) struct Incoming {
    mode: Option<PortMode>,
    rules: Rules,
    control: Link,
    data: Link,
    /// Where connections to the program's IPv4 listeners come from.
    from: Ipv4Addr,
    ports: tokio::sync::Mutex<HashMap<u16, Open>>,
    /// What connections to the program's listeners are called in the pod, by their source.
    clients: Mutex<HashMap<SocketAddr, Accepted>>,
}

/// An open port of the pod. Dropping it closes the port; connections that stand go on.
struct Open {
    /// The program's listeners, by `SO_COOKIE`.
    listeners: Arc<Mutex<HashMap<u64, SocketAddr>>>,
    /// Gives the port back when it is shut down or dropped.
    stream: Stream,
}

impl Open {
    /// Returns once new connections go to the application.
    async fn close(mut self) {
        let closed = async {
            self.stream.shutdown().await?;
            self.stream.read(&mut [0]).await
        };
        tokio::time::timeout(CLOSE, closed).await.ok();
    }
}

impl Incoming {
    /// `relay` is the session's address on loopback, in whose /24 the connections begin.
    pub(super) fn new(options: IncomingOptions, control: Link, data: Link, relay: Ipv4Addr) -> Arc<Self> {
        let IncomingOptions { mode, ports, ignored_ports, mapping, ignore_localhost } = options;
        let rules = Rules { ports, ignored_ports, mapping, ignore_localhost };
        let [a, b, c, _] = relay.octets();
        let from = Ipv4Addr::new(a, b, c, 255);
        let (ports, clients) = (tokio::sync::Mutex::default(), Mutex::default());
        Arc::new(Self { mode, rules, control, data, from, ports, clients })
    }

    /// Opens the port that a listener stands for, if it stands for one; returns once connections come. The user is
    /// told when they cannot: the program listens on this machine then.
    pub(super) async fn listen(self: &Arc<Self>, watch: Watch, bound: SocketAddr) {
        if let Err(error) = self.open(watch, bound).await {
            tracing::warn!(%bound, %error, "connections of the pod cannot be had");
            let port = bound.port();
            host::tell(format!("mirror: port {port} gets no traffic of the pod: {error}")).await;
        }
    }

    async fn open(self: &Arc<Self>, watch: Watch, bound: SocketAddr) -> Result<(), OpenError> {
        let (Some(mode), Some(port)) = (self.mode, self.rules.pod_port(bound)) else { return Ok(()) };
        // One at a time: a port is opened once, however many listeners it has.
        let mut ports = self.ports.lock().await;
        match ports.get(&port) {
            Some(open) => {
                locked(&open.listeners).insert(watch.cookie(), bound);
            }
            None => {
                let (reply, stream) = self.control.open(OpenPort { port, mode }).await?;
                reply?;
                let listeners = Arc::new(Mutex::new(HashMap::from([(watch.cookie(), bound)])));
                for _ in 0..AHEAD {
                    tokio::spawn(Arc::clone(self).accept(port, Arc::clone(&listeners)));
                }
                ports.insert(port, Open { listeners, stream });
                tracing::info!(port, %bound, ?mode, "connections of the pod come to the program");
            }
        }
        drop(ports);
        watch.listed();
        tokio::spawn(Arc::clone(self).close_with(watch, port));
        Ok(())
    }

    /// Closes the port with the last of its listeners.
    async fn close_with(self: Arc<Self>, mut watch: Watch, port: u16) {
        watch.closed().await;
        let mut ports = self.ports.lock().await;
        Self::close_without_listeners(&mut ports, port, |cookie| *cookie != watch.cookie()).await;
    }

    /// The program has nobody who listens for `port`, which it is about to connect to: if the end of its listener
    /// is not known here yet, it is now.
    pub(super) async fn has_ended(&self, port: u16) {
        let mut ports = self.ports.lock().await;
        if ports.contains_key(&port)
            && let Ok(Ok(existing)) = tokio::task::spawn_blocking(sock_diag::cookies).await
        {
            Self::close_without_listeners(&mut ports, port, |cookie| existing.contains(cookie)).await;
        }
    }

    async fn close_without_listeners(ports: &mut HashMap<u16, Open>, port: u16, exists: impl Fn(&u64) -> bool) {
        let Some(open) = ports.get(&port) else { return };
        let is_last = {
            let mut listeners = locked(&open.listeners);
            listeners.retain(|cookie, _| exists(cookie));
            listeners.is_empty()
        };
        if is_last && let Some(open) = ports.remove(&port) {
            open.close().await;
            tracing::info!(port, "connections of the pod go to the application again");
        }
    }

    /// Takes connections until the agent says that the port is closed.
    async fn accept(self: Arc<Self>, port: u16, listeners: Arc<Mutex<HashMap<u64, SocketAddr>>>) {
        loop {
            match self.data.open(Accept { port }).await {
                Ok((Ok(accepted), stream)) => {
                    let bound: Vec<SocketAddr> = locked(&listeners).values().copied().collect();
                    tokio::spawn(Arc::clone(&self).deliver(accepted, stream, bound));
                }
                Ok((Err(error), _)) => return tracing::debug!(port, %error, "no more connections of a port"),
                Err(error) => return tracing::debug!(port, %error, "no more connections of a port"),
            }
        }
    }

    /// Carries one connection; one that cannot be made is reset for the client.
    async fn deliver(self: Arc<Self>, accepted: Accepted, stream: Stream, bound: Vec<SocketAddr>) {
        let Some(to) = destination(&bound, accepted.local) else { return };
        match self.connect(to, accepted).await {
            Ok((socket, named)) => {
                relay::copy(socket, stream).await;
                drop(named);
            }
            Err(error) => {
                tracing::warn!(%to, peer = %accepted.peer, %error, "cannot connect to the program's listener");
            }
        }
    }

    /// A connection to the program, whose source is named before the program can see it.
    async fn connect(self: &Arc<Self>, to: SocketAddr, accepted: Accepted) -> io::Result<(TcpStream, Named)> {
        let (socket, from) = match to {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(self.from)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        socket.bind(SocketAddr::new(from, 0))?;
        let source = socket.local_addr()?;
        self.clients().insert(source, accepted);
        let named = Named { source, incoming: Arc::clone(self) };
        Ok((socket.connect(to).await?, named))
    }

    /// What a connection that comes from `source` is called in the pod.
    pub(super) fn names(&self, source: SocketAddr) -> NamesReply {
        match self.clients().get(&decide::outgoing::unmapped(source)) {
            Some(Accepted { peer, local }) => NamesReply::Known { local: *local, peer: *peer },
            None => NamesReply::Unknown,
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<SocketAddr, Accepted>> {
        locked(&self.clients)
    }
}

/// A source that has a name until this is dropped.
struct Named {
    source: SocketAddr,
    incoming: Arc<Incoming>,
}

impl Drop for Named {
    fn drop(&mut self) {
        self.incoming.clients().remove(&self.source);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where to reach one of the listeners: that of the family which the client has used, if there is one.
fn destination(bound: &[SocketAddr], used: SocketAddr) -> Option<SocketAddr> {
    let fits = |address: &&SocketAddr| address.is_ipv4() == used.is_ipv4();
    let unspecified_six = |address: &&SocketAddr| address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let chosen =
        bound.iter().find(fits).or_else(|| bound.iter().find(unspecified_six)).or_else(|| bound.first()).copied()?;
    let ip = match chosen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // It takes IPv4 too, unless it was told not to.
        IpAddr::V6(ip) if ip.is_unspecified() && used.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(decide::outgoing::unmapped(SocketAddr::new(ip, chosen.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_over_the_clients_family_where_it_can_be() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (four, six) = (address("10.0.0.1:80"), address("[fd00::1]:80"));
        for (bound, used, to) in [
            (vec!["0.0.0.0:8080"], four, Some("127.0.0.1:8080")),
            (vec!["0.0.0.0:8080"], six, Some("127.0.0.1:8080")),
            (vec!["[::]:8080"], four, Some("127.0.0.1:8080")),
            (vec!["[::]:8080"], six, Some("[::1]:8080")),
            (vec!["[::1]:8080", "127.0.0.1:8080"], four, Some("127.0.0.1:8080")),
            (vec!["127.0.0.1:8080", "[::1]:8080"], six, Some("[::1]:8080")),
            (vec!["[::1]:8080"], four, Some("[::1]:8080")),
            (vec!["192.168.1.5:8080"], four, Some("192.168.1.5:8080")),
            (vec![], four, None),
        ] {
            let bound: Vec<_> = bound.into_iter().map(address).collect();
            assert_eq!(destination(&bound, used), to.map(address), "{bound:?} {used}");
        }
    }
}
