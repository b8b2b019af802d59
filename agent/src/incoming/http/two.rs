//! A connection of HTTP/2 whose requests are the program's or the application's, one by one.
//!
//! The client's connection ends here, and so do those to the application and the program (`answerer`): one of each for
//! every client. A request is a stream on two of them (`exchange`). Windows hold back who is faster: what a stream
//! has not handed on is not acknowledged.

mod answerer;

mod copying;

mod exchange;

mod speech;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use h2::Reason;
use h2::server;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tracing::debug;

use super::connection::Answerers;
use super::sides::Side;
use answerer::{Kept, Program};
use speech::Speech;
pub(super) use speech::may_be_settings;

/// Requests that a client may have open at a time.
const STREAMS: u32 = 128;

/// Bytes of one stream, and of a connection's streams together, that may wait to be handed on.
const STREAM_WINDOW: u32 = 64 * 1024;
const WINDOW: u32 = 512 * 1024;

/// Bytes of one stream that may wait to be written.
const SEND_BUFFER: usize = 16 * 1024;

/// Longest head of a message, as its fields are counted (RFC 9113 6.5.2).
const MAX_HEAD: u32 = 64 * 1024;

/// What many small frames may cost that wait: 8,192 of those with hardly a byte.
const SMALL_FRAMES: usize = 8192 * 256;

/// Copies of one client's requests that may wait for the program at a time; more are dropped.
const COPIES: usize = 16;

/// Who answers the requests of one client.
struct Answering<A> {
    application: tokio::sync::Mutex<Option<Kept>>,
    program: Program,
    answerers: Rc<A>,
    ending: Rc<Ending>,
    /// Copies that may wait for the program.
    copies: Arc<Semaphore>,
}

/// How the application's connection has ended: that of the client does so, too.
#[derive(Default)]
struct Ending {
    broken: Notify,
    ended: Notify,
}

/// Carries the client's connection to its end. The client comes back if the application speaks something else.
pub(super) async fn carry(client: Side, application: Option<Side>, answerers: Rc<impl Answerers>) -> Result<(), Side> {
    let ending = Rc::new(Ending::default());
    let application = match application {
        None => None,
        Some(side) => match answerer::application(side, &ending).await {
            None => return Err(client),
            kept => kept,
        },
    };
    let answering = Rc::new(Answering {
        application: application.into(),
        program: Program::default(),
        answerers,
        ending,
        copies: Arc::new(Semaphore::new(COPIES)),
    });
    let reset = client.reset();
    if let Err(error) = serve(client, &answering).await {
        debug!(%error, "a connection of HTTP/2 was aborted");
        reset.at_the_end();
    }
    Ok(())
}

async fn serve(client: Side, answering: &Rc<Answering<impl Answerers>>) -> Result<(), h2::Error> {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES);
    let mut connection = builder.handshake(Speech::new(client)).await?;
    // Dropped, they reset what they carry.
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = answering.ending.broken.notified() => return Err(Reason::INTERNAL_ERROR.into()),
            () = answering.ending.ended.notified() => connection.graceful_shutdown(),
            accepted = connection.accept() => match accepted {
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    exchanges.spawn_local(exchange::carry(Rc::clone(answering), request, respond));
                }
                None => return Ok(()),
            },
            Some(_) = exchanges.join_next() => {}
        }
    }
}
