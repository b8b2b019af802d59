//! The loopback listeners to which the user's sockets connect, and what becomes of those connections.
//!
//! A connection that the layer announced is known by its socket's cookie. Who connects without being
//! announced (any local process can) is reset.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use link::{Arrivals, pump};
use protocol::agent::Connected;
use protocol::layer::Over;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::closed::Watch;
use super::names::{EntryId, Local, Names};
use super::sock_diag;
use super::task::Task;

/// How long an announced socket may take to connect to the relay before it is forgotten.
pub(super) const ARRIVAL: Duration = Duration::from_secs(30);

/// How long the program may take to read what came before its connection broke.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// The pod's side of a connection, or the errno that came of trying.
pub(super) type Outcome = Result<(Connected, link::Stream), i32>;

/// A connection that the pod is still making; dropping it gives the attempt up.
pub(super) struct Attempt(JoinHandle<Outcome>);

impl Attempt {
    pub(super) fn start(making: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(tokio::spawn(making))
    }

    /// What came of it. May be dropped and called again until it has returned.
    pub(super) async fn outcome(&mut self) -> Outcome {
        (&mut self.0).await.unwrap_or(Err(rustix::io::Errno::CONNABORTED.raw_os_error()))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The pod's side of an announced connection.
pub(super) enum PodSide {
    /// It stands.
    Ready(Connected, Box<link::Stream>),
    /// It is still being made.
    Pending(Attempt),
}

/// The relay of a session.
pub(super) struct Relay {
    /// Where IPv4 sockets connect.
    pub(super) v4: SocketAddrV4,
    /// Where IPv6 sockets connect; none where this machine has no IPv6.
    pub(super) v6: Option<SocketAddrV6>,
    names: Arc<Names>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    expected: HashMap<u64, Expected>,
    announcements: u64,
}

struct Expected {
    announcement: u64,
    pod_side: PodSide,
    names: EntryId,
    watch: Watch,
    /// Dropped with this, which tells the announcer.
    _here: oneshot::Sender<()>,
}

/// A socket that was announced. A socket may connect, fail and be announced again.
pub(super) struct Announced {
    announcement: u64,
    watch: Watch,
    gone: oneshot::Receiver<()>,
}

impl Relay {
    /// Binds the listeners and serves them until the runtime ends. `spread` chooses the address in 127/8.
    pub(super) fn start(spread: [u8; 2], names: Arc<Names>) -> io::Result<Arc<Self>> {
        try_out_sock_diag()?;
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
            names,
            state: Mutex::default(),
        });
        for listener in std::iter::once(v4).chain(v6) {
            tokio::spawn(accept(relay.clone(), listener));
        }
        Ok(relay)
    }

