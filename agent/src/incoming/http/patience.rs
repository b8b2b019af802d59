//! How long an answer is awaited.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Filtered;

/// What is known of a request that waits for its answer.
#[derive(Debug)]
pub(super) struct Patience {
    /// When something of the request was last sent on.
    moved: Cell<Instant>,
    /// How long the answer may take from then. None of an application's, or once it has begun.
    hold: Cell<Option<Duration>>,
}

impl Patience {
    /// The application may take its time.
    pub(super) fn endless() -> Self {
        Self { moved: Cell::new(Instant::now()), hold: Cell::default() }
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
    pub(super) fn answered(&self) {
        self.hold.set(None);
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
