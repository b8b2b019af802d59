//! One request and its answer, as the very bytes that came, between the client and whoever answers.

use std::cell::Cell;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::body::{Body, Unclear};
use super::head::{Found, Looker, RequestHead, ResponseHead};
use super::patience::Patience;
use super::sides::{Side, Stopped, read_into, step, write};
use crate::incoming::copies::Original;

/// How much of the next requests is read while one is answered.
const AHEAD: usize = 64 * 1024;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Another request may follow.
    Next,
    /// The answer was the last one: its sender ends the connection, or has done so.
    Last,
    /// What follows is something else than requests and answers, or nobody can tell.
    Other,
}

/// Who broke the connection.
#[derive(Debug)]
pub(super) enum Broken {
    Client(io::Error),
    Answerer(io::Error),
    /// There was no answer in time.
    Late,
}

/// Carries the request that `client` holds, and its answer. `copy` gets the request as well.
pub(super) async fn exchange(
    client: &mut Side,
    other: &mut Side,
    head: &RequestHead,
    patience: Patience,
    copy: Option<&Original>,
) -> Result<End, Broken> {
    let no = || Cell::new(false);
    let progress = Progress { patience, begun: no(), sent: no(), news: Notify::new() };
    let mut asking = pin!(ask(&mut *client.reader, &mut client.held, &mut *other.writer, head, copy, &progress));
    let answer = answer(&mut *other.reader, &mut other.held, &mut *client.writer, head, &progress);
    let end = tokio::select! {
        biased;
        end = answer => end?,
        broken = &mut asking => return Err(broken),
        () = progress.patience.ended() => return Err(Broken::Late),
    };
    if end != End::Next || progress.sent.get() {
        return Ok(end);
    }
    if head.expects && !progress.begun.get() {
        // Whether the body comes at all is the client's choice now.
        return Ok(End::Other);
    }
    tokio::select! {
        biased;
        () = progress.news.notified() => {}
        broken = &mut asking => return Err(broken),
    }
    Ok(if progress.sent.get() { End::Next } else { End::Other })
}

#[derive(Debug)]
struct Progress {
    patience: Patience,
    /// Some of the body was sent on.
    begun: Cell<bool>,
    /// All of the request was sent on.
    sent: Cell<bool>,
    /// It was, or never will be.
    news: Notify,
}

/// Sends the request on, then reads ahead. Returns only if the client breaks: what comes of the request is the answer.
async fn ask(
    reader: &mut (dyn AsyncRead + Unpin),
    held: &mut Vec<u8>,
    writer: &mut (dyn AsyncWrite + Unpin),
    head: &RequestHead,
    copy: Option<&Original>,
    progress: &Progress,
) -> Broken {
    let sent = |bytes: &[u8]| {
        copy.iter().for_each(|copy| copy.offer(bytes));
        progress.patience.moved();
    };
    sent(&held[..head.length]);
    let mut ended = false;
    let mut body = head.body.clone();
    let mut written = write(writer, held, head.length).await.map_err(Stopped::Write);
    if written.is_ok() {
        let begun = |bytes: &[u8]| {
            progress.begun.set(true);
            sent(bytes);
        };
        written = carry(reader, held, writer, &mut body, begun).await;
    }
    match written {
        Ok(()) if body.is_over() => {
            copy.iter().for_each(|copy| copy.end_whole());
            progress.sent.set(true);
        }
        Ok(()) => {
            ended = true;
            let _ = writer.shutdown().await;
        }
        Err(Stopped::Read(error)) => return Broken::Client(error),
        // The answerer will say what it thinks of it.
        Err(Stopped::Unclear) => {
            progress.news.notify_one();
            let mut rest = Body::UntilEnd;
            ended = carry(reader, held, writer, &mut rest, sent).await.is_ok();
            let _ = writer.shutdown().await;
        }
        Err(Stopped::Write(_)) => {}
    }
    progress.news.notify_one();
    while !ended && held.len() < AHEAD {
        match read_into(reader, held).await {
            Ok(0) => ended = true,
            Ok(_) => {}
            Err(error) => return Broken::Client(error),
        }
    }
    if held.is_empty() && progress.sent.get() {
        let _ = writer.shutdown().await;
    }
    std::future::pending().await
}

/// Carries a body, of which `seen` gets each part, until it is over or the reader has ended. Cancelled at any time, what
/// is held is what was not written.
async fn carry(
    reader: &mut (dyn AsyncRead + Unpin),
    held: &mut Vec<u8>,
    writer: &mut (dyn AsyncWrite + Unpin),
    body: &mut Body,
    mut seen: impl FnMut(&[u8]),
) -> Result<(), Stopped> {
    let mut due = 0;
    loop {
        write(writer, held, due).await.map_err(Stopped::Write)?;
        if body.is_over() {
            return Ok(());
        }
        if held.is_empty() {
            let mut take = |bytes: &[u8]| {
                let count = body.take(bytes)?;
                seen(&bytes[..count]);
                Ok::<_, Unclear>(count)
            };
            match step(reader, held, writer, &mut take).await? {
                Some(left) => due = left,
                None => return Ok(()),
            }
        } else {
            due = body.take(held)?;
            seen(&held[..due]);
        }
    }
}

/// Carries the answer, with all that comes before it (1xx).
async fn answer(
    reader: &mut (dyn AsyncRead + Unpin),
    held: &mut Vec<u8>,
    writer: &mut (dyn AsyncWrite + Unpin),
    request: &RequestHead,
    progress: &Progress,
) -> Result<End, Broken> {
    let method = &request.request.method;
    loop {
        let mut looker = Looker::default();
        let found = loop {
            match looker.response(held, method) {
                Ok(Found::Head(head)) => break head,
                Ok(_) if read_into(reader, held).await.map_err(Broken::Answerer)? > 0 => {}
                Ok(_) => return Ok(End::Last),
                Err(_) => return Ok(End::Other),
            }
        };
        let ResponseHead { length, status, mut body, persists } = found;
        if status >= 200 || status == 101 {
            progress.patience.answered();
        }
        write(writer, held, length).await.map_err(Broken::Client)?;
        if status == 101 || (method == "CONNECT" && (200..300).contains(&status)) {
            return Ok(End::Other);
        }
        match carry(reader, held, writer, &mut body, |_| {}).await {
            Ok(()) if !body.is_over() => return Ok(End::Last),
            Ok(()) => {}
            Err(Stopped::Read(error)) => return Err(Broken::Answerer(error)),
            Err(Stopped::Write(error)) => return Err(Broken::Client(error)),
            Err(Stopped::Unclear) => return Ok(End::Other),
        }
        if status >= 200 {
            return Ok(match () {
                // More than was asked for.
                () if !held.is_empty() => End::Other,
                () if persists && request.persists => End::Next,
                () => End::Last,
            });
        }
    }
}