    /// Where an announced socket is to connect. From one local port there can be but one connection to an address,
    /// so a socket that is `bound` to a port gets one of its own; what comes along serves it until it is dropped.
    pub(super) fn place(self: &Arc<Self>, over: Over, bound: bool) -> (SocketAddr, Option<Task>) {
        let relay = match (over, self.v6) {
            (Over::V6, Some(v6)) => SocketAddr::from(v6),
            _ => SocketAddr::from(self.v4),
        };
        if !bound {
            return (relay, None);
        }
        let opened = listen(SocketAddr::new(relay.ip(), 0)).and_then(|own| Ok((own.local_addr()?, own)));
        match opened {
            Ok((address, listener)) => (address, Some(Task::spawn(accept(self.clone(), listener)))),
            Err(error) => {
                tracing::warn!(%error, "a bound socket has no address of its own to connect to");
                (relay, None)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces that the watched socket is about to connect on behalf of `destination`.
    pub(super) fn expect(&self, watch: &Watch, destination: SocketAddr, pod_side: PodSide) -> Announced {
        let local = match &pod_side {
            PodSide::Ready(connected, _) => Local::Known(connected.local),
            PodSide::Pending(_) => Local::Unspecified,
        };
        let names = self.names.set(watch.clone(), local, destination);
        let (here, gone) = oneshot::channel();
        let mut state = self.state();
        state.announcements += 1;
        let announcement = state.announcements;
        let expected = Expected { announcement, pod_side, names, watch: watch.clone(), _here: here };
        let replaced = state.expected.insert(watch.cookie(), expected);
        drop(state);
        drop(replaced);
        Announced { announcement, watch: watch.clone(), gone }
    }

    /// Returns once the socket has arrived. One that does not in time, or is closed before, is forgotten.
    pub(super) async fn await_arrival(&self, mut announced: Announced) {
        tokio::select! {
            _ = &mut announced.gone => return,
            () = announced.watch.closed() => {}
            () = tokio::time::sleep(ARRIVAL) => {}
        }
        self.forget(&announced);
    }

    /// Takes an announcement back, unless its socket has arrived or was announced again.
    pub(super) fn forget(&self, announced: &Announced) {
        let cookie = announced.watch.cookie();
        let mut state = self.state();
        if state.expected.get(&cookie).is_some_and(|expected| expected.announcement == announced.announcement) {
            let forgotten = state.expected.remove(&cookie);
            drop(state);
            drop(forgotten);
        }
    }
}

/// The relay lets nobody in of whom the kernel cannot say who it is. Where it never can (some sandboxes),
/// that is found out now and not as a reset of the program's first connection.
fn try_out_sock_diag() -> io::Result<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let there = listener.local_addr()?;
    let client = std::net::TcpStream::connect(there)?;
    let owner = sock_diag::owner(client.local_addr()?, there)
        .map_err(|error| io::Error::new(error.kind(), format!("sock_diag does not find a socket: {error}")))?;
    let cookie = rustix::net::sockopt::socket_cookie(&client)?;
    if owner.cookie == cookie { Ok(()) } else { Err(io::Error::other("sock_diag finds another socket")) }
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
    let cookie = match stream.local_addr().and_then(|local| sock_diag::owner(peer, local)) {
        Ok(owner) => owner.cookie,
        Err(error) => {
            tracing::warn!(%peer, %error, "reset a connection whose owner the kernel does not tell");
            return reset(&stream);
        }
    };
    let expected = relay.state().expected.remove(&cookie);
    let Some(Expected { pod_side, names, mut watch, .. }) = expected else {
        tracing::warn!(%peer, "reset a connection that no process of the session announced");
        return reset(&stream);
    };
    watch.listed();
    let outcome = match pod_side {
        PodSide::Ready(connected, stream) => Ok((connected, *stream)),
        PodSide::Pending(mut attempt) => tokio::select! {
            outcome = attempt.outcome() => outcome,
            () = watch.closed() => return reset(&stream),
        },
    };
    drop(watch);
    match outcome {
        Ok((connected, pod)) => {
            relay.names.connected(cookie, names, connected.local);
            copy(stream, pod).await;
        }
        Err(errno) => {
            tracing::debug!(errno, "a connection failed in the pod after the program was told to wait");
            reset(&stream);
        }
    }
}

/// Copies both ways, half-close kept; a broken side breaks the other.
pub(super) async fn copy(mut stream: TcpStream, pod: link::Stream) {
    stream.set_nodelay(true).ok();
    let (pod_side, up_ended) = (pod.watch(), Notify::new());
    let (from_program, to_program) = stream.split();
    let from_program = Arrivals(from_program.as_ref());
    let (from_pod, to_pod) = tokio::io::split(pod);
    let up = async {
        let ended = pump(from_program, to_pod, |_| ()).await;
        up_ended.notify_one();
        ended
    };
    let down = async {
        pump(from_pod, to_program, |_| ()).await?;
        // A peer that has closed altogether resets what still comes: the program is told before it writes again.
        tokio::select! {
            () = up_ended.notified() => Ok(()),
            () = pod_side.aborted() => Err(io::ErrorKind::ConnectionReset.into()),
        }
    };
    let result = both_ways(up, down).await;
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
        reset(&stream);
    }
}

/// Waits for both directions. The first that breaks ends the other.
pub(super) async fn both_ways(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        ended = &mut up => match ended {
            Ok(()) => down.await,
            Err(error) => {
                // Whoever answers early and hangs up (413) has its answer read, as over plain TCP.
                tokio::time::timeout(LAST_BYTES, down).await.ok();
                Err(error)
            }
        },
        ended = &mut down => match ended {
            Ok(()) => up.await,
            Err(error) => Err(error),
        },
    }
}

