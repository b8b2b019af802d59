//! The multiplexer's state: streams, their windows and whose turn it is to send. It does no IO; `stream`
//! calls it for the users of streams and `driver` for the wire, both under one short lock.
//!
//! Invariants: an entry lives until its handle is dropped *and* both directions have ended; an entry is in
//! `ready` at most once (`queued`); `granted` is what the peer may still send.

mod entry;

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::Ended;
use crate::frame::{self, Frame};
use entry::{Entry, QUANTUM, Receiving, Sending, USUAL_WINDOW, take};

pub(crate) use entry::FIRST_WINDOW;

/// Bytes that the users of all streams together may write ahead of the wire, and the bounds of one stream's
/// share. Shares are taken when bytes are written, so the sum may exceed this for a while.
const WRITE_BUDGET: usize = 16 << 20;
pub(crate) const WRITE_AHEAD: usize = 64 * 1024;
const LEAST_WRITE_AHEAD: usize = 4 * 1024;

/// Most that one stream's receive window grows to: fills 400 MiB/s at a round trip of 20 ms.
const MAX_WINDOW: u32 = 8 << 20;

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
    /// Bytes by which windows may exceed [`FIRST_WINDOW`] together, and what is left of them.
    budget: usize,
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
            budget: growth,
            growth,
            round_trip: None,
            leaving: false,
            ended: None,
        }
    }

    /// A new stream of ours with its first bytes, which must not be empty: queued under one lock, so that
    /// streams are announced in the order of their numbers. None: too many are open, or the numbers are
    /// used up.
    pub(crate) fn open(&mut self, first: &[u8]) -> Option<u32> {
        let id = self.next_id;
        if self.streams.len() >= self.max_streams || id == u32::MAX {
            return None;
        }
        self.next_id += 1;
        let mut entry = Entry::new(false, self.first_growth());
        entry.outbox.extend(first);
        self.streams.insert(id, entry);
        self.queue(id);
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
        let share = (WRITE_BUDGET / self.streams.len().max(1)).clamp(LEAST_WRITE_AHEAD, WRITE_AHEAD);
        let Some(entry) = self.streams.get_mut(&id) else { return Write::Reset };
        match (entry.sending, &self.ended) {
            (Sending::Finishing | Sending::Finished, _) => return Write::AfterShutdown,
            (Sending::Dead, _) => return Write::Reset,
            (Sending::Open, Some(ended)) => return Write::Over(ended.clone()),
            (Sending::Open, None) if self.leaving => return Write::Over(Ended::Closed),
            (Sending::Open, None) => {}
        }
        let count = bytes.len().min(share.saturating_sub(entry.outbox.len()));
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

    /// Bytes that have come and were not read.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn unread(&self, id: u32) -> usize {
        self.streams.get(&id).map_or(0, |entry| entry.inbox.len())
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
        let room = end - packet.len() - 4 * frame::HEADER;
        let count = entry.outbox.len().min(entry.credit as usize).min(QUANTUM).min(room);
        if count > 0 || (!entry.announced && entry.sending != Sending::Dead) {
            entry.append_data(id, count, packet);
        }
        if entry.owed > 0 && entry.receiving == Receiving::Open {
            Frame::Credit(entry.owed).append(id, packet);
            entry.granted += entry.owed;
        }
        entry.owed = 0;
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
            let more = self.first_growth();
            self.streams.insert(id, Entry::new(true, more));
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
                if !entry.outbox.is_empty() {
                    self.queue(id);
                }
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

    /// By how much a new stream's window exceeds the first one from the start: half of the budget makes
    /// short transfers quick, the other half is for streams that turn out to need it.
    fn first_growth(&mut self) -> u32 {
        let more = USUAL_WINDOW - FIRST_WINDOW;
        if self.growth < self.budget / 2 + more as usize {
            return 0;
        }
        self.growth -= more as usize;
        more
    }

    /// Gives the peer credit for what the user has read, once half a window has gathered. A reader that
    /// took that in less than two round trips was held back by the window: it grows.
    fn grant(&mut self, id: u32, count: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.consumed += count;
        if entry.receiving != Receiving::Open {
            return;
        }
        if entry.consumed >= entry.window / 2 {
            if self.round_trip.is_some_and(|round_trip| entry.credited_at.elapsed() < 2 * round_trip) {
                // The last quarter is kept for streams that are still narrow.
                let kept = if entry.window < USUAL_WINDOW { 0 } else { self.budget / 4 };
                let left = self.growth.saturating_sub(kept).min(MAX_WINDOW as usize) as u32;
                let more = entry.window.min(MAX_WINDOW - entry.window).min(left);
                entry.window += more;
                self.growth -= more as usize;
                entry.consumed += more;
            }
            entry.credited_at = Instant::now();
            entry.owed += entry.consumed;
            entry.consumed = 0;
            self.queue(id);
        } else if entry.granted < FIRST_WINDOW / 2 {
            // What the stream got at its start was not worth a packet of its own; it is needed here.
            self.queue(id);
        }
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

#[cfg(test)]
mod tests;
