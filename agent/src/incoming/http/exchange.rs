//! One request and its answer, as the very bytes that came, between the client and whoever answers.

use std::cell::Cell;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::body::{Body, Unclear};
use super::head::{Found, Looker, RequestHead, ResponseHead};
use super::sides::{Side, read_into};

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
}

/// Carries the request that `client` holds, and its answer.
pub(super) async fn exchange(client: &mut Side, other: &mut Side, head: RequestHead) -> Result<End, Broken> {
    let progress = Progress::default();
    let whole = (head.length, head.body.clone());
    let mut asking = pin!(ask(&mut *client.reader, &mut client.held, &mut *other.writer, whole, &progress));
    let answer = answer(&mut *other.reader, &mut other.held, &mut *client.writer, &head);
    let end = tokio::select! {
        biased;
        end = answer => end?,
        broken = &mut asking => return Err(broken),
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

#[derive(Debug, Default)]
struct Progress {
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
    (head, mut body): (usize, Body),
    progress: &Progress,
) -> Broken {
    let mut ended = false;
    let mut written = write(writer, held, head).await;
    while written.is_ok() && !body.is_over() {
        match body.take(held) {
            Ok(0) if ended => break,
            Ok(0) => match read_into(reader, held).await {
                Ok(0) => {
                    ended = true;
                    written = writer.shutdown().await;
                }
                Ok(_) => progress.begun.set(true),
                Err(error) => return Broken::Client(error),
            },
            Ok(count) => written = write(writer, held, count).await,
            Err(Unclear) => {
                // The answerer will say what it thinks of it.
                body = Body::UntilEnd;
                progress.news.notify_one();
            }
        }
    }
    progress.sent.set(written.is_ok() && body.is_over());
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

/// Writes the first bytes of what is held.
async fn write(writer: &mut (dyn AsyncWrite + Unpin), held: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        // Cancelled at any time, what is held is what was not written.
        let written = writer.write(&held[..left]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        held.drain(..written);
        left -= written;
    }
    Ok(())
}

/// Carries the answer, with all that comes before it (1xx).
async fn answer(
    reader: &mut (dyn AsyncRead + Unpin),
    held: &mut Vec<u8>,
    writer: &mut (dyn AsyncWrite + Unpin),
    request: &RequestHead,
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
        write(writer, held, length).await.map_err(Broken::Client)?;
        if status == 101 || (method == "CONNECT" && (200..300).contains(&status)) {
            return Ok(End::Other);
        }
        while !body.is_over() {
            match body.take(held) {
                Ok(0) if read_into(reader, held).await.map_err(Broken::Answerer)? == 0 => return Ok(End::Last),
                Ok(count) => write(writer, held, count).await.map_err(Broken::Client)?,
                Err(_) => return Ok(End::Other),
            }
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
