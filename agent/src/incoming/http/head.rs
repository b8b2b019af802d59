//! Heads of HTTP/1 messages: where they end, what a request asks for, and how long the body is.
//!
//! Strict, since the application and the program have parsers of their own: what two parsers might read in two ways
//! is [`Unclear`], and nothing is chosen by it.

use super::body::{Body, Unclear};
use super::filter::Request;

/// Longest head.
const MAX_HEAD: usize = 64 * 1024;

/// Most headers of a message.
const MAX_HEADERS: usize = 256;

/// Longest method.
const MAX_METHOD: usize = 32;

/// What HTTP/2 begins with when the client knows that the server speaks it (RFC 9113 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestHead {
    /// Bytes up to the body.
    pub(super) length: usize,
    pub(super) request: Request,
    pub(super) body: Body,
    /// The client may send another request.
    pub(super) persists: bool,
    /// The client waits for leave to send the body.
    pub(super) expects: bool,
    /// What follows may be something else than HTTP/1, if the server agrees.
    pub(super) upgrades: bool,
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) length: usize,
    pub(super) status: u16,
    pub(super) body: Body,
    /// The server may answer another request.
    pub(super) persists: bool,
}

/// What has come so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// A head may come of it.
    Part,
    Head(T),
    /// A connection of HTTP/2.
    Two,
}

/// Looks for the end of a head in what comes bit by bit.
#[derive(Debug, Default)]
pub(super) struct Looker {
    /// Bytes that have been looked at.
    looked: usize,
    /// The first line has ended.
    has_line: bool,
}

impl Looker {
    /// The request at the beginning of `bytes`, which begin as they did the last time.
    pub(super) fn request(&mut self, bytes: &[u8]) -> Result<Found<RequestHead>, Unclear> {
        if bytes.starts_with(PREFACE) {
            return Ok(Found::Two);
        }
        if PREFACE.starts_with(bytes) {
            return Ok(Found::Part);
        }
        if !self.has_line {
            begins_with_method(bytes)?;
        }
        self.end(bytes)?.map_or(Ok(Found::Part), |length| request(&bytes[..length]).map(Found::Head))
    }

    /// The response to a request of `method` at the beginning of `bytes`.
    pub(super) fn response(&mut self, bytes: &[u8], method: &str) -> Result<Found<ResponseHead>, Unclear> {
        let begin = b"HTTP/1.";
        let common = bytes.len().min(begin.len());
        if bytes[..common] != begin[..common] {
            return Err(Unclear);
        }
        self.end(bytes)?.map_or(Ok(Found::Part), |length| response(&bytes[..length], method).map(Found::Head))
    }

    /// Whether the first line is whole.
    pub(super) fn has_line(&self) -> bool {
        self.has_line
    }

    /// Where the empty line ends. Each line has the only right end.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Unclear> {
        while let Some(at) = bytes[self.looked..].iter().position(|byte| *byte == b'\n') {
            let at = self.looked + at;
            let line = bytes[..at].strip_suffix(b"\r").ok_or(Unclear)?;
            self.looked = at + 1;
            if !self.has_line {
                self.has_line = true;
                has_version(line)?;
            }
            if line.ends_with(b"\r\n") {
                return if at < MAX_HEAD { Ok(Some(at + 1)) } else { Err(Unclear) };
            }
        }
        self.looked = bytes.len();
        if bytes.len() < MAX_HEAD { Ok(None) } else { Err(Unclear) }
    }
}

/// Whether a first line may come of it: other protocols are known by their first bytes.
fn begins_with_method(bytes: &[u8]) -> Result<(), Unclear> {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    let is_good = match bytes.get(method) {
        None => method <= MAX_METHOD,
        Some(next) => (1..=MAX_METHOD).contains(&method) && *next == b' ',
    };
    if is_good { Ok(()) } else { Err(Unclear) }
}

/// The first line of requests ends with the version, that of responses begins with it.
fn has_version(line: &[u8]) -> Result<(), Unclear> {
    let versions: [&[u8]; 2] = [b"HTTP/1.1", b"HTTP/1.0"];
    let has = |version: &&[u8]| line.ends_with(version) || line.starts_with(version);
    if versions.iter().any(has) { Ok(()) } else { Err(Unclear) }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn request(bytes: &[u8]) -> Result<RequestHead, Unclear> {
    let mut headers = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else { return Err(Unclear) };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Unclear);
    };
    let framing = Framing::new(parsed.headers, version)?;
    let body = match framing.body {
        Some(Body::UntilEnd) => return Err(Unclear),
        Some(_) if method == "CONNECT" => return Err(Unclear),
        Some(body) => body,
        None => Body::Length(0),
    };
    let lines =
        parsed.headers.iter().map(|header| format!("{}: {}", header.name, String::from_utf8_lossy(header.value)));
    Ok(RequestHead {
        length,
        request: Request::new(method, target, lines.collect()),
        expects: body != Body::Length(0) && has(parsed.headers, "expect"),
        body,
        persists: framing.persists,
        upgrades: method == "CONNECT" || has(parsed.headers, "upgrade"),
    })
}

