//! Offers the program a request, which it takes by beginning to read it. Until then the request can go elsewhere.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use protocol::agent::{Part, Taken};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::Body;
use super::connection::{Answerers, Untaken};
use super::head::RequestHead;
use super::sides::Side;

/// Sends the head of the request that `client` holds, with what it holds of the body, over the program's connection or a
/// new one. Returns what is left of the body once the program has taken it; else the client still holds everything.
pub(super) async fn offer(
    program: &mut Option<Side>,
    client: &mut Side,
    head: &RequestHead,
    answerers: &impl Answerers,
) -> Result<Body, Untaken> {
    loop {
        let kept = program.take();
        let is_kept = kept.is_some();
        let mut side = match kept {
            Some(side) => side,
            None => answerers.program().await?,
        };
        match offer_to(&mut side, client, head).await {
            Ok(left) => {
                *program = Some(side);
                return Ok(left);
            }
            Err(NotTaken::Untaken(untaken)) => return Err(untaken),
            // It has ended meanwhile, as idle connections do.
            Err(NotTaken::Stale) if is_kept => {}
            Err(NotTaken::Stale) => return Err(Untaken::LeftAlone),
        }
    }
}

/// Why a connection to the program does not carry a request.
enum NotTaken {
    /// The program has not begun to read in time.
    Untaken(Untaken),
    /// The connection has ended before.
    Stale,
}

async fn offer_to(program: &mut Side, client: &mut Side, head: &RequestHead) -> Result<Body, NotTaken> {
    let (first, rest) = client.held.split_at(head.length);
    let mut body = head.body.clone();
    let count = body.take(rest).unwrap_or_else(|_| {
        // It is sent, and looked at again, when the program has the head.
        body = head.body.clone();
        0
    });
    program.begin_request();
    let offered = async {
        program.writer.write_all(first).await?;
        program.writer.write_all(&rest[..count]).await?;
        program.reader.read_u8().await
    };
    match offered.await.map(Taken::try_from) {
        Ok(Ok(Taken::ByProgram)) => {
            client.held.drain(..head.length + count);
            Ok(body)
        }
        Ok(Ok(Taken::Returned)) => Err(NotTaken::Untaken(Untaken::LeftAlone)),
        Ok(Ok(Taken::Unavailable)) => Err(NotTaken::Untaken(Untaken::Unavailable)),
        Ok(Err(_)) | Err(_) => Err(NotTaken::Stale),
    }
}

/// Puts a [`Part`] before each part of what is written.
pub(super) struct Parts<W> {
    writer: W,
    begins: Rc<Cell<bool>>,
    /// What is still to be written of the word before the part.
    word: ([u8; Part::SIZE], usize),
    /// What is still to be written of the part.
    left: usize,
}

impl<W> Parts<W> {
    /// The next part begins a request, if `begins` says so by then.
    pub(super) fn new(writer: W, begins: Rc<Cell<bool>>) -> Self {
        Self { writer, begins, word: ([0; Part::SIZE], Part::SIZE), left: 0 }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Parts<W> {
    /// Whoever has begun to write bytes goes on with the same: their count has been told.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.left == 0 && !bytes.is_empty() {
            let part = Part { begins: this.begins.take(), length: u32::try_from(bytes.len()).unwrap_or(1 << 30) };
            (this.word, this.left) = ((part.to_bytes(), 0), part.length as usize);
        }
        while this.word.1 < Part::SIZE {
            let count = ready!(Pin::new(&mut this.writer).poll_write(context, &this.word.0[this.word.1..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.word.1 += count;
        }
        let count = ready!(Pin::new(&mut this.writer).poll_write(context, &bytes[..bytes.len().min(this.left)]))?;
        this.left -= count;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_shutdown(context)
    }
}
