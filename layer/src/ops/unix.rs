//! Unix sockets that the pod has: the host gives an abstract name of this machine in place of the program's.

use libc::c_int;
use protocol::agent::UnixKind;
use protocol::codec;
use protocol::layer::{self, Request, UnixReply};

use crate::address::{self, Encoded, UNIX_ROOM};
use crate::client::{AskError, Patience, ask_as};
use crate::interpose::{Stage, guard};
use crate::ops::datagram::Route;
use crate::ops::outgoing::LOST;
use crate::session::{self, Session};
use crate::{sandbox, sys};

/// Why an address is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Connect,
    Send,
}

/// Whether any Unix socket may be the pod's. Not in a sandbox.
pub(crate) fn is_on() -> bool {
    session::get().is_some_and(|session| session.unix) && !sandbox::is_noted()
}

/// Where `fd` gets to when the program names `written`, the bytes of a `struct sockaddr_un`.
pub(crate) fn route(fd: c_int, written: &[u8], purpose: Purpose) -> Route {
    let asked = guard(Stage::Before, None, || {
        let name = address::decode_unix(written)?;
        Some((session::get().filter(|session| session.unix)?, name, asking_kind(fd, purpose)?))
    });
    let Some((session, name, kind)) = asked else { return Route::Native };
    match ask(session, name, kind) {
        Ok(Answer::Relay(name)) => Route::To(name),
        Ok(Answer::Local) | Err(AskError::Sandboxed) => Route::Native,
        Ok(Answer::Failed(errno @ 1..4096)) => Route::Fail(errno),
        Err(AskError::NoDescriptor(errno)) => Route::Fail(errno),
        Ok(Answer::Failed(_)) | Err(_) => Route::Fail(LOST),
    }
}

/// The pod's name of the socket that `fd` is connected to, in place of the relay's; `None` leaves the kernel's.
pub(crate) fn peer_name(fd: c_int) -> Option<Encoded> {
    guard(Stage::After, None, || {
        is_on().then_some(())?;
        let (bytes, used) = sys::unix_peer_name(fd)?;
        let name = address::decode_unix(bytes.get(..used)?)?.strip_prefix(b"\0")?;
        address::encode_unix(layer::behind_unix_relay(name)?)
    })
}

/// The kind of a socket that the address matters to.
fn asking_kind(fd: c_int, purpose: Purpose) -> Option<UnixKind> {
    if sys::socket_family(fd) != Ok(libc::AF_UNIX) {
        return None;
    }
    let kind = match sys::kind(fd) {
        Ok(libc::SOCK_STREAM) => UnixKind::Stream,
        Ok(libc::SOCK_DGRAM) => return Some(UnixKind::Datagram),
        Ok(libc::SOCK_SEQPACKET) => UnixKind::SeqPacket,
        _ => return None,
    };
    // The kernel refuses addresses of messages on what has to be connected.
    (purpose == Purpose::Connect).then_some(kind)
}

/// [`UnixReply`], out of the buffer that it was read into.
enum Answer {
    Relay(Encoded),
    Local,
    Failed(i32),
}

fn ask(session: &Session, address: &[u8], kind: UnixKind) -> Result<Answer, AskError> {
    const OUT: usize = UNIX_ROOM + 64;
    let decode = |body: &[u8]| match codec::decode(body).ok()? {
        UnixReply::Relay(name) => address::encode_abstract(name).map(Answer::Relay),
        UnixReply::Local => Some(Answer::Local),
        UnixReply::Failed(errno) => Some(Answer::Failed(errno)),
    };
    ask_as::<_, OUT, 192>(session, Request::Unix { address, kind }, Patience::LookUp, decode)
}
