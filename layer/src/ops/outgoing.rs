//! Outgoing connections: `connect`, the connects inside `MSG_FASTOPEN`, and why one has failed.
//!
//! Everything here may run in a signal handler: nothing allocates and nothing locks.

use std::net::{SocketAddr, SocketAddrV4};

use decide::outgoing::{Family, Verdict as Side, mapped, unmapped};
use libc::c_int;
use protocol::codec;
use protocol::layer::{ConnectReply, Over, Request};

use crate::address::in_form_of;
use crate::cache::{self, Known, Subject};
use crate::client::{AskError, Patience, ask_as};
use crate::interpose::{Stage, Verdict, guard};
use crate::ops::datagram;
use crate::session::{self, Session};
use crate::sys::{self, End, Errno, Speaks};

/// The session is over. Programs take `ENETUNREACH` for what it is: the network that they wanted is not
/// there. They try their other addresses, report it, and may come back later.
pub(super) const LOST: Errno = libc::ENETUNREACH;

/// How often an interrupted connect is handed to the host once more; each is answered within the host's
/// short wait unless yet another signal comes.
const HANDOVERS: usize = 3;

/// A connect that the pod makes.
#[derive(Clone, Copy)]
struct Remote {
    session: &'static Session,
    fd: c_int,
    cookie: u64,
    /// Where the program wants to go, in its own form and in the host's.
    written: SocketAddr,
    destination: SocketAddr,
    source_port: u16,
    from_loopback: bool,
    over: Over,
    nonblocking: bool,
    patience: Patience,
    /// Whether the connect has failed when the patience ends; else it goes on in the background.
    gives_up: bool,
}

/// `connect(2)` of `fd` to `destination`.
pub(crate) fn connect(fd: c_int, destination: SocketAddr) -> Verdict<c_int> {
    // Cheap questions first: most addresses decide by themselves.
    let spoken = guard(Stage::Before, Speaks::Other, || {
        let rules = session::get().map(|session| session.rules);
        let stays = |rules: decide::outgoing::Rules| {
            rules.connect(destination) == Side::Local && rules.datagram(destination) == Side::Local
        };
        if rules.is_none_or(stays) { Speaks::Other } else { sys::speaks(fd) }
    });
    match spoken {
        Speaks::Tcp => connect_tcp(fd, destination),
        Speaks::Udp => datagram::connect(fd, destination),
        Speaks::Other => Verdict::Bypass,
    }
}

/// The connect that is part of sending with `MSG_FASTOPEN`, which then goes on as on any connected socket;
/// `Bypass` where there is none.
pub(crate) fn open_by_data(fd: c_int, destination: SocketAddr) -> Verdict<c_int> {
    let is_remote_tcp = guard(Stage::Before, false, || {
        let stays = session::get().is_none_or(|session| session.rules.connect(destination) == Side::Local);
        !stays && sys::speaks(fd) == Speaks::Tcp
    });
    if is_remote_tcp { connect_tcp(fd, destination) } else { Verdict::Bypass }
}

fn connect_tcp(fd: c_int, destination: SocketAddr) -> Verdict<c_int> {
    let remote = match guard(Stage::Before, Err(Verdict::Bypass), || plan(fd, destination)) {
        Ok(remote) => remote,
        Err(verdict) => return verdict,
    };
    match remote.ask(remote.nonblocking, remote.patience) {
        Err(AskError::Interrupted) => remote.hand_over(libc::EINTR),
        Err(AskError::TimedOut) if remote.gives_up => Verdict::Fail(libc::ETIMEDOUT),
        Err(AskError::TimedOut) => remote.hand_over(libc::EINPROGRESS),
        answer => remote.follow(answer, None),
    }
}

/// What `SO_ERROR` should say of `fd` instead of `said`, which the kernel says: a parked socket can only be refused,
/// whatever the pod's error. `None` is `said`.
pub(crate) fn late_failure(fd: c_int, said: Errno) -> Option<Errno> {
    let (session, cookie) = guard(Stage::Before, None, || {
        let session = session::get().filter(|session| said == libc::ECONNREFUSED && session.rules.tcp)?;
        if sys::speaks(fd) == Speaks::Tcp { Some((session, sys::cookie(fd).ok()?)) } else { None }
    })?;
    let request = Request::Failure { cookie };
    match ask_as::<i32, 32, 32>(session, request, Patience::Brief, |body| codec::decode(body).ok()) {
        Ok(errno @ 1..4096) => Some(errno),
        Ok(_) | Err(_) => None,
    }
}

