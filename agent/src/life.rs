//! When the agent leaves by itself. Pure: told of clients coming and going, it names the moment.

use std::time::{Duration, Instant};

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

/// Counts clients and knows how long the agent waits without any.
#[derive(Debug)]
pub(crate) struct Life {
    linger: Duration,
    grace: Duration,
    clients: usize,
    /// Since the last moment without clients one of them said goodbye: the session is over, and the cut of
    /// its other connection right after it means nothing.
    goodbye: bool,
    deadline: Option<(Instant, Reason)>,
}

impl Life {
    /// An agent that starts now.
    pub(crate) fn new(launch: &Launch, now: Instant) -> Self {
        Self {
            linger: launch.linger,
            grace: launch.grace,
            clients: 0,
            goodbye: false,
            deadline: Some((now + launch.first_contact, Reason::NoClient)),
        }
    }

    /// A client was let in.
    pub(crate) fn came(&mut self) {
        self.clients += 1;
        self.deadline = None;
    }

    /// A client is gone.
    pub(crate) fn went(&mut self, said_goodbye: bool, now: Instant) {
        self.clients = self.clients.saturating_sub(1);
        self.goodbye |= said_goodbye;
        if self.clients > 0 {
            return;
        }
        self.deadline = Some(match self.goodbye {
            true => (now + self.linger, Reason::ClientLeft),
            false => (now + self.grace, Reason::ClientLost),
        });
        self.goodbye = false;
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

    enum Step {
        Came,
        Goodbye,
        Lost,
    }
    use Step::{Came, Goodbye, Lost};

    type Case = (&'static [Step], Option<(Duration, Reason)>);

    #[test]
    fn the_deadline_follows_from_how_the_last_clients_went() {
        let now = Instant::now();
        let table: [Case; 9] = [
            (&[], Some((FIRST, Reason::NoClient))),
            (&[Came], None),
            (&[Came, Goodbye], Some((LINGER, Reason::ClientLeft))),
            (&[Came, Lost], Some((GRACE, Reason::ClientLost))),
            (&[Came, Came, Goodbye], None),
            (&[Came, Came, Goodbye, Lost], Some((LINGER, Reason::ClientLeft))),
            (&[Came, Came, Lost, Goodbye], Some((LINGER, Reason::ClientLeft))),
            (&[Came, Goodbye, Came], None),
            (&[Came, Goodbye, Came, Lost], Some((GRACE, Reason::ClientLost))),
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
            };
            let mut life = Life::new(&launch, now);
            for step in steps {
                match step {
                    Came => life.came(),
                    Goodbye => life.went(true, now),
                    Lost => life.went(false, now),
                }
            }
            assert_eq!(life.deadline().map(|(at, reason)| (at - now, reason)), expected, "{number}");
        }
    }
}
