//! How a careless server reads a message: it takes for good what it can make sense of.

use crate::incoming::http::body::Body;

/// Where the head at the beginning of `bytes` ends, and what body follows it.
pub(super) fn message(bytes: &[u8]) -> (usize, Body) {
    let mut length = 0;
    let (mut chunked, mut content) = (false, Vec::new());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() && length > line.len() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "transfer-encoding" => chunked |= value.to_ascii_lowercase().contains("chunked"),
            "content-length" => {
                let numbers = value.split(',').map(|number| number.trim().trim_start_matches('+'));
                content.extend(numbers.map(|number| number.parse::<u64>().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
    }
    let body = match content[..] {
        _ if chunked => Body::chunked(),
        // Some take the first and some the last.
        [first, .., last] if first != last => Body::UntilEnd,
        [first, ..] => Body::Length(first),
        [] => Body::Length(0),
    };
    (length, body)
}

/// Where the chunked body at the beginning of `bytes` ends, if it does.
pub(super) fn chunked(bytes: &[u8]) -> Option<usize> {
    let line = |from: usize| Some(from + bytes.get(from..)?.iter().position(|byte| *byte == b'\n')? + 1);
    let mut at = 0;
    loop {
        let digits = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&bytes[at..at + digits]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at = line(at)?;
        if size == 0 {
            break;
        }
        at = line(at.checked_add(size)?)?;
    }
    loop {
        let end = line(at)?;
        let is_empty = bytes[at..end].trim_ascii().is_empty();
        at = end;
        if is_empty {
            return Some(at);
        }
    }
}
