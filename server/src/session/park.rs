//! Parks sockets whose `connect` may wait no longer while the pod is still connecting, so that the late answer
//! is a true one: the socket becomes connected, or is refused.
//!
//! The user's socket connects to a listener whose accept queue is full. The kernel drops its SYN, and the
//! socket stays in `SYN_SENT` as one does that has not heard of its peer.
//!
//! - *The pod has connected*: emptying the queue would let the next SYN in, but that is sent again only after a
//!   second. So a socket of ours with the listener's address connects to the user's socket: two SYNs that
//!   cross are a simultaneous open (RFC 9293 3.5), which completes at once. There are no two sides in it: both
//!   sockets are ordinary connections.
//! - *The pod could not connect*: the listener is closed, and the next SYN, which comes within a second at
//!   first and later in steps of more, is refused. There is no quicker way for a process without privileges to
//!   refuse a SYN that it let pass. `ECONNREFUSED` is the only error that the kernel can tell, except `ETIMEDOUT`,
//!   which comes by itself when nothing is done. `SO_ERROR` tells the pod's, for which the layer asks here.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::agent::Connected;
use protocol::layer::Over;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::closed::Watch;
use super::names::{EntryId, Local, Names};
use super::readiness;
use super::relay::{ARRIVAL, Attempt, copy};
use super::sock_diag;

/// How long filling a queue and crossing SYNs may take; both need microseconds on an idle machine.
const ON_LOOPBACK: Duration = Duration::from_secs(5);

/// How long an address is kept after the pod has failed, unless the socket is closed before. By then the user's
/// kernel has given the connect up (`tcp_syn_retries`), and the address may serve another socket.
const KEPT: Duration = Duration::from_secs(130);

/// An address at which a socket can be parked.
pub(super) struct Place {
    pub(super) address: SocketAddr,
    listener: OwnedFd,
    /// Fills the listener's queue.
    filler: OwnedFd,
}

impl Place {
    /// Makes one at a free port. IPv4 sockets are parked at `v4`.
    pub(super) async fn open(over: Over, v4: Ipv4Addr) -> io::Result<Self> {
        let (family, at) = match over {
            Over::V4 => (AddressFamily::INET, SocketAddr::from((v4, 0))),
            Over::V6 => (AddressFamily::INET6, SocketAddr::from((Ipv6Addr::LOCALHOST, 0))),
        };
        let listener = readiness::watch(socket(family)?, Interest::READABLE)?;
        rustix::net::bind(&listener, &at)?;
        // The kernel compares with "more than": one connection fits.
        rustix::net::listen(&listener, 0)?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&listener)?)?;
        let filler = socket(family)?;
        // Its end is a reset, which leaves nothing of it behind.
        sockopt::set_socket_linger(&filler, Some(Duration::ZERO))?;
        match rustix::net::connect(&filler, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::timeout(ON_LOOPBACK, listener.readable()).await??.retain_ready();
        Ok(Self { address, listener: listener.into_inner(), filler })
    }

    /// Connects to the socket `cookie`, which is parked here from `local`. An IPv6 socket that speaks IPv4 has it mapped.
    async fn complete(self, cookie: u64, local: SocketAddr) -> io::Result<TcpStream> {
        let local = decide::outgoing::unmapped(local);
        if sock_diag::owner(local, self.address)?.cookie != cookie {
            return Err(io::Error::other("another socket than the announced one is parked"));
        }
        let socket = self.beside_listener()?;
        // The listener goes last: until the SYN has crossed, the user's would be refused without it.
        let stream = tokio::time::timeout(ON_LOOPBACK, socket.connect(local)).await??;
        drop((self.filler, self.listener));
        Ok(stream)
    }

    /// Refuses what is parked here, and whoever comes, until the returned socket is dropped.
    fn refuse(self) -> io::Result<TcpSocket> {
        self.beside_listener()
    }

    fn beside_listener(&self) -> io::Result<TcpSocket> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseport(true)?;
        socket.bind(self.address)?;
        Ok(socket)
    }
}

