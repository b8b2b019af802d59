//! Everything that can go wrong on a link, one type per operation.

use std::io;

use protocol::codec::CodecError;
use protocol::handshake::Refusal;

/// Why a link is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The peer said goodbye: it ended the session on purpose.
    #[error("the other side ended the session")]
    Goodbye,
    /// This side said goodbye or dropped the link.
    #[error("this side ended the session")]
    Closed,
    /// The byte stream ended or failed without a goodbye, or carried what the protocol forbids.
    #[error("the connection was cut: {0}")]
    Cut(String),
    /// Nothing arrived for [`crate::LinkConfig::silence`].
    #[error("the other side has gone silent")]
    Silent,
}

/// Why [`crate::connect`] gave no link.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The byte stream failed or ended during the handshake. "Not yet" while the agent starts.
    #[error("handshake with the agent")]
    Io(#[source] io::Error),
    /// The agent is of another version than this program.
    #[error("the agent is version {agent}, this is version {}", protocol::VERSION)]
    Version {
        /// The agent's version.
        agent: String,
    },
    /// The agent does not let this client in.
    #[error("the agent refused this client: {0:?}")]
    Refused(Refusal),
    /// What arrived is no handshake.
    #[error("the far end is not a mirror agent")]
    Garbage(#[source] CodecError),
}

/// Why [`crate::accept`] let nobody in.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The byte stream failed or ended during the handshake.
    #[error("handshake with a client")]
    Io(#[source] io::Error),
    /// The client is of another version or does not hold the key; it was told.
    #[error("refused a client: {0:?}")]
    Refused(Refusal),
    /// What arrived is no handshake.
    #[error("the far end is not a mirror client")]
    Garbage(#[source] CodecError),
    /// The operating system gave no random bytes for the challenge.
    #[error("no random bytes for the challenge")]
    Random,
}

/// Why a request got no reply. The reply's own errors are part of the reply.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link is over.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// As many streams are open as the configuration permits.
    #[error("too many open streams")]
    TooManyStreams,
    /// The request belongs on the link of the other channel.
    #[error("the request belongs on the other channel")]
    WrongChannel,
    /// The stream of this request failed; the link lives on.
    #[error("request to the agent")]
    Message(#[from] MessageError),
}

/// Why a typed message did not travel.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The stream failed or ended within a message.
    #[error("message on a stream")]
    Io(#[source] io::Error),
    /// The bytes are no message of the expected type.
    #[error("message on a stream")]
    Codec(#[source] CodecError),
}
