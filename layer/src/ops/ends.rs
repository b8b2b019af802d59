//! What `getpeername` and `getsockname` say of a socket of the session, and what `bind` makes of the pod's address and
//! of ports that are somewhere else on this machine.

use std::net::SocketAddr;

use decide::incoming::{local_port, program_port};
use decide::outgoing::unmapped;
use libc::c_int;
use protocol::codec;
use protocol::layer::{NamesReply, Request};

use crate::address::{Encoded, in_form_of};
use crate::cache::{self, Known, Subject};
use crate::client::{Patience, ask_as};
use crate::interpose::{Stage, guard};
use crate::ops::outgoing::is_address_ours;
use crate::session::{self, Session};
use crate::sys::{self, End, Speaks};

/// A socket of which the host may know more than the kernel.
struct Candidate {
    session: &'static Session,
    cookie: u64,
    /// The kernel's name of the far end, if it has one.
    peer: Option<SocketAddr>,
    /// One of the kernel's names, whose form the answer has.
    form: SocketAddr,
    /// Its far end, if that alone does not say whether the socket is of the session.
    unsure: Option<SocketAddr>,
    /// A UDP socket without a far end, which has an address of the pod for each way and only one port.
    port_only: bool,
}

/// What `getpeername` or `getsockname` should say of `fd` instead of the kernel's answer `said`; `None` is that.
pub(crate) fn pod_side_name(fd: c_int, end: End, said: SocketAddr) -> Option<Encoded> {
    let candidate = match guard(Stage::Before, Err(None), || candidate(fd, end, said)) {
        Ok(candidate) => candidate,
        Err(name) => return in_form_of(said, name?),
    };
    let request = Request::Names { cookie: candidate.cookie, peer: candidate.peer };
    let reply = ask_as::<_, 80, 64>(candidate.session, request, Patience::Brief, |body| codec::decode(body).ok());
    guard(Stage::After, None, || match (reply, end) {
        (Ok(NamesReply::Known { local, peer }), End::Local) if local.port() == 0 && peer.is_ipv4() => {
            in_form_of(candidate.form, expected(candidate.session, said).unwrap_or(local))
        }
        (Ok(NamesReply::Known { local, .. }), End::Local) if candidate.port_only => {
            in_form_of(said, SocketAddr::new(said.ip(), local.port()))
        }
        (Ok(NamesReply::Known { local, .. }), End::Local) => in_form_of(candidate.form, local),
        (Ok(NamesReply::Known { peer, .. }), End::Peer) => in_form_of(candidate.form, peer),
        (Ok(NamesReply::Unknown), _) => {
            if let Some(peer) = candidate.unsure {
                note_local(Subject::Connected { cookie: candidate.cookie, peer });
            }
            in_form_of(said, in_pod(candidate.session, fd, end, said)?)
        }
        (Err(_), _) => in_form_of(said, in_pod(candidate.session, fd, end, said)?),
    })
}

/// Where `fd` is bound in place of `own`, which may be an address of the pod, or have a port that is another one here;
/// `None` is `own` itself.
pub(crate) fn stand_in(fd: c_int, own: SocketAddr) -> Option<Encoded> {
    guard(Stage::Before, None, || {
        let session = session::get()?;
        let (rules, port) = (session.rules, local_port(&session.listen_ports, own.port()));
        let place = rules.stand_in(own);
        if place.is_none() && port == own.port() {
            return None;
        }
        let speaks = sys::speaks(fd);
        let is_ours = match speaks {
            Speaks::Tcp => rules.tcp,
            Speaks::Udp => rules.udp,
            Speaks::Other => false,
        };
        let mut place = place.filter(|_| is_ours).unwrap_or(own);
        if speaks == Speaks::Tcp {
            place.set_port(port);
        }
        if place == own { None } else { in_form_of(own, place) }
    })
}

/// The pod's name for an address that stands in for its own, with the port that the program has asked for.
fn in_pod(session: &Session, fd: c_int, end: End, said: SocketAddr) -> Option<SocketAddr> {
    let there = session.rules.in_pod(said);
    let port = program_port(&session.listen_ports, said.port());
    if end == End::Peer || port == said.port() || sys::speaks(fd) != Speaks::Tcp {
        return there;
    }
    let mut there = there.unwrap_or(said);
    there.set_port(port);
    Some(there)
}

/// A socket about which the host is to be asked, or the answer.
fn candidate(fd: c_int, end: End, said: SocketAddr) -> Result<Candidate, Option<SocketAddr>> {
    // What has no port is not connected.
    let session = session::get().filter(|_| said.port() != 0).ok_or(None)?;
    let peer = if end == End::Peer { Some(said) } else { sys::name_of(fd, End::Peer) };
    let port_only = peer.is_none() && !sys::is_loopback(said) && has_the_pods_port(fd);
    let (form, unsure) = match peer {
        Some(peer) if session.rules.is_relay(peer) => (peer, None),
        Some(peer) if sys::is_loopback(peer) && is_redirected(fd, peer) => (peer, None),
        Some(peer) if session.rules.may_be_relay(peer) => (peer, Some(peer)),
        // Nobody waits long for this machine, so this one waits for the pod.
        None if sys::is_loopback(said) && sys::is_connecting(fd) => (said, None),
        None if port_only => (said, None),
        // It was refused, and keeps the address.
        None if sys::cookie(fd).is_ok_and(|cookie| is_address_ours(cookie, said)) => {
            return Err(expected(session, said));
        }
        _ => return Err(in_pod(session, fd, end, said)),
    };
    let cookie = sys::cookie(fd).map_err(|_| None)?;
    if unsure.is_some_and(|peer| is_local(Subject::Connected { cookie, peer })) {
        return Err(in_pod(session, fd, end, said));
    }
    Ok(Candidate { session, cookie, peer, form, unsure, port_only })
}

/// The name of a socket whose connection the pod does not have: the address that it will have, or would have had.
fn expected(session: &Session, said: SocketAddr) -> Option<SocketAddr> {
    let pod = session.rules.pod.filter(|_| unmapped(said).is_ipv4())?;
    Some(SocketAddr::from((pod, said.port())))
}

/// Whether `fd` is a UDP socket whose port is one that we have bound it to, so that the pod's may be another one.
fn has_the_pods_port(fd: c_int) -> bool {
    let is_ours = |cookie| cache::get(Subject::Bound { cookie }).is_some();
    sys::cookie(fd).is_ok_and(is_ours) && sys::speaks(fd) == Speaks::Udp
}

/// Whether this process has connected the socket to a listener of its own in place of the pod's address.
fn is_redirected(fd: c_int, peer: SocketAddr) -> bool {
    let subject = |cookie| Subject::Connected { cookie, peer: unmapped(peer) };
    sys::cookie(fd).is_ok_and(|cookie| matches!(cache::get(subject(cookie)), Some(Known::Address(_))))
}

/// Whether the host has said within this second that `subject` is this machine's business. Not for longer: the
/// port may be another socket's by then.
pub(super) fn is_local(subject: Subject) -> bool {
    cache::get(subject) == Some(Known::LocalAt(sys::seconds()))
}

/// Notes that it has.
pub(super) fn note_local(subject: Subject) {
    cache::put(subject, Known::LocalAt(sys::seconds()));
}
