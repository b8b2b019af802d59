//! The loopback listeners to which the user's sockets connect, and what becomes of those connections.
//!
//! A connection that the layer announced is known by its socket's cookie. Who connects without being
//! announced (any local process can) is reset.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::agent::Connected;
use protocol::layer::NamesReply;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::sock_diag;

/// Copy buffer of each direction of a connection in bytes. Thousands of idle connections keep theirs.
const BUFFER: usize = 16 * 1024;

/// How long an announced socket may take to connect to the relay before it is forgotten.
const ARRIVAL: Duration = Duration::from_secs(30);

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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    expected: HashMap<u64, Expected>,
    names: HashMap<u64, Names>,
    announcements: u64,
}

/// Which announcement of a socket is meant: one may connect, fail and connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announcement(u64);

struct Expected {
    announcement: Announcement,
    since: Instant,
    pod_side: PodSide,
}

struct Names {
    announcement: Announcement,
    local: SocketAddr,
    peer: SocketAddr,
}

impl State {
    fn forget_names(&mut self, cookie: u64, of: Announcement) {
        if self.names.get(&cookie).is_some_and(|names| names.announcement == of) {
            self.names.remove(&cookie);
        }
    }
}

impl Relay {
    /// Binds the listeners and serves them until the runtime ends. `spread` chooses the address in 127/8.
    pub(super) fn start(spread: [u8; 2]) -> io::Result<Arc<Self>> {
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
            state: Mutex::default(),
        });
        for listener in std::iter::once(v4).chain(v6) {
            tokio::spawn(accept(relay.clone(), listener));
        }
        tokio::spawn(forget_late(relay.clone()));
        Ok(relay)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces that the socket `cookie` is about to connect on behalf of `destination`.
    pub(super) fn expect(&self, cookie: u64, destination: SocketAddr, pod_side: PodSide) -> Announcement {
        let local = match &pod_side {
            PodSide::Ready(connected, _) => connected.local,
            PodSide::Pending(_) if destination.is_ipv4() => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            PodSide::Pending(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let mut state = self.state();
        state.announcements += 1;
        let announcement = Announcement(state.announcements);
        let replaced = state.expected.insert(cookie, Expected { announcement, since: Instant::now(), pod_side });
        state.names.insert(cookie, Names { announcement, local, peer: destination });
        drop(state);
        drop(replaced);
        announcement
    }

    /// Takes an announcement back, unless its socket has arrived or was announced again.
    pub(super) fn forget(&self, cookie: u64, announcement: Announcement) {
        let mut state = self.state();
        if state.expected.get(&cookie).is_some_and(|expected| expected.announcement == announcement) {
            let forgotten = state.expected.remove(&cookie);
            state.forget_names(cookie, announcement);
            drop(state);
            drop(forgotten);
        }
    }

    /// What the ends of a socket are called in the pod.
    pub(super) fn names(&self, cookie: u64) -> NamesReply {
        match self.state().names.get(&cookie) {
            Some(names) => NamesReply::Known { local: names.local, peer: names.peer },
            None => NamesReply::Unknown,
        }
    }
}

/// One task for all announcements: most are used within a millisecond, and a timer for each would stay.
async fn forget_late(relay: Arc<Relay>) {
    loop {
        tokio::time::sleep(ARRIVAL / 2).await;
        let late: Vec<(u64, Announcement)> = {
            let state = relay.state();
            let late = state.expected.iter().filter(|(_, expected)| expected.since.elapsed() >= ARRIVAL);
            late.map(|(cookie, expected)| (*cookie, expected.announcement)).collect()
        };
        for (cookie, announcement) in late {
            relay.forget(cookie, announcement);
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
            return reset(stream);
        }
    };
    let expected = relay.state().expected.remove(&cookie);
    let Some(Expected { announcement, pod_side, .. }) = expected else {
        tracing::warn!(%peer, "reset a connection that no process of the session announced");
        return reset(stream);
    };
    let outcome = match pod_side {
        PodSide::Ready(connected, stream) => Ok((connected, *stream)),
        PodSide::Pending(mut attempt) => attempt.outcome().await,
    };
    match outcome {
        Ok((connected, pod)) => {
            if let Some(names) = relay.state().names.get_mut(&cookie)
                && names.announcement == announcement
            {
                names.local = connected.local;
            }
            copy(stream, pod).await;
        }
        Err(errno) => {
            tracing::debug!(errno, "a connection failed in the pod after the program was told to wait");
            reset(stream);
        }
    }
    relay.state().forget_names(cookie, announcement);
}

/// Copies both ways, half-close kept; a broken side breaks the other.
async fn copy(mut stream: TcpStream, pod: impl AsyncRead + AsyncWrite) {
    stream.set_nodelay(true).ok();
    let (from_program, to_program) = stream.split();
    let (from_pod, to_pod) = tokio::io::split(pod);
    let result = both_ways(one_way(from_program, to_pod), one_way(from_pod, to_program)).await;
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
        reset(stream);
    }
}

async fn both_ways(
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

async fn one_way(reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy_buf(&mut BufReader::with_capacity(BUFFER, reader), &mut writer).await?;
    writer.shutdown().await
}

/// Ends a connection by RST, as a refusing or dying peer does.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::net::sockopt::socket_cookie;
    use tokio::io::{AsyncReadExt, duplex};
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
        let relay = Relay::start([77, 1]).expect("a relay");
        let stranger = TcpSocket::new_v4().expect("a socket");
        assert_eq!(end_of(stranger, &relay).await, io::ErrorKind::ConnectionReset);
        let socket = TcpSocket::new_v4().expect("a socket");
        let cookie = socket_cookie(&socket).expect("a cookie");
        relay.expect(cookie, destination(), refused());
        let waiting = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        assert_eq!(relay.names(cookie), NamesReply::Known { local: waiting, peer: destination() });
        assert_eq!(end_of(socket, &relay).await, io::ErrorKind::ConnectionReset);
        while relay.names(cookie) != NamesReply::Unknown {
            tokio::task::yield_now().await;
        }
        assert!(relay.state().expected.is_empty());
    }

    #[tokio::test]
    async fn forgetting_an_announcement_spares_the_next_of_the_same_socket() {
        let relay = Relay::start([77, 2]).expect("a relay");
        let first = relay.expect(1, destination(), refused());
        let second = relay.expect(1, destination(), refused());
        relay.forget(1, first);
        assert!(matches!(relay.names(1), NamesReply::Known { .. }));
        relay.forget(1, second);
        assert_eq!(relay.names(1), NamesReply::Unknown);
        assert!(relay.state().expected.is_empty());
    }

    #[tokio::test]
    async fn an_answer_before_a_broken_upload_is_read() {
        let (reader, mut answer) = duplex(64);
        let (writer, mut program) = duplex(64);
        let failing = async { Err(io::ErrorKind::ConnectionReset.into()) };
        answer.write_all(b"413").await.expect("written");
        drop(answer);
        assert!(both_ways(failing, one_way(reader, writer)).await.is_err());
        let mut read = String::new();
        program.read_to_string(&mut read).await.expect("reads");
        assert_eq!(read, "413");
    }
}
