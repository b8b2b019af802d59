//! One stream of a link, as its user holds it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::Shared;
use crate::error::Ended;
use crate::mux::{Read, Write};

/// Raw bytes both ways, each way with its own end.
///
/// Shutting down ends this side's direction only. Dropping the stream after a shutdown lets what was
/// written arrive; dropping it before is a reset: the peer's reads fail with
/// [`io::ErrorKind::ConnectionReset`]. A read that gives 0 bytes is always the peer's own shutdown: resets
/// and the end of the link are errors.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    shared: Arc<Shared>,
}

impl Stream {
    pub(crate) fn new(id: u32, shared: Arc<Shared>) -> Self {
        Self { id, shared }
    }

    /// Watches the stream for a reset while it is split and written to. Meant for a stream whose reader has come
    /// to its end: the watch takes the reader's place.
    pub fn watch(&self) -> Watch {
        Watch { id: self.id, shared: Arc::clone(&self.shared) }
    }

    /// Returns once the peer has reset the stream or the link is over; for waiting on something else with
    /// nobody reading. A clean end of the peer's direction does not count.
    pub async fn aborted(&mut self) {
        aborted(self.id, &self.shared).await;
    }
}

/// See [`Stream::watch`].
#[derive(Debug)]
pub struct Watch {
    id: u32,
    shared: Arc<Shared>,
}

impl Watch {
    /// When something of the peer's last arrived on the link, be it a mere sign of life.
    pub fn heard(&self) -> std::time::Instant {
        self.shared.heard()
    }

    /// Returns once the peer has reset the stream, or it or the link is over.
    pub async fn aborted(&self) {
        aborted(self.id, &self.shared).await;
    }
}

async fn aborted(id: u32, shared: &Shared) {
    poll_fn(|context| match shared.mux().is_aborted(id, context.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let result = self.shared.mux().read(self.id, buffer.initialize_unfilled(), context.waker());
        Poll::Ready(match result {
            Read::Bytes(count) => {
                buffer.advance(count);
                Ok(())
            }
            Read::End => Ok(()),
            Read::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Read::Over(ended) => Err(over(ended)),
            Read::Wait => return Poll::Pending,
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.shared.mux().write(self.id, bytes, context.waker());
        Poll::Ready(match result {
            Write::Bytes(count) => Ok(count),
            Write::AfterShutdown => Err(io::ErrorKind::BrokenPipe.into()),
            Write::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Write::Over(ended) => Err(over(ended)),
            Write::Wait => return Poll::Pending,
        })
    }

    /// Written bytes leave by themselves.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.mux().shutdown(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.mux().release(self.id);
    }
}

fn over(ended: Ended) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, ended)
}
