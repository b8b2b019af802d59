//! Whether the program lives, by what is heard of it.
//!
//! What is written to a connection of a program that stands at a breakpoint cannot be had back: it reads it when it goes
//! on. So a connection that it has accepted before gets another request only while it is known to live. Otherwise it is
//! asked to accept a new one, or (HTTP/2) to answer a ping, and the request is the application's if it does not.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// How long a program that owes no answer is taken to live after it was last heard of.
const IDLE: Duration = Duration::from_millis(50);

/// How long one is that owes an answer: it may stand at the breakpoint that the request has led it to.
const OWING: Duration = Duration::from_millis(5);

/// What is known of the programs behind one port.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    heard: Cell<Option<Instant>>,
    owed: Cell<usize>,
}

impl Pulse {
    /// The program said something.
    pub(super) fn heard(&self) {
        self.heard.set(Some(Instant::now()));
    }

    /// Whether the program is taken to live.
    pub(super) fn beats(&self) -> bool {
        let patience = if self.owed.get() > 0 { OWING } else { IDLE };
        self.heard.get().is_some_and(|heard| heard.elapsed() < patience)
    }

    /// The program owes an answer until the returned value is dropped.
    pub(super) fn owe(self: &Rc<Self>) -> Owed {
        self.owed.set(self.owed.get() + 1);
        Owed(Rc::clone(self))
    }
}

/// See [`Pulse::owe`].
#[derive(Debug)]
pub(super) struct Owed(Rc<Pulse>);

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.owed.set(self.0.owed.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_owes_an_answer_is_trusted_for_a_shorter_time() {
        let pulse = Rc::new(Pulse::default());
        assert!(!pulse.beats());
        pulse.heard();
        let owed = pulse.owe();
        tokio::time::advance(OWING).await;
        assert!(!pulse.beats());
        drop(owed);
        assert!(pulse.beats());
        tokio::time::advance(IDLE).await;
        assert!(!pulse.beats());
    }
}
