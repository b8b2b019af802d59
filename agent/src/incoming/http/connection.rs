//! A connection whose requests are the program's or the application's, one by one.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use super::body::Unclear;
use super::exchange::{Broken, End, exchange};
use super::filter::Filter;
use super::head::{Found, Looker, RequestHead};
use super::sides::{Side, finish, join};

/// How long the beginning of a client's first line waits for its end: other protocols may have lines without one.
const FIRST_LINE: Duration = Duration::from_secs(3);

/// Makes the connections that requests need.
pub(super) trait Answerers {
    /// A connection to the application.
    async fn application(&self) -> io::Result<Side>;

    /// A connection to the program; none if it takes none.
    async fn program(&self) -> Option<Side>;
}

/// Who has answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Application,
    Program,
}

/// The three ends.
struct Connection<'a, A> {
    client: Side,
    application: Option<Side>,
    program: Option<Side>,
    last: Option<Who>,
    answerers: &'a A,
}

/// What the client does between two answers.
enum Next {
    Request(RequestHead),
    /// The application gets all that is left.
    Rest,
    /// HTTP/2 begins.
    Two,
    /// The client has ended its direction, behind a whole request.
    End,
    /// The client broke the connection, or the application did.
    Broken,
}

/// Carries a connection to its end.
pub(super) async fn carry(client: Side, filter: &Filter, answerers: &impl Answerers) {
    let application = answerers.application().await.ok();
    let mut connection = Connection { client, application, program: None, last: None, answerers };
    loop {
        let head = match connection.next().await {
            Next::Request(head) => head,
            Next::Rest | Next::Two => return connection.rest(Who::Application).await,
            Next::End => {
                let last = connection.last.unwrap_or(Who::Application);
                return connection.rest(last).await;
            }
            Next::Broken => return connection.abort(),
        };
        let mut who = if filter.matches(&head.request) { Who::Program } else { Who::Application };
        if who == Who::Program && connection.program.is_none() {
            connection.program = answerers.program().await;
            if connection.program.is_none() {
                debug!("a request was not taken");
                who = Who::Application;
            }
        }
        if who == Who::Application && connection.application.is_none() {
            connection.application = answerers.application().await.ok();
        }
        connection.last = Some(who);
        let (Connection { client, application, program, .. }, upgrades) = (&mut connection, head.upgrades);
        let other = if who == Who::Program { program } else { application };
        let Some(other) = other else { return connection.abort() };
        match exchange(client, other, head).await {
            Ok(End::Next) => {}
            Ok(End::Last) if who == Who::Program => return connection.finish().await,
            // What the program says is not understood: it is not to get requests that are not its own.
            Ok(End::Other) if who == Who::Program && !upgrades => return connection.finish().await,
            Ok(End::Last | End::Other) => return connection.rest(who).await,
            Err(Broken::Client(error) | Broken::Answerer(error)) => {
                debug!(%error, ?who, "a request ended early");
                return connection.abort();
            }
        }
    }
}

impl<A: Answerers> Connection<'_, A> {
    /// Waits for the next request, and watches whether those who may answer it are still there.
    async fn next(&mut self) -> Next {
        let is_first = self.last.is_none();
        let mut looker = Looker::default();
        let mut first_line = pin!(sleep(FIRST_LINE));
        loop {
            match looker.request(&self.client.held) {
                Ok(Found::Head(head)) => return Next::Request(head),
                Ok(Found::Two) if is_first => return Next::Two,
                Ok(Found::Part) => {}
                Ok(Found::Two) | Err(Unclear) => return Next::Rest,
            }
            let waits_for_line = is_first && !self.client.held.is_empty() && !looker.has_line();
            tokio::select! {
                biased;
                read = self.client.read() => match read {
                    Ok(0) if self.client.held.is_empty() => return Next::End,
                    Ok(0) => return Next::Rest,
                    Ok(_) if is_first => first_line.as_mut().reset(tokio::time::Instant::now() + FIRST_LINE),
                    Ok(_) => {}
                    Err(_) => return Next::Broken,
                },
                read = read(&mut self.application) => match read {
                    // It was tired of waiting, and the client has not waited for it.
                    _ if self.last == Some(Who::Program) => self.application = None,
                    Ok(_) => return Next::Rest,
                    Err(_) => return Next::Broken,
                },
                _ = read(&mut self.program) => self.end_program().await,
                () = &mut first_line, if waits_for_line => return Next::Rest,
            }
        }
    }

    async fn end_program(&mut self) {
        if let Some(program) = self.program.take() {
            program.close().await;
        }
    }

    /// All that is left of the connection is between the client and one of the others.
    async fn rest(mut self, who: Who) {
        let other = match who {
            Who::Application => {
                self.end_program().await;
                match self.application.take() {
                    None => self.answerers.application().await.ok(),
                    application => application,
                }
            }
            Who::Program => self.program.take(),
        };
        drop(self.application.take());
        let Some(mut other) = other else {
            // The program's connection has ended after its answer; there is nobody else to tell.
            return if who == Who::Program { self.client.close().await } else { self.abort() };
        };
        if let Err(error) = join(&mut self.client, &mut other).await {
            debug!(%error, ?who, "a filtered connection was aborted");
            other.abort();
            return self.abort();
        }
        other.close().await;
    }

    /// What is left is the program's answer.
    async fn finish(mut self) {
        drop(self.application.take());
        let Some(mut program) = self.program.take() else { return };
        if let Err(error) = finish(&mut self.client, &mut program).await {
            debug!(%error, "the end of an answer was lost");
            return self.abort();
        }
        program.close().await;
    }

    /// Resets what is left.
    fn abort(self) {
        self.client.abort();
        self.application.into_iter().chain(self.program).for_each(Side::abort);
    }
}

/// Reads more; waits for ever where there is nobody to read from.
async fn read(side: &mut Option<Side>) -> io::Result<usize> {
    match side {
        Some(side) => side.read().await,
        None => std::future::pending().await,
    }
}
