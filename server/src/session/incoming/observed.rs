//! What whoever follows the session is told of the requests on one connection. Nothing depends on it: what cannot be
//! read is not told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::locked;
use crate::serve::rpc::{Outcome, RequestSeen};
use crate::session::board::{self, Board};

/// Characters of a path that are told.
const LONGEST_PATH: usize = 512;

/// Requests without an answer that are remembered; of later ones the answer is not told.
const OPEN: usize = 64;

/// The requests of one connection.
pub(super) struct Observed {
    board: Arc<Board>,
    port: u16,
    client: SocketAddr,
    outcome: Outcome,
    open: Mutex<VecDeque<(RequestSeen, Instant)>>,
}

impl Observed {
    /// Requests of `client` to `port` that the program gets, alone or as a copy.
    pub(super) fn new(board: Arc<Board>, port: u16, client: SocketAddr, outcome: Outcome) -> Self {
        Self { board, port, client, outcome, open: Mutex::default() }
    }

    /// The head of a request is sent to the program.
    pub(super) fn begins(&self, head: &[u8]) {
        let Some((method, path)) = request_line(head) else { return };
        let mut request = board::seen(self.port, self.client, self.outcome);
        (request.method, request.path) = (Some(method), Some(path));
        request.id = self.board.request(request.clone());
        let mut open = locked(&self.open);
        if open.len() < OPEN {
            open.push_back((request, Instant::now()));
        }
    }

    /// Bytes of the program: the first ones of an answer tell its status.
    pub(super) fn answered(&self, bytes: &[u8]) {
        let Some(status) = status(bytes).filter(|status| *status >= 200) else { return };
        let Some((mut request, began)) = locked(&self.open).pop_front() else { return };
        request.status = Some(status);
        request.milliseconds = Some(began.elapsed().as_millis() as u64);
        self.board.request_again(request);
    }

    /// The program has not begun to read the last request: the target has it.
    pub(super) fn untaken(&self) {
        let Some((mut request, _)) = locked(&self.open).pop_back() else { return };
        request.outcome = Outcome::Passed;
        self.board.request_again(request);
    }
}

/// Method and path of an HTTP/1 request. Queries may hold secrets.
fn request_line(head: &[u8]) -> Option<(String, String)> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_request = version.starts_with("HTTP/1.") && method.bytes().all(|byte| byte.is_ascii_uppercase());
    let path = target.split(['?', '#']).next()?.chars().take(LONGEST_PATH).collect();
    is_request.then(|| (method.to_owned(), path))
}

fn status(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(rest).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::board::Event;

    #[test]
    fn requests_and_their_answers_are_told() {
        let board = board::tests::board();
        let (_, mut events) = board.follow();
        let client = "10.0.0.1:99".parse().expect("an address");
        let observed = Observed::new(board, 80, client, Outcome::Local);
        observed.begins(b"GET /a?token=secret HTTP/1.1\r\nhost: x\r\n\r\n");
        observed.answered(b"HTTP/1.1 100 Continue\r\n\r\n");
        observed.answered(b"HTTP/1.1 404 Not Found\r\n");
        observed.answered(b"the rest of it");
        observed.begins(b"POST /b HTTP/1.1\r\n");
        observed.untaken();
        observed.begins(b"PRI * HTTP/2.0\r\n");
        let mut told = Vec::new();
        while let Ok(Event::Request(request)) = events.try_recv() {
            told.push((request.id, request.path.expect("a path"), request.status, request.outcome));
        }
        assert_eq!(
            told,
            [
                (1, "/a".to_owned(), None, Outcome::Local),
                (1, "/a".to_owned(), Some(404), Outcome::Local),
                (2, "/b".to_owned(), None, Outcome::Local),
                (2, "/b".to_owned(), None, Outcome::Passed),
            ]
        );
    }
}