/// Several sockets of ours may have one address (`SO_REUSEPORT`); the kernel gives a fresh port to one only.
fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    Ok(socket)
}

/// The parked sockets of a session.
pub(super) struct Parking {
    names: Arc<Names>,
    /// By cookie: who waits to hear that the socket is there, and its address.
    awaited: Mutex<HashMap<u64, oneshot::Sender<SocketAddr>>>,
    /// By cookie: the errno of the pod that the program has not been told yet, and of which connect.
    failures: Mutex<HashMap<u64, (EntryId, i32)>>,
}

/// A socket that is parked or on its way there.
struct Parked {
    place: Place,
    attempt: Attempt,
    watch: Watch,
    names: EntryId,
    here: oneshot::Receiver<SocketAddr>,
}

/// How the waiting ended.
enum End {
    Connected {
        pod: (Connected, link::Stream),
        local: SocketAddr,
    },
    Failed(i32),
    /// The program has closed the socket, or parks it anew.
    GivenUp,
}

impl Parking {
    pub(super) fn new(names: Arc<Names>) -> Arc<Self> {
        Arc::new(Self { names, awaited: Mutex::default(), failures: Mutex::default() })
    }

    /// Parks the watched socket until `attempt` has come to an end.
    pub(super) fn park(self: &Arc<Self>, place: Place, attempt: Attempt, watch: Watch, destination: SocketAddr) {
        let names = self.names.set(watch.clone(), Local::Unspecified, destination);
        self.failures().remove(&watch.cookie());
        let (arrived, here) = oneshot::channel();
        self.awaited().insert(watch.cookie(), arrived);
        tokio::spawn(self.clone().hold(Parked { place, attempt, watch, names, here }));
    }

    /// The socket `cookie` connects from `local`.
    pub(super) fn arrived(&self, cookie: u64, local: SocketAddr) {
        if let Some(awaited) = self.awaited().remove(&cookie) {
            awaited.send(local).ok();
        }
    }

    /// Takes the errno with which the pod failed to connect the socket `cookie`; 0 for none.
    pub(super) fn failure(&self, cookie: u64) -> i32 {
        self.failures().remove(&cookie).map_or(0, |(_, errno)| errno)
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<u64, (EntryId, i32)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<SocketAddr>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hold(self: Arc<Self>, mut parked: Parked) {
        let cookie = parked.watch.cookie();
        let end = parked.end().await;
        let Parked { place, attempt, mut watch, names, here } = parked;
        drop((attempt, here));
        self.forget(cookie);
        match end {
            End::Connected { pod: (connected, pod), local } => {
                self.names.connected(cookie, names, connected.local);
                drop(watch);
                match place.complete(cookie, local).await {
                    Ok(stream) => copy(stream, pod).await,
                    Err(error) => tracing::debug!(%error, "a parked socket is no longer there"),
                }
            }
            End::Failed(errno) => {
                tracing::debug!(errno, "a connection failed in the pod while its socket was parked");
                self.failures().insert(cookie, (names, errno));
                let kept = match errno == Errno::TIMEDOUT.raw_os_error() {
                    true => Kept::Silent(place),
                    // Without a descriptor to spare the address is free at once, which refuses as well.
                    false => Kept::Refusing(place.refuse().ok()),
                };
                tokio::time::timeout(KEPT, watch.closed()).await.ok();
                drop(kept);
                let mut failures = self.failures();
                if failures.get(&cookie).is_some_and(|(of, _)| *of == names) {
                    failures.remove(&cookie);
                }
            }
            End::GivenUp => {}
        }
    }

    /// Forgets a socket for which nobody waits, which spares one that has been parked anew.
    fn forget(&self, cookie: u64) {
        let mut awaited = self.awaited();
        if awaited.get(&cookie).is_some_and(oneshot::Sender::is_closed) {
            awaited.remove(&cookie);
        }
    }
}

/// What stays at an address after the pod has failed.
#[expect(dead_code, reason = "holding them is what they are for")]
enum Kept {
    /// The listener: SYNs get no answer until the user's kernel gives up.
    Silent(Place),
    /// A socket that does not listen: SYNs are refused.
    Refusing(Option<TcpSocket>),
}

impl Parked {
    async fn end(&mut self) -> End {
        let (mut pod, mut local) = (None, None);
        let unheard_of = tokio::time::sleep(ARRIVAL);
        let mut unheard_of = std::pin::pin!(unheard_of);
        loop {
            match (pod.take(), local) {
                (Some(pod), Some(local)) => return End::Connected { pod, local },
                (kept, _) => pod = kept,
            }
            tokio::select! {
                outcome = self.attempt.outcome(), if pod.is_none() => match outcome {
                    Ok(connected) => pod = Some(connected),
                    Err(errno) => return End::Failed(errno),
                },
                here = &mut self.here, if local.is_none() => match here {
                    Ok(address) => {
                        self.watch.listed();
                        local = Some(address);
                    }
                    Err(_) => return End::GivenUp,
                },
                () = self.watch.closed() => return End::GivenUp,
                () = &mut unheard_of, if local.is_none() => return End::GivenUp,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::closed::Closings;
    use protocol::layer::NamesReply;
    use std::os::fd::AsFd;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const HERE: Ipv4Addr = Ipv4Addr::new(127, 78, 3, 1);

    fn destination() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 80))
    }

