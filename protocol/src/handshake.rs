//! The first messages of every connection between session host and agent.
//!
//! agent: [`Challenge`], client: [`Hello`], agent: [`Verdict`]. The client proves that it holds the
//! private half of the session's ed25519 key (RFC 8032) by signing [`signed_bytes`]; the agent was given
//! the public half in its Job, so that reading the Job lets nobody in. A fresh nonce for each connection
//! makes a recorded answer worthless.

use serde::{Deserialize, Serialize};

/// Random bytes that the agent wants signed.
pub type Nonce = [u8; 32];

/// Names one connection attempt's purpose; a session holds one connection of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// Short questions and answers, events: never waits behind bulk data.
    Control,
    /// Connections' bytes.
    Data,
}

/// The agent's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The agent's [`crate::VERSION`].
    pub version: String,
    /// What the client must sign.
    pub nonce: Nonce,
}

/// The client's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The client's [`crate::VERSION`].
    pub version: String,
    /// Which of the session's connections this becomes; it replaces an older one of the same channel.
    pub channel: Channel,
    /// How many bytes of packet payload the client has received on this channel so far (0 at first).
    pub received: u64,
    /// ed25519 signature (64 bytes) of [`signed_bytes`].
    pub signature: Vec<u8>,
}

/// The agent's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The client is who it should be. `received` is the agent's counterpart of [`Hello::received`].
    Welcome {
        /// Bytes of packet payload that the agent has received on this channel so far.
        received: u64,
    },
    /// The client is not let in.
    Refused(Refusal),
}

/// Why a client is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The versions differ; carries the agent's.
    Version(String),
    /// The signature does not fit the session's key.
    Key,
    /// The agent no longer holds the state that this client wants to resume.
    NotResumable,
}

/// What the client signs: a fixed label, so that the signature serves nothing else, the purpose and the nonce.
pub fn signed_bytes(nonce: &Nonce, channel: Channel) -> Vec<u8> {
    let mut bytes = b"mirror session connection v1\0".to_vec();
    bytes.push(channel as u8);
    bytes.extend_from_slice(nonce);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_for_one_channel_does_not_serve_the_other() {
        assert_ne!(signed_bytes(&[1; 32], Channel::Control), signed_bytes(&[1; 32], Channel::Data));
    }
}
