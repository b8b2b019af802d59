//! Clients of HTTP/2 against an application and a program that speak it, or do not.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, server};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use protocol::agent::{HttpFilter, PortMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};

use super::super::connection::{Answered, Answerers, Untaken, carry};
use super::super::filter::Filter;
use super::super::hosted::hosted;
use super::super::{Filtered, sides::Side};
use crate::incoming::news::Happened;

const HOLD: Duration = Duration::from_millis(200);

/// How one of the two behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Says its name and the body, and has trailers.
    Echo,
    /// Resets every stream.
    Resets(Reason),
    /// Reads requests, and never answers.
    Silent,
    /// Answers one request and goes away.
    GoesAway,
    /// Speaks HTTP/1.
    Old,
    Absent,
}

struct Port {
    application: Kind,
    program: Kind,
    filtered: Rc<Filtered>,
    connections: Cell<usize>,
    got: Rc<RefCell<Vec<String>>>,
    noted: RefCell<Vec<Happened>>,
    passed: RefCell<Vec<String>>,
}

impl Port {
    fn new(application: Kind, program: Kind, mode: PortMode) -> Rc<Self> {
        let filter = Filter::new(&HttpFilter::Header("^user: me$".to_owned())).expect("good");
        let filtered = Rc::new(Filtered { filter, mode, hold: HOLD, patience: HOLD, untaken: Untaken::LeftAlone });
        let (connections, got) = (Cell::default(), Rc::default());
        let (noted, passed) = (RefCell::default(), RefCell::default());
        Rc::new(Self { application, program, filtered, connections, got, noted, passed })
    }

    fn connect(&self, name: &'static str, kind: Kind) -> Option<DuplexStream> {
        self.connections.set(self.connections.get() + 1);
        let (near, far) = duplex(1000);
        match kind {
            Kind::Absent => return None,
            Kind::Old => drop(spawn_local(talk_old(far))),
            _ => drop(spawn_local(talk(name, kind, far, Rc::clone(&self.got)))),
        }
        Some(near)
    }
}

impl Answerers for Port {
    async fn application(&self) -> std::io::Result<Side> {
        self.connect("application", self.application).map(Side::of).ok_or(std::io::ErrorKind::ConnectionRefused.into())
    }

    async fn program(&self) -> Result<Side, Untaken> {
        let program = self.connect("program", self.program).ok_or(Untaken::LeftAlone)?;
        Ok(Side::program(hosted(program)))
    }

    fn port(&self) -> Rc<Filtered> {
        Rc::clone(&self.filtered)
    }

    fn passed(&self, request: Answered) {
        self.passed.borrow_mut().push(format!("{} {} {}", request.method, request.path, request.status));
    }

    fn note(&self, happened: Happened) {
        self.noted.borrow_mut().push(happened);
    }
}

async fn talk_old(mut far: DuplexStream) {
    let mut head = vec![0; 14];
    if far.read_exact(&mut head).await.is_ok() {
        let _ = far.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    }
}

async fn talk(name: &'static str, kind: Kind, far: DuplexStream, got: Rc<RefCell<Vec<String>>>) {
    let Ok(mut connection) = server::handshake(far).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        got.borrow_mut().push(format!("{name} {}", request.uri().path()));
        if kind == Kind::GoesAway {
            connection.graceful_shutdown();
        }
        spawn_local(async move {
            if let Kind::Resets(reason) = kind {
                return respond.send_reset(reason);
            }
            let (body, trailers) = read(request.into_body()).await.expect("a body");
            if kind == Kind::Silent {
                return std::future::pending().await;
            }
            let mut sending = respond.send_response(Response::new(()), false).expect("answers");
            let text = format!("{name} {}", body.len());
            sending.send_data(text.into(), false).expect("sends");
            let mut own = HeaderMap::new();
            own.insert("of", HeaderValue::from_static(name));
            own.extend(trailers.unwrap_or_default());
            sending.send_trailers(own).expect("ends");
        });
    }
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        all.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len())?;
    }
    Ok((all, body.trailers().await?))
}

/// A client's connection to the port, while `body` runs.
fn with<F: Future>(port: &Rc<Port>, body: impl FnOnce(SendRequest<Bytes>) -> F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (near, far) = duplex(1000);
        spawn_local(carry(Side::of(far), Rc::clone(port)));
        let (client, connection) = h2::client::handshake(near).await.expect("begins");
        spawn_local(async move { drop(connection.await) });
        body(client).await
    })
}

fn request(path: &str, user: &'static str) -> Request<()> {
    Request::put(format!("http://shop{path}")).header("user", user).body(()).expect("a request")
}

