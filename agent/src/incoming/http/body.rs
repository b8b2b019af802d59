//! Where the body of a message ends (RFC 9112 6 and 7), without changing a byte of it.

/// Longest line of a chunk's size with its extensions, and longest trailer section.
const MAX_CONTROL: usize = 16 * 1024;

/// Two readers might find the end of a message in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclear;

/// What is still to come of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunks),
    /// Until the sender ends the connection.
    UntilEnd,
}

impl Body {
    /// A body in chunks.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks::default())
    }

    /// Whether all of it has been seen.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.at == At::Over,
            Self::UntilEnd => false,
        }
    }

    /// How many of the next bytes belong to it whatever they are.
    pub(super) fn run(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(Chunks { at: At::Data(left), .. }) => *left,
            Self::Chunked(_) => 0,
            Self::UntilEnd => u64::MAX,
        }
    }

    /// So many bytes of the run have passed unseen.
    pub(super) fn pass(&mut self, count: u64) {
        match self {
            Self::Length(left) => *left -= count,
            Self::Chunked(chunks) => chunks.pass(count),
            Self::UntilEnd => {}
        }
    }

    /// How many of the next bytes belong to it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Unclear> {
        match self {
            Self::Length(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                Ok(count)
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::UntilEnd => Ok(bytes.len()),
        }
    }
}

/// The place in a chunked body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of the line or section that is being read.
    control: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In the size of a chunk; none before its first digit.
    Size(Option<u64>),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataReturn,
    DataEnd,
    /// Before the first byte of a line of the trailers, or of the empty line at the end.
    Line,
    Trailer,
    TrailerEnd,
    End,
    Over,
}

impl Default for At {
    fn default() -> Self {
        Self::Size(None)
    }
}

impl Chunks {
    /// So many bytes of the chunk.
    fn pass(&mut self, count: u64) {
        if let At::Data(left) = &mut self.at {
            *left -= count;
            if *left == 0 {
                self.at = At::DataReturn;
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize, Unclear> {
        let mut taken = 0;
        while let [byte, ..] = bytes[taken..] {
            match &mut self.at {
                At::Over => break,
                At::Data(left) => {
                    let count = (bytes.len() - taken).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    self.pass(count as u64);
                    taken += count;
                }
                at => {
                    *at = at.after(byte)?;
                    self.control = if matches!(at, At::Data(_)) { 0 } else { self.control + 1 };
                    if self.control > MAX_CONTROL {
                        return Err(Unclear);
                    }
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }
}

impl At {
    fn after(&self, byte: u8) -> Result<Self, Unclear> {
        Ok(match (self, byte) {
            (Self::Size(size), byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let size = size.unwrap_or_default().checked_mul(16).ok_or(Unclear)?;
                Self::Size(Some(size | u64::from(digit)))
            }
            (Self::Size(Some(size)), b';') => Self::Extension(*size),
            (Self::Size(Some(size)) | Self::Extension(size), b'\r') => Self::SizeEnd(*size),
            (Self::Extension(size), byte) if is_text(byte) => Self::Extension(*size),
            (Self::SizeEnd(0), b'\n') => Self::Line,
            (Self::SizeEnd(size), b'\n') => Self::Data(*size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size(None),
            (Self::Line, b'\r') => Self::End,
            // A line that goes on.
            (Self::Line, b' ' | b'\t' | b':') => return Err(Unclear),
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::Line | Self::Trailer, byte) if is_text(byte) => Self::Trailer,
            (Self::TrailerEnd, b'\n') => Self::Line,
            (Self::End, b'\n') => Self::Over,
            _ => return Err(Unclear),
        })
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes belong to the body when it comes in two parts; none if it is unclear.
    fn taken(mut body: Body, parts: [&[u8]; 2]) -> Option<(usize, bool)> {
        let mut all = 0;
        for part in parts {
            let count = body.take(part).ok()?;
            all += count;
            if count < part.len() {
                break;
            }
        }
        Some((all, body.is_over()))
    }

    #[test]
    fn a_body_ends_where_it_ends_however_it_is_cut() {
        let chunked = Body::chunked;
        for (body, bytes, expected) in [
            (Body::Length(0), &b"GET"[..], Some((0, true))),
            (Body::Length(3), b"abcGET", Some((3, true))),
            (Body::Length(9), b"abc", Some((3, false))),
            (Body::UntilEnd, b"abc", Some((3, false))),
            (chunked(), b"0\r\n\r\nGET", Some((5, true))),
            (chunked(), b"3\r\nabc\r\n0\r\n\r\nGET", Some((13, true))),
            (chunked(), b"0a\r\n0123456789\r\n0\r\n\r\n", Some((21, true))),
            (chunked(), b"1;a=\"b\"\r\n0\r\n0;c\r\nX: y\r\nZ:\r\n\r\nGET", Some((29, true))),
            (chunked(), b"A\r\n0\r\n\r\n", Some((8, false))),
            (chunked(), b"", Some((0, false))),
            (chunked(), b"3\nabc", None),
            (chunked(), b"3\rabc", None),
            (chunked(), b" 3\r\nabc", None),
            (chunked(), b"3 \r\nabc", None),
            (chunked(), b"0x3\r\nabc", None),
            (chunked(), b"+3\r\nabc", None),
            (chunked(), b"-1\r\nabc", None),
            (chunked(), b"\r\nabc", None),
            (chunked(), b";x\r\nabc", None),
            (chunked(), b"3\r\nabcd\r\n", None),
            (chunked(), b"3\r\nabc\n0\r\n\r\n", None),
            (chunked(), b"1;a\n\r\n", None),
            (chunked(), b"0\r\n x: y\r\n\r\n", None),
            (chunked(), b"0\r\nx: y\n\r\n", None),
            (chunked(), b"0\r\n\n", None),
            (chunked(), b"fffffffffffffffff\r\n", None),
        ] {
            for at in 0..=bytes.len() {
                let parts = bytes.split_at(at);
                let shown = String::from_utf8_lossy(bytes);
                assert_eq!(taken(body.clone(), [parts.0, parts.1]), expected, "{shown:?} cut at {at}");
            }
        }
    }

    #[test]
    fn lines_without_an_end_are_unclear() {
        let long = [b"1;".as_slice(), &[b'x'; MAX_CONTROL]].concat();
        assert_eq!(Body::chunked().take(&long), Err(Unclear));
        let many = [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(MAX_CONTROL / 6 + 1)].concat();
        assert_eq!(Body::chunked().take(&many), Err(Unclear));
        let chunks = b"1\r\nx\r\n".repeat(MAX_CONTROL);
        assert_eq!(Body::chunked().take(&chunks), Ok(chunks.len()));
    }
}
