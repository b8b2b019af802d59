//! The multiplexer's state: streams, their windows and whose turn it is to send. It does no IO; `stream`
//! calls it for the users of streams and `driver` for the wire, both under one short lock.
//!
//! Invariants: an entry lives until its handle is dropped *and* both directions have ended; an entry is in
//! `ready` at most once (`queued`); `granted` is what the peer may still send.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::Ended;
use crate::frame::{self, Frame};

/// Receive window of a new stream in bytes; both sides know it.
pub(crate) const FIRST_WINDOW: u32 = 64 * 1024;

/// Most that one stream's receive window grows to: fills 400 MiB/s at a round trip of 20 ms.
const MAX_WINDOW: u32 = 8 << 20;

/// Bytes that a stream's user may write ahead of the wire.
pub(crate) const WRITE_AHEAD: usize = 64 * 1024;

/// Bytes that a stream sends before the next one has its turn.
const QUANTUM: usize = 16 * 1024;

/// Room that a packet must have left for another turn: a credit, data worth its header, an end, a reset.
const TURN: usize = 4 * frame::HEADER + 1024;

/// The peer sent what the protocol forbids; the link cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) &'static str);

/// Which side opens streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Opens,
    Accepts,
}

/// What this side's direction of a stream has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// Shut down; the end follows what is still to be sent.
    Finishing,
    Finished,
    /// Reset by either side.
    Dead,
}

/// What the peer's direction of a stream has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    Finished,
    Reset,
}

#[derive(Debug)]
struct Entry {
    sending: Sending,
    receiving: Receiving,
    /// The peer knows of this stream.
    announced: bool,
    /// The user's handle is gone.
    released: bool,
    queued: bool,
    outbox: VecDeque<u8>,
    /// Bytes that the peer has room for.
    credit: u32,
    inbox: VecDeque<u8>,
    window: u32,
    granted: u32,
    /// Bytes read by the user that the peer was not yet given credit for.
    consumed: u32,
    /// Credit that travels with this stream's next turn.
    owed: u32,
    credited_at: Instant,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Entry {
    fn new(announced: bool) -> Self {
        Self {
            sending: Sending::Open,
            receiving: Receiving::Open,
            announced,
            released: false,
            queued: false,
            outbox: VecDeque::new(),
            credit: FIRST_WINDOW,
            inbox: VecDeque::new(),
            window: FIRST_WINDOW,
            granted: FIRST_WINDOW,
            consumed: 0,
            owed: 0,
            credited_at: Instant::now(),
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Whether the stream has anything to do in its turn.
    fn wants_turn(&self) -> bool {
        let over = match self.sending {
            Sending::Open => self.released,
            Sending::Finishing => self.outbox.is_empty(),
            Sending::Finished | Sending::Dead => self.released,
        };
        self.owed > 0 || over || (self.credit > 0 && !self.outbox.is_empty())
    }
}

/// What a user's read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes were copied.
    Bytes(usize),
    /// The peer shut its direction down.
    End,
    /// The peer reset the stream.
    Reset,
    /// The link is over.
    Over(Ended),
    /// Nothing yet; the waker is kept.
    Wait,
}

/// What a user's write came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// So many bytes were taken.
    Bytes(usize),
    /// This side shut its direction down before.
    AfterShutdown,
    /// The peer reset the stream.
    Reset,
    /// The link is over.
    Over(Ended),
    /// No room; the waker is kept.
    Wait,
}

/// All streams of a link.
#[derive(Debug)]
pub(crate) struct Mux {
    side: Side,
    streams: HashMap<u32, Entry>,
    ready: VecDeque<u32>,
    /// Opened by the peer and not yet handed out.
    arrived: Vec<u32>,
    /// Opened by the peer beyond what is permitted.
    refused: Vec<u32>,
    next_id: u32,
    max_streams: usize,
    /// Bytes left by which windows may grow.
    growth: usize,
    /// Last measured round trip; windows grow only once it is known.
    pub(crate) round_trip: Option<Duration>,
    /// This side is about to say goodbye and takes no more bytes.
    leaving: bool,
    ended: Option<Ended>,
}

impl Mux {
    pub(crate) fn new(side: Side, max_streams: usize, growth: usize) -> Self {
        Self {
            side,
            streams: HashMap::new(),
            ready: VecDeque::new(),
            arrived: Vec::new(),
            refused: Vec::new(),
            next_id: 1,
            max_streams,
            growth,
            round_trip: None,
            leaving: false,
            ended: None,
        }
    }

    /// A new stream of ours. None: too many are open, or the numbers are used up.
    pub(crate) fn open(&mut self) -> Option<u32> {
        let id = self.next_id;
        if self.streams.len() >= self.max_streams || id == u32::MAX {
            return None;
        }
        self.next_id += 1;
        self.streams.insert(id, Entry::new(false));
        Some(id)
    }

