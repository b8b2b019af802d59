//! A connection whose requests are the program's or the application's, one by one.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use protocol::agent::PortMode;
use tokio::time::sleep;
use tracing::debug;

use super::body::Unclear;
use super::copying::Copying;
use super::exchange::{Broken, End, Unsent, exchange};
use super::head::{Found, Looker, RequestHead};
use super::offer::offer;
use super::patience::Patience;
use super::sides::{Side, finish, join};
use super::two::{self, may_be_settings};
use super::{Filtered, UNANSWERED, UNAVAILABLE};
use crate::incoming::news::Happened;

/// How long the beginning of a client's first line waits for its end: other protocols may have lines without one.
const FIRST_LINE: Duration = Duration::from_secs(3);

/// How much a server may say before its client has: the settings of HTTP/2.
const GREETING: usize = 4096;

/// Makes the connections that requests need.
pub(super) trait Answerers: 'static {
    /// A connection to the application.
    async fn application(&self) -> io::Result<Side>;

    /// A connection to the program, which has accepted it.
    async fn program(&self) -> Result<Side, Untaken>;

    /// What holds for the port now.
    fn port(&self) -> Rc<Filtered>;

    /// The application has answered a request that no filter has chosen.
    fn passed(&self, request: Answered);

    /// The user should know of it.
    fn note(&self, happened: Happened);
}

/// A request whose answer has begun.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) method: String,
    /// Without its query.
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) elapsed: Duration,
}

/// Why the program does not get a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::incoming) enum Untaken {
    /// The application answers it.
    LeftAlone,
    /// It is to be answered that the program is paused.
    Unavailable,
}

/// Who has answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Application,
    Program,
}

/// The three ends.
struct Connection<A> {
    client: Side,
    application: Option<Side>,
    program: Option<Side>,
    last: Option<Who>,
    copying: Option<Copying>,
    answerers: Rc<A>,
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
pub(super) async fn carry(client: Side, answerers: Rc<impl Answerers>) {
    let application = answerers.application().await.ok();
    let mut connection = Connection { client, application, program: None, last: None, copying: None, answerers };
    loop {
        let head = match connection.next().await {
            Next::Request(head) => head,
            Next::Rest => return connection.rest(Who::Application).await,
            Next::Two => return connection.two().await,
            Next::End => {
                let last = connection.last.unwrap_or(Who::Application);
                return connection.rest(last).await;
            }
            Next::Broken => return connection.abort(),
        };
        let port = connection.answerers.port();
        let chosen = port.filter.matches(&head.request).then_some(port.mode);
        let offered = match chosen == Some(PortMode::Steal) {
            true => offer(&mut connection.program, &mut connection.client, &head, &*connection.answerers).await,
            false => Err(Untaken::LeftAlone),
        };
        let (who, left) = match offered {
            Ok(left) => (Who::Program, Some(left)),
            Err(Untaken::LeftAlone) => (Who::Application, None),
            Err(Untaken::Unavailable) => return connection.client.say_last(UNAVAILABLE).await,
        };
        if who == Who::Application && connection.application.is_none() {
            connection.application = connection.answerers.application().await.ok();
        }
        connection.last = Some(who);
        let request = Unsent { head: &head, is_begun: left.is_some(), body: left.unwrap_or_else(|| head.body.clone()) };
        match connection.exchange(who, request, chosen).await {
            None => return connection.abort(),
            Some(Ok(End::Next)) => {}
            Some(Ok(End::Last)) if who == Who::Program => return connection.finish().await,
            // What the program says is not understood: it is not to get requests that are not its own.
            Some(Ok(End::Other)) if who == Who::Program && !head.upgrades => return connection.finish().await,
            Some(Ok(End::Last | End::Other)) => return connection.rest(who).await,
            Some(Err(Broken::Late)) => {
                connection.answerers.note(Happened::Unanswered);
                return connection.client.say_last(UNANSWERED).await;
            }
            Some(Err(Broken::Client(error) | Broken::Answerer(error))) => {
                debug!(%error, ?who, "a request ended early");
                return connection.abort();
            }
        }
    }
}

impl<A: Answerers> Connection<A> {
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
                    Ok(1..) if is_first && self.is_greeted() => {}
                    Ok(_) => return Next::Rest,
                    Err(_) => return Next::Broken,
                },
                _ = read(&mut self.program) => self.end_program().await,
                () = &mut first_line, if waits_for_line => return Next::Rest,
            }
        }
    }

    /// Whether the application has begun to speak HTTP/2, as its client is about to.
    fn is_greeted(&self) -> bool {
        let said = self.application.as_ref().map_or(&[][..], |application| &application.held);
        said.len() <= GREETING && may_be_settings(said)
    }

    /// One request and its answer; none if there is nobody to answer it.
    async fn exchange(
        &mut self,
        who: Who,
        request: Unsent<'_>,
        chosen: Option<PortMode>,
    ) -> Option<Result<End, Broken>> {
        let Self { client, application, program, copying, answerers, .. } = self;
        if who == Who::Program {
            let patience = Patience::with_program(&answerers.port());
            return Some(exchange(client, program.as_mut()?, request, patience, None).await);
        }
        let patience = match chosen {
            Some(_) => Patience::endless(),
            None => Patience::told(answerers, &request.head.request),
        };
        let copying = (chosen == Some(PortMode::Mirror))
            .then(|| copying.get_or_insert_with(|| Copying::start(Rc::clone(answerers))));
        let copy = copying.and_then(|copying| copying.begin(request.head));
        Some(exchange(client, application.as_mut()?, request, patience, copy.as_ref()).await)
    }

    async fn end_program(&mut self) {
        if let Some(program) = self.program.take() {
            program.close().await;
        }
    }

    /// Requests of HTTP/2 are told apart, too, if the application has them.
    async fn two(self) {
        let Self { client, application, answerers, .. } = self;
        let carried = two::carry(client, application, Rc::clone(&answerers)).await;
        if let Err(client) = carried {
            let rest = Connection { client, application: None, program: None, last: None, copying: None, answerers };
            rest.rest(Who::Application).await;
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
