//! Ports with a filter: each request is the program's or the application's (`connection`).

mod body;

mod connection;

mod exchange;

mod filter;

mod head;

mod sides;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use link::Stream;
use protocol::agent::{Accepted, HttpFilter, PortMode, Taken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::Incoming;
use super::passing::Way;
use super::ports::Arrived;
use connection::Answerers;
use filter::Filter;
use sides::Side;

/// How long a connection to the application may take before requests are looked at.
const CONNECT: Duration = Duration::from_secs(1);

/// The filters of open ports.
#[derive(Debug, Default)]
pub(super) struct Filters(RefCell<HashMap<u16, Rc<Filter>>>);

impl Filters {
    /// Says what is wrong with a filter.
    pub(super) fn set(&self, port: u16, filter: Option<&HttpFilter>) -> Result<(), String> {
        let filter = filter.map(Filter::new).transpose()?;
        let mut filters = self.0.borrow_mut();
        match filter {
            Some(filter) => filters.insert(port, Rc::new(filter)),
            None => filters.remove(&port),
        };
        Ok(())
    }

    /// The filter of a port, if it has one.
    pub(super) fn get(&self, port: u16) -> Option<Rc<Filter>> {
        self.0.borrow().get(&port).map(Rc::clone)
    }
}

/// Carries a connection to a filtered port to its end.
pub(super) async fn serve(incoming: &Incoming, way: &Way, client: TcpStream, accepted: Accepted, filter: &Filter) {
    let _carried = way.carry();
    connection::carry(Side::socket(client, None), filter, &Pod { incoming, way, accepted }).await;
}

/// Gives a stream to the connection that has asked for one, once the program has taken it. Dropping `wanted` says that
/// it has not.
pub(super) async fn hand_over(mut stream: Stream, wanted: oneshot::Sender<Stream>) {
    let answer = stream.read_u8().await.map(Taken::try_from);
    match answer {
        Ok(Ok(Taken::Taken)) => drop(wanted.send(stream)),
        _ => {
            debug!(?answer, "the program takes no request");
            let _ = stream.shutdown().await;
        }
    }
}

/// Who answers the requests of one connection.
struct Pod<'a> {
    incoming: &'a Incoming,
    way: &'a Way,
    accepted: Accepted,
}

impl Answerers for Pod<'_> {
    async fn application(&self) -> io::Result<Side> {
        let Accepted { peer, local } = self.accepted;
        let connecting = timeout(CONNECT, self.way.connect(local, peer));
        let (socket, entered) = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
        socket.set_nodelay(true)?;
        Ok(Side::socket(socket, Some(entered)))
    }

    async fn program(&self) -> Option<Side> {
        let port = self.accepted.local.port();
        if self.incoming.ports.get(port).is_none_or(|opened| opened.mode != PortMode::Steal) {
            return None;
        }
        let (wanted, given) = oneshot::channel();
        self.incoming.ports.push(Arrived::Wanted(wanted), self.accepted).ok()?;
        given.await.ok().map(Side::program)
    }
}