    /// A program's non-blocking socket that has begun to connect to `to`; its cookie, and its own address.
    fn begin(to: SocketAddr) -> (OwnedFd, u64, SocketAddr) {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
        assert_eq!(rustix::net::connect(&socket, &to), Err(Errno::INPROGRESS));
        let local = rustix::net::getsockname(&socket).expect("bound");
        let cookie = sockopt::socket_cookie(&socket).expect("a cookie");
        (socket, cookie, SocketAddr::try_from(local).expect("an address"))
    }

    /// The same over a socket for both families.
    fn begin_mapped(to: SocketAddr) -> (OwnedFd, u64, SocketAddr) {
        let SocketAddr::V4(v4) = to else { panic!("{to}") };
        begin(SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())))
    }

    /// What the program's poll and `SO_ERROR` say in the end.
    async fn outcome(socket: OwnedFd) -> Result<TcpStream, Errno> {
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket)).expect("registered");
        stream.writable().await.expect("polled");
        match sockopt::socket_error(stream.as_fd()).expect("asked") {
            Ok(()) => Ok(stream),
            Err(errno) => Err(errno),
        }
    }

    type Begin = fn(SocketAddr) -> (OwnedFd, u64, SocketAddr);

    /// A parked socket that was completed: our end, the program's, and how long it took. None without IPv6.
    async fn cross(over: Over, begin: Begin) -> Option<(TcpStream, TcpStream, Duration)> {
        let place = match Place::open(over, HERE).await {
            Err(_) if over == Over::V6 => return None,
            place => place.expect("a place"),
        };
        let (program, cookie, local) = begin(place.address);
        let started = std::time::Instant::now();
        let ours = place.complete(cookie, local).await.expect("crosses");
        let program = outcome(program).await.expect("connects");
        Some((ours, program, started.elapsed()))
    }

    #[tokio::test]
    async fn a_parked_socket_connects_at_once_and_both_ends_are_ordinary() {
        for (over, begin) in [(Over::V4, begin as Begin), (Over::V4, begin_mapped), (Over::V6, begin)] {
            let mut crossed = cross(over, begin).await;
            for _ in 0..10 {
                // Who waits for the next SYN, which comes after a second, does so each time; a busy machine does not.
                if crossed.as_ref().is_some_and(|(_, _, took)| *took > Duration::from_millis(900)) {
                    crossed = cross(over, begin).await;
                }
            }
            let Some((mut ours, mut program, took)) = crossed else { continue };
            assert!(took < Duration::from_millis(900), "{took:?}");
            program.write_all(b"question").await.expect("writes");
            program.shutdown().await.expect("ends its half");
            let mut text = String::new();
            ours.read_to_string(&mut text).await.expect("reads");
            assert_eq!(text, "question");
            ours.write_all(b"answer").await.expect("writes");
            drop(ours);
            program.read_to_string(&mut text).await.expect("reads");
            assert_eq!(text, "questionanswer");
        }
    }

    #[tokio::test]
    async fn a_late_failure_is_a_refusal() {
        let (parking, closings) = (Parking::new(Arc::default()), Closings::start());
        let place = Place::open(Over::V4, HERE).await.expect("a place");
        let (program, cookie, local) = begin(place.address);
        let (answer, answered) = oneshot::channel::<()>();
        let attempt = Attempt::start(async {
            answered.await.ok();
            Err(Errno::HOSTUNREACH.raw_os_error())
        });
        parking.park(place, attempt, closings.watch(cookie), destination());
        parking.arrived(cookie, local);
        let unspecified = SocketAddr::from(([0; 4], 0));
        let names = NamesReply::Known { local: unspecified, peer: destination() };
        assert_eq!(parking.names.get(cookie), names);
        answer.send(()).expect("the attempt waits");
        let open = program.try_clone().expect("clones");
        assert_eq!(outcome(program).await.map(drop), Err(Errno::CONNREFUSED));
        assert_eq!([parking.failure(cookie), parking.failure(cookie)], [Errno::HOSTUNREACH.raw_os_error(), 0]);
        assert!(parking.awaited().is_empty());
        drop(open);
    }

    #[tokio::test]
    async fn a_failure_known_before_the_socket_arrives_is_a_refusal() {
        let (parking, closings) = (Parking::new(Arc::default()), Closings::start());
        let place = Place::open(Over::V4, HERE).await.expect("a place");
        let address = place.address;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
        let cookie = sockopt::socket_cookie(&socket).expect("a cookie");
        let attempt = Attempt::start(async { Err(Errno::CONNREFUSED.raw_os_error()) });
        parking.park(place, attempt, closings.watch(cookie), destination());
        while !parking.awaited().is_empty() {
            tokio::task::yield_now().await;
        }
        // The first that finds the listener gone is refused.
        while outcome_at_once(&socket, address) != Err(Errno::CONNREFUSED) {
            rustix::net::connect_unspec(&socket).expect("disconnects");
            tokio::task::yield_now().await;
        }
    }

    fn outcome_at_once(socket: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
        assert_eq!(rustix::net::connect(socket, &address), Err(Errno::INPROGRESS));
        sockopt::socket_error(socket).expect("asked")
    }

    #[tokio::test]
    async fn closing_a_parked_socket_gives_the_attempt_up() {
        let (parking, closings) = (Parking::new(Arc::default()), Closings::start());
        let place = Place::open(Over::V4, HERE).await.expect("a place");
        let (program, cookie, local) = begin(place.address);
        let (alive, given_up) = oneshot::channel::<()>();
        let attempt = Attempt::start(async move {
            let _alive = alive;
            std::future::pending().await
        });
        parking.park(place, attempt, closings.watch(cookie), destination());
        parking.arrived(cookie, local);
        drop(program);
        given_up.await.expect_err("the attempt is dropped");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_the_announced_one_is_not_completed() {
        let place = Place::open(Over::V4, HERE).await.expect("a place");
        let (program, cookie, local) = begin(place.address);
        assert!(place.complete(cookie + 1, local).await.is_err());
        assert_eq!(outcome(program).await.map(drop), Err(Errno::CONNREFUSED));
    }
}
