//! One stream as the multiplexer keeps it.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use super::WRITE_AHEAD;
use crate::frame::{self, Frame};

/// Receive window of a stream of which nothing more is agreed, in bytes; both sides know it.
pub(crate) const FIRST_WINDOW: u32 = 4 * 1024;

/// Receive window that a new stream gets with its first frames while few are open.
pub(super) const USUAL_WINDOW: u32 = 64 * 1024;

/// Bytes that a stream sends before the next one has its turn.
pub(super) const QUANTUM: usize = 16 * 1024;

/// What this side's direction of a stream has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Open,
    /// Shut down; the end follows what is still to be sent.
    Finishing,
    Finished,
    /// Reset by either side.
    Dead,
}

/// What the peer's direction of a stream has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    Open,
    Finished,
    Reset,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    /// The peer knows of this stream.
    pub(super) announced: bool,
    /// The user's handle is gone.
    pub(super) released: bool,
    pub(super) queued: bool,
    pub(super) outbox: VecDeque<u8>,
    /// Bytes that the peer has room for.
    pub(super) credit: u32,
    pub(super) inbox: VecDeque<u8>,
    /// Most that `inbox` can hold: always `inbox + consumed + owed + granted` while the peer may send.
    pub(super) window: u32,
    /// Bytes that the peer may still send, as it knows.
    pub(super) granted: u32,
    /// Bytes read by the user that the peer was not yet given credit for.
    pub(super) consumed: u32,
    /// Credit that travels with this stream's next turn.
    pub(super) owed: u32,
    pub(super) credited_at: Instant,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Entry {
    /// A stream whose window is `more` bytes larger than the first one; the peer learns of it with the
    /// first turn.
    pub(super) fn new(announced: bool, more: u32) -> Self {
        Self {
            sending: Sending::Open,
            receiving: Receiving::Open,
            announced,
            released: false,
            queued: false,
            outbox: VecDeque::new(),
            credit: FIRST_WINDOW,
            inbox: VecDeque::new(),
            window: FIRST_WINDOW + more,
            granted: FIRST_WINDOW,
            consumed: 0,
            owed: more,
            credited_at: Instant::now(),
            reader: None,
            writer: None,
        }
    }

    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Whether the stream has anything to do in its turn.
    pub(super) fn wants_turn(&self) -> bool {
        let over = match self.sending {
            Sending::Open => self.released,
            Sending::Finishing => self.outbox.is_empty(),
            Sending::Finished | Sending::Dead => self.released,
        };
        self.owed > 0 || over || (self.credit > 0 && !self.outbox.is_empty())
    }

    /// Moves `count` bytes of the outbox into one frame of stream `id`.
    pub(super) fn append_data(&mut self, id: u32, count: usize, packet: &mut Vec<u8>) {
        let (front, back) = self.outbox.as_slices();
        let body_of = |body| if self.announced { Frame::Data(body) } else { Frame::Open(body) };
        if front.len() >= count {
            body_of(&front[..count]).append(id, packet);
        } else {
            let start = packet.len();
            body_of(&[]).append(id, packet);
            packet.extend_from_slice(front);
            packet.extend_from_slice(&back[..count - front.len()]);
            packet[start + 5..start + frame::HEADER].copy_from_slice(&(count as u32).to_le_bytes());
        }
        self.outbox.drain(..count);
        self.credit -= count as u32;
        self.announced = true;
        if self.outbox.is_empty() && self.outbox.capacity() > QUANTUM {
            self.outbox = VecDeque::new();
        }
        if self.outbox.len() <= WRITE_AHEAD / 2 {
            self.writer.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Moves bytes from the front of `queue` to `buffer`. An emptied queue gives its memory back, so that idle
/// streams cost none.
pub(super) fn take(queue: &mut VecDeque<u8>, buffer: &mut [u8]) -> usize {
    let (front, back) = queue.as_slices();
    let from_front = front.len().min(buffer.len());
    buffer[..from_front].copy_from_slice(&front[..from_front]);
    let from_back = back.len().min(buffer.len() - from_front);
    buffer[from_front..from_front + from_back].copy_from_slice(&back[..from_back]);
    queue.drain(..from_front + from_back);
    if queue.is_empty() && queue.capacity() > QUANTUM {
        *queue = VecDeque::new();
    }
    from_front + from_back
}
