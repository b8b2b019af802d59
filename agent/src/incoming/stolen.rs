//! Hands a stolen connection over. The session may give it back for as long as the program has seen nothing of it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use link::{Arrivals, Stream, pump};
use protocol::agent::Taken;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::debug;

use crate::dispatch::Counters;
use crate::outgoing::{abort, failure};

/// What the client has sent so far, which the session gives back, and the client.
#[derive(Debug)]
pub(super) struct GivenBack {
    pub(super) sent: ReadHalf<Stream>,
    pub(super) client: TcpStream,
}

/// Carries a connection between its client and the program to its end, or until it is given back.
pub(super) async fn carry(counters: &Counters, mut client: TcpStream, stream: Stream) -> Option<GivenBack> {
    let (mut stream_reader, stream_writer) = tokio::io::split(stream);
    let (client_reader, client_writer) = client.split();
    let (stop, answered) = (Stop::default(), Notify::new());
    let from_program = async {
        let given_back = match Taken::try_from(stream_reader.read_u8().await?) {
            Ok(Taken::ByProgram) => {
                pump(stream_reader, client_writer, |count| Counters::add(&counters.sent, count as u64)).await?;
                None
            }
            Ok(Taken::Returned) => {
                stop.stop();
                Some(stream_reader)
            }
            other => return Err(io::Error::other(format!("{other:?} where the session says what it takes"))),
        };
        answered.notify_one();
        Ok(given_back)
    };
    let to_program = async {
        let reader = Stoppable { reader: Arrivals(client_reader.as_ref()), stop: &stop };
        pump(reader, stream_writer, |count| Counters::add(&counters.received, count as u64)).await?;
        // A client that has closed altogether resets what still comes: nobody reads that any more.
        tokio::select! {
            () = answered.notified() => Ok(()),
            error = failure(&client_reader) => Err(error),
        }
    };
    match tokio::try_join!(from_program, to_program) {
        Ok((sent, ())) => sent.map(|sent| GivenBack { sent, client }),
        Err(error) => {
            debug!(%error, "stolen connection aborted");
            abort(&client);
            None
        }
    }
}

/// Ends a reader early.
#[derive(Default)]
struct Stop {
    stopped: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Stop {
    fn stop(&self) {
        self.stopped.set(true);
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

/// Comes to its end when it is stopped; what it has not given by then can still be read from `reader`.
struct Stoppable<'a, R> {
    reader: R,
    stop: &'a Stop,
}

impl<R: AsyncRead + Unpin> AsyncRead for Stoppable<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stop.stopped.get() {
            return Poll::Ready(Ok(()));
        }
        self.stop.waker.set(Some(context.waker().clone()));
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_stopped_reader_leaves_the_rest_alone() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let stop = Stop::default();
        near.write_all(b"one").await.expect("writes");
        let mut got = Vec::new();
        let reading = async { Stoppable { reader: &mut far, stop: &stop }.read_to_end(&mut got).await };
        let stopping = async {
            tokio::task::yield_now().await;
            stop.stop();
        };
        let (read, ()) = tokio::join!(reading, stopping);
        read.expect("ends");
        assert_eq!(got, b"one");
        near.write_all(b"two").await.expect("writes");
        drop(near);
        let mut rest = String::new();
        far.read_to_string(&mut rest).await.expect("reads");
        assert_eq!(rest, "two");
    }
}
