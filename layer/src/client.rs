//! One request to the session host: connect, send, receive, close. Nothing of ours is open between calls.

use protocol::codec::{self, PREFIX};
use protocol::layer::{Message, Request};

use crate::interpose::{Stage, guard, without_cancellation};
use crate::session::Session;
use crate::sys::{self, Errno, Timeval};
use crate::{inflight, sandbox};

/// How long a request may wait, and whether a signal may end the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as it takes; a handler without `SA_RESTART` ends it.
    Endless,
    /// So long, as with `SO_SNDTIMEO`; any handler ends it (`signal(7)`).
    Within(Timeval),
    /// The host answers at once, or it hangs and is as good as gone. Signals do not matter.
    Brief,
    /// The host fetches what may be large: as long as there is a host. Signals do not matter.
    Fetch,
    /// The host asks the pod, whose own time limits are shorter. Signals do not matter.
    LookUp,
}

impl Patience {
    fn limit(self) -> Option<Timeval> {
        match self {
            Self::Endless | Self::Fetch => None,
            Self::Within(limit) => Some(limit),
            Self::Brief => Some([5, 0]),
            Self::LookUp => Some([60, 0]),
        }
    }

    fn ends_by_signal(self) -> bool {
        matches!(self, Self::Endless | Self::Within(_))
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The host is gone, hangs, or talks nonsense.
    Lost,
    /// The process has shut itself into a sandbox.
    Sandboxed,
    /// A signal handler ran.
    Interrupted,
    /// The time of [`Patience::Within`] is over.
    TimedOut,
    /// No descriptor to be had: `EMFILE` or `ENFILE`.
    NoDescriptor(Errno),
}

/// Asks the host of `session`; `decode` reads the body of the reply.
///
/// `OUT` and `IN` are the sizes of the buffers on the stack, prefix included: hooks may run on a signal
/// handler's small stack. The thread may leave this function without returning (see `interpose`), so
/// nothing here may need dropping before `decode` has run.
pub(crate) fn ask_as<T, const OUT: usize, const IN: usize>(
    session: &Session,
    request: Request<'_>,
    patience: Patience,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, AskError> {
    ask_passing::<T, OUT, IN>(session, request, None, patience, decode)
}

/// As [`ask_as`], and the host gets a copy of the descriptor `passed`.
pub(crate) fn ask_passing<T, const OUT: usize, const IN: usize>(
    session: &Session,
    request: Request<'_>,
    passed: Option<i32>,
    patience: Patience,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, AskError> {
    let mut out = [0; OUT];
    let used = encode(session, request, &mut out);
    let mut reply = [0; IN];
    let request = Outgoing { bytes: out.get(..used).unwrap_or_default(), passed };
    let received = exchange(session, request, &mut reply, patience)?;
    guard(Stage::After, Err(AskError::Lost), || reply.get(PREFIX..received).and_then(decode).ok_or(AskError::Lost))
}

/// What is sent.
#[derive(Clone, Copy)]
struct Outgoing<'a> {
    bytes: &'a [u8],
    passed: Option<i32>,
}

/// As [`ask_as`], with a reply of up to `longest` bytes, which is read into allocated memory: not for hooks
/// that a signal handler may call. The thread can be cancelled only while it waits for the reply's beginning,
/// when nothing is allocated yet.
pub(crate) fn ask_long<T, const OUT: usize>(
    session: &Session,
    request: Request<'_>,
    patience: Patience,
    longest: usize,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, AskError> {
    let mut out = [0; OUT];
    let used = encode(session, request, &mut out);
    let frame = 0u8;
    let ticket = enter((&raw const frame).addr(), used)?;
    let request = Outgoing { bytes: out.get(..used).unwrap_or_default(), passed: None };
    let length = begin(ticket.fd, session, request, patience).and_then(|()| receive_prefix(ticket.fd, patience));
    let result = guard(Stage::After, Err(AskError::Lost), || {
        without_cancellation(|| {
            let mut body =
                vec![0; length.and_then(|length| (length <= longest).then_some(length).ok_or(AskError::Lost))?];
            receive_all(ticket.fd, &mut body, patience)?;
            decode(&body).ok_or(AskError::Lost)
        })
    });
    inflight::leave(ticket);
    result
}

fn encode(session: &Session, request: Request<'_>, out: &mut [u8]) -> usize {
    guard(Stage::Before, 0, || {
        let message = Message { token: session.token, request };
        codec::encode_into(&message, out).map_or(0, <[u8]>::len)
    })
}

/// Sends `request` and receives one whole message into `reply`; the number of its bytes.
fn exchange(session: &Session, request: Outgoing<'_>, reply: &mut [u8], patience: Patience) -> Result<usize, AskError> {
    let frame = 0u8;
    let ticket = enter((&raw const frame).addr(), request.bytes.len())?;
    let result = talk(ticket.fd, session, request, reply, patience);
    inflight::leave(ticket);
    result
}

/// A socket for a request of so many bytes, noted for the frame that holds the address `frame`.
fn enter(frame: usize, length: usize) -> Result<inflight::Ticket, AskError> {
    if length == 0 {
        return Err(AskError::Lost);
    }
    if sandbox::is_closed() {
        return Err(AskError::Sandboxed);
    }
    inflight::enter(frame, sys::unix_socket).map_err(refused)
}

fn talk(
    fd: i32,
    session: &Session,
    request: Outgoing<'_>,
    reply: &mut [u8],
    patience: Patience,
) -> Result<usize, AskError> {
    begin(fd, session, request, patience)?;
    let length = receive_prefix(fd, patience)?;
    // A message that does not fit, or an end in its middle, is nonsense.
    let body = reply.get_mut(PREFIX..).and_then(|room| room.get_mut(..length)).ok_or(AskError::Lost)?;
    receive_all(fd, body, patience)?;
    Ok(PREFIX + length)
}

/// Connects and sends the request.
fn begin(fd: i32, session: &Session, request: Outgoing<'_>, patience: Patience) -> Result<(), AskError> {
    if let Some(limit) = patience.limit() {
        sys::set_timeouts(fd, limit);
    }
    again(patience, || sys::connect_abstract(fd, session.socket_name()))?;
    // In a user namespace of the program's own making the host's uid is shown as the program's.
    if !sys::peer_uid(fd).is_some_and(|uid| uid == session.uid || uid == sys::own_uid()) {
        return Err(AskError::Lost);
    }
    let sent = again(patience, || match request.passed {
        Some(passed) => sys::send_passing(fd, request.bytes, passed),
        None => sys::send(fd, request.bytes),
    })?;
    if sent == request.bytes.len() { Ok(()) } else { Err(AskError::Lost) }
}

/// Waits for a message's beginning, which says how long its body is.
fn receive_prefix(fd: i32, patience: Patience) -> Result<usize, AskError> {
    let mut prefix = [0; PREFIX];
    receive_all(fd, &mut prefix, patience)?;
    codec::length(prefix).map_err(|_| AskError::Lost)
}

fn receive_all(fd: i32, room: &mut [u8], patience: Patience) -> Result<(), AskError> {
    let mut received = 0;
    while let Some(rest) = room.get_mut(received..).filter(|rest| !rest.is_empty()) {
        match again(patience, || sys::receive(fd, rest))? {
            0 => return Err(AskError::Lost),
            more => received += more,
        }
    }
    Ok(())
}

/// Repeats `call` after signals that must not end the wait.
fn again<T>(patience: Patience, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, AskError> {
    loop {
        match call() {
            Ok(value) => return Ok(value),
            Err(libc::EINTR) if patience.ends_by_signal() => return Err(AskError::Interrupted),
            Err(libc::EINTR) => {}
            Err(libc::EAGAIN) if matches!(patience, Patience::Within(_)) => return Err(AskError::TimedOut),
            Err(errno) => return Err(refused(errno)),
        }
    }
}

fn refused(errno: Errno) -> AskError {
    match errno {
        libc::EMFILE | libc::ENFILE => AskError::NoDescriptor(errno),
        libc::EPERM | libc::EACCES | libc::ENOSYS if sandbox::explains_refusal() => AskError::Sandboxed,
        _ => AskError::Lost,
    }
}
