//! How long an answer is awaited, and who hears that it has begun.

use std::cell::Cell;
use std::fmt::{self, Debug, Formatter};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Filtered;
use super::connection::{Answered, Answerers};
use super::filter::Request;

/// Hears of an answer's status.
type Tell = Box<dyn FnOnce(u16)>;

/// What is known of a request that waits for its answer.
pub(super) struct Patience {
    /// When something of the request was last sent on.
    moved: Cell<Instant>,
    /// How long the answer may take from then. None of an application's, or once it has begun.
    hold: Cell<Option<Duration>>,
    /// Gets the answer's status.
    tell: Cell<Option<Tell>>,
}

impl Debug for Patience {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("moved", &self.moved).field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Patience {
    /// The application may take its time.
    pub(super) fn endless() -> Self {
        Self { moved: Cell::new(Instant::now()), hold: Cell::default(), tell: Cell::default() }
    }

    /// The application may take its time, and the user is told what it answers.
    pub(super) fn told(answerers: &Rc<impl Answerers>, request: &Request) -> Self {
        let (began, answerers) = (Instant::now(), Rc::clone(answerers));
        let (method, path) = (request.method.clone(), request.path.clone());
        let tell = Box::new(move |status| {
            answerers.passed(Answered { method, path, status, elapsed: began.elapsed() });
        });
        Self { tell: Cell::new(Some(tell)), ..Self::endless() }
    }

    /// The program of a port may stand at a breakpoint.
    pub(super) fn with_program(port: &Filtered) -> Self {
        Self { hold: Cell::new(Some(port.hold)), ..Self::endless() }
    }

    /// Something of the request was sent on.
    pub(super) fn moved(&self) {
        self.moved.set(Instant::now());
    }

    /// The answer has begun.
    pub(super) fn answered(&self, status: u16) {
        self.hold.set(None);
        if let Some(tell) = self.tell.take() {
            tell(status);
        }
    }

    /// Returns once the answer has taken too long to begin.
    pub(super) async fn ended(&self) {
        while let Some(hold) = self.hold.get() {
            let moved = self.moved.get();
            sleep_until(moved + hold).await;
            if self.moved.get() == moved && self.hold.get().is_some() {
                return;
            }
        }
        std::future::pending().await
    }
}