/// Decides, and gathers what the host must know.
fn plan(fd: c_int, written: SocketAddr) -> Result<Remote, Verdict<c_int>> {
    let session = session::get().filter(|session| !session.is_debugger(written)).ok_or(Verdict::Bypass)?;
    let destination = match session.rules.connect(written) {
        Side::Local => return Err(Verdict::Bypass),
        Side::Remote(remote) => Some(remote),
        Side::NoIpv6 => None,
    };
    // A socket that is connected, connecting or listening and a bad descriptor have the kernel's own answer.
    if !sys::is_fresh_tcp(fd).unwrap_or(false) {
        return Err(Verdict::Bypass);
    }
    let over = over(way(session, fd, written, Speaks::Tcp)?);
    let cookie = sys::cookie(fd).map_err(|_| Verdict::Bypass)?;
    let own = sys::name_of(fd, End::Local).filter(|own| !is_address_ours(cookie, *own));
    let nonblocking = sys::is_nonblocking(fd);
    let (patience, gives_up) = match (sys::send_timeout(fd), sys::syn_timeout(fd)) {
        // The host keeps such an answer short by itself.
        _ if nonblocking => (Patience::Brief, false),
        (Some(limit), unanswered) if unanswered.is_none_or(|unanswered| limit <= unanswered) => {
            (Patience::Within(limit), false)
        }
        (_, Some(unanswered)) => (Patience::Within(unanswered), true),
        (_, None) => (Patience::Endless, false),
    };
    Ok(Remote {
        session,
        fd,
        cookie,
        written,
        destination: destination.ok_or(Verdict::Fail(LOST))?,
        source_port: own.map_or(0, |own| own.port()),
        from_loopback: own.is_some_and(|own| is_bound_to_loopback(session, own)),
        over,
        nonblocking,
        patience,
        gives_up,
    })
}

/// The session's end that a socket can reach, for a destination that is written like `written`. `Bypass` is
/// for what the kernel refuses or what belongs to this machine.
pub(super) fn way(
    session: &Session,
    fd: c_int,
    written: SocketAddr,
    speaks: Speaks,
) -> Result<SocketAddr, Verdict<c_int>> {
    let family = match (sys::socket_family(fd), written) {
        (Ok(libc::AF_INET), SocketAddr::V4(_)) => Family::V4,
        (Ok(libc::AF_INET6), SocketAddr::V6(_)) => Family::V6,
        // Datagrams may have an IPv4 address there in its own form (`ipv6(7)`).
        (Ok(libc::AF_INET6), SocketAddr::V4(_)) if speaks == Speaks::Udp => Family::V6,
        _ => return Err(Verdict::Bypass),
    };
    // A socket tied to one of this machine's interfaces is meant for what lies behind that interface.
    if sys::is_bound_to_device(fd) {
        return Err(Verdict::Bypass);
    }
    let v6_only = family == Family::V6 && sys::is_v6_only(fd);
    session.rules.relay_for(family, written, v6_only).ok_or(Verdict::Fail(LOST))
}

/// Whether a TCP socket is on loopback only because it was sent to an end of the session.
pub(super) fn is_address_ours(cookie: u64, own: SocketAddr) -> bool {
    sys::is_loopback(own) && cache::get(Subject::Bound { cookie }).is_some()
}

/// Whether a socket with this address is out of reach for everybody but its own machine. The kernel lets IPv6
/// sockets send from `::1`, for what it is worth.
pub(super) fn is_bound_to_loopback(session: &Session, own: SocketAddr) -> bool {
    let is_loopback = matches!(unmapped(own), SocketAddr::V4(own) if own.ip().is_loopback());
    is_loopback && session.rules.in_pod(own).is_none()
}

/// Which loopback addresses a socket with the relay `relay` reaches.
pub(super) fn over(relay: SocketAddr) -> Over {
    if unmapped(relay).is_ipv4() { Over::V4 } else { Over::V6 }
}

impl Remote {
    fn ask(&self, nonblocking: bool, patience: Patience) -> Result<ConnectReply, AskError> {
        let Self { cookie, destination, source_port, from_loopback, over, .. } = *self;
        let request = Request::Connect { cookie, destination, source_port, from_loopback, over, nonblocking };
        ask_as::<_, 96, 64>(self.session, request, patience, |body| codec::decode(body).ok())
    }

    /// Does what the host says. `late` is the errno of a call that may wait no longer and leaves the socket
    /// connecting.
    fn follow(&self, answer: Result<ConnectReply, AskError>, late: Option<Errno>) -> Verdict<c_int> {
        match answer {
            Ok(ConnectReply::Park(place)) => self.park(place, late.unwrap_or(libc::EINPROGRESS)),
            answer => guard(Stage::After, Verdict::Fail(libc::EIO), || self.finish(answer, late)),
        }
    }

