//! Checks that new connections to a port come here, by connecting to it from within the pod.
//!
//! Such a connection is known by its two ends, and nobody else gets it. Its source port is one that newer agents let
//! pass and this one does not (`order`), so it goes the way of a client that no newer agent has taken. It runs over the
//! pod's own loopback: what lies between a client and the pod is not checked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use protocol::agent::PortOpened;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::interfaces;
use crate::outgoing::abort;

/// How often a connection is tried, how long it may take, and the pause after one that was refused.
const ATTEMPTS: usize = 3;
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(250);

/// Source ports that are tried: some may be in use.
const SOURCES: usize = 64;

/// The source and the destination of a connection.
type Ends = (SocketAddr, SocketAddr);

/// Connections that are on their way.
#[derive(Debug, Default)]
pub(super) struct Canaries(RefCell<HashMap<Ends, oneshot::Sender<()>>>);

impl Canaries {
    /// Whether a new connection is one of these. It has arrived then.
    pub(super) fn is_one(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        let arrived = self.0.borrow_mut().remove(&(source, destination));
        arrived.map(|arrived| arrived.send(())).is_some()
    }

    /// Tries a connection to `port` over each family that the pod has: to its own address, else over loopback.
    pub(super) async fn check(&self, sources: RangeInclusive<u16>, port: u16) -> PortOpened {
        let own = interfaces::all().unwrap_or_default();
        let of = |is_it: fn(&IpAddr) -> bool| own.iter().map(|interface| interface.address).find(is_it);
        let (four, six) = (of(IpAddr::is_ipv4), of(IpAddr::is_ipv6));
        let (four, six) = tokio::join!(
            self.first_that_arrives(&sources, port, [four, Some(Ipv4Addr::LOCALHOST.into())]),
            self.first_that_arrives(&sources, port, [six, Some(Ipv6Addr::LOCALHOST.into())]),
        );
        let both = || four.iter().chain(&six);
        PortOpened {
            verified: both().filter_map(|tried| tried.ok()).collect(),
            failed: both().filter_map(|tried| tried.err()).collect(),
        }
    }

    /// The first of the addresses by which a connection arrives, or the first by which none does. None if the pod has
    /// none of them.
    async fn first_that_arrives(
        &self,
        sources: &RangeInclusive<u16>,
        port: u16,
        addresses: [Option<IpAddr>; 2],
    ) -> Option<Result<IpAddr, IpAddr>> {
        let mut failed = None;
        for ip in addresses.into_iter().flatten() {
            match self.arrives(sources.clone(), SocketAddr::new(ip, port)).await {
                Ok(true) => return Some(Ok(ip)),
                Ok(false) => failed = failed.or(Some(Err(ip))),
                Err(error) => debug!(%ip, port, %error, "no connection of our own can be tried"),
            }
        }
        failed
    }

    /// Whether a connection to `destination` comes here. An error is one of this side.
    async fn arrives(&self, sources: RangeInclusive<u16>, destination: SocketAddr) -> io::Result<bool> {
        for _ in 0..ATTEMPTS {
            let (socket, source) = bound(sources.clone(), destination.ip())?;
            let (arrived_tx, arrived) = oneshot::channel();
            self.0.borrow_mut().insert((source, destination), arrived_tx);
            let connected = timeout(PATIENCE, async {
                let stream = socket.connect(destination).await?;
                // An application that got it has nothing to read.
                abort(&stream);
                io::Result::Ok(stream)
            });
            let arrives = match connected.await {
                Ok(Ok(_stream)) => timeout(PATIENCE, arrived).await.is_ok_and(|arrived| arrived.is_ok()),
                other => {
                    debug!(%destination, ?other, "a connection of our own does not come");
                    sleep(PAUSE).await;
                    false
                }
            };
            self.0.borrow_mut().remove(&(source, destination));
            if arrives {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A socket with one of the addresses.
fn bound(sources: RangeInclusive<u16>, ip: IpAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in sources.take(SOURCES) {
        let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        match socket.bind(SocketAddr::new(ip, port)).and_then(|()| socket.local_addr()) {
            Ok(source) => return Ok((socket, source)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::net::TcpListener;

    use super::super::steering::{Listeners, Steering, tests::in_a_new_network};
    use super::*;
    use crate::sys::bpf::ProgramKind;

    const PASSED: RangeInclusive<u16> = 12_288..=14_335;
    const SOURCES: RangeInclusive<u16> = 14_336..=16_383;

    async fn take_all(listener: std::net::TcpListener, canaries: Rc<Canaries>) {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let (socket, peer) = listener.accept().await.expect("accepts");
            assert!(canaries.is_one(peer, socket.local_addr().expect("a name")), "of {peer}");
        }
    }

    #[test]
    fn a_port_is_verified_when_it_is_steered_and_the_application_sees_nothing_of_it() {
        in_a_new_network(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let application = std::net::TcpListener::bind("[::]:7000").expect("listens");
                application.set_nonblocking(true).expect("set");
                let (steering, Listeners { v4, v6 }) = Steering::start(ProgramKind::Lookup, &PASSED).expect("starts");
                let canaries = Rc::new(Canaries::default());
                for listener in [v4, v6.expect("IPv6")] {
                    tokio::task::spawn_local(take_all(listener, Rc::clone(&canaries)));
                }
                steering.beat().expect("beats");
                steering.add(7000).expect("adds");
                let opened = canaries.check(SOURCES, 7000).await;
                let loopbacks = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
                assert_eq!(opened, PortOpened { verified: loopbacks.to_vec(), failed: Vec::new() });
                let seen = application.accept().map(|(_, peer)| peer);
                assert_eq!(seen.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
                steering.remove(7000).expect("removes");
                let opened = canaries.check(SOURCES, 7000).await;
                assert_eq!(opened, PortOpened { verified: Vec::new(), failed: loopbacks.to_vec() });
                let opened = canaries.check(SOURCES, 7001).await;
                assert_eq!(opened, PortOpened { verified: Vec::new(), failed: loopbacks.to_vec() });
            });
        });
    }
}
