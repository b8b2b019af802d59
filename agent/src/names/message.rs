//! What must be known of a DNS message without taking it apart (RFC 1035 4.1). Pure.

/// Bytes of every message's header.
pub(super) const HEADER: usize = 12;

/// Codes of responses (RFC 1035 4.1.1).
pub(super) const NO_ERROR: u8 = 0;
pub(super) const SERVER_FAILURE: u8 = 2;
pub(super) const NAME_ERROR: u8 = 3;
pub(super) const NOT_IMPLEMENTED: u8 = 4;
pub(super) const REFUSED: u8 = 5;

/// Whether `response` answers `question`: same number, and the same question if it repeats any.
pub(super) fn is_answer(response: &[u8], question: &[u8]) -> bool {
    if response.len() < HEADER || question.len() < HEADER || response[..2] != question[..2] || response[2] & 0x80 == 0 {
        return false;
    }
    if response[4..6] == [0, 0] {
        return true;
    }
    let Some(asked) = questions(question) else { return true };
    let repeated = response.get(HEADER..HEADER + asked.len());
    response[4..6] == question[4..6] && repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(asked))
}

/// The section of the questions; none if it is cut or shortened.
fn questions(message: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    for _ in 0..u16::from_be_bytes([message[4], message[5]]) {
        loop {
            match usize::from(*message.get(at)?) {
                0 => break at += 1 + 4,
                length @ 1..64 => at += 1 + length,
                _ => return None,
            }
        }
    }
    message.get(HEADER..at)
}

/// Whether more would follow over TCP.
pub(super) fn is_truncated(response: &[u8]) -> bool {
    response[2] & 0x02 != 0
}

/// The response's code.
pub(super) fn code(response: &[u8]) -> u8 {
    response[3] & 0x0f
}

/// Whether the answer section has records.
pub(super) fn has_answers(response: &[u8]) -> bool {
    response[6..8] != [0, 0]
}

/// Whether the server knows nothing of the name and asks nobody who does: no authority, no recursion, no
/// records at all.
pub(super) fn is_lame(response: &[u8]) -> bool {
    let authoritative = response[2] & 0x04 != 0;
    let recursive = response[3] & 0x80 != 0;
    code(response) == NO_ERROR && !authoritative && !recursive && !has_answers(response) && response[10..12] == [0, 0]
}

/// Takes the server's word for authenticity off, which only `trust-ad` lets programs see (`resolv.conf(5)`).
pub(super) fn distrust(response: &mut [u8]) {
    response[3] &= !0x20;
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x02db\x02ns\0\0\x01\0\x01";

    /// The question with a byte changed, as a response.
    fn response(at: usize, byte: u8) -> Vec<u8> {
        let mut response = QUESTION.to_vec();
        response[2] = 0x81;
        response[at] = byte;
        response
    }

    #[test]
    fn answers_are_told_from_forgeries() {
        let upper = HEADER + 1;
        for (what, response, expected) in [
            ("itself", response(2, 0x81), true),
            ("no response", response(2, 0x01), false),
            ("another number", response(0, 0x13), false),
            ("another name", response(upper, b'x'), false),
            ("another case", response(upper, b'D'), true),
            ("another type", response(QUESTION.len() - 3, 28), false),
            ("two questions", response(5, 2), false),
            ("no question", response(5, 0)[..HEADER].to_vec(), true),
            ("cut", response(2, 0x81)[..20].to_vec(), false),
            ("noise", b"noise".to_vec(), false),
        ] {
            assert_eq!(is_answer(&response, QUESTION), expected, "{what}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        for end in 0..QUESTION.len() {
            let mut cut = QUESTION[..end].to_vec();
            assert!(!is_answer(&cut, &cut));
            cut.resize(QUESTION.len(), 0xff);
            is_answer(&cut, &cut);
        }
    }

    #[test]
    fn a_server_that_knows_nothing_is_lame() {
        assert!(is_lame(&response(2, 0x81)));
        for (at, byte) in [(2, 0x85), (3, 0x80), (3, 0x03), (7, 1), (11, 1)] {
            assert!(!is_lame(&response(at, byte)), "{at} {byte}");
        }
    }
}
