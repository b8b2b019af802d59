//! Copies of requests, on their way to the program, whose answers nobody gets.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, Request};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::Answering;
use super::exchange::{end, send};
use crate::incoming::copies::{Copy, Original, copy};
use crate::incoming::http::connection::Answerers;
use crate::incoming::news::Happened;

/// What makes the copy of one request. Dropped before the end, the copy is cut.
pub(super) struct Copying {
    original: Original,
    trailers: Rc<RefCell<Option<HeaderMap>>>,
}

impl Copying {
    pub(super) fn offer(&self, bytes: &[u8]) {
        self.original.offer(bytes);
    }

    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        self.trailers.replace(trailers);
        self.original.end_whole();
    }
}

/// Begins the copy of a request; none if too many of the client's wait for the program.
pub(super) fn start<A: Answerers>(answering: &Rc<Answering<A>>, head: &Parts) -> Option<Copying> {
    let Ok(permit) = Arc::clone(&answering.copies).try_acquire_owned() else {
        answering.answerers.note(Happened::CopyCut);
        return None;
    };
    let ((original, copy), trailers) = (copy(), Rc::<RefCell<_>>::default());
    let (answering, head, filled) = (Rc::clone(answering), head.clone(), Rc::clone(&trailers));
    spawn_local(async move {
        let _permit: OwnedSemaphorePermit = permit;
        let hold = answering.answerers.port().hold;
        if deliver(&answering, head, copy, &filled, hold).await.is_none() {
            answering.answerers.note(Happened::CopyCut);
        }
    });
    Some(Copying { original, trailers })
}

/// Sends a copy and drops its answer; none if it was cut.
async fn deliver(
    answering: &Answering<impl Answerers>,
    head: Parts,
    copy: Copy,
    trailers: &RefCell<Option<HeaderMap>>,
    hold: Duration,
) -> Option<()> {
    let mut sender = answering.program().await.ok()?;
    let _owed = answering.answerers.port().pulse.owe();
    let (answer, mut request) = sender.send_request(Request::from_parts(head, ()), false).ok()?;
    let asking = async {
        while let Ok(Some(bytes)) = copy.next().await {
            send(&mut request, Bytes::from(bytes), false).await.ok()?;
        }
        if copy.is_cut() {
            request.send_reset(Reason::CANCEL);
            return None;
        }
        end(&mut request, trailers.take()).ok()
    };
    let answered = async {
        let answer = timeout(hold, answer).await.ok()?.ok()?;
        drain(answer.into_body()).await;
        Some(())
    };
    let (asked, answered) = tokio::join!(asking, answered);
    asked.and(answered)
}

async fn drain(mut body: RecvStream) {
    while let Some(Ok(bytes)) = body.data().await {
        // Of a stream that has ended nothing needs to be released.
        let _ = body.flow_control().release_capacity(bytes.len());
    }
}
