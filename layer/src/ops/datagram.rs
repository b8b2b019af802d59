//! UDP: where a datagram or a socket goes, and who stands behind the address that one came from.
//!
//! For each pair of socket and remote address the host has a socket on loopback, with which the program's own
//! exchanges its datagrams as they are: only addresses are replaced here. Everything may run in a signal
//! handler: nothing allocates and nothing locks.

use std::net::SocketAddr;

use decide::outgoing::{Verdict as Side, unmapped};
use libc::c_int;
use protocol::codec;
use protocol::layer::{Over, Request, UdpPeerReply, UdpReply};

use crate::address::{Encoded, in_form_of};
use crate::cache::{self, Known, Subject};
use crate::client::{AskError, Patience, ask_as, ask_passing};
use crate::interpose::{Stage, Verdict, guard};
use crate::ops::ends::{is_local, note_local};
use crate::ops::outgoing::{LOST, is_bound_to_loopback, over, way};
use crate::session::{self, Session};
use crate::sys::{self, End, Errno, Speaks};
use crate::{address, sandbox};

/// What becomes of a message with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The kernel takes it as it is.
    Native,
    /// It goes to this address instead.
    To(Encoded),
    /// It fails with this error number.
    Fail(Errno),
}

impl From<Verdict<c_int>> for Route {
    fn from(verdict: Verdict<c_int>) -> Self {
        match verdict {
            Verdict::Fail(errno) => Self::Fail(errno),
            Verdict::Bypass | Verdict::Success(_) | Verdict::Passed(_) => Self::Native,
        }
    }
}

/// A question about a socket and a remote address.
#[derive(Clone, Copy)]
struct Question {
    session: &'static Session,
    fd: c_int,
    cookie: u64,
    /// The remote address, in the program's form and in the host's.
    written: SocketAddr,
    peer: SocketAddr,
    local: SocketAddr,
    source_port: u16,
    from_loopback: bool,
    over: Over,
    patience: Patience,
}

/// Whether any datagram may be the pod's. Not in a sandbox, which every call of ours could break.
pub(crate) fn is_on() -> bool {
    session::get().is_some_and(|session| session.rules.udp) && !sandbox::is_noted()
}

/// Where a datagram of `fd` to `written` goes; `waits` is false when the call must not.
pub(crate) fn route(fd: c_int, written: SocketAddr, waits: bool) -> Route {
    let question = match guard(Stage::Before, Err(Route::Native), || known_route(fd, written, waits)) {
        Ok(question) => question,
        Err(route) => return route,
    };
    let answer = question.ask(false);
    guard(Stage::After, Route::Fail(libc::EIO), || match question.relay_of(answer) {
        Ok(relay) => Route::To(relay),
        Err(verdict) => verdict.into(),
    })
}

/// [`route`] for an IPv4 address whose family is `AF_UNSPEC`: IPv4 sockets take it for what it is (`udp(7)`),
/// IPv6 ones for none.
pub(crate) fn route_without_family(fd: c_int, written: SocketAddr, waits: bool) -> Route {
    let is_meant = || is_on() && sys::socket_family(fd) == Ok(libc::AF_INET);
    if guard(Stage::Before, false, is_meant) { route(fd, written, waits) } else { Route::Native }
}

fn known_route(fd: c_int, written: SocketAddr, waits: bool) -> Result<Question, Route> {
    let session = session::get().ok_or(Route::Native)?;
    let peer = match session.rules.datagram(written) {
        // There is no datagram to port 0.
        Side::Local => return Err(Route::Native),
        _ if written.port() == 0 => return Err(Route::Native),
        Side::Remote(peer) => Some(peer),
        Side::NoIpv6 => None,
    };
    let cookie = sys::cookie(fd).map_err(|_| Route::Native)?;
    match peer.and_then(|peer| cache::get(Subject::Relay { cookie, peer })) {
        Some(Known::Address(relay)) => return Err(in_form_of(written, relay).map_or(Route::Fail(LOST), Route::To)),
        Some(Known::Local) => return Err(Route::Native),
        _ => {}
    }
    if sys::speaks(fd) != Speaks::Udp {
        return Err(Route::Native);
    }
    let patience = if waits && !sys::is_nonblocking(fd) { Patience::LookUp } else { Patience::Brief };
    Question::new(session, fd, (written, peer), patience).map_err(Route::from)
}

