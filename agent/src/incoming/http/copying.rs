//! Copies of the requests of one connection, on their way to the program, whose answers nobody gets.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::connection::Answerers;
use super::exchange::{End, Unsent, exchange};
use super::head::RequestHead;
use super::offer::offer;
use super::patience::Patience;
use super::sides::Side;
use crate::incoming::copies::{Copy, Original, copy};
use crate::incoming::news::Happened;

/// Requests that may wait for the program; copies of more are dropped.
const WAITING: usize = 16;

/// Where copies go. They are sent one after the other, also after this has ended.
pub(super) struct Copying {
    requests: mpsc::Sender<(RequestHead, Copy)>,
    drop_one: Box<dyn Fn()>,
}

impl Copying {
    pub(super) fn start(answerers: Rc<impl Answerers>) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        let noted = Rc::clone(&answerers);
        spawn_local(send_all(waiting, answerers));
        Self { requests, drop_one: Box::new(move || noted.note(Happened::CopyCut)) }
    }

    /// What is to get the request's bytes; none if too many wait.
    pub(super) fn begin(&self, head: &RequestHead) -> Option<Original> {
        let (original, copy) = copy();
        match self.requests.try_send((head.clone(), copy)) {
            Ok(()) => Some(original),
            Err(_) => {
                (self.drop_one)();
                None
            }
        }
    }
}

async fn send_all(mut requests: mpsc::Receiver<(RequestHead, Copy)>, answerers: Rc<impl Answerers>) {
    let mut program = None;
    while let Some((head, copy)) = requests.recv().await {
        let sent = send(&head, copy, &mut program, &*answerers).await;
        if sent != Sent::AndMore {
            program = None;
        }
        if sent == Sent::Cut {
            answerers.note(Happened::CopyCut);
        }
    }
}

/// What became of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    /// It was answered, and the connection can carry the next.
    AndMore,
    /// It was answered at last.
    Last,
    Cut,
}

async fn send(head: &RequestHead, copy: Copy, program: &mut Option<Side>, answerers: &impl Answerers) -> Sent {
    let mut client = Side::unanswered(copy);
    while client.held.len() < head.length {
        if !client.read().await.is_ok_and(|count| count > 0) {
            return Sent::Cut;
        }
    }
    let Ok(body) = offer(program, &mut client, head, answerers).await else { return Sent::Cut };
    let Some(program) = program else { return Sent::Cut };
    let request = Unsent { head, is_begun: true, body };
    match exchange(&mut client, program, request, Patience::with_program(&answerers.port()), None).await {
        Ok(End::Next) => Sent::AndMore,
        Ok(End::Last | End::Other) => Sent::Last,
        Err(_) => Sent::Cut,
    }
}
