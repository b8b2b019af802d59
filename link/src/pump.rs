//! Copies one direction of a connection without keeping memory while it is idle.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one read, and the most that a stalled copy keeps. Twice as much is no faster between sockets of
/// one machine (1.6 GiB/s), half of it is slower by a tenth.
const CHUNK: usize = 32 * 1024;

/// Bytes that all stalled copies of the process may keep before reads become short.
const KEEP: usize = 8 << 20;

/// Bytes of one read while that much is kept.
const SHORT_CHUNK: usize = 2 * 1024;

thread_local! {
    /// One buffer for all copies of a thread: what a reader gave is handed on at once, and only what the
    /// writer does not take is kept by the copy itself.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Bytes in all [`Rest`]s. Not one of each thread: a copy may fill its rest on one and empty it on another.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Copies until `reader` ends, then shuts `writer` down; the first failure of either ends the copy. Tells
/// `on_bytes` how many bytes each read gave, which may be before the writer has taken them.
///
/// An idle copy owns no buffer. One whose writer is slow owns what one read gave: at most 32 KiB, or 2 KiB
/// once all copies together keep 8 MiB.
pub async fn pump<R, W>(reader: R, writer: W, on_bytes: impl FnMut(usize)) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    run(reader, writer, on_bytes, false).await.map(drop)
}

/// Like [`pump`] while little comes at a time. Returns after a read that has filled its buffer, with everything
/// written: who knows a better way for much takes over. `true` means that `reader` has ended.
pub async fn pump_little<R, W>(reader: R, writer: W) -> io::Result<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    run(reader, writer, |_| {}, true).await
}

/// Whether `reader` has ended.
async fn run<R, W>(
    mut reader: R,
    mut writer: W,
    mut on_bytes: impl FnMut(usize),
    stops_when_full: bool,
) -> io::Result<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut rest = Rest::default();
    let (mut ended, mut is_full) = (false, false);
    poll_fn(|context| {
        loop {
            if let waiting @ [_, ..] = rest.waiting() {
                let count = ready!(Pin::new(&mut writer).poll_write(context, waiting))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                rest.taken(count);
            } else if ended {
                return Pin::new(&mut writer).poll_shutdown(context).map_ok(|()| true);
            } else if is_full && stops_when_full {
                return Poll::Ready(Ok(false));
            } else {
                let count = ready!(step(context, &mut reader, &mut writer, &mut rest))?;
                (ended, is_full) = (count == 0, count >= CHUNK);
                if count > 0 {
                    on_bytes(count);
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
    rest: &mut Rest,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let chunk = if KEPT.load(Ordering::Relaxed) < KEEP { CHUNK } else { SHORT_CHUNK };
        let mut buffer = ReadBuf::new(&mut scratch[..chunk]);
        ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
        let filled = buffer.filled();
        if !filled.is_empty() {
            let taken = match Pin::new(writer).poll_write(context, filled) {
                Poll::Ready(count) => count?,
                Poll::Pending => 0,
            };
            rest.keep(&filled[taken..]);
        }
        Poll::Ready(Ok(filled.len()))
    })
}

/// What a writer did not take at once.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    /// How many of them were taken since.
    taken: usize,
}

impl Rest {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes = bytes.to_vec();
        KEPT.fetch_add(self.bytes.len(), Ordering::Relaxed);
    }

    fn taken(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn everything_arrives_through_narrow_pipes_and_the_end_too() {
        let (mut source, reader) = duplex(1000);
        let (writer, mut sink) = duplex(7);
        let mut counted = 0;
        let data: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let send = async {
            source.write_all(&data).await.expect("writes");
            source.shutdown().await.expect("ends");
        };
        let mut got = Vec::new();
        let receive = async { sink.read_to_end(&mut got).await.expect("reads") };
        let (pumped, (), _) = tokio::join!(pump(reader, writer, |count| counted += count), send, receive);
        pumped.expect("pumps");
        assert!(got == data);
        assert_eq!(counted, data.len());
    }

    #[tokio::test]
    async fn a_full_read_is_written_and_told() {
        let (mut source, mut reader) = duplex(2 * CHUNK);
        let (mut writer, mut sink) = duplex(4 * CHUNK);
        source.write_all(&[7; 5]).await.expect("fits");
        let late = async {
            tokio::task::yield_now().await;
            source.write_all(&[7; CHUNK]).await.expect("fits");
        };
        let (ended, ()) = tokio::join!(pump_little(&mut reader, &mut writer), late);
        assert!(!ended.expect("pumps"));
        let mut got = vec![0; 5 + CHUNK];
        sink.read_exact(&mut got).await.expect("everything is there");
        drop(source);
        assert!(pump_little(&mut reader, &mut writer).await.expect("pumps"), "the end");
        assert_eq!(sink.read(&mut [0]).await.expect("reads"), 0);
    }

    #[tokio::test]
    async fn a_writer_that_fails_ends_the_copy() {
        let (mut source, reader) = duplex(1000);
        let (writer, sink) = duplex(7);
        drop(sink);
        source.write_all(b"text").await.expect("writes");
        assert!(pump(reader, writer, |_| {}).await.is_err());
    }

    #[tokio::test]
    async fn many_stalled_copies_keep_little_and_lose_nothing() {
        const COPIES: usize = 600;
        let (mut copies, mut sinks) = (Vec::new(), Vec::new());
        for _ in 0..COPIES {
            let (mut source, reader) = duplex(CHUNK);
            let (writer, sink) = duplex(1);
            source.write_all(&[7; CHUNK]).await.expect("fits");
            copies.push(Box::pin(pump(reader, writer, |_| {})));
            sinks.push(sink);
        }
        tokio::task::unconstrained(poll_fn(|context| {
            assert!(copies.iter_mut().all(|copy| copy.as_mut().poll(context).is_pending()));
            Poll::Ready(())
        }))
        .await;
        // The other tests' copies count as well, with a chunk each.
        let others = 4 * CHUNK;
        let most = KEEP + CHUNK + COPIES * SHORT_CHUNK + others;
        let kept = KEPT.load(Ordering::Relaxed);
        assert!((KEEP..most).contains(&kept), "{kept}");
        let (last, mut sink) = (copies.pop().expect("some"), sinks.pop().expect("some"));
        let mut got = Vec::new();
        let (pumped, read) = tokio::join!(last, sink.read_to_end(&mut got));
        pumped.expect("pumps");
        assert_eq!(read.expect("reads"), CHUNK);
        drop(copies);
        assert!(KEPT.load(Ordering::Relaxed) <= others);
    }
}