/// `connect(2)` of the UDP socket `fd` to `written`.
pub(crate) fn connect(fd: c_int, written: SocketAddr) -> Verdict<c_int> {
    let plan = || {
        let session = session::get().ok_or(Verdict::Bypass)?;
        let peer = match session.rules.datagram(written) {
            Side::Local => return Err(Verdict::Bypass),
            Side::Remote(peer) => Some(peer),
            Side::NoIpv6 => None,
        };
        let patience = if sys::is_nonblocking(fd) { Patience::Brief } else { Patience::LookUp };
        Question::new(session, fd, (written, peer), patience)
    };
    let question = match guard(Stage::Before, Err(Verdict::Bypass), plan) {
        Ok(question) => question,
        Err(verdict) => return verdict,
    };
    let answer = question.ask(true);
    guard(Stage::After, Verdict::Fail(libc::EIO), || match question.relay_of(answer) {
        Ok(relay) => match sys::connect(fd, &relay) {
            Ok(()) => Verdict::Success(0),
            Err(errno) => Verdict::Fail(errno),
        },
        Err(Verdict::Bypass) => {
            // From loopback, where a connect to a relay has put it, a socket reaches nothing else.
            if sys::name_of(fd, End::Peer).is_some_and(|peer| session_has(question.session, peer)) {
                let own = sys::name_of(fd, End::Local);
                sys::disconnect(fd);
                keep_port(fd, own);
            }
            Verdict::Bypass
        }
        Err(verdict) => verdict,
    })
}

/// The address of a UDP socket that is connected to a relay, before its far end is taken away.
pub(crate) fn address_to_keep(fd: c_int) -> Option<SocketAddr> {
    guard(Stage::Before, None, || {
        let session = session::get().filter(|session| session.rules.udp)?;
        let peer = sys::name_of(fd, End::Peer)?;
        let ours = session_has(session, peer) && sys::speaks(fd) == Speaks::Udp;
        ours.then(|| sys::name_of(fd, End::Local)).flatten()
    })
}

fn session_has(session: &Session, peer: SocketAddr) -> bool {
    session.rules.is_relay(peer) || session.rules.may_be_relay(peer)
}

/// Gives a socket that has lost its port together with its far end the same one again, because the session's
/// relays send to it.
pub(crate) fn keep_port(fd: c_int, before: Option<SocketAddr>) {
    guard(Stage::After, (), || {
        if let (Some(before), Some(mut own)) = (before, sys::name_of(fd, End::Local))
            && own.port() == 0
        {
            own.set_port(before.port());
            let _ = sys::bind(fd, own);
        }
    });
}

impl Question {
    /// Gathers what the host must know, and binds the socket if need be.
    fn new(
        session: &'static Session,
        fd: c_int,
        (written, peer): (SocketAddr, Option<SocketAddr>),
        patience: Patience,
    ) -> Result<Self, Verdict<c_int>> {
        let over = over(way(session, fd, written, Speaks::Udp)?);
        let peer = peer.ok_or(Verdict::Fail(LOST))?;
        let cookie = sys::cookie(fd).map_err(|_| Verdict::Bypass)?;
        let mut local = sys::name_of(fd, End::Local).ok_or(Verdict::Bypass)?;
        let bound_by_us = Subject::Bound { cookie };
        if local.port() == 0 {
            // The kernel does the same at the first datagram; its error then is EAGAIN.
            local = sys::bind_to_a_port(fd).map_err(|_| Verdict::Fail(libc::EAGAIN))?;
            cache::put(bound_by_us, Known::Local);
        }
        let source_port = if cache::get(bound_by_us).is_some() { 0 } else { local.port() };
        // A connect to a relay puts a socket on loopback, too.
        let is_ours = || sys::name_of(fd, End::Peer).is_some_and(|peer| session_has(session, peer));
        let from_loopback = is_bound_to_loopback(session, local) && !is_ours();
        Ok(Self { session, fd, cookie, written, peer, local, source_port, from_loopback, over, patience })
    }

