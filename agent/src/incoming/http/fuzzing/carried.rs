//! A whole connection: no byte of the client's is lost, changed, doubled or moved, and only whole requests that the
//! filter chooses reach the program.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::agent::{HttpFilter, PortMode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::incoming::http::Filtered;
use crate::incoming::http::connection::{Answered, Answerers, Untaken, carry};
use crate::incoming::http::filter::Filter;
use crate::incoming::http::head::{Found, Looker, PREFACE};
use crate::incoming::http::hosted::hosted;
use crate::incoming::http::sides::Side;
use crate::incoming::news::Happened;

/// Time stands still until everybody waits for it: whoever has had nothing for so long has had everything.
const IDLE: Duration = Duration::from_millis(1);

/// Servers do not wait longer for a request.
const TIRED: Duration = Duration::from_secs(60);

/// No connection whose client has ended lasts so long.
const FOR_EVER: Duration = Duration::from_secs(3600);

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";

/// The bytes between the parts of an input.
const BETWEEN: u8 = 0xff;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Application,
    Program,
}

/// What everybody does, and what they got.
struct Play {
    /// In turn, whoever is asked; [`ANSWER`] when they are used up.
    answers: RefCell<std::vec::IntoIter<Vec<u8>>>,
    /// Who has answered for the last time ends the connection.
    closes: bool,
    refuses: bool,
    asked_in_vain: Cell<bool>,
    /// Somebody has ended a connection without having been told to.
    has_tired: Cell<bool>,
    /// What was sent to whom, in the order in which it was.
    sent: RefCell<Vec<(Who, Vec<u8>)>>,
    answered: RefCell<Vec<u8>>,
}

/// Carries a connection that the bytes describe: how it goes, the size of the client's parts, what the client says,
/// and answers, all of them with [`BETWEEN`] between them.
pub fn connection(bytes: &[u8]) {
    let [how, part, rest @ ..] = bytes else { return };
    let mut texts = rest.split(|byte| *byte == BETWEEN).map(<[u8]>::to_vec);
    let said = texts.next().unwrap_or_default();
    if said.starts_with(PREFACE) {
        // Whether the application speaks HTTP/2 is asked in our own words.
        return;
    }
    let answers: Vec<_> = texts.collect();
    let is_plain = answers.is_empty();
    let play = Rc::new(Play {
        answers: RefCell::new(answers.into_iter()),
        closes: how & 1 != 0,
        refuses: how & 2 != 0,
        asked_in_vain: Cell::default(),
        has_tired: Cell::default(),
        sent: RefCell::default(),
        answered: RefCell::default(),
    });
    let filter = || Filter::new(&HttpFilter::Header("user: me".to_owned())).expect("good");
    let port = Port { play: Rc::clone(&play), filtered: filtered(filter()) };
    let (heard, filter) = (run(port, &said, usize::from(*part).max(1), how & 4 != 0), filter());
    let sent = play.sent.borrow();
    let all: Vec<u8> = sent.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    assert!(said.starts_with(&all), "what is passed on is what came");
    let only_application = sent.iter().all(|(who, _)| *who == Who::Application);
    let may_end = play.closes || play.has_tired.get();
    if only_application && !may_end {
        assert!(all == said, "the application gets everything");
        assert!(heard == *play.answered.borrow(), "the client gets everything");
    }
    for (who, bytes) in sent.iter() {
        match who {
            // What somebody gets who has ended may be a part.
            Who::Program => assert!(may_end || chosen(bytes, &filter), "the program gets what is chosen"),
            Who::Application if is_plain && !play.asked_in_vain.get() => {
                assert!(!chosen(bytes, &filter), "what is chosen goes to the program");
            }
            Who::Application => {}
        }
    }
}

/// What the client hears.
fn run(port: Port, said: &[u8], part: usize, waits: bool) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (near, far) = duplex(64);
    let (mut reader, mut writer) = tokio::io::split(near);
    let client = async {
        for part in said.chunks(part) {
            if writer.write_all(part).await.is_err() {
                break;
            }
            if waits {
                sleep(2 * IDLE).await;
            }
        }
        // Who shuts its direction down early has heard what it wants to hear.
        sleep(100 * IDLE).await;
        let _ = writer.shutdown().await;
    };
    let mut heard = Vec::new();
    let all = async {
        let hear = reader.read_to_end(&mut heard);
        let all = async { tokio::join!(client, hear, carry(Side::of(far), Rc::new(port))) };
        assert!(timeout(FOR_EVER, all).await.is_ok(), "the connection ends");
    };
    LocalSet::new().block_on(&runtime.expect("a runtime"), all);
    heard
}

/// Whether bytes begin with a request that the filter chooses.
fn chosen(bytes: &[u8], filter: &Filter) -> bool {
    matches!(Looker::default().request(bytes), Ok(Found::Head(head)) if filter.matches(&head.request))
}

impl Play {
    fn connect(self: &Rc<Self>, who: Who) -> Kept {
        let (near, far) = duplex(64);
        spawn_local(Rc::clone(self).answer(far));
        Kept { stream: near, who, play: Rc::clone(self) }
    }

    /// Answers when nothing more comes.
    async fn answer(self: Rc<Self>, mut stream: DuplexStream) {
        let (mut buffer, mut is_asked) = ([0; 64], false);
        loop {
            match timeout(IDLE, stream.read(&mut buffer)).await {
                Ok(Ok(1..)) => is_asked = true,
                Ok(_) => break,
                Err(_) if is_asked => {
                    is_asked = false;
                    let next = self.answers.borrow_mut().next();
                    let is_last = next.is_none() && self.closes;
                    let answer = next.unwrap_or_else(|| ANSWER.to_vec());
                    if stream.write_all(&answer).await.is_err() || is_last {
                        break;
                    }
                }
                Err(_) => match timeout(TIRED, stream.read(&mut buffer)).await {
                    Ok(Ok(1..)) => is_asked = true,
                    Ok(_) => break,
                    Err(_) => {
                        self.has_tired.set(true);
                        break;
                    }
                },
            }
        }
        let _ = stream.shutdown().await;
    }
}

/// What is carried from.
struct Port {
    play: Rc<Play>,
    filtered: Rc<Filtered>,
}

fn filtered(filter: Filter) -> Rc<Filtered> {
    let (mode, untaken) = (PortMode::Steal, Untaken::LeftAlone);
    Rc::new(Filtered { filter, mode, hold: FOR_EVER, patience: FOR_EVER, untaken })
}

impl Answerers for Port {
    async fn application(&self) -> io::Result<Side> {
        Ok(Side::of(self.play.connect(Who::Application)))
    }

    async fn program(&self) -> Result<Side, Untaken> {
        if self.play.refuses {
            self.play.asked_in_vain.set(true);
            return Err(Untaken::LeftAlone);
        }
        Ok(Side::program(hosted(self.play.connect(Who::Program))))
    }

    fn port(&self) -> Rc<Filtered> {
        Rc::clone(&self.filtered)
    }

    fn passed(&self, _: Answered) {}

    fn note(&self, _: Happened) {}
}

/// A connection to one of them, of which everything is written down.
struct Kept {
    stream: DuplexStream,
    who: Who,
    play: Rc<Play>,
}

impl AsyncRead for Kept {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buffer.filled().len());
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.play.answered.borrow_mut().extend_from_slice(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Kept {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            let mut sent = this.play.sent.borrow_mut();
            match sent.last_mut() {
                Some((who, last)) if *who == this.who => last.extend_from_slice(&bytes[..count]),
                _ => sent.push((this.who, bytes[..count].to_vec())),
            }
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
