//! The framing below the multiplexer: numbered bytes, acknowledgements, keepalives and a goodbye.
//!
//! Data packets carry the offset of their first byte, so that after a cut of the network a new
//! connection can go on where the old one was acknowledged without another format. An end of stream
//! without [`Header::Goodbye`] is a cut, never the peer's will: a port-forward also ends cleanly when the
//! API server between the two dies.

/// Bytes of every header on the wire: kind (1), offset or number (8), payload length (4), little-endian.
pub const HEADER: usize = 13;

/// Largest payload of one data packet in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// What stands in front of a packet's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `length` bytes of the multiplexer follow; the first has number `offset`.
    Data {
        /// Number of the first payload byte since the channel began.
        offset: u64,
        /// Payload bytes, at most [`MAX_PAYLOAD`].
        length: u32,
    },
    /// All bytes below `offset` have arrived.
    Ack {
        /// Count of payload bytes received.
        offset: u64,
    },
    /// Asks for a [`Header::Pong`] with the same number.
    Ping(u64),
    /// Answers a [`Header::Ping`].
    Pong(u64),
    /// The sender ends the session on purpose; nothing follows.
    Goodbye,
}

/// Why bytes are not a packet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHeader;

impl core::fmt::Display for BadHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("packet header is malformed")
    }
}

impl std::error::Error for BadHeader {}

impl Header {
    /// The header's bytes.
    pub fn encode(self) -> [u8; HEADER] {
        let (kind, number, length) = match self {
            Self::Data { offset, length } => (1, offset, length),
            Self::Ack { offset } => (2, offset, 0),
            Self::Ping(number) => (3, number, 0),
            Self::Pong(number) => (4, number, 0),
            Self::Goodbye => (5, 0, 0),
        };
        let mut bytes = [0; HEADER];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&u64::to_le_bytes(number));
        bytes[9..].copy_from_slice(&u32::to_le_bytes(length));
        bytes
    }

    /// Reads a header.
    pub fn decode(bytes: [u8; HEADER]) -> Result<Self, BadHeader> {
        let [kind, number @ .., l0, l1, l2, l3] = bytes;
        let number = u64::from_le_bytes(number);
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        match (kind, length) {
            (1, 1..) if length as usize <= MAX_PAYLOAD => Ok(Self::Data { offset: number, length }),
            (2, 0) => Ok(Self::Ack { offset: number }),
            (3, 0) => Ok(Self::Ping(number)),
            (4, 0) => Ok(Self::Pong(number)),
            (5, 0) if number == 0 => Ok(Self::Goodbye),
            _ => Err(BadHeader),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        for header in [
            Header::Data { offset: u64::MAX, length: MAX_PAYLOAD as u32 },
            Header::Ack { offset: 1 << 40 },
            Header::Ping(3),
            Header::Pong(4),
            Header::Goodbye,
        ] {
            assert_eq!(Header::decode(header.encode()), Ok(header));
        }
    }

    #[test]
    fn unknown_kinds_and_impossible_lengths_are_refused() {
        let mut too_long = Header::Data { offset: 0, length: 1 }.encode();
        too_long[9..].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_le_bytes());
        let mut empty_data = Header::Data { offset: 0, length: 1 }.encode();
        empty_data[9] = 0;
        let mut ack_with_payload = Header::Ack { offset: 0 }.encode();
        ack_with_payload[9] = 1;
        for bytes in [[0; HEADER], [9; HEADER], too_long, empty_data, ack_with_payload] {
            assert_eq!(Header::decode(bytes), Err(BadHeader));
        }
    }
}
