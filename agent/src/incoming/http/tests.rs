//! Whole connections against an application and a program that say what they get.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use std::time::Duration;

use protocol::agent::{HttpFilter, PortMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};

use super::connection::{Answered, Answerers, Untaken, carry};
use super::filter::Filter;
use super::hosted::hosted;
use super::sides::Side;
use super::{Filtered, UNANSWERED, UNAVAILABLE};
use crate::incoming::news::Happened;

/// What one of the two has got on all its connections, and what it answers at the end of each request.
#[derive(Clone, Default)]
struct Fake {
    got: Rc<RefCell<Vec<u8>>>,
    connections: Rc<Cell<usize>>,
    answer: &'static str,
    /// Said before anything is heard.
    greeting: &'static str,
    refuses: bool,
}

impl Fake {
    fn new(answer: &'static str) -> Self {
        Self { answer, ..Self::default() }
    }

    fn connect(&self) -> Option<DuplexStream> {
        if self.refuses {
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        let (near, far) = duplex(16);
        let (got, answer, greeting) = (Rc::clone(&self.got), self.answer, self.greeting);
        spawn_local(async move { talk(far, &got, answer, greeting).await });
        Some(near)
    }

    fn got(&self) -> String {
        String::from_utf8_lossy(&self.got.borrow()).into_owned()
    }
}

/// Answers after each `!`, or the end of a head without `Content-Length`.
async fn talk(mut far: DuplexStream, got: &RefCell<Vec<u8>>, answer: &str, greeting: &str) {
    let _ = far.write_all(greeting.as_bytes()).await;
    let mut request = Vec::new();
    let mut byte = [0];
    while far.read(&mut byte).await.is_ok_and(|count| count > 0) {
        got.borrow_mut().push(byte[0]);
        request.push(byte[0]);
        let text = String::from_utf8_lossy(&request);
        if text.ends_with('!')
            || text.ends_with("A: b\r\n\r\n")
            || (text.ends_with("\r\n\r\n") && !text.contains("ength") && !text.contains("oding"))
        {
            request.clear();
            let _ = far.write_all(answer.as_bytes()).await;
            if answer.contains("close") {
                break;
            }
        }
    }
    let _ = far.shutdown().await;
}

#[derive(Clone)]
struct Pod {
    application: Fake,
    program: Fake,
    mode: PortMode,
    untaken: Untaken,
    noted: Rc<RefCell<Vec<Happened>>>,
    passed: Rc<RefCell<Vec<String>>>,
}

/// A pod with a filter for one user's requests.
struct Port(Pod, Rc<Filtered>);

impl Answerers for Port {
    async fn application(&self) -> std::io::Result<Side> {
        self.0.application.connect().map(Side::of).ok_or(std::io::ErrorKind::ConnectionRefused.into())
    }

    async fn program(&self) -> Result<Side, Untaken> {
        let program = self.0.program.connect().ok_or(self.0.untaken)?;
        Ok(Side::program(hosted(program)))
    }

    fn port(&self) -> Rc<Filtered> {
        Rc::clone(&self.1)
    }

    fn passed(&self, request: Answered) {
        self.0.passed.borrow_mut().push(format!("{} {} {}", request.method, request.path, request.status));
    }

