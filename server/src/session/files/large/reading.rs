//! Parts of a large file, as the kernel asks for them: mostly one after the other, a little ahead of the program. So a
//! stream from the pod begins where the kernel asks first, and goes on as long as it asks for more near there.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use protocol::files::{Identity, Metadata, PIECE, ReadFile};
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
async fn serve(links: Links, path: Vec<u8>, identity: Identity, start: u64, mut requests: UnboundedReceiver<Request>) {
    let mut window = match open(&links, path, identity, start).await {
        Ok(pieces) => Window { pieces, buffer: VecDeque::new(), first: start, last: start },
        Err(errno) => return refuse(requests, errno).await,
    };
    while let Some(Request { part, answer }) = requests.recv().await {
        match window.read(part).await {
            Ok(bytes) => answer(Ok(bytes)),
            Err(errno) => {
                answer(Err(errno));
                return refuse(requests, errno).await;
            }
        }
    }
}

/// Answers what has been asked meanwhile; what is asked from now on needs another stream.
async fn refuse(mut requests: UnboundedReceiver<Request>, errno: Errno) {
    requests.close();
    while let Some(Request { answer, .. }) = requests.recv().await {
        answer(Err(errno));
    }
}

/// What has come of a file and may still be asked for.
struct Window {
    pieces: Receiver<Result<Vec<u8>, Errno>>,
    buffer: VecDeque<u8>,
    /// Where in the file the buffer begins.
    first: u64,
    /// The end of what was asked for so far.
    last: u64,
}

impl Window {
    async fn read(&mut self, part: Range<u64>) -> Result<&[u8], Errno> {
        // One request stays whole while it is answered.
        let gone = self.within(self.last.saturating_sub(BEHIND));
        self.buffer.drain(..gone);
        self.first += gone as u64;
        while self.first + (self.buffer.len() as u64) < part.end {
            match self.pieces.recv().await {
                Some(Ok(piece)) if piece.is_empty() => break,
                Some(Ok(piece)) => self.buffer.extend(piece),
                Some(Err(errno)) => return Err(errno),
                // The end was read before.
                None => break,
            }
        }
        self.last = self.last.max(part.end);
        let part_here = self.within(part.start)..self.within(part.end);
        Ok(&self.buffer.make_contiguous()[part_here])
    }

    /// The place in the buffer of a place in the file.
    fn within(&self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(self.first)).map_or(self.buffer.len(), |at| at.min(self.buffer.len()))
    }
}

/// The pieces of a file from a place on; an empty one is its end.
async fn open(
    links: &Links,
    path: Vec<u8>,
    identity: Identity,
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

    fn file(pieces: Vec<Result<Vec<u8>, Errno>>) -> Window {
        let (sender, receiver) = channel(AHEAD);
        pieces.into_iter().for_each(|piece| sender.try_send(piece).expect("room"));
        Window { pieces: receiver, buffer: VecDeque::new(), first: 10, last: 10 }
    }

    #[tokio::test]
    async fn parts_are_read_in_order_and_a_little_before() {
        let mut window = file(vec![Ok(b"abcd".to_vec()), Ok(b"efgh".to_vec()), Ok(Vec::new())]);
        for (part, expected) in [(10..13, "abc"), (12..16, "cdef"), (11..12, "b"), (16..30, "gh"), (30..40, "")] {
            assert_eq!(window.read(part.clone()).await, Ok(expected.as_bytes()), "{part:?}");
        }
    }

    /// The kernel asks for several parts at a time, and would take silence for another error.
    #[tokio::test]
    async fn after_a_failure_each_request_is_answered() {
        let mut window = file(vec![Ok(b"abcd".to_vec()), Err(Errno::STALE)]);
        assert_eq!(window.read(10..20).await, Err(Errno::STALE));
        let (sender, requests) = unbounded_channel();
        let answers: Arc<Mutex<Vec<_>>> = Arc::default();
        for _ in 0..3 {
            let answers = answers.clone();
            let answer = Box::new(move |read: Result<&[u8], Errno>| lock(&answers).push(read.map(<[u8]>::to_vec)));
            sender.send(Request { part: 0..1, answer }).expect("asked");
        }
        refuse(requests, Errno::STALE).await;
        assert_eq!(*lock(&answers), vec![Err(Errno::STALE); 3]);
        assert!(sender.is_closed());
    }

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
