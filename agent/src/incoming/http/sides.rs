//! The ends of a filtered connection: the client, the application and the program, each with its two directions.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use link::{Stream, pump};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::incoming::order::Entered;
use crate::outgoing::{Arrivals, abort};

/// How long a client that has its last answer may keep the connection.
const LINGER: Duration = Duration::from_secs(5);

/// A TCP connection whose directions are used independently.
#[derive(Debug, Clone)]
struct Socket(Rc<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut Arrivals(&self.0)).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write).map_err(io::Error::from))
    }
}

/// One end of the connection.
pub(super) struct Side {
    pub(super) reader: Box<dyn AsyncRead + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Unpin>,
    /// What was read of it and not used yet.
    pub(super) held: Vec<u8>,
    socket: Option<Rc<TcpStream>>,
    _entered: Option<Entered>,
}

impl Side {
    /// A connection of the pod's network.
    pub(super) fn socket(socket: TcpStream, entered: Option<Entered>) -> Self {
        let socket = Rc::new(socket);
        let half = || Box::new(Socket(Rc::clone(&socket)));
        Self { reader: half(), writer: half(), held: Vec::new(), socket: Some(Rc::clone(&socket)), _entered: entered }
    }

    /// A connection to the program.
    pub(super) fn program(stream: Stream) -> Self {
        Self::of(stream)
    }

    /// Any stream that is reset by being dropped.
    pub(super) fn of(stream: impl AsyncRead + AsyncWrite + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::new(reader), writer: Box::new(writer), held: Vec::new(), socket: None, _entered: None }
    }

    /// Reads more behind what is held; 0 is the end. Cancel safe.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        read_into(&mut self.reader, &mut self.held).await
    }

    /// Ends the connection as one does who has nothing more to say.
    pub(super) async fn close(mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// Ends the connection with a reset.
    pub(super) fn abort(self) {
        self.socket.iter().for_each(|socket| abort(socket));
    }
}

/// Reads at most 16 KiB to the end of `held`. Cancel safe.
pub(super) async fn read_into(reader: &mut (dyn AsyncRead + Unpin), held: &mut Vec<u8>) -> io::Result<usize> {
    held.reserve(4096);
    reader.take(16 * 1024).read_buf(held).await
}

/// Carries everything between the two, each direction to its own end. A failure of either resets both.
pub(super) async fn join(client: &mut Side, other: &mut Side) -> io::Result<()> {
    let (from_client, from_other) = (std::mem::take(&mut client.held), std::mem::take(&mut other.held));
    let there = pump((&from_client[..]).chain(&mut client.reader), &mut other.writer, |_| {});
    let back = pump((&from_other[..]).chain(&mut other.reader), &mut client.writer, |_| {});
    tokio::try_join!(there, back).map(drop)
}

/// Carries what is left of an answer; nothing that the client says counts any more.
pub(super) async fn finish(client: &mut Side, other: &mut Side) -> io::Result<()> {
    let from_other = std::mem::take(&mut other.held);
    let answered = Notify::new();
    let there = async {
        let mut sink = tokio::io::sink();
        let mut reading = pin!(tokio::io::copy(&mut client.reader, &mut sink));
        tokio::select! {
            read = &mut reading => drop(read?),
            // A client that has the answer ends by itself. Before, a reset might take the answer away from it.
            () = answered.notified() => drop(timeout(LINGER, reading).await),
        }
        other.writer.shutdown().await
    };
    let back = async {
        pump((&from_other[..]).chain(&mut other.reader), &mut client.writer, |_| {}).await?;
        answered.notify_one();
        Ok(())
    };
    tokio::try_join!(there, back).map(drop)
}
