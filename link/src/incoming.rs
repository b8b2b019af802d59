//! The agent's side: lets a client in and yields its requests.

use std::sync::Arc;

use protocol::agent::{AnyRequest, Request};
use protocol::handshake::Channel;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::LinkConfig;
use crate::driver::{Leave, Shared, start};
use crate::error::{AcceptError, Ended, MessageError};
use crate::handshake::admit;
use crate::message::{read_limited, write_message};
use crate::mux::Side;
use crate::stream::Stream;

/// Longest request in bytes. Requests are names, addresses and DNS messages (at most 64 KiB, RFC 1035 4.2.2).
const MAX_REQUEST: usize = 65 * 1024;

/// Performs the handshake on `io` and starts the link's task on the current runtime.
///
/// `verify` gets the signed bytes and the ed25519 signature. There is no time limit here; an agent must set
/// one, since anybody may connect and say nothing.
pub async fn accept<IO>(
    mut io: IO,
    verify: impl FnOnce(&[u8], &[u8]) -> bool,
    config: LinkConfig,
) -> Result<(Channel, Incoming), AcceptError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let channel = admit(&mut io, verify).await?;
    let shared = start(io, Side::Accepts, config);
    Ok((channel, Incoming { shared, reading: JoinSet::new() }))
}

/// What a client asks. The link ends when this is dropped, and takes its streams with it.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    /// Streams whose request has not arrived whole: none of them may hold up the next.
    reading: JoinSet<Option<Call>>,
}

/// One request with the stream that waits for its reply. Dropping it resets the stream.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: AnyRequest,
    /// The stream, for watching it while the reply is being made.
    pub stream: Stream,
}

impl Incoming {
    /// The next request; none once the link is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Call> {
        loop {
            tokio::select! {
                arrived = self.shared.arrivals() => {
                    for id in arrived? {
                        self.reading.spawn(read_call(Stream::new(id, Arc::clone(&self.shared))));
                    }
                }
                Some(read) = self.reading.join_next() => {
                    if let Ok(Some(call)) = read {
                        return Some(call);
                    }
                }
            }
        }
    }

    /// Waits for the end of the link.
    pub async fn ended(&self) -> Ended {
        self.shared.ended().await
    }

    /// Says goodbye to the client and ends the link.
    pub async fn goodbye(&self) {
        self.shared.leave(Leave::Goodbye);
        self.shared.ended().await;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.leave(Leave::Drop);
    }
}

/// None for a stream that carries no request: it is reset by being dropped.
async fn read_call(mut stream: Stream) -> Option<Call> {
    let request = read_limited(&mut stream, MAX_REQUEST).await.ok()?;
    Some(Call { request, stream })
}

impl Call {
    /// Answers a request of type `R` and hands the stream on: shut it down and drop it when nothing follows.
    pub async fn reply<R: Request>(mut self, reply: &R::Reply) -> Result<Stream, MessageError> {
        write_message(&mut self.stream, reply).await?;
        Ok(self.stream)
    }
}
