//! Copies one direction of a connection without keeping memory while it is idle.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dispatch::Counters;

/// Bytes of one read, and the most that a stalled connection keeps.
const CHUNK: usize = 16 * 1024;

thread_local! {
    /// One buffer for all connections of a thread: what a reader gave is handed on at once, and only what
    /// the writer does not take is kept by the connection itself.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Copies until the reader ends, then shuts the writer down. Adds what was copied to `counter`.
pub(crate) async fn pump<R, W>(mut reader: R, mut writer: W, counter: &AtomicU64) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut rest = Vec::new();
    let mut ended = false;
    poll_fn(|context| {
        loop {
            if !rest.is_empty() {
                let count = ready!(Pin::new(&mut writer).poll_write(context, &rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                rest.drain(..count);
                if rest.is_empty() {
                    rest = Vec::new();
                }
            } else if ended {
                return Pin::new(&mut writer).poll_shutdown(context);
            } else {
                match ready!(step(context, &mut reader, &mut writer, &mut rest))? {
                    0 => ended = true,
                    count => Counters::add(counter, count as u64),
                }
            }
        }
    })
    .await
}

/// One read and one try to write it; what is left over goes to `rest`.
fn step(
    context: &mut Context<'_>,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    rest: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
        let filled = buffer.filled();
        if !filled.is_empty() {
            let taken = match Pin::new(writer).poll_write(context, filled) {
                Poll::Ready(count) => count?,
                Poll::Pending => 0,
            };
            rest.extend_from_slice(&filled[taken..]);
        }
        Poll::Ready(Ok(filled.len()))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn everything_arrives_through_narrow_pipes_and_the_end_too() {
        let (mut source, reader) = duplex(1000);
        let (writer, mut sink) = duplex(7);
        let counter = AtomicU64::new(0);
        let data: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let send = async {
            source.write_all(&data).await.expect("writes");
            source.shutdown().await.expect("ends");
        };
        let mut got = Vec::new();
        let receive = async { sink.read_to_end(&mut got).await.expect("reads") };
        let (pumped, (), _) = tokio::join!(pump(reader, writer, &counter), send, receive);
        pumped.expect("pumps");
        assert!(got == data);
        assert_eq!(counter.load(Ordering::Relaxed), data.len() as u64);
    }

    #[tokio::test]
    async fn a_writer_that_fails_ends_the_copy() {
        let (mut source, reader) = duplex(1000);
        let (writer, sink) = duplex(7);
        drop(sink);
        source.write_all(b"text").await.expect("writes");
        assert!(pump(reader, writer, &AtomicU64::new(0)).await.is_err());
    }
}
