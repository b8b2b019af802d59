//! One request to the session host: connect, send, receive, close. Nothing of ours is open between calls.

use protocol::codec::{self, PREFIX};
use protocol::layer::{Message, Request};

use crate::interpose::{Stage, guard};
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
    /// The host asks the pod, whose own time limits are shorter. Signals do not matter.
    LookUp,
}

impl Patience {
    fn limit(self) -> Option<Timeval> {
        match self {
            Self::Endless => None,
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
    let used = guard(Stage::Before, 0, || {
        let message = Message { token: session.token, request };
        codec::encode_into(&message, &mut out).map_or(0, <[u8]>::len)
    });
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

/// Sends `request` and receives one whole message into `reply`; the number of its bytes.
fn exchange(session: &Session, request: Outgoing<'_>, reply: &mut [u8], patience: Patience) -> Result<usize, AskError> {
    if request.bytes.is_empty() {
        return Err(AskError::Lost);
    }
    if sandbox::is_closed() {
        return Err(AskError::Sandboxed);
    }
    let frame = 0u8;
    let ticket = inflight::enter((&raw const frame).addr(), sys::unix_socket).map_err(refused)?;
    let result = talk(ticket.fd, session, request, reply, patience);
    inflight::leave(ticket);
    result
}

fn talk(
    fd: i32,
    session: &Session,
    request: Outgoing<'_>,
    reply: &mut [u8],
    patience: Patience,
) -> Result<usize, AskError> {
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
    if sent != request.bytes.len() {
        return Err(AskError::Lost);
    }
    let mut received = 0;
    loop {
        let wanted = match reply.first_chunk().filter(|_| received >= PREFIX) {
            Some(prefix) => PREFIX + codec::length(*prefix).map_err(|_| AskError::Lost)?,
            None => PREFIX,
        };
        if received >= PREFIX && received == wanted {
            return Ok(received);
        }
        // A message that does not fit, or an end in its middle, is nonsense.
        let room = reply.get_mut(received..wanted).ok_or(AskError::Lost)?;
        match again(patience, || sys::receive(fd, room))? {
            0 => return Err(AskError::Lost),
            more => received += more,
        }
    }
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