    fn note(&self, happened: Happened) {
        self.0.noted.borrow_mut().push(happened);
    }
}

const HOLD: Duration = Duration::from_millis(100);

const A: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
const P: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\np\r\n0\r\n\r\n";

fn pod() -> Pod {
    Pod {
        application: Fake::new(A),
        program: Fake::new(P),
        mode: PortMode::Steal,
        untaken: Untaken::LeftAlone,
        noted: Rc::default(),
        passed: Rc::default(),
    }
}

/// What a client is answered that says `text`, in parts of so many bytes, and then ends its direction.
fn ask(pod: &Pod, text: &str, part: usize) -> String {
    let filter = Filter::new(&HttpFilter::Header("user: me".to_owned())).expect("good");
    let port = Filtered { filter, mode: pod.mode, hold: HOLD, patience: HOLD, untaken: Untaken::LeftAlone };
    let port = Rc::new(Port(pod.clone(), Rc::new(port)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let (near, far) = duplex(64);
    let (mut reader, mut writer) = tokio::io::split(near);
    let client = async {
        for part in text.as_bytes().chunks(part) {
            if writer.write_all(part).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = writer.shutdown().await;
    };
    let mut answers = Vec::new();
    let all = async {
        let _ = tokio::join!(client, reader.read_to_end(&mut answers), carry(Side::of(far), port));
        // Those who listen hear of the end.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    LocalSet::new().block_on(&runtime.expect("a runtime"), all);
    String::from_utf8_lossy(&answers).into_owned()
}

const MINE: &str = "GET /m HTTP/1.1\r\nUser: me\r\n\r\n";
const MINE_LONG: &str = "PUT /m HTTP/1.1\r\nuser: me\r\nContent-Length: 4\r\n\r\nabc!";
const THEIRS: &str = "GET /t HTTP/1.1\r\nUser:  you \r\n\r\n";
const THEIRS_CHUNKED: &str = "PUT /t HTTP/1.1\r\ntransfer-encoding: CHUNKED\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n";

#[test]
fn requests_are_told_apart_and_stay_what_they_are() {
    for part in [1, 2, 7, 1000] {
        let pod = pod();
        let requests = [THEIRS, MINE, THEIRS, THEIRS, MINE_LONG, MINE, THEIRS];
        let answers = ask(&pod, &requests.concat(), part);
        assert_eq!(answers, [A, P, A, A, P, P, A].concat(), "in parts of {part}");
        assert_eq!(pod.application.got(), [THEIRS; 4].concat());
        assert_eq!(pod.program.got(), [MINE, MINE_LONG, MINE].concat());
        assert_eq!(*pod.passed.borrow(), ["GET /t 200"; 4]);
        assert_eq!((pod.application.connections.get(), pod.program.connections.get()), (1, 1));
    }
}

#[test]
fn chunks_and_trailers_are_carried_as_they_came() {
    for part in [1, 3, 1000] {
        let pod = pod();
        let answers = ask(&pod, &[THEIRS_CHUNKED, MINE].concat(), part);
        assert_eq!(pod.application.got(), THEIRS_CHUNKED);
        assert_eq!(answers, [A, P].concat(), "in parts of {part}");
    }
}

#[test]
fn what_is_no_http_is_the_applications() {
    for text in [
        "\x16\x03\x01hello!",
        "EHLO me\r\nQUIT!",
        "hello",
        &["GET / HTTP/1.1\nUser: me\n\n!", MINE].concat(),
        &["PUT / HTTP/1.1\r\nUser: me\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n!", MINE]
            .concat(),
        "GET /cut HTTP/1.1\r\nUser: me\r\n",
        "",
    ] {
        for part in [1, 1000] {
            let pod = pod();
            ask(&pod, text, part);
            assert_eq!((pod.application.got().as_str(), pod.program.connections.get()), (text, 0));
        }
    }
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let mut pod = pod();
    pod.application.greeting = "220 hello\r\n";
    let answers = ask(&pod, "", 1);
    assert_eq!(answers, "220 hello\r\n");
}

#[test]
fn the_last_answer_ends_the_connection() {
    let closing = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    let with = |answer| Pod { program: Fake::new(answer), ..pod() };
    assert_eq!(ask(&with(closing), &[MINE, THEIRS].concat(), 1000), closing);
    let until_end = "HTTP/1.1 200 OK\r\n\r\nuntil close";
    assert_eq!(ask(&with(until_end), MINE, 1000), until_end);
    let pod = Pod { application: Fake::new(until_end), ..pod() };
    assert_eq!(ask(&pod, &[MINE, THEIRS].concat(), 1000), [P, until_end].concat());
}

#[test]
fn who_answers_a_request_more_than_once_is_heard() {
    let pod = pod();
    let parts = "body!".repeat(12);
    let text = format!("PUT /t HTTP/1.1\r\nUser: you\r\nContent-Length: {}\r\n\r\n{parts}", parts.len());
    for part in [1, 1000] {
        pod.application.got.borrow_mut().clear();
        assert_eq!(ask(&pod, &text, part), A.repeat(12));
        assert_eq!(pod.application.got(), text);
    }
}

#[test]
fn who_is_not_there_has_no_requests() {
    let mut nobody = pod();
    nobody.program.refuses = true;
    assert_eq!(ask(&nobody, &[MINE, THEIRS].concat(), 1000), [A, A].concat());
    assert_eq!(nobody.application.got(), [MINE, THEIRS].concat());
    let mut nobody = pod();
    nobody.application.refuses = true;
    assert_eq!(ask(&nobody, &[MINE, THEIRS, MINE].concat(), 1000), P);
}

#[test]
fn after_a_change_of_protocol_all_bytes_are_carried() {
    let upgrade = "GET / HTTP/1.1\r\nUser: me\r\nUpgrade: x\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching\r\n\r\nhi";
    let pod = Pod { program: Fake::new(switched), ..pod() };
    assert_eq!(ask(&pod, &[upgrade, "\x01\x02 GET", THEIRS].concat(), 3), [switched, switched].concat());
    assert_eq!(pod.program.got(), [upgrade, "\x01\x02 GET", THEIRS].concat());
}

#[test]
fn a_client_that_must_wait_for_leave_gets_it() {
    let expecting = "PUT / HTTP/1.1\r\nUser: me\r\nLength: 4\r\nExpect: 100-continue\r\n\r\n";
    let text = expecting.replace("Length", "Content-Length");
    let continued = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let pod = Pod { program: Fake::new(continued), ..pod() };
    let answers = ask(&pod, &[text.as_str(), "abc!", THEIRS].concat(), 1000);
    assert_eq!(answers, [continued, A].concat());
}

#[test]
fn who_has_a_request_and_does_not_answer_is_not_waited_for() {
    let pod = Pod { program: Fake::new(""), ..pod() };
    let answers = ask(&pod, &[THEIRS, MINE, THEIRS].concat(), 1000);
    assert_eq!(answers, [A, UNANSWERED].concat());
    assert_eq!((pod.program.got().as_str(), pod.application.got().as_str()), (MINE, THEIRS));
    assert_eq!(*pod.noted.borrow(), [Happened::Unanswered]);
    for answer in [UNANSWERED, UNAVAILABLE] {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}

#[test]
fn a_paused_program_can_be_named_as_the_reason() {
    let mut pod = Pod { untaken: Untaken::Unavailable, ..pod() };
    pod.program.refuses = true;
    assert_eq!(ask(&pod, &[THEIRS, MINE].concat(), 1000), [A, UNAVAILABLE].concat());
    assert_eq!(pod.application.got(), THEIRS);
}

#[test]
fn copies_are_whole_requests_and_nobody_waits_for_them() {
    for part in [1, 7, 1000] {
        let pod = Pod { mode: PortMode::Mirror, ..pod() };
        let answers = ask(&pod, &[THEIRS, MINE, MINE_LONG, THEIRS_CHUNKED, MINE].concat(), part);
        assert_eq!(answers, A.repeat(5));
        assert_eq!(pod.application.got(), [THEIRS, MINE, MINE_LONG, THEIRS_CHUNKED, MINE].concat());
        assert_eq!(pod.program.got(), [MINE, MINE_LONG, MINE].concat(), "in parts of {part}");
        assert_eq!(*pod.noted.borrow(), []);
    }
    let pod = Pod { mode: PortMode::Mirror, program: Fake::new(""), ..pod() };
    let many = MINE.repeat(60);
    assert_eq!(ask(&pod, &many, 1000), A.repeat(60));
    assert!(pod.noted.borrow().len() > 30, "{}", pod.noted.borrow().len());
}
