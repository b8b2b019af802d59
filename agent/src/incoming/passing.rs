//! Hands connections on to the application, as if we had not taken them.
//!
//! We connect to where the client connected to, from the same address (so the application sees the pod's own,
//! never loopback) and a port by which the program in the kernel knows us and lets the connection through.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;

use link::{Arrivals, Stream, pump};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_keepalive;
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tracing::debug;

use super::copies::{Copied, Original};
use super::order::{Entered, Passing};
use super::splice::{self, Departures};
use super::stolen::GivenBack;
use crate::dispatch::Counters;
use crate::outgoing::abort;

/// What it takes to reach the application.
#[derive(Debug)]
pub(super) struct Way {
    counters: Rc<Counters>,
    /// Ports to connect from.
    ports: RangeInclusive<u16>,
    /// Where the search for a free one begins.
    next: Cell<u16>,
    passing: Rc<Passing>,
    /// Connections that are on their way now.
    carried: Cell<usize>,
    done: Notify,
}

impl Way {
    pub(super) fn new(counters: Rc<Counters>, ports: RangeInclusive<u16>, passing: Rc<Passing>) -> Self {
        let next = Cell::new(*ports.start());
        Self { counters, ports, next, passing, carried: Cell::new(0), done: Notify::new() }
    }

    /// Hands a connection of `peer` over. Once the application has taken it, `copy` says who else gets what the client
    /// sends.
    pub(super) fn pass(
        self: &Rc<Self>,
        client: TcpStream,
        peer: SocketAddr,
        copy: impl FnOnce() -> Option<Original> + 'static,
    ) {
        let way = Rc::clone(self);
        spawn_local(async move { pass(&way, client, peer, None, copy).await });
    }

    /// Hands a connection over, of which the session has some bytes already.
    pub(super) async fn pass_rest(&self, given_back: GivenBack, peer: SocketAddr) {
        pass(self, given_back.client, peer, Some(given_back.sent), || None).await;
    }

    /// Counts a connection that somebody else carries.
    pub(super) fn carry(&self) -> Carried<'_> {
        Carried::new(self)
    }

    /// Waits until no connection is being carried.
    pub(super) async fn idle(&self) {
        while self.carried.get() > 0 {
            self.done.notified().await;
        }
    }

    /// A connection to the application on `destination`, which is an address of this network.
    pub(super) async fn connect(&self, destination: SocketAddr, peer: SocketAddr) -> io::Result<(TcpStream, Entered)> {
        for _ in self.ports.clone() {
            let port = self.next.get();
            self.next.set(if port == *self.ports.end() { *self.ports.start() } else { port + 1 });
            let socket = if destination.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // One port serves connections to several destinations (`ip(7)`).
            socket.set_reuseaddr(true)?;
            // An address of a link needs its scope, too.
            let mut source = destination;
            source.set_port(port);
            let attempt = async {
                socket.bind(source)?;
                // An older agent may get it, and ask.
                let entered = self.passing.enter(source, peer);
                Ok((socket.connect(destination).await?, entered))
            };
            match attempt.await {
                Err(error) if is_taken(&error) => {}
                result => return result,
            }
        }
        Err(Errno::ADDRNOTAVAIL.into())
    }
}

/// Counts a connection for as long as it lives.
pub(super) struct Carried<'w>(&'w Way);

impl<'w> Carried<'w> {
    fn new(way: &'w Way) -> Self {
        way.carried.set(way.carried.get() + 1);
        Self(way)
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        self.0.carried.set(self.0.carried.get() - 1);
        self.0.done.notify_one();
    }
}

/// What the client has sent before.
type Sent = Option<ReadHalf<Stream>>;

/// Carries a connection between client and application to its end; `copy` is as in [`Way::pass`].
async fn pass(way: &Way, client: TcpStream, peer: SocketAddr, sent: Sent, copy: impl FnOnce() -> Option<Original>) {
    Counters::add(&way.counters.passed, 1);
    let _carried = Carried::new(way);
    let result = async {
        let (application, _entered) = way.connect(client.local_addr()?, peer).await?;
        application.set_nodelay(true)?;
        set_socket_keepalive(&application, true)?;
        let there = async {
            let (arrivals, departures) = (Arrivals(&client), Departures(&application));
            match (sent, copy()) {
                (None, None) => splice::carry(&client, &application).await,
                (Some(sent), _) => pump(sent.chain(arrivals), departures, |_| {}).await,
                (None, Some(original)) => pump(Copied { reader: arrivals, original }, departures, |_| {}).await,
            }
        };
        let result = tokio::try_join!(there, splice::carry(&application, &client));
        if result.is_err() {
            abort(&client);
            abort(&application);
        }
        result.map(drop)
    };
    if let Err(error) = result.await {
        debug!(%error, "connection to the application ended");
        abort(&client);
    }
}

fn is_taken(error: &io::Error) -> bool {
    [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
