//! One request and its answer: a stream of the client and one of whoever answers, with what each says of its end.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use protocol::agent::PortMode;

use super::Answering;
use super::answerer::Sender;
use super::copying::{self, Copying};
use crate::incoming::http::connection::{Answerers, Untaken};
use crate::incoming::http::filter;
use crate::incoming::http::patience::Patience;
use crate::incoming::news::Happened;

/// Who has ended a stream before its time.
enum Gone {
    Client(Reason),
    Answerer(Reason),
    /// There was no answer in time.
    Late,
}

/// Why a body is not carried to its end: its sender has reset it, or its receiver.
enum Stopped {
    From(Reason),
    To(Reason),
}

/// A part of a body.
enum Part<'p> {
    Data(&'p [u8]),
    End(Option<&'p HeaderMap>),
}

/// Carries a request to whoever is to answer it, and the answer back.
pub(super) async fn carry<A: Answerers>(
    answering: Rc<Answering<A>>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (mut head, body) = request.into_parts();
    let port = answering.answerers.port();
    let asked = seen(&head);
    let chosen = port.filter.matches(&asked).then_some(port.mode);
    if head.uri.scheme().is_none() {
        // It named no authority; only for older versions a request without one can be sent.
        head.version = Version::HTTP_11;
    }
    if chosen == Some(PortMode::Steal) {
        match answering.program().await {
            Ok(sender) => {
                let patience = Patience::with_program(&port);
                return exchange(sender, (head, body), respond, &*answering.answerers, patience, None).await;
            }
            Err(Untaken::LeftAlone) => {}
            Err(Untaken::Unavailable) => return answer_instead(&mut respond, StatusCode::SERVICE_UNAVAILABLE),
        }
    }
    match answering.application().await {
        Some(sender) => {
            let copy = (chosen == Some(PortMode::Mirror)).then(|| copying::start(&answering, &head)).flatten();
            let patience = match chosen {
                Some(_) => Patience::endless(),
                None => Patience::told(&answering.answerers, &asked),
            };
            exchange(sender, (head, body), respond, &*answering.answerers, patience, copy).await;
        }
        None => respond.send_reset(Reason::REFUSED_STREAM),
    }
}

/// What a filter looks at.
fn seen(head: &Parts) -> filter::Request {
    let lines =
        head.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let authority = head.uri.authority().filter(|_| !head.headers.contains_key(HOST));
    filter::Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: lines.chain(authority.map(|authority| format!("host: {authority}"))).collect(),
    }
}

async fn exchange(
    mut sender: Sender,
    (head, mut body): (Parts, RecvStream),
    mut respond: SendResponse<Bytes>,
    answerers: &impl Answerers,
    patience: Patience,
    copy: Option<Copying>,
) {
    let sent = sender.send_request(Request::from_parts(head, ()), body.is_end_stream());
    let (answer, mut request) = match sent {
        Ok(sent) => sent,
        Err(error) => return respond.send_reset(reason(&error)),
    };
    if let Some(copy) = copy.as_ref().filter(|_| body.is_end_stream()) {
        copy.end(None);
    }
    let asking = async {
        let seen = |part: Part<'_>| {
            patience.moved();
            match (&copy, part) {
                (Some(copy), Part::Data(bytes)) => copy.offer(bytes),
                (Some(copy), Part::End(trailers)) => copy.end(trailers.cloned()),
                (None, _) => {}
            }
        };
        match forward(&mut body, &mut request, seen).await {
            Err(Stopped::From(reason)) => Err(Gone::Client(reason)),
            // The answer says what became of it.
            Ok(()) | Err(Stopped::To(_)) => Ok(()),
        }
    };
    let answering = async {
        let head = tokio::select! {
            biased;
            head = head_of(answer, &mut respond) => head?,
            () = patience.ended() => return Err(Gone::Late),
        };
        let (head, mut body) = head.into_parts();
        patience.answered(head.status.as_u16());
        let is_whole = body.is_end_stream();
        let sent = respond.send_response(Response::from_parts(head, ()), is_whole);
        let mut sending = sent.map_err(|error| Gone::Client(reason(&error)))?;
        match forward(&mut body, &mut sending, |_| {}).await {
            Ok(()) => Ok(()),
            Err(Stopped::From(reason)) => Err(Gone::Answerer(reason)),
            Err(Stopped::To(reason)) => Err(Gone::Client(reason)),
        }
    };
    match tokio::try_join!(asking, answering) {
        Ok(_) => {}
        Err(Gone::Client(reason)) => request.send_reset(reason),
        Err(Gone::Answerer(reason)) => respond.send_reset(reason),
        Err(Gone::Late) => {
            request.send_reset(Reason::CANCEL);
            answerers.note(Happened::Unanswered);
            answer_instead(&mut respond, StatusCode::GATEWAY_TIMEOUT);
        }
    }
}

