//! What this process knows of its session: set once when the library is loaded, only read afterwards.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use decide::outgoing::Rules;
use protocol::codec;
use protocol::layer::{self, AttachReply, Request, Settings, Token};

use crate::client::{self, Patience};

/// Longest name of an abstract socket (`unix(7)`: 108 bytes, the first is NUL).
const NAME_ROOM: usize = 107;

/// Most bytes of `argv[0]` that the host is told.
const PROGRAM_ROOM: usize = 256;

/// The session that this process belongs to.
pub(crate) struct Session {
    name: [u8; NAME_ROOM],
    name_length: usize,
    /// The host's uid; whoever else answers under its name is not the host.
    pub(crate) uid: u32,
    /// Proves to the host that we are of the session.
    pub(crate) token: Token,
    /// The host's settings as decisions; those of [`LOST`] while there is no host.
    pub(crate) rules: Rules,
    /// Names are resolved by the pod.
    pub(crate) dns: bool,
    /// Some Unix sockets are the pod's.
    pub(crate) unix: bool,
    /// `AF_INET6` sockets of this machine can reach the host, so that IPv6 addresses are of use.
    pub(crate) has_v6: bool,
}

static SESSION: OnceLock<Session> = OnceLock::new();

/// Whether there is a session: the one thing that every hook looks at first.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// The rules while the host cannot be reached at start: all but loopback is remote, thus fails, because
/// sending it from this machine would silently reach the wrong network. The relay is nowhere.
const LOST: Rules = Rules {
    tcp: true,
    udp: true,
    ignore_localhost: true,
    ipv6: true,
    relay_v4: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    relay_v6: None,
};

/// Whether hooks have nothing to do in this process.
pub(crate) fn is_passive() -> bool {
    !ACTIVE.load(Ordering::Acquire)
}

/// The session, if there is one.
pub(crate) fn get() -> Option<&'static Session> {
    SESSION.get()
}

impl Session {
    /// Name of the host's abstract socket.
    pub(crate) fn socket_name(&self) -> &[u8] {
        self.name.get(..self.name_length).unwrap_or_default()
    }

    fn set_out(value: &[u8]) -> Option<Self> {
        let layer::Session { name, uid, token } = layer::parse_session_value(value)?;
        let mut place = [0; NAME_ROOM];
        place.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self {
            name: place,
            name_length: name.len(),
            uid,
            token,
            rules: LOST,
            dns: true,
            unix: false,
            has_v6: true,
        })
    }

    fn follow(&mut self, settings: Settings) {
        let Settings { relay_v4, relay_v6, outgoing_tcp, outgoing_udp, ignore_localhost, ipv6, .. } = settings;
        self.rules = Rules { tcp: outgoing_tcp, udp: outgoing_udp, ignore_localhost, ipv6, relay_v4, relay_v6 };
        self.dns = settings.dns;
        self.unix = settings.unix;
        self.has_v6 = ipv6 && relay_v6.is_some();
    }
}

/// Joins the session that the environment names by `value`; without a good value nothing happens.
pub(crate) fn attach(value: &[u8], program: &[u8]) {
    let Some(mut session) = Session::set_out(value) else { return };
    let request = Request::Attach { program: program.get(..PROGRAM_ROOM).unwrap_or(program), executable: b"" };
    let decode = |body: &[u8]| match codec::decode(body).ok()? {
        AttachReply::Member { settings, .. } => Some(settings),
        AttachReply::Skipped => None,
    };
    if let Ok(settings) = client::ask_as::<_, 768, 256>(&session, request, Patience::Brief, decode) {
        session.follow(settings);
    }
    if SESSION.set(session).is_ok() {
        ACTIVE.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_needs_a_name_that_fits() {
        let value =
            |name: &str| layer::session_value(&layer::Session { name: name.as_bytes(), uid: 1, token: Token([7; 16]) });
        let session = Session::set_out(&value("mirror-1")).expect("a session");
        assert_eq!(session.socket_name(), b"mirror-1");
        assert!(Session::set_out(&value(&"n".repeat(NAME_ROOM))).is_some());
        assert!(Session::set_out(&value(&"n".repeat(NAME_ROOM + 1))).is_none());
        assert!(Session::set_out(b"garbage").is_none());
    }
}
