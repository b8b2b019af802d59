//! Typed messages on any byte stream: [`protocol::codec`] with IO around it.

use std::io;

use protocol::codec::{self, CodecError, PREFIX};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::MessageError;

/// Writes one message in one write.
pub async fn write_message<T: Serialize>(io: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), MessageError> {
    let bytes = codec::encode(message).map_err(MessageError::Codec)?;
    io.write_all(&bytes).await.map_err(MessageError::Io)?;
    io.flush().await.map_err(MessageError::Io)
}

/// Reads one message and not a byte more.
pub async fn read_message<T: DeserializeOwned>(io: &mut (impl AsyncRead + Unpin)) -> Result<T, MessageError> {
    read_limited(io, codec::MAX_MESSAGE).await
}

/// [`read_message`] for peers that may send only short messages.
pub(crate) async fn read_limited<T: DeserializeOwned>(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<T, MessageError> {
    let mut prefix = [0; PREFIX];
    io.read_exact(&mut prefix).await.map_err(MessageError::Io)?;
    let length = codec::length(prefix).map_err(MessageError::Codec)?;
    if length > limit {
        return Err(MessageError::Codec(CodecError::TooLong));
    }
    // Memory is taken as the bytes arrive, not as they are announced.
    let mut body = Vec::with_capacity(length.min(4096));
    let read = io.take(length as u64).read_to_end(&mut body).await.map_err(MessageError::Io)?;
    if read < length {
        return Err(MessageError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    codec::decode(&body).map_err(MessageError::Codec)
}
