//! Outgoing TCP connections: `connect`, and what such a socket calls its ends.
//!
//! Everything here may run in a signal handler: nothing allocates and nothing locks.

use std::net::SocketAddr;

use decide::outgoing::{Family, Verdict as Side, mapped, unmapped};
use libc::c_int;
use protocol::codec;
use protocol::layer::{ConnectReply, NamesReply, Over, Request};

use crate::address::{self, Encoded};
use crate::client::{AskError, Patience, ask_as};
use crate::interpose::{Stage, Verdict, guard};
use crate::session::{self, Session};
use crate::sys::{self, End, Errno};

/// The session is over. Programs take `ENETUNREACH` for what it is: the network that they wanted is not
/// there. They try their other addresses, report it, and may come back later.
const LOST: Errno = libc::ENETUNREACH;

/// How often an interrupted connect is handed to the host once more; each is answered within the host's
/// short wait unless yet another signal comes.
const HANDOVERS: usize = 3;

/// A connect that the pod makes.
#[derive(Clone, Copy)]
struct Remote {
    session: &'static Session,
    fd: c_int,
    cookie: u64,
    destination: SocketAddr,
    relay: Encoded,
    nonblocking: bool,
    patience: Patience,
}

/// `connect(2)` of `fd` to `destination`.
pub(crate) fn connect(fd: c_int, destination: SocketAddr) -> Verdict<c_int> {
    let remote = match guard(Stage::Before, Err(Verdict::Bypass), || plan(fd, destination)) {
        Ok(remote) => remote,
        Err(verdict) => return verdict,
    };
    match remote.ask(remote.nonblocking, remote.patience) {
        Err(AskError::Interrupted) => remote.hand_over(libc::EINTR),
        Err(AskError::TimedOut) => remote.hand_over(libc::EINPROGRESS),
        answer => guard(Stage::After, Verdict::Fail(libc::EIO), || remote.finish(answer)),
    }
}

/// Decides, and gathers what the host must know. Cheap questions first: most sockets end at the first.
fn plan(fd: c_int, destination: SocketAddr) -> Result<Remote, Verdict<c_int>> {
    let session = session::get().filter(|session| !session.is_debugger(destination)).ok_or(Verdict::Bypass)?;
    let remote = match session.rules.connect(destination) {
        Side::Local => return Err(Verdict::Bypass),
        Side::Remote(remote) => Some(remote),
        Side::NoIpv6 => None,
    };
    // A socket that is connected, connecting or listening, one that is not TCP, and a bad descriptor have
    // the kernel's own answer. So has an address of another family than the socket's.
    if !sys::is_fresh_tcp(fd).unwrap_or(false) || !sys::is_tcp(fd) {
        return Err(Verdict::Bypass);
    }
    let family = match (sys::socket_family(fd), destination) {
        (Ok(libc::AF_INET), SocketAddr::V4(_)) => Family::V4,
        (Ok(libc::AF_INET6), SocketAddr::V6(_)) => Family::V6,
        _ => return Err(Verdict::Bypass),
    };
    // A socket tied to one of this machine's interfaces is meant for what lies behind that interface.
    if sys::is_bound_to_device(fd) {
        return Err(Verdict::Bypass);
    }
    let unreachable = Verdict::Fail(LOST);
    let v6_only = family == Family::V6 && sys::is_v6_only(fd);
    let relay = session.rules.relay_for(family, destination, v6_only).ok_or(unreachable)?;
    let nonblocking = sys::is_nonblocking(fd);
    let patience = match sys::send_timeout(fd) {
        // The host keeps such an answer short by itself.
        _ if nonblocking => Patience::Brief,
        Some(limit) => Patience::Within(limit),
        None => Patience::Endless,
    };
    Ok(Remote {
        session,
        fd,
        cookie: sys::cookie(fd).map_err(|_| Verdict::Bypass)?,
        destination: remote.ok_or(unreachable)?,
        relay: address::encode(relay),
        nonblocking,
        patience,
    })
}

impl Remote {
    fn ask(&self, nonblocking: bool, patience: Patience) -> Result<ConnectReply, AskError> {
        let Self { cookie, destination, .. } = *self;
        let request = Request::Connect { cookie, destination, source_port: 0, over: Over::V4, nonblocking };
        ask_as::<_, 96, 64>(self.session, request, patience, |body| codec::decode(body).ok())
    }

    fn finish(&self, answer: Result<ConnectReply, AskError>) -> Verdict<c_int> {
        match answer {
            Ok(ConnectReply::Relay) => match sys::connect(self.fd, &self.relay) {
                Ok(()) => Verdict::Success(0),
                // Nobody behind the relay: the host has died since it answered.
                Err(libc::ECONNREFUSED) => Verdict::Fail(LOST),
                Err(errno) => Verdict::Fail(errno),
            },
            Ok(ConnectReply::Failed(errno @ 1..4096)) => Verdict::Fail(errno),
            Ok(ConnectReply::Failed(_) | ConnectReply::Redirect(_) | ConnectReply::Park(_)) => Verdict::Fail(LOST),
            Ok(ConnectReply::Local) => Verdict::Bypass,
            Err(AskError::Sandboxed) => Verdict::Bypass,
            Err(AskError::NoDescriptor(errno)) => Verdict::Fail(errno),
            Err(AskError::Lost | AskError::Interrupted | AskError::TimedOut) => Verdict::Fail(LOST),
        }
    }

    /// Leaves a connect that may wait no longer to the background, as the kernel does: the call fails with
    /// `errno` while the socket goes on connecting, and polling it or calling connect again works.
    fn hand_over(&self, errno: Errno) -> Verdict<c_int> {
        for _ in 0..HANDOVERS {
            match self.ask(true, Patience::Within([5, 0])) {
                Err(AskError::Interrupted) => {}
                Ok(ConnectReply::Relay) => {
                    let _ = sys::connect_in_background(self.fd, &self.relay);
                    return Verdict::Fail(errno);
                }
                answer => return guard(Stage::After, Verdict::Fail(libc::EIO), || self.finish(answer)),
            }
        }
        Verdict::Fail(errno)
    }
}

/// What `getpeername` or `getsockname` should say of `fd` instead of the kernel's answer; `None` is that.
pub(crate) fn pod_side_name(fd: c_int, end: End) -> Option<Encoded> {
    let (session, own) = guard(Stage::Before, None, || {
        let session = session::get()?;
        let peer = sys::name_of(fd, End::Peer)?;
        session.rules.is_relay(peer).then_some((session, peer))
    })?;
    let cookie = sys::cookie(fd).ok()?;
    let request = Request::Names { cookie };
    let reply = ask_as::<_, 64, 64>(session, request, Patience::Brief, |body| codec::decode(body).ok());
    guard(Stage::After, None, || match (reply, end) {
        (Ok(NamesReply::Known { local, .. }), End::Local) => as_seen_by(own, local),
        (Ok(NamesReply::Known { peer, .. }), End::Peer) => as_seen_by(own, peer),
        _ => None,
    })
}

/// `name` in the family of the socket whose kernel-side address is `own`.
fn as_seen_by(own: SocketAddr, name: SocketAddr) -> Option<Encoded> {
    let name = match (own, unmapped(name)) {
        (SocketAddr::V4(_), name @ SocketAddr::V4(_)) => name,
        (SocketAddr::V4(_), SocketAddr::V6(_)) => return None,
        (SocketAddr::V6(_), SocketAddr::V4(name)) => mapped(name),
        (SocketAddr::V6(_), SocketAddr::V6(_)) => name,
    };
    Some(address::encode(name))
}
