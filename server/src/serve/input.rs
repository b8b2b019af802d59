//! Standard input that tells of its end: whoever reads it may be busy with requests that nobody waits for any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

/// A reader that tells of its end.
pub(super) struct Input<R> {
    inner: R,
    ended: Arc<Notify>,
}

impl<R> Input<R> {
    /// The reader, and what is told.
    pub(super) fn new(inner: R) -> (Self, Arc<Notify>) {
        let ended = Arc::new(Notify::new());
        (Self { inner, ended: ended.clone() }, ended)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before {
            self.ended.notify_one();
        }
        Poll::Ready(read)
    }
}
