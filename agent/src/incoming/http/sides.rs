//! The ends of a filtered connection: the client, the application and the program, each with its two directions.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use link::{Arrivals, pump};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::body::Unclear;
use super::offer::Parts;
use crate::incoming::order::Entered;
use crate::incoming::splice::{self, Departures, Failed};
use crate::outgoing::abort;

/// How long a client that has its last answer may keep the connection.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes of one read.
const CHUNK: usize = 32 * 1024;

thread_local! {
    /// One buffer for all reads: who waits owns none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

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
        Pin::new(&mut Departures(&self.0)).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut Departures(&self.0)).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut Departures(&self.0)).poll_shutdown(context)
    }
}

/// One end of the connection.
pub(super) struct Side {
    pub(super) reader: Box<dyn AsyncRead + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Unpin>,
    /// What was read of it and not used yet.
    pub(super) held: Vec<u8>,
    socket: Option<Rc<TcpStream>>,
    begins: Option<Rc<Cell<bool>>>,
    _entered: Option<Entered>,
}

impl Side {
    /// A connection of the pod's network.
    pub(super) fn socket(socket: TcpStream, entered: Option<Entered>) -> Self {
        let socket = Rc::new(socket);
        let half = || Box::new(Socket(Rc::clone(&socket)));
        Self {
            reader: half(),
            writer: half(),
            held: Vec::new(),
            socket: Some(Rc::clone(&socket)),
            begins: None,
            _entered: entered,
        }
    }

    /// A connection to the program, by way of the host.
    pub(super) fn program(stream: impl AsyncRead + AsyncWrite + 'static) -> Self {
        let begins = Rc::<Cell<bool>>::default();
        let side = Self::of(stream);
        let writer = Box::new(Parts::new(side.writer, Rc::clone(&begins)));
        Self { writer, begins: Some(begins), ..side }
    }

    /// What is written next is the head of a request.
    pub(super) fn begin_request(&self) {
        self.begins.iter().for_each(|begins| begins.set(true));
    }

    /// A client to whom nobody answers.
    pub(super) fn unanswered(reader: impl AsyncRead + Unpin + 'static) -> Self {
        let (reader, writer) = (Box::new(reader), Box::new(tokio::io::sink()));
        Self { reader, writer, held: Vec::new(), socket: None, begins: None, _entered: None }
    }

    /// Any stream that is reset by being dropped.
    pub(super) fn of(stream: impl AsyncRead + AsyncWrite + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            held: Vec::new(),
            socket: None,
            begins: None,
            _entered: None,
        }
    }

    /// Reads more behind what is held; 0 is the end. Cancel safe.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        read_into(&mut self.reader, &mut self.held).await
    }

    /// For resetting it later.
    pub(super) fn reset(&self) -> Reset {
        Reset(self.socket.clone())
    }

    /// Says `text`, and nothing after it.
    pub(super) async fn say_last(mut self, text: &str) {
        let said = async {
            self.writer.write_all(text.as_bytes()).await?;
            self.writer.shutdown().await?;
            // A client that is still sending must not lose the answer to a reset.
            tokio::io::copy(&mut self.reader, &mut tokio::io::sink()).await
        };
        let _ = timeout(LINGER, said).await;
    }

    /// Ends the connection as one does who has nothing more to say.
    pub(super) async fn close(mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// Ends the connection with a reset.
    pub(super) fn abort(self) {
        self.reset().at_the_end();
    }
}

/// Makes the end of a connection a reset, while somebody else has the connection.
pub(super) struct Reset(Option<Rc<TcpStream>>);

impl Reset {
    /// The end to come is a reset.
    pub(super) fn at_the_end(self) {
        self.0.iter().for_each(|socket| abort(socket));
    }
}

/// Why bytes are not carried to their end.
pub(super) enum Stopped {
    Read(io::Error),
    Write(io::Error),
    Unclear,
}

impl From<Unclear> for Stopped {
    fn from(_: Unclear) -> Self {
        Self::Unclear
    }
}

