//! Hands connections on to the application, as if we had not taken them.
//!
//! We connect to where the client connected to, from the same address (so the application sees the pod's own,
//! never loopback) and a port by which the program in the kernel knows us and lets the connection through.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;

use link::pump;
use rustix::io::Errno;
use tokio::net::{TcpSocket, TcpStream};
use tracing::debug;

use super::copies::{Copied, Original};
use crate::dispatch::Counters;
use crate::outgoing::abort;

/// Source ports of connections to the application: outside of what kernels choose (`ip_local_port_range`).
pub(super) const OWN_PORTS: RangeInclusive<u16> = 12_288..=14_335;

thread_local! {
    /// Where the search for a free port begins.
    static NEXT: Cell<u16> = const { Cell::new(*OWN_PORTS.start()) };
}

/// Carries a connection between client and application to its end; `original` gets what the client sends.
pub(super) async fn pass(counters: Rc<Counters>, mut client: TcpStream, original: Option<Original>) {
    Counters::add(&counters.passed, 1);
    let result = async {
        let mut application = connect(client.local_addr()?).await?;
        application.set_nodelay(true)?;
        let (result, (client, application)) = {
            let (client_reader, client_writer) = client.split();
            let (application_reader, application_writer) = application.split();
            let there = async {
                match original {
                    None => pump(client_reader, application_writer, |_| {}).await,
                    Some(original) => {
                        pump(Copied { reader: client_reader, original }, application_writer, |_| {}).await
                    }
                }
            };
            let back = pump(application_reader, client_writer, |_| {});
            (tokio::try_join!(there, back), (&client, &application))
        };
        if result.is_err() {
            abort(client);
            abort(application);
        }
        result.map(drop)
    };
    if let Err(error) = result.await {
        debug!(%error, "connection to the application ended");
        abort(&client);
    }
}

/// A connection to the application on `destination`, which is an address of this network.
pub(super) async fn connect(destination: SocketAddr) -> io::Result<TcpStream> {
    for _ in OWN_PORTS {
        let port = NEXT.get();
        NEXT.set(if port == *OWN_PORTS.end() { *OWN_PORTS.start() } else { port + 1 });
        let socket = if destination.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // One port serves connections to several destinations (`ip(7)`).
        socket.set_reuseaddr(true)?;
        let attempt = async {
            socket.bind(SocketAddr::new(destination.ip(), port))?;
            socket.connect(destination).await
        };
        match attempt.await {
            Err(error) if is_taken(&error) => {}
            result => return result,
        }
    }
    Err(Errno::ADDRNOTAVAIL.into())
}

fn is_taken(error: &io::Error) -> bool {
    [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
