//! Ports with a filter: each request is the program's or the application's (`connection`, and `two` for HTTP/2).

mod body;

mod connection;

mod copying;

mod exchange;

mod filter;

mod head;

mod offer;

mod patience;

mod sides;

mod two;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

#[cfg(any(test, fuzzing))]
mod hosted;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use link::Stream;
use protocol::agent::{Accepted, OpenPort, PassedRequest, PortMode, Taken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::Incoming;
use super::news::Happened;
use super::passing::Way;
use super::ports::Arrived;
use connection::{Answered, Answerers, Untaken};
use filter::Filter;
use sides::Side;

/// How long a connection to the application may take before requests are looked at.
const CONNECT: Duration = Duration::from_secs(1);

/// Instead of a program that has not accepted the request.
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 51\r\n\
    connection: close\r\n\r\nmirror: the local process is paused at a breakpoint";

/// Instead of a program that has it.
const UNANSWERED: &str = "HTTP/1.1 504 Gateway Timeout\r\ncontent-type: text/plain\r\ncontent-length: 48\r\n\
    connection: close\r\n\r\nmirror: the local process did not answer in time";

/// What holds for a port with a filter.
#[derive(Debug)]
pub(super) struct Filtered {
    filter: Filter,
    mode: PortMode,
    /// How long a request that the program has may wait for its answer.
    hold: Duration,
    /// How long one may wait for the program to show that it will read it, and what becomes of it then.
    patience: Duration,
    untaken: Untaken,
}

/// The open ports that have filters.
#[derive(Debug, Default)]
pub(super) struct Filters(RefCell<HashMap<u16, Rc<Filtered>>>);

impl Filters {
    /// Says what is wrong with a filter.
    pub(super) fn set(&self, request: &OpenPort) -> Result<(), String> {
        let OpenPort { port, mode, hold, patience, unavailable, .. } = *request;
        let untaken = if unavailable { Untaken::Unavailable } else { Untaken::LeftAlone };
        let filter = request.filter.as_ref().map(Filter::new).transpose()?;
        let mut filters = self.0.borrow_mut();
        match filter {
            Some(filter) => filters.insert(port, Rc::new(Filtered { filter, mode, hold, patience, untaken })),
            None => filters.remove(&port),
        };
        Ok(())
    }

    /// What holds for a port, if it has a filter.
    pub(super) fn get(&self, port: u16) -> Option<Rc<Filtered>> {
        self.0.borrow().get(&port).map(Rc::clone)
    }
}

/// Carries a connection to a filtered port to its end.
pub(super) async fn serve(
    incoming: Rc<Incoming>,
    way: Rc<Way>,
    client: TcpStream,
    accepted: Accepted,
    port: Rc<Filtered>,
) {
    let pod = Rc::new(Pod { incoming, way: Rc::clone(&way), accepted, port });
    let _carried = way.carry();
    connection::carry(Side::socket(client, None), pod).await;
}

/// A request that waits for the program.
pub(super) type Wanted = oneshot::Sender<Result<Stream, Untaken>>;

/// Gives a stream to the connection that has asked for one, once the program has taken it. Dropping `wanted` says that
/// it has not.
pub(super) async fn hand_over(mut stream: Stream, wanted: Wanted) {
    let answer = stream.read_u8().await.map(Taken::try_from);
    if let Ok(Ok(Taken::ByProgram)) = answer {
        return drop(wanted.send(Ok(stream)));
    }
    debug!(?answer, "the program takes no request");
    if let Ok(Ok(Taken::Unavailable)) = answer {
        let _ = wanted.send(Err(Untaken::Unavailable));
    }
    let _ = stream.shutdown().await;
}

/// Who answers the requests of one connection.
struct Pod {
    incoming: Rc<Incoming>,
    way: Rc<Way>,
    accepted: Accepted,
    /// What held when it came.
    port: Rc<Filtered>,
}

impl Answerers for Pod {
    async fn application(&self) -> io::Result<Side> {
        let Accepted { peer, local } = self.accepted;
        let connecting = timeout(CONNECT, self.way.connect(local, peer));
        let (socket, entered) = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
        socket.set_nodelay(true)?;
        Ok(Side::socket(socket, Some(entered)))
    }

    async fn program(&self) -> Result<Side, Untaken> {
        if self.incoming.ports.get(self.accepted.local.port()).is_none() {
            return Err(Untaken::LeftAlone);
        }
        let (wanted, given) = oneshot::channel();
        self.incoming
            .ports
            .push(Arrived::Wanted(self.port().mode, wanted), self.accepted)
            .map_err(|_| Untaken::LeftAlone)?;
        Ok(Side::program(given.await.map_err(|_| Untaken::LeftAlone)??))
    }

    fn port(&self) -> Rc<Filtered> {
        // Without a filter by now, the old one holds for what stands.
        self.incoming.filters.get(self.accepted.local.port()).unwrap_or_else(|| Rc::clone(&self.port))
    }

    fn passed(&self, request: Answered) {
        let Accepted { peer, local } = self.accepted;
        let Answered { method, mut path, status, elapsed } = request;
        path.truncate(path.floor_char_boundary(PassedRequest::LONGEST_PATH));
        let (port, client) = (local.port(), peer.ip().to_canonical());
        self.incoming.news.pass(PassedRequest { port, client, method, path, status, elapsed });
    }

    fn note(&self, happened: Happened) {
        self.incoming.news.note(happened, self.accepted.local.port());
    }
}
