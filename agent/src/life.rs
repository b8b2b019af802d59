//! When the agent leaves by itself. Pure: told of clients coming and going, it names the moment.

use std::time::{Duration, Instant};

use link::Ended;
use protocol::launch::Launch;

/// Why the agent leaves, as its last log line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody ever came.
    NoClient,
    /// The client said goodbye and nobody came after it.
    ClientLeft,
    /// The client's connection was lost and it did not come back.
    ClientLost,
    /// The target's process ended.
    TargetEnded,
    /// SIGTERM or SIGINT.
    Terminated,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoClient => "no client came",
            Self::ClientLeft => "the client ended the session",
            Self::ClientLost => "the client was lost and did not return",
            Self::TargetEnded => "the target ended",
            Self::Terminated => "asked to end",
        })
    }
}

/// Longer than any wait.
const ENDLESS: (Duration, Reason) = (Duration::MAX, Reason::ClientLost);

/// Counts clients and knows how long the agent waits without any.
#[derive(Debug)]
pub(crate) struct Life {
    linger: Duration,
    grace: Duration,
    clients: usize,
    /// The mildest of the ends since the last moment with all clients: a session has two connections, and the
    /// cut of the second right after the goodbye of the first means nothing.
    wait: (Duration, Reason),
    deadline: Option<(Instant, Reason)>,
}

impl Life {
    /// An agent that starts now.
    pub(crate) fn new(launch: &Launch, now: Instant) -> Self {
        Self {
            linger: launch.linger,
            grace: launch.grace,
            clients: 0,
            wait: ENDLESS,
            deadline: Some((now + launch.first_contact, Reason::NoClient)),
        }
    }

    /// A client was let in.
    pub(crate) fn came(&mut self) {
        self.clients += 1;
        self.wait = ENDLESS;
        self.deadline = None;
    }

    /// A client is gone. A goodbye is the end of the session; an end of stream is what a killed client leaves,
    /// and a restart of the API server, from which the client may return soon; silence is a network that may
    /// take longer.
    pub(crate) fn went(&mut self, ended: &Ended, now: Instant) {
        self.clients = self.clients.saturating_sub(1);
        let wait = match ended {
            Ended::Goodbye => (Duration::ZERO, Reason::ClientLeft),
            Ended::Cut(_) | Ended::Closed => (self.linger, Reason::ClientLost),
            Ended::Silent => (self.grace, Reason::ClientLost),
        };
        if wait.0 < self.wait.0 {
            self.wait = wait;
        }
        if self.clients == 0 {
            self.deadline = Some((now + self.wait.0, self.wait.1));
        }
    }

    /// When to leave unless somebody comes, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, Reason)> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(30);
    const LINGER: Duration = Duration::from_secs(10);
    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn the_deadline_follows_from_how_the_last_clients_went() {
        let now = Instant::now();
        let goodbye = || Some(Ended::Goodbye);
        let cut = || Some(Ended::Cut("end of stream".to_owned()));
        let silent = || Some(Ended::Silent);
        // None is a client that comes.
        let table = [
            (vec![], Some((FIRST, Reason::NoClient))),
            (vec![None], None),
            (vec![None, goodbye()], Some((Duration::ZERO, Reason::ClientLeft))),
            (vec![None, cut()], Some((LINGER, Reason::ClientLost))),
            (vec![None, silent()], Some((GRACE, Reason::ClientLost))),
            (vec![None, None, goodbye()], None),
            (vec![None, None, goodbye(), cut()], Some((Duration::ZERO, Reason::ClientLeft))),
            (vec![None, None, cut(), goodbye()], Some((Duration::ZERO, Reason::ClientLeft))),
            (vec![None, None, silent(), cut()], Some((LINGER, Reason::ClientLost))),
            (vec![None, goodbye(), None], None),
            (vec![None, goodbye(), None, silent()], Some((GRACE, Reason::ClientLost))),
        ];
        for (number, (steps, expected)) in table.into_iter().enumerate() {
            let launch = Launch {
                port: 1,
                key: [0; 32],
                container_id: None,
                first_contact: FIRST,
                linger: LINGER,
                grace: GRACE,
                log: "info".to_owned(),
                without_sk_lookup: false,
            };
            let mut life = Life::new(&launch, now);
            for step in &steps {
                match step {
                    None => life.came(),
                    Some(ended) => life.went(ended, now),
                }
            }
            assert_eq!(life.deadline().map(|(at, reason)| (at - now, reason)), expected, "{number}");
        }
    }
}
