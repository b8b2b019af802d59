//! Parts of a large file, as the kernel asks for them: mostly one after the other, a little ahead of the program. So a
//! stream from the pod begins where the kernel asks first, and goes on as long as it asks for more near there.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use protocol::files::{Metadata, PIECE, ReadFile};
use rustix::io::Errno;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};

use super::super::content::next_piece;
use super::super::{lock, lost, remote};
use crate::session::startup::Links;

/// Most streams of a file at a time.
const MAX_STREAMS: usize = 8;

/// Pieces that travel ahead of being asked for.
const AHEAD: usize = 32;

/// How far behind the last request another may begin; the kernel's come a little out of order.
const BEHIND: u64 = 1 << 20;

/// How far ahead of the last request another may begin without a stream of its own.
const SKIP: u64 = 512 << 10;

/// What becomes of a part: its bytes, fewer only at the file's end.
pub(super) type Answer = Box<dyn FnOnce(Result<&[u8], Errno>) + Send>;

/// The parts of one file that are being read.
pub(super) struct Reading {
    links: Links,
    path: Vec<u8>,
    /// The oldest first.
    streams: Arc<Mutex<VecDeque<Stream>>>,
}

struct Stream {
    first: u64,
    /// The end of the part that was asked for last.
    asked: u64,
    requests: UnboundedSender<Request>,
}

struct Request {
    part: Range<u64>,
    answer: Answer,
}

impl Reading {
    pub(super) fn new(links: &Links, path: &[u8]) -> Self {
        Self { links: links.clone(), path: path.to_vec(), streams: Arc::default() }
    }

    /// Reads a part of the file that is `about`. Answers later, from a task of `runtime`.
    pub(super) fn read(&self, runtime: &tokio::runtime::Handle, about: &Metadata, part: Range<u64>, answer: Answer) {
        let mut streams = lock(&self.streams);
        let mut request = Request { part: part.clone(), answer };
        streams.retain(|stream| !stream.requests.is_closed());
        if let Some(at) = streams.iter().position(|stream| stream.suits(part.start))
            && let Some(mut stream) = streams.remove(at)
        {
            match stream.requests.send(request) {
                Ok(()) => {
                    stream.asked = stream.asked.max(part.end);
                    return streams.push_back(stream);
                }
                Err(unsent) => request = unsent.0,
            }
        }
        if streams.len() >= MAX_STREAMS {
            streams.pop_front();
        }
        let (requests, asked) = unbounded_channel();
        if requests.send(request).is_ok() {
            streams.push_back(Stream { first: part.start, asked: part.end, requests });
        }
        runtime.spawn(serve(self.links.clone(), self.path.clone(), about.identity, part.start, asked));
    }

    /// Nobody reads any more.
    pub(super) fn rest(&self) {
        lock(&self.streams).clear();
    }
}

impl Stream {
    fn suits(&self, start: u64) -> bool {
        start >= self.first.max(self.asked.saturating_sub(BEHIND)) && start <= self.asked + SKIP
    }
}

/// Answers requests from a stream that begins at `start`, until nobody can ask any more or reading fails.
async fn serve(
    links: Links,
    path: Vec<u8>,
    identity: (u64, u64),
    start: u64,
    mut requests: UnboundedReceiver<Request>,
) {
    let mut opened = open(&links, path, identity, start).await;
    let (mut buffer, mut first, mut last) = (VecDeque::new(), start, start);
    while let Some(Request { part, answer }) = requests.recv().await {
        let pieces = match &mut opened {
            Ok(pieces) => pieces,
            Err(errno) => return answer(Err(*errno)),
        };
        while first + (buffer.len() as u64) < part.end {
            match pieces.recv().await {
                Some(Ok(piece)) if piece.is_empty() => break,
                Some(Ok(piece)) => buffer.extend(piece),
                Some(Err(errno)) => return answer(Err(errno)),
                // The end was read before.
                None => break,
            }
        }
        let within =
            |at: u64| usize::try_from(at.saturating_sub(first)).map_or(buffer.len(), |at| at.min(buffer.len()));
        let part_here = within(part.start)..within(part.end);
        last = last.max(part.end);
        let gone = within(last.saturating_sub(BEHIND));
        answer(Ok(&buffer.make_contiguous()[part_here]));
        buffer.drain(..gone);
        first += gone as u64;
    }
}

/// The pieces of a file from a place on; an empty one is its end.
async fn open(
    links: &Links,
    path: Vec<u8>,
    identity: (u64, u64),
    start: u64,
) -> Result<Receiver<Result<Vec<u8>, Errno>>, Errno> {
    let request = ReadFile { path, limit: u64::MAX, offset: start };
    let (reply, mut stream) = links.data.open(request).await.map_err(|error| lost(&error))?;
    let about = reply.map_err(|error| remote(&error))?;
    if about.identity != identity {
        return Err(Errno::STALE);
    }
    let (sender, pieces) = channel(AHEAD);
    tokio::spawn(async move {
        let mut room = vec![0; PIECE];
        loop {
            let piece = next_piece(&mut stream, &mut room).await.map(|length| room[..length].to_vec());
            let is_last = piece.as_ref().map_or(true, Vec::is_empty);
            if sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    });
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_near_the_last_one_are_the_same_streams() {
        let (requests, _asked) = unbounded_channel();
        let stream = Stream { first: 10 << 20, asked: 14 << 20, requests };
        for (start, expected) in [
            (14 << 20, true),
            ((14 << 20) + SKIP, true),
            ((14 << 20) + SKIP + 1, false),
            (13 << 20, true),
            ((13 << 20) - 1, false),
            (0, false),
        ] {
            assert_eq!(stream.suits(start), expected, "{start}");
        }
        let (requests, _asked) = unbounded_channel();
        assert!(!Stream { first: 100, asked: 200, requests }.suits(99), "nothing before the first");
    }
}