impl From<Failed> for Stopped {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Read(error) => Self::Read(error),
            Failed::Write(error) => Self::Write(error),
        }
    }
}

/// Reads to the end of `held`; 0 is the end. Cancel safe.
pub(super) async fn read_into(reader: &mut (dyn AsyncRead + Unpin), held: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
            held.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}

/// From one of the ends to another. Cancelled at any time, what is held is what was not written.
pub(super) struct Direction<'s> {
    reader: &'s mut (dyn AsyncRead + Unpin),
    pub(super) held: &'s mut Vec<u8>,
    writer: &'s mut (dyn AsyncWrite + Unpin),
    /// Where both are connections of the pod's network, the kernel can hand much on by itself.
    sockets: Option<(Rc<TcpStream>, Rc<TcpStream>)>,
}

/// Both directions between two ends.
pub(super) fn directions<'s>(one: &'s mut Side, other: &'s mut Side) -> (Direction<'s>, Direction<'s>) {
    let sockets = |from: &Option<Rc<TcpStream>>, to: &Option<Rc<TcpStream>>| from.clone().zip(to.clone());
    let there = Direction {
        sockets: sockets(&one.socket, &other.socket),
        reader: &mut *one.reader,
        held: &mut one.held,
        writer: &mut *other.writer,
    };
    let back = Direction {
        sockets: sockets(&other.socket, &one.socket),
        reader: &mut *other.reader,
        held: &mut other.held,
        writer: &mut *one.writer,
    };
    (there, back)
}

impl Direction<'_> {
    /// Somebody wants to see all bytes.
    pub(super) fn is_watched(&mut self) {
        self.sockets = None;
    }

    /// Reads to the end of what is held; 0 is the end.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        read_into(self.reader, self.held).await
    }

    /// Reads, and writes at once so many of the bytes as `take` says. What could not be written, and the others, are
    /// then held: the count of the former is returned, none at the end.
    pub(super) async fn step(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> Result<usize, Unclear>,
    ) -> Result<Option<usize>, Stopped> {
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *self.reader).poll_read(context, &mut buffer)).map_err(Stopped::Read)?;
                let read = buffer.filled();
                if read.is_empty() {
                    return Poll::Ready(Ok(None));
                }
                let count = take(read).inspect_err(|_| self.held.extend_from_slice(read))?;
                let written = match count {
                    0 => 0,
                    _ => match Pin::new(&mut *self.writer).poll_write(context, &read[..count]) {
                        Poll::Ready(written) => written.map_err(Stopped::Write)?,
                        Poll::Pending => 0,
                    },
                };
                self.held.extend_from_slice(&read[written..]);
                Poll::Ready(Ok(Some(count - written)))
            })
        })
        .await
    }

    /// Hands on so many of the next bytes as are there, without looking at them, if that is worth it. Nothing is held.
    pub(super) async fn hand_on(&mut self, most: u64) -> Result<u64, Stopped> {
        match &self.sockets {
            Some((from, to)) if most >= CHUNK as u64 => Ok(splice::many(from, to, most, self.held).await?),
            _ => Ok(0),
        }
    }

    /// Writes the first bytes of what is held.
    pub(super) async fn write(&mut self, count: usize) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let written = self.writer.write(&self.held[..left]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.held.drain(..written);
            left -= written;
        }
        if self.held.is_empty() {
            *self.held = Vec::new();
        }
        Ok(())
    }

    /// Nothing more is written.
    pub(super) async fn end(&mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// Carries everything to the end.
    async fn carry(mut self) -> io::Result<()> {
        self.write(self.held.len()).await?;
        match &self.sockets {
            Some((from, to)) => splice::carry(from, to).await,
            None => pump(self.reader, self.writer, |_| {}).await,
        }
    }
}

/// Carries everything between the two, each direction to its own end. A failure of either resets both.
pub(super) async fn join(client: &mut Side, other: &mut Side) -> io::Result<()> {
    let (there, back) = directions(client, other);
    tokio::try_join!(there.carry(), back.carry()).map(drop)
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
