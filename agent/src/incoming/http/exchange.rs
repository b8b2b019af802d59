//! One request and its answer, as the very bytes that came, between the client and whoever answers.

use std::cell::Cell;
use std::io;
use std::pin::pin;

use tokio::sync::Notify;

use super::body::{Body, Unclear};
use super::head::{Found, Looker, RequestHead, ResponseHead};
use super::patience::Patience;
use super::sides::{Direction, Side, Stopped, directions};
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

/// A request, of which the client holds what was not sent.
pub(super) struct Unsent<'r> {
    pub(super) head: &'r RequestHead,
    /// Whether its head was sent.
    pub(super) is_begun: bool,
    /// What is left of its body.
    pub(super) body: Body,
}

/// Carries a request and its answer. `copy` gets the request as well.
pub(super) async fn exchange(
    client: &mut Side,
    other: &mut Side,
    request: Unsent<'_>,
    patience: Patience,
    copy: Option<&Original>,
) -> Result<End, Broken> {
    let head = request.head;
    let (begun, sent) = (Cell::new(request.body != head.body), Cell::new(false));
    let progress = Progress { patience, begun, sent, news: Notify::new() };
    let (there, mut back) = directions(client, other);
    let mut asking = pin!(ask(there, request, copy, &progress));
    let answer = answer(&mut back, head, &progress);
    let end = tokio::select! {
        biased;
        end = answer => end?,
        broken = &mut asking => return Err(broken),
        () = progress.patience.ended() => return Err(Broken::Late),
    };
    if end == End::Other || progress.sent.get() {
        return Ok(end);
    }
    let is_last = end == End::Last;
    if head.expects && !progress.begun.get() {
        // Whether the body comes at all is the client's choice now.
        return Ok(if is_last { End::Last } else { End::Other });
    }
    tokio::select! {
        biased;
        () = progress.news.notified() => {}
        broken = &mut asking => return Err(broken),
        // Who has answered for the last time may want the rest of the request, or end. Who says more than an answer
        // may wait until it is heard, before it takes the rest.
        _ = back.read() => {}
    }
    Ok(if is_last || progress.sent.get() { end } else { End::Other })
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
async fn ask(mut there: Direction<'_>, request: Unsent<'_>, copy: Option<&Original>, progress: &Progress) -> Broken {
    let Unsent { head, is_begun, mut body } = request;
    let sent = |bytes: &[u8]| {
        copy.iter().for_each(|copy| copy.offer(bytes));
        progress.patience.moved();
    };
    if copy.is_some() {
        there.is_watched();
    }
    let head = if is_begun { 0 } else { head.length };
    sent(&there.held[..head]);
    let mut ended = false;
    let begun = |bytes: &[u8]| {
        progress.begun.set(true);
        sent(bytes);
    };
    match carry(&mut there, head, &mut body, begun).await {
        Ok(()) if body.is_over() => {
            copy.iter().for_each(|copy| copy.end_whole());
            progress.sent.set(true);
        }
        Ok(()) => {
            ended = true;
            there.end().await;
        }
        Err(Stopped::Read(error)) => return Broken::Client(error),
        // The answerer will say what it thinks of it.
        Err(Stopped::Unclear) => {
            progress.news.notify_one();
            ended = carry(&mut there, 0, &mut Body::UntilEnd, sent).await.is_ok();
            there.end().await;
        }
        Err(Stopped::Write(_)) => {}
    }
    progress.news.notify_one();
    while !ended && there.held.len() < AHEAD {
        match there.read().await {
            Ok(0) => ended = true,
            Ok(_) => {}
            Err(error) => return Broken::Client(error),
        }
    }
    if there.held.is_empty() && progress.sent.get() {
        there.end().await;
    }
    std::future::pending().await
}

/// Carries a head that is held, and the body, of which `seen` gets each part (nothing of what was handed on unseen),
/// until it is over or the reader has ended. A head goes together with what there is of its body: a reader needs no
/// second look.
async fn carry(
    way: &mut Direction<'_>,
    head: usize,
    body: &mut Body,
    mut seen: impl FnMut(&[u8]),
) -> Result<(), Stopped> {
    let mut due = head;
    loop {
        if way.held.len() > due && !body.is_over() {
            match body.take(&way.held[due..]) {
                Ok(count) => {
                    seen(&way.held[due..due + count]);
                    due += count;
                }
                Err(unclear) => {
                    way.write(due).await.map_err(Stopped::Write)?;
                    return Err(unclear.into());
                }
            }
        }
        way.write(std::mem::take(&mut due)).await.map_err(Stopped::Write)?;
        if body.is_over() {
            return Ok(());
        }
        if !way.held.is_empty() {
            continue;
        }
        let count = way.hand_on(body.run()).await?;
        if count > 0 {
            body.pass(count);
            seen(&[]);
            continue;
        }
        let mut take = |bytes: &[u8]| {
            let count = body.take(bytes)?;
            seen(&bytes[..count]);
            Ok::<_, Unclear>(count)
        };
        match way.step(&mut take).await? {
            Some(left) => due = left,
            None => return Ok(()),
        }
    }
}

/// Carries the answer, with all that comes before it (1xx).
async fn answer(back: &mut Direction<'_>, request: &RequestHead, progress: &Progress) -> Result<End, Broken> {
    let method = &request.request.method;
    loop {
        let mut looker = Looker::default();
        let found = loop {
            match looker.response(back.held, method) {
                Ok(Found::Head(head)) => break head,
                Ok(_) if back.read().await.map_err(Broken::Answerer)? > 0 => {}
                Ok(_) => return Ok(End::Last),
                Err(_) => return Ok(End::Other),
            }
        };
        let ResponseHead { length, status, mut body, persists } = found;
        if status >= 200 || status == 101 {
            progress.patience.answered(status);
        }
        if status == 101 || (method == "CONNECT" && (200..300).contains(&status)) {
            back.write(length).await.map_err(Broken::Client)?;
            return Ok(End::Other);
        }
        match carry(back, length, &mut body, |_| {}).await {
            Ok(()) if !body.is_over() => return Ok(End::Last),
            Ok(()) => {}
            Err(Stopped::Read(error)) => return Err(Broken::Answerer(error)),
            Err(Stopped::Write(error)) => return Err(Broken::Client(error)),
            Err(Stopped::Unclear) => return Ok(End::Other),
        }
        if status >= 200 {
            return Ok(match () {
                // More than was asked for.
                () if !back.held.is_empty() => End::Other,
                () if persists && request.persists => End::Next,
                () => End::Last,
            });
        }
    }
}
