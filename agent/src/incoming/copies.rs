//! The copy of what a client sends, on its way to the session. It never holds the application up: what the session
//! does not take in time is dropped, and with it the rest of the connection's copy.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use link::Stream;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

/// Bytes of one connection that may wait for the session.
const MAX_WAITING: usize = 1 << 20;

/// Bytes of all connections together that may wait.
const MAX_KEPT: usize = 16 << 20;

/// Small reads are kept together up to this many bytes.
const CHUNK: usize = 16 * 1024;

thread_local! {
    /// Bytes in all [`State`]s.
    static KEPT: Cell<usize> = const { Cell::new(0) };
}

/// One direction of one connection.
#[derive(Debug, Default)]
struct Shared {
    state: RefCell<State>,
    reader: RefCell<Option<Waker>>,
}

impl Shared {
    fn tell_reader(&self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    end: Option<End>,
}

impl State {
    fn keep(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        KEPT.set(KEPT.get() + bytes.len());
        match self.waiting.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
            _ => self.waiting.push_back(bytes.to_vec()),
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let bytes = self.waiting.pop_front()?;
        self.bytes -= bytes.len();
        KEPT.set(KEPT.get() - bytes.len());
        Some(bytes)
    }

    fn put_back(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            KEPT.set(KEPT.get() + bytes.len());
            self.waiting.push_front(bytes);
        }
    }

    fn forget(&mut self) {
        while self.next().is_some() {}
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.forget();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has sent everything.
    Whole,
    /// The connection broke, or the session was too slow.
    Cut,
    /// The session does not want it any more.
    Unwanted,
}

/// A copy to be sent, and what makes it.
pub(super) fn copy() -> (Original, Copy) {
    let shared = Rc::new(Shared::default());
    (Original(Rc::clone(&shared)), Copy(shared))
}

/// The side of the connection. Dropping it before the end cuts the copy.
#[derive(Debug)]
pub(super) struct Original(Rc<Shared>);

impl Original {
    /// Adds bytes, or cuts the copy if too many wait.
    pub(super) fn offer(&self, bytes: &[u8]) {
        let mut state = self.0.state.borrow_mut();
        if state.end.is_some() {
            return;
        }
        if state.bytes + bytes.len() > MAX_WAITING || KEPT.get() + bytes.len() > MAX_KEPT {
            state.forget();
            state.end = Some(End::Cut);
        } else {
            state.keep(bytes);
        }
        self.0.tell_reader();
    }

    /// There is no more to copy.
    pub(super) fn end_whole(&self) {
        self.end(End::Whole);
    }

    fn end(&self, end: End) {
        self.0.state.borrow_mut().end.get_or_insert(end);
        self.0.tell_reader();
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.end(End::Cut);
    }
}

/// Reads from a client what it sends, and copies that.
#[derive(Debug)]
pub(super) struct Copied<R> {
    pub(super) reader: R,
    pub(super) original: Original,
}

impl<R: AsyncRead + Unpin> AsyncRead for Copied<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        match &buffer.filled()[before..] {
            [] if buffer.remaining() > 0 => self.original.end(End::Whole),
            bytes => self.original.offer(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

/// The side of the session.
#[derive(Debug)]
pub(super) struct Copy(Rc<Shared>);

impl Copy {
    /// Sends the copy, and drops what the program answers. False if it was cut.
    pub(super) async fn send(self, stream: Stream) -> bool {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sending = async {
            while let Some(bytes) = self.next().await? {
                writer.write_all(&bytes).await?;
            }
            writer.shutdown().await
        };
        let answers = async { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await };
        let result = tokio::try_join!(sending, answers);
        result.is_ok() || !self.is_cut()
    }

    /// Whether not all of it could be kept.
    pub(super) fn is_cut(&self) -> bool {
        self.0.state.borrow().end == Some(End::Cut)
    }

    /// The next bytes; none at the end. A cut copy is an error, which resets the stream.
    pub(super) async fn next(&self) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        let mut state = self.0.state.borrow_mut();
        if let Some(bytes) = state.next() {
            return Poll::Ready(Ok(Some(bytes)));
        }
        match state.end {
            Some(End::Whole) => Poll::Ready(Ok(None)),
            Some(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                self.0.reader.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// The copy of a request, which says itself how long it is: the end is never read.
impl AsyncRead for Copy {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut bytes) = ready!(self.poll_next(context))? else { return Poll::Pending };
        let rest = bytes.split_off(bytes.len().min(buffer.remaining()));
        buffer.put_slice(&bytes);
        self.0.state.borrow_mut().put_back(rest);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        state.forget();
        state.end = Some(End::Unwanted);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn all(copy: &Copy) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = copy.next().await? {
            all.extend(bytes);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_copy_is_what_was_read() {
        let (original, copy) = copy();
        let mut read = Vec::new();
        Copied { reader: &b"everything"[..], original }.read_to_end(&mut read).await.expect("reads");
        assert_eq!(read, b"everything");
        assert_eq!(all(&copy).await.expect("whole"), b"everything");
    }

    #[tokio::test]
    async fn a_slow_session_loses_its_copy_and_nobody_else_anything() {
        let (original, copy) = copy();
        let text = vec![7; MAX_WAITING + 1];
        let mut read = Vec::new();
        Copied { reader: &text[..], original }.read_to_end(&mut read).await.expect("reads");
        assert_eq!(read.len(), text.len());
        assert!(all(&copy).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_breaks_cuts_its_copy_after_what_came() {
        let (original, copy) = copy();
        original.offer(b"half");
        drop(original);
        assert_eq!(copy.next().await.expect("came").as_deref(), Some(&b"half"[..]));
        assert!(copy.next().await.is_err());
    }

    #[tokio::test]
    async fn all_copies_together_keep_a_bounded_number_of_bytes() {
        let text = vec![7; MAX_WAITING];
        let copies: Vec<_> = std::iter::repeat_with(copy).take(2 * MAX_KEPT / MAX_WAITING).collect();
        copies.iter().for_each(|(original, _)| text.chunks(100).for_each(|bytes| original.offer(bytes)));
        assert!(KEPT.get() <= MAX_KEPT, "{}", KEPT.get());
        let (originals, mut copies): (Vec<_>, Vec<_>) = copies.into_iter().unzip();
        copies.clear();
        assert_eq!(KEPT.get(), 0, "nobody wants them");
        originals.iter().for_each(|original| original.offer(&text));
        assert_eq!(KEPT.get(), 0);
    }
}