    /// Copies received bytes to the user.
    pub(crate) fn read(&mut self, id: u32, buffer: &mut [u8], waker: &Waker) -> Read {
        let Some(entry) = self.streams.get_mut(&id) else { return Read::Reset };
        if !entry.inbox.is_empty() {
            let count = take(&mut entry.inbox, buffer);
            self.grant(id, count as u32);
            return Read::Bytes(count);
        }
        match (entry.receiving, &self.ended) {
            (Receiving::Finished, _) => Read::End,
            (Receiving::Reset, _) => Read::Reset,
            (Receiving::Open, Some(ended)) => Read::Over(ended.clone()),
            (Receiving::Open, None) => {
                entry.reader = Some(waker.clone());
                Read::Wait
            }
        }
    }

    /// Takes bytes from the user.
    pub(crate) fn write(&mut self, id: u32, bytes: &[u8], waker: &Waker) -> Write {
        let Some(entry) = self.streams.get_mut(&id) else { return Write::Reset };
        match (entry.sending, &self.ended) {
            (Sending::Finishing | Sending::Finished, _) => return Write::AfterShutdown,
            (Sending::Dead, _) => return Write::Reset,
            (Sending::Open, Some(ended)) => return Write::Over(ended.clone()),
            (Sending::Open, None) if self.leaving => return Write::Over(Ended::Closed),
            (Sending::Open, None) => {}
        }
        let count = bytes.len().min(WRITE_AHEAD - entry.outbox.len());
        if count == 0 && !bytes.is_empty() {
            entry.writer = Some(waker.clone());
            return Write::Wait;
        }
        entry.outbox.extend(&bytes[..count]);
        self.queue(id);
        Write::Bytes(count)
    }

    /// The user writes no more.
    pub(crate) fn shutdown(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id)
            && entry.sending == Sending::Open
        {
            entry.sending = Sending::Finishing;
            self.queue(id);
        }
    }

    /// The user's handle is gone. What was shut down before still arrives; anything else is a reset.
    pub(crate) fn release(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.released = true;
        let unread = std::mem::take(&mut entry.inbox).len();
        if entry.sending == Sending::Open {
            entry.outbox = VecDeque::new();
        }
        if self.ended.is_some() || (!entry.announced && entry.sending == Sending::Open) {
            self.remove(id);
        } else {
            self.grant(id, unread as u32);
            self.queue(id);
        }
    }

    /// Whether the stream is reset or the link over; otherwise the waker is kept.
    pub(crate) fn is_aborted(&mut self, id: u32, waker: &Waker) -> bool {
        let Some(entry) = self.streams.get_mut(&id) else { return true };
        if self.ended.is_some() || entry.sending == Sending::Dead || entry.receiving == Receiving::Reset {
            return true;
        }
        entry.reader = Some(waker.clone());
        false
    }

