//! Length-prefixed messages: how every typed value of both hops travels.
//!
//! A message is a 32-bit little-endian length and then that many bytes of postcard. Nothing here does IO:
//! callers own the buffers, and the layer encodes into one on its stack because it may run where
//! allocating is not allowed (a signal handler).

use serde::{Deserialize, Serialize};

/// Bytes of the length in front of each message.
pub const PREFIX: usize = 4;

/// Largest message in bytes that either side accepts. Environments are the largest values there are, and
/// the kernel bounds those by a quarter of the stack limit (2 MiB by default, `execve(2)`).
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// Why bytes are not a message, or a value cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecError {
    /// The announced or encoded length is above [`MAX_MESSAGE`], or above the given buffer.
    TooLong,
    /// The bytes do not decode to the expected type.
    Malformed,
}

impl core::fmt::Display for CodecError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "message is longer than allowed",
            Self::Malformed => "message cannot be decoded",
        })
    }
}

impl std::error::Error for CodecError {}

/// Encodes `value` with its length in front.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = postcard::to_extend(value, vec![0; PREFIX]).map_err(|_| CodecError::TooLong)?;
    let length = bytes.len() - PREFIX;
    if length > MAX_MESSAGE {
        return Err(CodecError::TooLong);
    }
    bytes[..PREFIX].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Encodes `value` with its length in front into `buffer`, without allocating, and returns the used part.
pub fn encode_into<'b, T: Serialize>(value: &T, buffer: &'b mut [u8]) -> Result<&'b [u8], CodecError> {
    let (prefix, body) = buffer.split_at_mut_checked(PREFIX).ok_or(CodecError::TooLong)?;
    let length = postcard::to_slice(value, body).map_err(|_| CodecError::TooLong)?.len();
    prefix.copy_from_slice(&(length as u32).to_le_bytes());
    Ok(&buffer[..PREFIX + length])
}

/// Reads the length in front of a message.
pub fn length(prefix: [u8; PREFIX]) -> Result<usize, CodecError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_MESSAGE { Err(CodecError::TooLong) } else { Ok(length) }
}

/// Decodes the body of a message. Bytes left over make it malformed.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(CodecError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encoders_agree_and_round_trip() {
        let value = (7u64, "name", [1u8, 2, 3]);
        let bytes = encode(&value).expect("encodes");
        let mut buffer = [0; 64];
        assert_eq!(encode_into(&value, &mut buffer).expect("fits"), bytes);
        let body = &bytes[PREFIX..];
        assert_eq!(length(bytes[..PREFIX].try_into().expect("4 bytes")), Ok(body.len()));
        assert_eq!(decode::<(u64, &str, [u8; 3])>(body), Ok(value));
    }

    #[test]
    fn a_buffer_too_small_is_an_error_not_a_panic() {
        for size in 0..8 {
            assert_eq!(encode_into(&"a longer text", &mut vec![0; size]), Err(CodecError::TooLong));
        }
    }

    #[test]
    fn lengths_above_the_limit_and_left_over_bytes_are_refused() {
        assert_eq!(length((MAX_MESSAGE as u32 + 1).to_le_bytes()), Err(CodecError::TooLong));
        assert_eq!(decode::<u8>(&[1, 2]), Err(CodecError::Malformed));
        assert_eq!(decode::<&str>(&[200, 1]), Err(CodecError::Malformed));
    }
}