/// The head of the answer; all that comes before it (1xx) is handed on.
async fn head_of(mut answer: ResponseFuture, respond: &mut SendResponse<Bytes>) -> Result<Response<RecvStream>, Gone> {
    poll_fn(|context| {
        if let Poll::Ready(reset) = respond.poll_reset(context) {
            return Poll::Ready(Err(Gone::Client(reset.unwrap_or(Reason::CANCEL))));
        }
        while let Poll::Ready(Some(Ok(informational))) = answer.poll_informational(context) {
            let _ = respond.send_informational(informational);
        }
        let head = std::pin::Pin::new(&mut answer).poll(context);
        head.map_err(|error| Gone::Answerer(reason(&error)))
    })
    .await
}

/// Carries a body with its trailers, of which `seen` gets each part.
async fn forward(from: &mut RecvStream, to: &mut SendStream<Bytes>, seen: impl Fn(Part<'_>)) -> Result<(), Stopped> {
    let from_error = |error: h2::Error| Stopped::From(reason(&error));
    if from.is_end_stream() {
        return Ok(());
    }
    loop {
        let next = poll_fn(|context| {
            if let Poll::Ready(reset) = to.poll_reset(context) {
                return Poll::Ready(Err(Stopped::To(reset.unwrap_or(Reason::CANCEL))));
            }
            from.poll_data(context).map(Ok)
        });
        let Some(data) = next.await?.transpose().map_err(from_error)? else { break };
        let (count, is_last) = (data.len(), from.is_end_stream());
        seen(Part::Data(&data));
        send(to, data, is_last).await.map_err(Stopped::To)?;
        let released = from.flow_control().release_capacity(count);
        if is_last {
            seen(Part::End(None));
            return Ok(());
        }
        released.map_err(from_error)?;
    }
    let trailers = from.trailers().await.map_err(from_error)?;
    seen(Part::End(trailers.as_ref()));
    end(to, trailers).map_err(Stopped::To)
}

/// Sends bytes as fast as the receiver takes them.
pub(super) async fn send(to: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool) -> Result<(), Reason> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = match to.capacity() {
            0 => poll_fn(|context| to.poll_capacity(context)).await.unwrap_or(Ok(0)),
            room => Ok(room),
        };
        let room = room.map_err(|error| reason(&error))?;
        if room == 0 {
            // It was reset meanwhile.
            return Err(poll_fn(|context| to.poll_reset(context)).await.unwrap_or(Reason::CANCEL));
        }
        let part = data.split_to(room.min(data.len()));
        to.send_data(part, is_last && data.is_empty()).map_err(|error| reason(&error))?;
        if data.is_empty() {
            return Ok(());
        }
    }
    if is_last { end(to, None) } else { Ok(()) }
}

/// Ends a body.
pub(super) fn end(to: &mut SendStream<Bytes>, trailers: Option<HeaderMap>) -> Result<(), Reason> {
    let ended = match trailers {
        Some(trailers) => to.send_trailers(trailers),
        None => to.send_data(Bytes::new(), true),
    };
    ended.map_err(|error| reason(&error))
}

/// What is said of a failure.
fn reason(error: &h2::Error) -> Reason {
    match error.reason() {
        // A server that goes away has done nothing for those requests whose failure this is.
        _ if error.is_go_away() && error.is_remote() => Reason::REFUSED_STREAM,
        reason => reason.unwrap_or(Reason::INTERNAL_ERROR),
    }
}

fn answer_instead(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let mut head = Response::new(());
    *head.status_mut() = status;
    // A client that is gone needs no answer.
    let _ = respond.send_response(head, true);
}
