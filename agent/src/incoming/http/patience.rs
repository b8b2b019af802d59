//! How long an answer is awaited.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Filtered;
use super::pulse::Owed;

/// What is known of a request that waits for its answer.
#[derive(Debug)]
pub(super) struct Patience {
    /// When something of the request was last sent on.
    moved: Cell<Instant>,
    /// How long the answer may take from then, and that it is owed. None of an application's, or once it has begun.
    hold: RefCell<Option<(Duration, Owed)>>,
}

impl Patience {
    /// The application may take its time.
    pub(super) fn endless() -> Self {
        Self { moved: Cell::new(Instant::now()), hold: RefCell::default() }
    }

    /// The program of a port may stand at a breakpoint.
    pub(super) fn with_program(port: &Filtered) -> Self {
        let hold = RefCell::new(Some((port.hold, port.pulse.owe())));
        Self { moved: Cell::new(Instant::now()), hold }
    }

    /// Something of the request was sent on.
    pub(super) fn moved(&self) {
        self.moved.set(Instant::now());
    }

    /// The answer has begun.
    pub(super) fn answered(&self) {
        self.hold.take();
    }

    /// Returns once the answer has taken too long to begin.
    pub(super) async fn ended(&self) {
        let hold = || self.hold.borrow().as_ref().map(|(hold, _)| *hold);
        while let Some(hold) = hold() {
            let moved = self.moved.get();
            sleep_until(moved + hold).await;
            if self.moved.get() == moved && self.hold.borrow().is_some() {
                return;
            }
        }
        std::future::pending().await
    }
}
