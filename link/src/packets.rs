//! What each side knows of the packet layer: how many bytes went which way, which acknowledgement, ping or
//! pong is due. Pure: `driver` tells it the time and does the IO.

use std::time::Duration;

use protocol::packet::{HEADER, Header};
use tokio::time::Instant;

use crate::mux::Violation;

/// Received bytes after which an acknowledgement travels by itself.
const ACK_BYTES: u64 = 256 * 1024;

/// Longest that received bytes stay unacknowledged.
const ACK_DELAY: Duration = Duration::from_secs(1);

/// Counters and debts of one connection.
#[derive(Debug)]
pub(crate) struct Packets {
    ping_interval: Duration,
    sent: u64,
    received: u64,
    /// What the peer was told of `received`.
    acknowledged: u64,
    /// When the first byte arrived that the peer was not told of.
    unacknowledged_since: Option<Instant>,
    next_ping: Instant,
    pings: u64,
    /// The last ping, while its answer is awaited.
    asked: Option<(u64, Instant)>,
    pong_due: Option<u64>,
    pub(crate) heard: Instant,
}

impl Packets {
    /// The first ping is due at once: windows grow only once a round trip is known.
    pub(crate) fn new(now: Instant, ping_interval: Duration) -> Self {
        Self {
            ping_interval,
            sent: 0,
            received: 0,
            acknowledged: 0,
            unacknowledged_since: None,
            next_ping: now,
            pings: 0,
            asked: None,
            pong_due: None,
            heard: now,
        }
    }

    /// Appends the due packets without payload.
    pub(crate) fn fill(&mut self, now: Instant, out: &mut Vec<u8>) {
        if let Some(number) = self.pong_due.take() {
            out.extend_from_slice(&Header::Pong(number).encode());
        }
        if now >= self.next_ping {
            self.pings += 1;
            self.next_ping = now + self.ping_interval;
            self.asked = Some((self.pings, now));
            out.extend_from_slice(&Header::Ping(self.pings).encode());
        }
        let overdue = self.unacknowledged_since.is_some_and(|since| now >= since + ACK_DELAY);
        if overdue || self.received - self.acknowledged >= ACK_BYTES {
            self.acknowledged = self.received;
            self.unacknowledged_since = None;
            out.extend_from_slice(&Header::Ack { offset: self.received }.encode());
        }
    }

    /// Whether [`Self::fill`] would append anything.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.pong_due.is_some() || now >= self.wake_at() || self.received - self.acknowledged >= ACK_BYTES
    }

    /// When something becomes due by time alone.
    pub(crate) fn wake_at(&self) -> Instant {
        let ack = self.unacknowledged_since.map(|since| since + ACK_DELAY);
        ack.map_or(self.next_ping, |ack| ack.min(self.next_ping))
    }

    /// Numbers `length` bytes of payload that are about to be sent.
    pub(crate) fn data_header(&mut self, length: usize) -> [u8; HEADER] {
        let offset = self.sent;
        self.sent += length as u64;
        Header::Data { offset, length: length as u32 }.encode()
    }

    /// Takes in a header that arrived. A measured round trip comes back.
    pub(crate) fn receive(&mut self, header: Header, now: Instant) -> Result<Option<Duration>, Violation> {
        self.heard = now;
        match header {
            Header::Data { offset, length } => {
                if offset != self.received {
                    return Err(Violation("packet out of order"));
                }
                self.received += u64::from(length);
                self.unacknowledged_since.get_or_insert(now);
            }
            Header::Ack { offset } if offset > self.sent => {
                return Err(Violation("acknowledged unsent bytes"));
            }
            Header::Ping(number) => self.pong_due = Some(number),
            Header::Pong(number) => {
                if let Some((asked, at)) = self.asked
                    && asked == number
                {
                    self.asked = None;
                    return Ok(Some(now - at));
                }
            }
            Header::Ack { .. } | Header::Goodbye => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn headers(packets: &mut Packets, now: Instant) -> Vec<Header> {
        let mut out = Vec::new();
        assert_eq!(packets.is_due(now), {
            packets.fill(now, &mut out);
            !out.is_empty()
        });
        out.chunks(HEADER).map(|bytes| Header::decode(bytes.try_into().expect("whole")).expect("valid")).collect()
    }

    #[test]
    fn pings_come_at_once_and_at_the_interval_and_measure() {
        let start = Instant::now();
        let mut packets = Packets::new(start, 10 * SECOND);
        assert_eq!(headers(&mut packets, start), [Header::Ping(1)]);
        assert_eq!(packets.receive(Header::Pong(7), start), Ok(None), "an answer to nothing");
        assert_eq!(packets.receive(Header::Pong(1), start + SECOND), Ok(Some(SECOND)));
        assert_eq!(headers(&mut packets, start + 9 * SECOND), []);
        assert_eq!(headers(&mut packets, start + 10 * SECOND), [Header::Ping(2)]);
    }

    #[test]
    fn acknowledgements_come_after_a_second_or_a_quarter_mebibyte() {
        let start = Instant::now();
        let mut packets = Packets::new(start, 100 * SECOND);
        headers(&mut packets, start);
        packets.receive(Header::Data { offset: 0, length: 5 }, start).expect("in order");
        assert_eq!(headers(&mut packets, start), []);
        assert_eq!(packets.wake_at(), start + SECOND);
        assert_eq!(headers(&mut packets, start + SECOND), [Header::Ack { offset: 5 }]);
        let mut offset = 5;
        for _ in 0..4 {
            packets.receive(Header::Data { offset, length: 65536 }, start).expect("in order");
            offset += 65536;
        }
        assert_eq!(headers(&mut packets, start), [Header::Ack { offset }]);
    }

    #[test]
    fn gaps_and_impossible_acknowledgements_are_violations() {
        let mut packets = Packets::new(Instant::now(), SECOND);
        assert!(packets.receive(Header::Data { offset: 1, length: 1 }, Instant::now()).is_err());
        assert!(packets.receive(Header::Ack { offset: 1 }, Instant::now()).is_err());
        packets.data_header(1);
        assert!(packets.receive(Header::Ack { offset: 1 }, Instant::now()).is_ok());
    }
}