/// Sends a body with trailers, and returns status, text and the trailers' origin.
async fn ask(
    client: &SendRequest<Bytes>,
    path: &str,
    user: &'static str,
    size: usize,
) -> Result<(StatusCode, String), h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, mut sending) = client.send_request(request(path, user), false)?;
    let mut body = Bytes::from(vec![7; size]);
    while !body.is_empty() {
        sending.reserve_capacity(body.len());
        let Some(room) = poll_fn(|context| sending.poll_capacity(context)).await else { break };
        sending.send_data(body.split_to(room?.min(body.len())), false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("sent", HeaderValue::from_static("x"));
    // An answer may come before.
    let _ = sending.send_trailers(trailers);
    let answer = answer.await?;
    let status = answer.status();
    let (text, trailers) = read(answer.into_body()).await?;
    let has = |name: &str| trailers.as_ref().and_then(|trailers| trailers.get(name)).is_some();
    let mark = if has("of") && has("sent") { " with trailers" } else { "" };
    Ok((status, String::from_utf8_lossy(&text).into_owned() + mark))
}

#[test]
fn requests_of_one_connection_are_told_apart_however_large() {
    let port = Port::new(Kind::Echo, Kind::Echo, PortMode::Steal);
    with(&port, async |client| {
        for size in [0, 1, 300_000] {
            let (mine, theirs) = tokio::join!(ask(&client, "/m", "me", size), ask(&client, "/t", "you", size));
            assert_eq!(mine.expect("answered").1, format!("program {size} with trailers"));
            assert_eq!(theirs.expect("answered").1, format!("application {size} with trailers"));
        }
    });
    assert_eq!(port.connections.get(), 2);
    let passed = port.passed.borrow();
    assert!(passed.len() == 3 && passed.iter().all(|one| one.ends_with(" /t 200")), "{passed:?}");
}

#[test]
fn what_resets_say_is_handed_on() {
    for reason in [Reason::REFUSED_STREAM, Reason::ENHANCE_YOUR_CALM] {
        let port = Port::new(Kind::Resets(reason), Kind::Echo, PortMode::Steal);
        with(&port, async |client| {
            let error = ask(&client, "/t", "you", 0).await.expect_err("reset");
            assert_eq!(error.reason(), Some(reason));
            assert!(ask(&client, "/m", "me", 0).await.is_ok(), "the others go on");
        });
    }
}

#[test]
fn an_application_that_goes_away_is_reached_again() {
    let port = Port::new(Kind::GoesAway, Kind::Echo, PortMode::Steal);
    with(&port, async |client| {
        assert_eq!(ask(&client, "/t", "you", 5).await.expect("answered").1, "application 5 with trailers");
        // The client hears of it and makes a connection of its own.
        let ended = poll_fn(|context| client.clone().poll_ready(context)).await;
        let mut tries = 0;
        while ended.is_ok() && tries < 1000 && client.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
            tries += 1;
        }
        assert!(client.clone().ready().await.is_err(), "told to go away");
    });
}

#[test]
fn who_does_not_speak_it_gets_what_it_understands() {
    // The client's bytes as they came.
    let port = Port::new(Kind::Old, Kind::Echo, PortMode::Steal);
    with(&port, async |client| {
        assert!(ask(&client, "/m", "me", 0).await.is_err());
    });
    assert_eq!(*port.got.borrow(), Vec::<String>::new());
    // The application instead.
    let port = Port::new(Kind::Echo, Kind::Old, PortMode::Steal);
    with(&port, async |client| {
        assert_eq!(ask(&client, "/m", "me", 3).await.expect("answered").1, "application 3 with trailers");
    });
    assert_eq!(*port.noted.borrow(), [Happened::NotSpoken]);
    // Without an application the program's requests are answered all the same.
    let port = Port::new(Kind::Absent, Kind::Echo, PortMode::Steal);
    with(&port, async |client| {
        assert_eq!(ask(&client, "/m", "me", 3).await.expect("answered").1, "program 3 with trailers");
        assert_eq!(ask(&client, "/t", "you", 3).await.expect_err("nobody").reason(), Some(Reason::REFUSED_STREAM));
    });
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let port = Port::new(Kind::Echo, Kind::Silent, PortMode::Steal);
    with(&port, async |client| {
        let (status, _) = ask(&client, "/m", "me", 3).await.expect("answered");
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    });
    assert_eq!(
        (&port.got.borrow()[..], &port.noted.borrow()[..]),
        (&["program /m".to_owned()][..], &[Happened::Unanswered][..])
    );
}

#[test]
fn copies_are_whole_and_answered_by_the_application_only() {
    let port = Port::new(Kind::Echo, Kind::Echo, PortMode::Mirror);
    with(&port, async |client| {
        for (user, size) in [("me", 100_000), ("you", 5)] {
            let answer = ask(&client, &format!("/{user}"), user, size).await.expect("answered").1;
            assert_eq!(answer, format!("application {size} with trailers"));
        }
        while port.got.borrow().len() < 3 {
            tokio::task::yield_now().await;
        }
    });
    let mut got = port.got.take();
    got.sort();
    assert_eq!(got, ["application /me", "application /you", "program /me"]);
    assert_eq!(*port.noted.borrow(), []);
}