/// Ends a connection by RST, as a refusing or dying peer does.
pub(super) fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::closed::Closings;
    use protocol::layer::NamesReply;
    use rustix::io::Errno;
    use rustix::net::sockopt::socket_cookie;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::TcpSocket;

    fn destination() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 80))
    }

    fn refused() -> PodSide {
        PodSide::Pending(Attempt::start(async { Err(Errno::CONNREFUSED.raw_os_error()) }))
    }

    async fn end_of(socket: TcpSocket, relay: &Relay) -> io::ErrorKind {
        match socket.connect(relay.v4.into()).await {
            Ok(mut stream) => {
                stream.read(&mut [0; 1]).await.map_or_else(|error| error.kind(), |_| io::ErrorKind::Other)
            }
            Err(error) => error.kind(),
        }
    }

    #[tokio::test]
    async fn strangers_and_failed_attempts_are_reset_and_nothing_is_kept() {
        let (names, closings) = (Arc::new(Names::default()), Closings::start());
        let relay = Relay::start([77, 1], names.clone()).expect("a relay");
        let stranger = TcpSocket::new_v4().expect("a socket");
        assert_eq!(end_of(stranger, &relay).await, io::ErrorKind::ConnectionReset);
        let socket = TcpSocket::new_v4().expect("a socket");
        let cookie = socket_cookie(&socket).expect("a cookie");
        let announced = relay.expect(&closings.watch(cookie), destination(), refused());
        let waiting = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        assert_eq!(names.get(cookie), NamesReply::Known { local: waiting, peer: destination() });
        let (end, ()) = tokio::join!(end_of(socket, &relay), relay.await_arrival(announced));
        assert_eq!(end, io::ErrorKind::ConnectionReset);
        while names.get(cookie) != NamesReply::Unknown {
            tokio::task::yield_now().await;
        }
        assert!(relay.state().expected.is_empty());
    }

    #[tokio::test]
    async fn sockets_with_one_port_connect_to_places_of_their_own() {
        let closings = Closings::start();
        let relay = Relay::start([77, 3], Arc::default()).expect("a relay");
        assert_eq!(relay.place(Over::V4, false).0, relay.v4.into());
        let sockets = [(); 2].map(|()| TcpSocket::new_v4().expect("a socket"));
        let mut local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut ends = Vec::new();
        for socket in sockets {
            socket.set_reuseaddr(true).expect("set");
            socket.bind(local).expect("bound");
            local = socket.local_addr().expect("bound");
            let watch = closings.watch(socket_cookie(&socket).expect("a cookie"));
            let (place, _listening) = relay.place(Over::V4, true);
            let announced = relay.expect(&watch, destination(), refused());
            let (stream, ()) = tokio::join!(socket.connect(place), relay.await_arrival(announced));
            ends.push(stream.expect("connects"));
        }
        assert!(relay.state().expected.is_empty());
    }

    #[tokio::test]
    async fn forgetting_an_announcement_spares_the_next_of_the_same_socket() {
        let closings = Closings::start();
        let relay = Relay::start([77, 2], Arc::default()).expect("a relay");
        let socket = TcpSocket::new_v4().expect("a socket");
        let watch = closings.watch(socket_cookie(&socket).expect("a cookie"));
        let first = relay.expect(&watch, destination(), refused());
        let second = relay.expect(&watch, destination(), refused());
        relay.forget(&first);
        assert_eq!(relay.state().expected.len(), 1);
        drop(socket);
        relay.await_arrival(second).await;
        assert!(relay.state().expected.is_empty(), "the socket was closed");
    }

    #[tokio::test]
    async fn an_answer_before_a_broken_upload_is_read() {
        let (reader, mut answer) = duplex(64);
        let (writer, mut program) = duplex(64);
        let failing = async { Err(io::ErrorKind::ConnectionReset.into()) };
        answer.write_all(b"413").await.expect("written");
        drop(answer);
        assert!(both_ways(failing, pump(reader, writer, |_| ())).await.is_err());
        let mut read = String::new();
        program.read_to_string(&mut read).await.expect("reads");
        assert_eq!(read, "413");
    }
}
