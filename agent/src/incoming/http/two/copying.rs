//! Copies of requests, on their way to the program, whose answers nobody gets.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use http::request::Parts;
use http::{HeaderMap, Request};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_local;

use super::Answering;
use super::exchange::{end, send};
use crate::incoming::copies::{Copy, Original, copy};
use crate::incoming::http::connection::Answerers;
use crate::incoming::http::patience::Patience;
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
        if !deliver(&answering, head, copy, &filled).await {
            answering.answerers.note(Happened::CopyCut);
        }
    });
    Some(Copying { original, trailers })
}

/// Sends a copy and drops its answer. False if the program did not get it whole, by no will of its own.
async fn deliver(
    answering: &Answering<impl Answerers>,
    head: Parts,
    copy: Copy,
    trailers: &RefCell<Option<HeaderMap>>,
) -> bool {
    let Ok(mut sender) = answering.program().await else { return false };
    let patience = Patience::with_program(&answering.answerers.port());
    let Ok((answer, mut request)) = sender.send_request(Request::from_parts(head, ()), false) else { return false };
    let asking = async {
        while let Some(bytes) = copy.next().await? {
            patience.moved();
            if send(&mut request, Bytes::from(bytes), false).await.is_err() {
                return Ok::<_, io::Error>(());
            }
        }
        // It may have answered before.
        let _ = end(&mut request, trailers.take());
        Ok::<_, io::Error>(())
    };
    let answered = async {
        let answer = tokio::select! {
            answer = answer => answer,
            () = patience.ended() => return Err(io::ErrorKind::TimedOut.into()),
        };
        if let Ok(answer) = answer {
            patience.answered(answer.status().as_u16());
            drain(answer.into_body()).await;
        }
        Ok(())
    };
    // The first failure drops the other one, and with it the stream.
    tokio::try_join!(asking, answered).is_ok()
}

async fn drain(mut body: RecvStream) {
    while let Some(Ok(bytes)) = body.data().await {
        // Of a stream that has ended nothing needs to be released.
        let _ = body.flow_control().release_capacity(bytes.len());
    }
}
