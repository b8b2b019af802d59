//! The session host's side: asks the agent.

use std::sync::Arc;
use std::time::Duration;

use protocol::agent::{AnyRequest, Request};
use protocol::codec;
use protocol::handshake::Channel;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::LinkConfig;
use crate::driver::{Leave, Shared, start};
use crate::error::{ConnectError, Ended, LinkError, MessageError};
use crate::handshake::greet;
use crate::message::read_message;
use crate::mux::Side;
use crate::stream::Stream;

/// Performs the handshake on `io` and starts the link's task on the current runtime.
///
/// `sign` returns the ed25519 signature of the bytes it gets. There is no time limit here: the caller
/// knows how long its port-forward may take. On an error `io` is gone.
pub async fn connect<IO>(
    mut io: IO,
    channel: Channel,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
    config: LinkConfig,
) -> Result<Link, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    greet(&mut io, channel, sign).await?;
    let shared = start(io, Side::Opens, config);
    Ok(Link { channel, owner: Arc::new(Owner { shared }) })
}

/// A connection to the agent. Clones are the same link; it ends with the last one (as a cut for the agent:
/// [`Link::goodbye`] is the polite end) and takes its streams with it.
#[derive(Debug, Clone)]
pub struct Link {
    channel: Channel,
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.leave(Leave::Drop);
    }
}

impl Link {
    /// One request and its reply.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Reply, LinkError> {
        let mut stream = self.ask(request)?;
        stream.shutdown().await.map_err(MessageError::Io)?;
        self.answer(&mut stream).await
    }

    /// One request, its reply, and the stream to go on with. Dropping the future resets the stream, which
    /// tells the agent to give the request up.
    pub async fn open<R: Request>(&self, request: R) -> Result<(R::Reply, Stream), LinkError> {
        let mut stream = self.ask(request)?;
        let reply = self.answer(&mut stream).await?;
        Ok((reply, stream))
    }

    /// Waits for the end of the link.
    pub async fn ended(&self) -> Ended {
        self.owner.shared.ended().await
    }

    /// Sends what streams have written, as far as the agent takes it, says goodbye and ends the link.
    pub async fn goodbye(&self) {
        self.owner.shared.leave(Leave::Goodbye);
        self.owner.shared.ended().await;
    }

    /// The last measured round trip; none before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        self.owner.shared.mux().round_trip
    }

    fn ask<R: Request>(&self, request: R) -> Result<Stream, LinkError> {
        if R::CHANNEL != self.channel {
            return Err(LinkError::WrongChannel);
        }
        let any: AnyRequest = request.into();
        let bytes = codec::encode(&any).map_err(MessageError::Codec)?;
        let shared = &self.owner.shared;
        let mut mux = shared.mux();
        if let Some(ended) = mux.ended() {
            return Err(ended.clone().into());
        }
        let id = mux.open(&bytes).ok_or(LinkError::TooManyStreams)?;
        drop(mux);
        Ok(Stream::new(id, Arc::clone(shared)))
    }

    async fn answer<T: serde::de::DeserializeOwned>(&self, stream: &mut Stream) -> Result<T, LinkError> {
        self.explain(read_message(stream).await)
    }

    /// The end of the link explains a failure better than the stream does.
    fn explain<T>(&self, result: Result<T, MessageError>) -> Result<T, LinkError> {
        result.map_err(|error| match self.owner.shared.mux().ended() {
            Some(ended) => ended.clone().into(),
            None => error.into(),
        })
    }
}