    fn finish(&self, answer: Result<ConnectReply, AskError>, late: Option<Errno>) -> Verdict<c_int> {
        match answer {
            Ok(ConnectReply::Relay(place)) => match self.go_to(place, late) {
                // Nobody behind the relay: the host has died since it answered.
                Verdict::Fail(libc::ECONNREFUSED) => Verdict::Fail(LOST),
                verdict => verdict,
            },
            Ok(ConnectReply::Refused(place)) => {
                self.note_address();
                match self.go_to(place, late) {
                    Verdict::Success(_) => {
                        sys::disconnect(self.fd);
                        Verdict::Fail(libc::ECONNREFUSED)
                    }
                    verdict => verdict,
                }
            }
            Ok(ConnectReply::Redirect(place)) => {
                // Its names are the pod's, although its far end is no relay's address.
                let peer = unmapped(place);
                cache::put(Subject::Connected { cookie: self.cookie, peer }, Known::Address(peer));
                self.stand_in(place);
                self.go_to(place, late)
            }
            Ok(ConnectReply::Failed(libc::EINVAL)) if self.from_loopback => {
                Verdict::Fail(sys::refuse_loopback(self.fd))
            }
            Ok(ConnectReply::Failed(errno @ 1..4096)) => Verdict::Fail(errno),
            Ok(ConnectReply::Failed(_) | ConnectReply::Park(_)) => Verdict::Fail(LOST),
            Ok(ConnectReply::Local) => Verdict::Bypass,
            Err(AskError::Sandboxed) => Verdict::Bypass,
            Err(AskError::NoDescriptor(errno)) => Verdict::Fail(errno),
            Err(AskError::Lost | AskError::Interrupted | AskError::TimedOut) => Verdict::Fail(LOST),
        }
    }

    /// Gives a socket that is to reach the address which stands in for the pod's the same one, so that its listener
    /// sees the pod's as the far end.
    fn stand_in(&self, place: SocketAddr) {
        if let (true, SocketAddr::V4(place)) = (self.session.rules.in_pod(place).is_some(), unmapped(place))
            && self.source_port == 0
        {
            let own = SocketAddrV4::new(*place.ip(), 0);
            // The port is chosen by the connect, as without an address: a bind's would be nobody else's.
            let _ = sys::bind_without_port(self.fd, if self.written.is_ipv4() { own.into() } else { mapped(own) });
        }
    }

    /// Notes that the address which the socket now gets, and keeps when the connect fails later, is not one that the
    /// program has bound it to.
    fn note_address(&self) {
        if self.source_port == 0 && !self.from_loopback {
            cache::put(Subject::Bound { cookie: self.cookie }, Known::Local);
        }
    }

    /// Connects the program's socket to `place`, in the background if it is `late`.
    fn go_to(&self, place: SocketAddr, late: Option<Errno>) -> Verdict<c_int> {
        let Some(place) = in_form_of(self.written, place) else { return Verdict::Fail(LOST) };
        sys::connect_at_once(self.fd);
        let result = match late {
            None => sys::connect(self.fd, &place),
            Some(_) => sys::connect_in_background(self.fd, &place),
        };
        match (result, late) {
            (Ok(()) | Err(libc::EINPROGRESS), Some(late)) => Verdict::Fail(late),
            (Ok(()), None) => Verdict::Success(0),
            (Err(errno), _) => Verdict::Fail(errno),
        }
    }

    /// Leaves the socket connecting to `place`, where the host completes or refuses it, and says so to the
    /// program by `errno`.
    fn park(&self, place: SocketAddr, errno: Errno) -> Verdict<c_int> {
        let local = guard(Stage::After, Err(libc::EIO), || {
            let place = in_form_of(self.written, place).ok_or(LOST)?;
            self.note_address();
            sys::connect_at_once(self.fd);
            match sys::connect_in_background(self.fd, &place) {
                Ok(()) | Err(libc::EINPROGRESS) => sys::name_of(self.fd, End::Local).ok_or(LOST),
                Err(errno) => Err(errno),
            }
        });
        let local = match local {
            Ok(local) => local,
            Err(errno) => return Verdict::Fail(errno),
        };
        let request = Request::Parked { cookie: self.cookie, local };
        match ask_as::<_, 96, 64>(self.session, request, Patience::Brief, |body| codec::decode::<()>(body).ok()) {
            Ok(()) => Verdict::Fail(errno),
            // Nobody would ever complete it. The socket is as before the call.
            Err(_) => {
                sys::disconnect(self.fd);
                Verdict::Fail(LOST)
            }
        }
    }

    /// Leaves a connect that may wait no longer to the background, as the kernel does: the call fails with
    /// `errno` while the socket goes on connecting, and polling it or calling connect again works.
    fn hand_over(&self, errno: Errno) -> Verdict<c_int> {
        for _ in 0..HANDOVERS {
            match self.ask(true, Patience::Within([5, 0])) {
                Err(AskError::Interrupted) => {}
                answer => return self.follow(answer, Some(errno)),
            }
        }
        Verdict::Fail(errno)
    }
}