    /// Streams that the peer has opened since the last call.
    pub(crate) fn take_arrived(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.arrived)
    }

    /// Whether the peer has opened streams since the last [`Self::take_arrived`].
    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Whether there is anything to send.
    pub(crate) fn has_output(&self) -> bool {
        !self.ready.is_empty() || !self.refused.is_empty()
    }

    /// Appends whole frames to `packet` while it is shorter than `end`, in turns.
    pub(crate) fn fill(&mut self, packet: &mut Vec<u8>, end: usize) {
        while packet.len() + frame::HEADER <= end
            && let Some(id) = self.refused.pop()
        {
            Frame::Reset.append(id, packet);
        }
        while packet.len() + TURN <= end
            && let Some(id) = self.ready.pop_front()
        {
            self.turn(id, packet, end);
        }
    }

    fn turn(&mut self, id: u32, packet: &mut Vec<u8>, end: usize) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.queued = false;
        if entry.released && entry.sending == Sending::Open {
            Frame::Reset.append(id, packet);
            return self.remove(id);
        }
        if entry.owed > 0 && entry.receiving == Receiving::Open {
            Frame::Credit(entry.owed).append(id, packet);
        }
        entry.owed = 0;
        let room = end - packet.len() - 3 * frame::HEADER;
        let count = entry.outbox.len().min(entry.credit as usize).min(QUANTUM).min(room);
        if count > 0 || (!entry.announced && entry.sending != Sending::Dead) {
            append_data(entry, id, count, packet);
        }
        if entry.sending == Sending::Finishing && entry.outbox.is_empty() {
            Frame::Fin.append(id, packet);
            entry.sending = Sending::Finished;
        }
        match (entry.released, entry.sending, entry.receiving) {
            (true, Sending::Finished, Receiving::Open) => {
                // Nobody reads here any more; without this the peer would wait for credit for ever.
                Frame::Reset.append(id, packet);
                self.remove(id);
            }
            (true, Sending::Finished | Sending::Dead, _) => self.remove(id),
            _ => self.queue(id),
        }
    }

    /// Takes in the payload of one packet.
    pub(crate) fn receive(&mut self, mut payload: &[u8]) -> Result<(), Violation> {
        while !payload.is_empty() {
            let (id, frame, rest) = frame::split_first(payload).ok_or(Violation("malformed frame"))?;
            payload = rest;
            if let Frame::Open(bytes) = frame {
                self.accept(id)?;
                self.deliver(id, Frame::Data(bytes))?;
            } else {
                self.deliver(id, frame)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, id: u32) -> Result<(), Violation> {
        if self.side == Side::Opens || id < self.next_id {
            return Err(Violation("stream opened that cannot be"));
        }
        self.next_id = id.saturating_add(1);
        if self.streams.len() >= self.max_streams {
            self.refused.push(id);
        } else {
            self.streams.insert(id, Entry::new(true));
            self.arrived.push(id);
        }
        Ok(())
    }

    fn deliver(&mut self, id: u32, frame: Frame<'_>) -> Result<(), Violation> {
        // A frame of a stream that is gone on this side and was on its way.
        let Some(entry) = self.streams.get_mut(&id) else { return Ok(()) };
        match frame {
            Frame::Open(bytes) | Frame::Data(bytes) => {
                if entry.receiving != Receiving::Open {
                    return Err(Violation("data after the end of a stream"));
                }
                entry.granted = u32::try_from(bytes.len())
                    .ok()
                    .and_then(|length| entry.granted.checked_sub(length))
                    .ok_or(Violation("more data than the stream's window"))?;
                if entry.released {
                    // Thrown away, but with credit: the peer may have to finish writing before it reads
                    // what is still on its way to it.
                    self.grant(id, bytes.len() as u32);
                } else {
                    entry.inbox.extend(bytes);
                    entry.reader.take().into_iter().for_each(Waker::wake);
                }
            }
            Frame::Fin => {
                if entry.receiving == Receiving::Open {
                    entry.receiving = Receiving::Finished;
                }
                entry.reader.take().into_iter().for_each(Waker::wake);
            }
            Frame::Reset => {
                if entry.receiving == Receiving::Open {
                    entry.receiving = Receiving::Reset;
                }
                entry.sending = Sending::Dead;
                entry.outbox = VecDeque::new();
                entry.wake();
                if entry.released {
                    self.remove(id);
                }
            }
            Frame::Credit(bytes) => {
                entry.credit = entry.credit.checked_add(bytes).ok_or(Violation("impossible credit"))?;
                self.queue(id);
            }
        }
        Ok(())
    }

    /// Takes no more bytes from users, so that what they wrote comes to an end.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        self.streams.values_mut().filter_map(|entry| entry.writer.take()).for_each(Waker::wake);
    }

    /// Ends every stream that has not ended by itself.
    pub(crate) fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
        self.ready.clear();
        self.refused.clear();
        self.streams.retain(|_, entry| !entry.released);
        self.streams.values_mut().for_each(Entry::wake);
    }

    /// Why the link is over, if it is.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Gives the peer credit for what the user has read, once half a window has gathered. A reader that
    /// took that in less than two round trips was held back by the window: it grows.
    fn grant(&mut self, id: u32, count: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.consumed += count;
        if entry.consumed < entry.window / 2 || entry.receiving != Receiving::Open {
            return;
        }
        if self.round_trip.is_some_and(|round_trip| entry.credited_at.elapsed() < 2 * round_trip) {
            let more =
                entry.window.min(MAX_WINDOW - entry.window).min(self.growth.min(MAX_WINDOW as usize) as u32);
            entry.window += more;
            self.growth -= more as usize;
            entry.consumed += more;
        }
        entry.credited_at = Instant::now();
        entry.owed += entry.consumed;
        entry.granted += entry.consumed;
        entry.consumed = 0;
        self.queue(id);
    }

    /// Gives a stream a turn, if it wants one.
    fn queue(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id)
            && !entry.queued
            && entry.wants_turn()
            && self.ended.is_none()
        {
            entry.queued = true;
            self.ready.push_back(id);
        }
    }

    fn remove(&mut self, id: u32) {
        if let Some(entry) = self.streams.remove(&id) {
            self.growth += (entry.window - FIRST_WINDOW) as usize;
        }
    }
}

/// Moves `count` bytes of the outbox into one frame.
fn append_data(entry: &mut Entry, id: u32, count: usize, packet: &mut Vec<u8>) {
    let (front, back) = entry.outbox.as_slices();
    let body_of = |body| if entry.announced { Frame::Data(body) } else { Frame::Open(body) };
    if front.len() >= count {
        body_of(&front[..count]).append(id, packet);
    } else {
        let start = packet.len();
        body_of(&[]).append(id, packet);
        packet.extend_from_slice(front);
        packet.extend_from_slice(&back[..count - front.len()]);
        packet[start + 5..start + frame::HEADER].copy_from_slice(&(count as u32).to_le_bytes());
    }
    entry.outbox.drain(..count);
    entry.credit -= count as u32;
    entry.announced = true;
    if entry.outbox.is_empty() && entry.outbox.capacity() > QUANTUM {
        entry.outbox = VecDeque::new();
    }
    if entry.outbox.len() <= WRITE_AHEAD / 2 {
        entry.writer.take().into_iter().for_each(Waker::wake);
    }
}

/// Moves bytes from the front of `queue` to `buffer`. An emptied queue gives its memory back, so that idle
/// streams cost none.
fn take(queue: &mut VecDeque<u8>, buffer: &mut [u8]) -> usize {
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

#[cfg(test)]
mod tests;
