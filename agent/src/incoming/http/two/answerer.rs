//! The connections on which requests are answered: one to the application and one to the program, made again when
//! they have ended.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::speech::Speech;
use super::{Answering, Ending, MAX_HEAD, SEND_BUFFER, SMALL_FRAMES, STREAM_WINDOW, WINDOW};
use crate::incoming::http::connection::{Answerers, Untaken};
use crate::incoming::http::sides::Side;
use crate::incoming::news::Happened;

/// How long the last frames of a connection may take.
const LINGER: Duration = Duration::from_secs(5);

pub(super) type Sender = SendRequest<Bytes>;

/// A connection that stands. It ends some time after this is dropped.
pub(super) struct Kept {
    sender: Sender,
    pings: Option<PingPong>,
    _open: oneshot::Sender<()>,
}

impl Kept {
    /// What sends requests, unless the connection has ended.
    async fn sender(&self) -> Option<Sender> {
        self.sender.clone().ready().await.ok()
    }

    /// Whether the other end answers a ping in time.
    async fn answers(&mut self, hold: Duration) -> bool {
        let Some(pings) = &mut self.pings else { return false };
        pings.send_ping(Ping::opaque()).is_ok()
            && timeout(hold, poll_fn(|context| pings.poll_pong(context))).await.is_ok_and(|pong| pong.is_ok())
    }
}

/// The connection to the program.
#[derive(Default)]
pub(super) struct Program {
    kept: Mutex<Option<Kept>>,
    /// When it last answered a ping.
    answered: Cell<Option<Instant>>,
    /// When it last did not take a request, and why.
    untaken: Cell<Option<(Instant, Untaken)>>,
    /// It speaks something else than HTTP/2.
    is_other: Cell<bool>,
}

/// A connection to the application; none if it speaks something else than HTTP/2.
pub(super) async fn application(side: Side, ending: &Rc<Ending>) -> Option<Kept> {
    let ending = Rc::clone(ending);
    open(side, move |ended| match ended {
        Ok(()) => ending.ended.notify_one(),
        Err(error) if error.is_go_away() => ending.ended.notify_one(),
        Err(_) => ending.broken.notify_one(),
    })
    .await
}

async fn open(side: Side, on_end: impl FnOnce(Result<(), h2::Error>) + 'static) -> Option<Kept> {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES);
    let (speech, heard) = Speech::of_server(side);
    let (sender, mut connection) = builder.handshake(speech).await.ok()?;
    let (pings, (open, dropped)) = (connection.ping_pong(), oneshot::channel());
    spawn_local(async move {
        match drive(&mut connection, dropped).await {
            Some(ended) => on_end(ended),
            None => debug!("a connection of HTTP/2 was cut at its end"),
        }
    });
    heard.speaks().await.then_some(Kept { sender, pings, _open: open })
}

/// Carries frames until the connection has ended; none if that takes too long.
async fn drive(
    connection: &mut Connection<Speech, Bytes>,
    dropped: oneshot::Receiver<()>,
) -> Option<Result<(), h2::Error>> {
    tokio::select! {
        ended = &mut *connection => return Some(ended),
        _ = dropped => {}
    }
    timeout(LINGER, connection).await.ok()
}

impl<A: Answerers> Answering<A> {
    /// What sends requests to the application, if there is one.
    pub(super) async fn application(&self) -> Option<Sender> {
        let mut application = self.application.lock().await;
        if let Some(kept) = &*application
            && let Some(sender) = kept.sender().await
        {
            return Some(sender);
        }
        // What it has told its other clients the client hears as well, but not at the cost of this request.
        self.ending.ended.notify_one();
        let kept = self::application(self.answerers.application().await.ok()?, &self.ending).await?;
        application.insert(kept).sender().await
    }

    /// What sends requests to the program, if it will read them.
    pub(super) async fn program(&self) -> Result<Sender, Untaken> {
        let (asked, program, port) = (Instant::now(), &self.program, self.answerers.port());
        let mut connection = program.kept.lock().await;
        if let Some((_, untaken)) = program.untaken.get().filter(|(at, _)| *at >= asked) {
            // It has waited with another one.
            return Err(self.give_up(untaken));
        }
        if program.is_other.get() {
            self.answerers.note(Happened::NotSpoken);
            return Err(Untaken::LeftAlone);
        }
        if let Some(kept) = &mut *connection
            && let Some(sender) = kept.sender().await
        {
            // Its answer may have come while this request waited with another one.
            let has_answered = program.answered.get().is_some_and(|at| at >= asked);
            if has_answered || kept.answers(port.patience).await {
                program.answered.set(Some(Instant::now()));
                return Ok(sender);
            }
            *connection = None;
            return Err(self.give_up(port.untaken));
        }
        let side = match self.answerers.program().await {
            Ok(side) => side,
            Err(untaken) => {
                program.untaken.set(Some((Instant::now(), untaken)));
                return Err(untaken);
            }
        };
        let kept = open(side, |ended| debug!(?ended, "the program's connection has ended")).await;
        program.is_other.set(kept.is_none());
        *connection = kept;
        match &*connection {
            Some(kept) => kept.sender().await.ok_or(Untaken::LeftAlone),
            None => {
                self.answerers.note(Happened::NotSpoken);
                Err(Untaken::LeftAlone)
            }
        }
    }

    /// The program did not show that it would read a request.
    fn give_up(&self, untaken: Untaken) -> Untaken {
        self.answerers.note(match untaken {
            Untaken::LeftAlone => Happened::LeftAlone,
            Untaken::Unavailable => Happened::Refused,
        });
        self.program.untaken.set(Some((Instant::now(), untaken)));
        untaken
    }
}