    fn ask(&self, connect: bool) -> Result<UdpReply, AskError> {
        let Self { cookie, peer, local, source_port, from_loopback, over, .. } = *self;
        let request = Request::Udp { cookie, peer, local, source_port, from_loopback, over, connect };
        let passed = connect.then_some(self.fd);
        ask_passing::<_, 128, 64>(self.session, request, passed, self.patience, |body| codec::decode(body).ok())
    }

    /// The relay's address in the program's form.
    fn relay_of(&self, answer: Result<UdpReply, AskError>) -> Result<Encoded, Verdict<c_int>> {
        let Self { cookie, peer, .. } = *self;
        match answer {
            Ok(UdpReply::Relay(relay)) => {
                let encoded = in_form_of(self.written, relay).ok_or(Verdict::Fail(LOST))?;
                cache::put(Subject::Relay { cookie, peer }, Known::Address(relay));
                cache::put(behind(cookie, relay), Known::Address(peer));
                Ok(encoded)
            }
            Ok(UdpReply::Local) => {
                cache::put(Subject::Relay { cookie, peer }, Known::Local);
                Err(Verdict::Bypass)
            }
            Ok(UdpReply::Failed(errno @ 1..4096)) => Err(Verdict::Fail(errno)),
            Err(AskError::Sandboxed) => Err(Verdict::Bypass),
            Err(AskError::NoDescriptor(errno)) => Err(Verdict::Fail(errno)),
            Ok(UdpReply::Failed(_)) | Err(_) => Err(Verdict::Fail(LOST)),
        }
    }
}

fn behind(cookie: u64, relay: SocketAddr) -> Subject {
    let relay = unmapped(relay);
    Subject::Behind { cookie: if relay.is_ipv4() { 0 } else { cookie }, relay }
}

/// Who sent the datagram that `fd` got from `said`, in the form of `said`; `None` is `said` itself.
pub(crate) fn sender(fd: c_int, said: SocketAddr) -> Option<Encoded> {
    let (session, subject) = match guard(Stage::Before, Err(None), || known_sender(fd, said)) {
        Ok(asked) => asked,
        Err(known) => return known.and_then(|peer| in_form_of(said, peer)),
    };
    let request = Request::UdpPeer { relay: unmapped(said) };
    let reply = ask_as::<_, 64, 64>(session, request, Patience::Brief, |body| codec::decode(body).ok());
    guard(Stage::After, None, || match reply {
        Ok(UdpPeerReply::Known(peer)) => {
            cache::put(subject, Known::Address(peer));
            in_form_of(said, peer)
        }
        Ok(UdpPeerReply::Unknown) | Err(_) => {
            // In the session's own network nobody else should be, so nothing is gained there.
            if session.rules.may_be_relay(said) {
                note_local(subject);
            }
            None
        }
    })
}

fn known_sender(fd: c_int, said: SocketAddr) -> Result<(&'static Session, Subject), Option<SocketAddr>> {
    let session = session::get().filter(|_| said.port() != 0).ok_or(None)?;
    if let Some(name) = session.rules.in_pod(said) {
        return Err(Some(name));
    }
    let subject = if session.rules.may_be_relay(said) {
        behind(sys::cookie(fd).map_err(|_| None)?, said)
    } else if session.rules.is_relay(said) {
        behind(0, said)
    } else {
        return Err(None);
    };
    match cache::get(subject) {
        Some(Known::Address(peer)) => Err(Some(peer)),
        Some(_) if is_local(subject) => Err(None),
        _ => Ok((session, subject)),
    }
}

/// Room for the name of a datagram's sender.
pub(crate) type NameRoom = [u8; address::ROOM];
