//! A connection as HTTP/2 reads and writes it, and whether the other end speaks it, too.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::incoming::http::sides::Side;

/// How long a server may take to say that it speaks HTTP/2.
const ANSWER: Duration = Duration::from_secs(3);

/// What a server says first: a frame header of SETTINGS (RFC 9113 4.1, 6.5), after three bytes of length.
const SETTINGS: &[u8] = &[4, 0, 0, 0, 0, 0];
const LENGTH: usize = 3;

/// Whether a server of HTTP/2 may have begun with these bytes.
pub(in crate::incoming::http) fn may_be_settings(bytes: &[u8]) -> bool {
    // Most servers have fewer than 256 settings, and text has other bytes.
    let begins = bytes.iter().take(2).all(|byte| *byte == 0);
    begins && bytes.iter().skip(LENGTH).zip(SETTINGS).all(|(byte, settings)| byte == settings)
}

/// Both directions of a connection.
pub(super) struct Speech {
    side: Side,
    /// The first bytes of a server.
    first: Option<First>,
}

struct First {
    bytes: Vec<u8>,
    heard: Rc<Heard>,
}

/// What a server's first words said.
#[derive(Default)]
pub(super) struct Heard {
    speaks: Cell<Option<bool>>,
    news: Notify,
}

impl Heard {
    /// Whether the server speaks HTTP/2, once it is known.
    pub(super) async fn speaks(&self) -> bool {
        let speaks = async {
            loop {
                if let Some(speaks) = self.speaks.get() {
                    return speaks;
                }
                self.news.notified().await;
            }
        };
        timeout(ANSWER, speaks).await.unwrap_or(false)
    }

    fn tell(&self, speaks: bool) {
        self.speaks.set(self.speaks.get().or(Some(speaks)));
        self.news.notify_one();
    }
}

impl Speech {
    pub(super) fn new(side: Side) -> Self {
        Self { side, first: None }
    }

    /// A server, which may turn out to speak something else. All reads fail then.
    pub(super) fn of_server(side: Side) -> (Self, Rc<Heard>) {
        let heard = Rc::new(Heard::default());
        (Self { side, first: Some(First { bytes: Vec::new(), heard: Rc::clone(&heard) }) }, heard)
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.heard.tell(false);
    }
}

impl AsyncRead for Speech {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { side, first } = &mut *self;
        let before = buffer.filled().len();
        if side.held.is_empty() {
            ready!(Pin::new(&mut side.reader).poll_read(context, buffer))?;
        } else {
            let count = side.held.len().min(buffer.remaining());
            buffer.put_slice(&side.held[..count]);
            side.held.drain(..count);
            if side.held.is_empty() {
                side.held = Vec::new();
            }
        }
        if let Some(words) = first {
            words.bytes.extend_from_slice(&buffer.filled()[before..]);
            if !may_be_settings(&words.bytes) {
                words.heard.tell(false);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if words.bytes.len() >= LENGTH + SETTINGS.len() {
                words.heard.tell(true);
                *first = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Speech {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.side.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side.writer).poll_shutdown(context)
    }
}
