//! How long an answer is awaited.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What is known of a request that waits for its answer.
#[derive(Debug)]
pub(super) struct Patience {
    /// When something of the request was last sent on.
    moved: Cell<Instant>,
    is_answered: Cell<bool>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { moved: Cell::new(Instant::now()), is_answered: Cell::new(false) }
    }

    /// Something of the request was sent on.
    pub(super) fn moved(&self) {
        self.moved.set(Instant::now());
    }

    /// The answer has begun.
    pub(super) fn answered(&self) {
        self.is_answered.set(true);
    }

    /// Returns once the answer has taken too long to begin.
    pub(super) async fn late(&self, hold: Option<Duration>) {
        while let Some(hold) = hold.filter(|_| !self.is_answered.get()) {
            let moved = self.moved.get();
            sleep_until(moved + hold).await;
            if self.moved.get() == moved && !self.is_answered.get() {
                return;
            }
        }
        std::future::pending().await
    }
}
