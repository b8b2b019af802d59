//! What the user should know of traffic, with counts, and not too often.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use protocol::agent::{Event, PassedRequest};
use tokio::sync::broadcast;

/// How often the user is told of the same thing.
const TOLD: Duration = Duration::from_secs(10);

/// Events that may wait for a slow session; the oldest are lost.
const WAITING: usize = 16;

/// Requests that are told at once; of more, only their number is.
const PASSED: usize = 100;

/// What can happen again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Happened {
    /// A copy was not delivered whole.
    CopyCut,
    /// A request that the program has got was not answered in time.
    Unanswered,
    /// A request was left to the application, since the program did not answer before it got it.
    LeftAlone,
    /// A request was answered that the program is paused.
    Refused,
    /// A request was left to the application, since the program does not speak HTTP/2.
    NotSpoken,
}

impl Happened {
    fn text(self, count: u64, port: u16) -> String {
        let (one, many, what) = match self {
            Self::CopyCut => ("copy of traffic", "copies of traffic", "dropped: the program does not keep up"),
            Self::Unanswered => ("request", "requests", "answered with 504: the program did not answer"),
            Self::LeftAlone => ("request", "requests", "left to the target: the program did not take them"),
            Self::Refused => ("request", "requests", "answered with 503: the program did not take them"),
            Self::NotSpoken => ("request", "requests", "left to the target: the program does not speak HTTP/2"),
        };
        let (what_of, were) = if count == 1 { (one, "was") } else { (many, "were") };
        format!("{count} {what_of} to port {port} {were} {what}")
    }
}

/// Counts what happens until it is told.
#[derive(Debug)]
pub(super) struct News {
    counts: RefCell<HashMap<(Happened, u16), Count>>,
    passed: RefCell<(Vec<PassedRequest>, u64)>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Count {
    untold: u64,
    told: Option<Instant>,
}

impl Default for News {
    fn default() -> Self {
        Self { counts: RefCell::default(), passed: RefCell::default(), events: broadcast::Sender::new(WAITING) }
    }
}

impl News {
    /// Something has happened on a port.
    pub(super) fn note(&self, happened: Happened, port: u16) {
        self.counts.borrow_mut().entry((happened, port)).or_default().untold += 1;
    }

    /// A request was left to the application.
    pub(super) fn pass(&self, request: PassedRequest) {
        let (requests, omitted) = &mut *self.passed.borrow_mut();
        match requests.len() < PASSED {
            true => requests.push(request),
            false => *omitted += 1,
        }
    }

    /// Tells what is due. To be called often.
    pub(super) fn tell(&self, now: Instant) {
        for ((happened, port), count) in &mut *self.counts.borrow_mut() {
            let is_due = count.told.is_none_or(|told| now.duration_since(told) >= TOLD);
            if count.untold > 0 && is_due {
                count.told = Some(now);
                let text = happened.text(std::mem::take(&mut count.untold), *port);
                // Without a session there is nobody to tell.
                let _ = self.events.send(Event::Warning(text));
            }
        }
        let (requests, omitted) = self.passed.take();
        if !requests.is_empty() {
            let _ = self.events.send(Event::Passed { requests, omitted });
        }
    }

    /// What is told from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_seldom_with_a_count() {
        let (news, now) = (News::default(), Instant::now());
        let mut heard = news.listen();
        news.note(Happened::CopyCut, 80);
        news.tell(now);
        let dropped = "dropped: the program does not keep up";
        assert_eq!(heard.try_recv(), Ok(Event::Warning(format!("1 copy of traffic to port 80 was {dropped}"))));
        (0..3).for_each(|_| news.note(Happened::CopyCut, 80));
        news.tell(now + TOLD / 2);
        assert!(heard.try_recv().is_err());
        news.tell(now + TOLD);
        assert_eq!(heard.try_recv(), Ok(Event::Warning(format!("3 copies of traffic to port 80 were {dropped}"))));
        news.tell(now + 3 * TOLD);
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn of_many_requests_the_first_are_told_and_the_others_counted() {
        let (news, now) = (News::default(), Instant::now());
        let mut heard = news.listen();
        let request = PassedRequest {
            port: 80,
            client: [10, 0, 0, 1].into(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            status: 200,
            elapsed: Duration::ZERO,
        };
        (0..PASSED + 3).for_each(|_| news.pass(request.clone()));
        news.tell(now);
        assert_eq!(heard.try_recv(), Ok(Event::Passed { requests: vec![request; PASSED], omitted: 3 }));
        news.tell(now);
        assert!(heard.try_recv().is_err());
    }
}
