//! Both sides of [`protocol::handshake`] on a fresh byte stream.

use protocol::VERSION;
use protocol::handshake::{Challenge, Channel, Hello, Nonce, Refusal, Verdict, signed_bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{AcceptError, ConnectError, MessageError};
use crate::message::{read_limited, write_message};

/// Longest handshake message in bytes: the peer has proved nothing yet.
const MAX_HANDSHAKE: usize = 1024;

/// The client's side. `sign` gets the bytes to sign and returns the ed25519 signature.
pub(crate) async fn greet(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    channel: Channel,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Result<(), ConnectError> {
    let challenge: Challenge = read_limited(io, MAX_HANDSHAKE).await?;
    if challenge.version != VERSION {
        return Err(ConnectError::Version { agent: challenge.version });
    }
    let signature = sign(&signed_bytes(&challenge.nonce, channel));
    let hello = Hello { version: VERSION.to_owned(), channel, received: 0, signature };
    write_message(io, &hello).await?;
    match read_limited(io, MAX_HANDSHAKE).await? {
        Verdict::Welcome { .. } => Ok(()),
        Verdict::Refused(Refusal::Version(agent)) => Err(ConnectError::Version { agent }),
        Verdict::Refused(refusal) => Err(ConnectError::Refused(refusal)),
    }
}

/// The agent's side. `verify` gets the signed bytes and the signature.
pub(crate) async fn admit(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    verify: impl FnOnce(&[u8], &[u8]) -> bool,
) -> Result<Channel, AcceptError> {
    let mut nonce: Nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| AcceptError::Random)?;
    write_message(io, &Challenge { version: VERSION.to_owned(), nonce }).await?;
    let hello: Hello = read_limited(io, MAX_HANDSHAKE).await?;
    match judge(&hello, &nonce, verify) {
        Ok(()) => {
            write_message(io, &Verdict::Welcome { received: 0 }).await?;
            Ok(hello.channel)
        }
        Err(refusal) => {
            write_message(io, &Verdict::Refused(refusal.clone())).await?;
            Err(AcceptError::Refused(refusal))
        }
    }
}

fn judge(hello: &Hello, nonce: &Nonce, verify: impl FnOnce(&[u8], &[u8]) -> bool) -> Result<(), Refusal> {
    if hello.version != VERSION {
        return Err(Refusal::Version(VERSION.to_owned()));
    }
    if !verify(&signed_bytes(nonce, hello.channel), &hello.signature) {
        return Err(Refusal::Key);
    }
    // Nothing is kept beyond a connection, so there is nothing that a client could go on with.
    if hello.received != 0 {
        return Err(Refusal::NotResumable);
    }
    Ok(())
}

impl From<MessageError> for ConnectError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Io(error) => Self::Io(error),
            MessageError::Codec(error) => Self::Garbage(error),
        }
    }
}

impl From<MessageError> for AcceptError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Io(error) => Self::Io(error),
            MessageError::Codec(error) => Self::Garbage(error),
        }
    }
}