fn response(bytes: &[u8], method: &str) -> Result<ResponseHead, Unclear> {
    let mut headers = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else { return Err(Unclear) };
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else { return Err(Unclear) };
    let framing = Framing::new(parsed.headers, version)?;
    let body = match framing.body {
        _ if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) => Body::Length(0),
        Some(body) => body,
        None => Body::UntilEnd,
    };
    Ok(ResponseHead { length, status, persists: framing.persists && body != Body::UntilEnd, body })
}

fn has(headers: &[httparse::Header<'_>], name: &str) -> bool {
    headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
}

/// What the headers say about the end of the message and of the connection.
struct Framing {
    /// None is said.
    body: Option<Body>,
    persists: bool,
}

impl Framing {
    fn new(headers: &[httparse::Header<'_>], version: u8) -> Result<Self, Unclear> {
        let (mut length, mut coding, mut close, mut keep) = (None, None, false, false);
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                if length.replace(number(header.value)?).is_some() {
                    return Err(Unclear);
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if coding.replace(header.value).is_some() {
                    return Err(Unclear);
                }
            } else if header.name.eq_ignore_ascii_case("connection") {
                let options = || header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                close |= options().any(|option| option.eq_ignore_ascii_case(b"close"));
                keep |= options().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
            }
        }
        let body = match (length, coding) {
            (None, None) => None,
            (Some(length), None) => Some(Body::Length(length)),
            (None, Some(coding)) if version == 1 && coding.eq_ignore_ascii_case(b"chunked") => Some(Body::chunked()),
            _ => return Err(Unclear),
        };
        Ok(Self { body, persists: !close && (version == 1 || keep) })
    }
}

/// `1*DIGIT` and nothing else.
fn number(text: &[u8]) -> Result<u64, Unclear> {
    let digits = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(Unclear)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when the bytes come in two parts.
    fn found(bytes: &[u8], at: usize) -> Result<Found<RequestHead>, Unclear> {
        let mut looker = Looker::default();
        match looker.request(&bytes[..at])? {
            Found::Part => looker.request(bytes),
            found => Ok(found),
        }
    }

    fn head(text: &str) -> Result<RequestHead, Unclear> {
        let all = found(text.as_bytes(), text.len());
        for at in 0..text.len() {
            assert_eq!(found(text.as_bytes(), at), all, "{text:?} cut at {at}");
        }
        match all? {
            Found::Head(head) => Ok(head),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn requests_say_how_long_they_are() {
        let chunked = Body::chunked();
        for (text, body, persists, expects, upgrades) in [
            ("GET / HTTP/1.1\r\n\r\n", Body::Length(0), true, false, false),
            ("GET / HTTP/1.0\r\n\r\n", Body::Length(0), false, false, false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Body::Length(0), true, false, false),
            ("GET / HTTP/1.1\r\nConnection: a, Close\r\n\r\n", Body::Length(0), false, false, false),
            ("PUT /a HTTP/1.1\r\ncontent-length: 12\r\n\r\n", Body::Length(12), true, false, false),
            (
                "PUT /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n",
                chunked,
                true,
                true,
                false,
            ),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", Body::Length(0), true, false, true),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", Body::Length(0), true, false, true),
            ("PRIVATE / HTTP/1.1\r\n\r\n", Body::Length(0), true, false, false),
        ] {
            let head = head(text).expect("clear");
            assert_eq!((head.body, head.persists, head.expects, head.upgrades), (body, persists, expects, upgrades));
            assert_eq!(head.length, text.len());
        }
    }

    #[test]
    fn what_two_parsers_might_read_in_two_ways_is_unclear() {
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        for text in [
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET /\r\n\r\n",
            "HELO mail\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            &long,
            &many,
        ] {
            assert_eq!(found(text.as_bytes(), text.len()), Err(Unclear), "{:?}", &text[..text.len().min(80)]);
        }
        let mut looker = Looker::default();
        for bytes in [&b"\x16\x03\x01"[..], b"*1\r\n", b"PING\r\n", &[b'A'; 40]] {
            assert_eq!(looker.request(bytes), Err(Unclear), "{bytes:?}");
        }
    }

    #[test]
    fn another_version_is_known_by_its_first_bytes() {
        assert_eq!(found(PREFACE, 3), Ok(Found::Two));
        assert_eq!(found(b"PRI * HTTP/2.0\r\n\r\nSX", 3), Err(Unclear));
    }

    #[test]
    fn responses_say_how_long_they_are() {
        let parse = |text: &str, method| Looker::default().response(text.as_bytes(), method);
        for (text, method, body, persists) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", Body::Length(3), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", Body::Length(0), true),
            ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Body::chunked(), true),
            ("HTTP/1.1 200 OK\r\n\r\n", "GET", Body::UntilEnd, false),
            ("HTTP/1.1 204 No Content\r\n\r\n", "GET", Body::Length(0), true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "GET", Body::Length(0), true),
            ("HTTP/1.1 100 Continue\r\n\r\n", "PUT", Body::Length(0), true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", Body::Length(3), false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", "GET", Body::Length(3), false),
        ] {
            let Ok(Found::Head(head)) = parse(text, method) else { panic!("{text:?}") };
            assert_eq!((head.length, head.body, head.persists), (text.len(), body, persists), "{text:?}");
        }
        for text in ["220 smtp\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            assert_eq!(parse(text, "GET"), Err(Unclear), "{text:?}");
        }
        assert_eq!(parse("HTTP/1.1 2", "GET"), Ok(Found::Part));
    }
}
