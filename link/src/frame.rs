//! The multiplexer's frames inside a packet's payload. Pure: bytes in, values out.
//!
//! A packet holds whole frames. Only the client opens streams and numbers them upwards from 1; a number is
//! never used twice, so that a late frame of a stream that is gone is recognised and ignored.

/// Bytes of every frame header: kind (1), stream (4), length or credit (4), little-endian.
pub(crate) const HEADER: usize = 9;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'p> {
    /// A new stream with its first bytes.
    Open(&'p [u8]),
    /// More bytes.
    Data(&'p [u8]),
    /// The sender writes no more; it goes on reading.
    Fin,
    /// The sender neither writes nor reads any more.
    Reset,
    /// The sender has room for so many more bytes.
    Credit(u32),
}

impl Frame<'_> {
    /// Appends the frame of stream `id`.
    pub(crate) fn append(self, id: u32, packet: &mut Vec<u8>) {
        let (kind, number, body) = match self {
            Frame::Open(body) => (1, body.len() as u32, body),
            Frame::Data(body) => (2, body.len() as u32, body),
            Frame::Fin => (3, 0, &[][..]),
            Frame::Reset => (4, 0, &[][..]),
            Frame::Credit(bytes) => (5, bytes, &[][..]),
        };
        packet.push(kind);
        packet.extend_from_slice(&id.to_le_bytes());
        packet.extend_from_slice(&number.to_le_bytes());
        packet.extend_from_slice(body);
    }
}

/// Takes the first frame off `payload`: its stream, itself, the rest. None means malformed.
pub(crate) fn split_first(payload: &[u8]) -> Option<(u32, Frame<'_>, &[u8])> {
    let (header, rest) = payload.split_first_chunk::<HEADER>()?;
    let [kind, i0, i1, i2, i3, n0, n1, n2, n3] = *header;
    let id = u32::from_le_bytes([i0, i1, i2, i3]);
    let number = u32::from_le_bytes([n0, n1, n2, n3]);
    match (kind, number) {
        (1 | 2, _) => {
            let (body, rest) = rest.split_at_checked(number as usize)?;
            Some((id, if kind == 1 { Frame::Open(body) } else { Frame::Data(body) }, rest))
        }
        (3, 0) => Some((id, Frame::Fin, rest)),
        (4, 0) => Some((id, Frame::Reset, rest)),
        (5, 1..) => Some((id, Frame::Credit(number), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip() {
        let frames =
            [Frame::Open(b"request"), Frame::Data(b""), Frame::Data(b"x"), Frame::Fin, Frame::Reset, Frame::Credit(9)];
        let mut packet = Vec::new();
        for (id, frame) in frames.into_iter().enumerate() {
            frame.append(id as u32, &mut packet);
        }
        let mut rest = &packet[..];
        for (id, frame) in frames.into_iter().enumerate() {
            let (got_id, got, left) = split_first(rest).expect("a frame");
            assert_eq!((got_id, got), (id as u32, frame));
            rest = left;
        }
        assert_eq!(rest, b"");
    }

    #[test]
    fn unknown_kinds_and_cut_frames_are_malformed() {
        let mut packet = Vec::new();
        Frame::Data(b"four").append(7, &mut packet);
        for end in 0..packet.len() {
            assert_eq!(split_first(&packet[..end]), None, "{end}");
        }
        for kind in [0, 6, 255] {
            packet[0] = kind;
            assert_eq!(split_first(&packet), None, "{kind}");
        }
        assert_eq!(split_first(&[5, 0, 0, 0, 0, 0, 0, 0, 0]), None, "a credit of nothing");
    }
}
