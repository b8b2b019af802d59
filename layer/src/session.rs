//! What this process knows of its session: set once when the library is loaded, only read afterwards.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use decide::debuggers::Ports;
use decide::outgoing::{Rules, is_loopback, unmapped};
use protocol::agent::POD_FILES;
use protocol::codec;
use protocol::layer::{
    self, AttachReply, EnvironmentReply, MAX_ENVIRONMENT_REPLY, MAX_HOST_NAME, MAX_LISTEN_PORTS, PodFile, Request,
    Settings, Token,
};

use crate::client::{self, Patience};
use crate::ops::shadow::Shadow;

/// Longest name of an abstract socket (`unix(7)`: 108 bytes, the first is NUL).
const NAME_ROOM: usize = 107;

/// Most bytes of `argv[0]` and of the executable's path that the host is told.
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
    /// Connections of the pod come to the program's listeners.
    pub(crate) incoming: bool,
    /// Where the program says that it listens, and where it really does.
    pub(crate) listen_ports: [(u16, u16); MAX_LISTEN_PORTS],
    /// `AF_INET6` sockets of this machine can reach the host, so that IPv6 addresses are of use.
    pub(crate) has_v6: bool,
    /// The pod's version of each of [`POD_FILES`].
    pub(crate) files: [PodFile; POD_FILES.len()],
    /// Files that the user's patterns name.
    pub(crate) shadow: Option<Shadow>,
    /// The host's process id, in whose `/proc/<pid>/fd` the files are; 0 is none.
    pub(crate) host: u32,
    host_name: Option<HostName>,
    debuggers: Ports,
}

/// A host name: its bytes and their number.
type HostName = ([u8; MAX_HOST_NAME], usize);

static SESSION: OnceLock<Session> = OnceLock::new();

/// Whether there is a session: the one thing that every hook looks at first.
pub(crate) static ACTIVE: AtomicBool = AtomicBool::new(false);

/// The rules while the host cannot be reached at start: all but loopback is remote, thus fails, because
/// sending it from this machine would silently reach the wrong network. The relay is nowhere.
const LOST: Rules = Rules {
    tcp: true,
    udp: true,
    ignore_localhost: true,
    ipv6: true,
    relay_v4: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    relay_v6: None,
    pod: None,
};

/// The files while the host cannot be reached at start: nobody can say whose they are, so they cannot be read.
const LOST_FILES: [PodFile; POD_FILES.len()] = [PodFile::Descriptor(0); POD_FILES.len()];

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
            incoming: false,
            listen_ports: [(0, 0); MAX_LISTEN_PORTS],
            has_v6: true,
            files: LOST_FILES,
            shadow: None,
            host: 0,
            host_name: None,
            debuggers: Ports::NONE,
        })
    }

    /// The pod's name, which this process has in place of the machine's.
    pub(crate) fn host_name(&self) -> Option<&[u8]> {
        self.host_name.as_ref().and_then(|(bytes, length)| bytes.get(..*length))
    }

    /// Whether the debugger of this process listens on the port.
    pub(crate) fn is_debugger_port(&self, port: u16) -> bool {
        self.debuggers.contains(port)
    }

    /// Whether the debugger of this process is behind `destination`, which then always is this machine's matter.
    pub(crate) fn is_debugger(&self, destination: SocketAddr) -> bool {
        self.debuggers.contains(destination.port()) && is_loopback(unmapped(destination).ip())
    }

    fn follow(&mut self, settings: Settings) {
        let Settings {
            relay_v4,
            relay_v6,
            pod,
            outgoing_tcp,
            outgoing_udp,
            unix,
            incoming,
            listen_ports,
            ignore_localhost,
            dns,
            ipv6,
            files,
            host,
        } = settings;
        self.rules = Rules { tcp: outgoing_tcp, udp: outgoing_udp, ignore_localhost, ipv6, relay_v4, relay_v6, pod };
        self.dns = dns;
        self.unix = unix;
        self.incoming = incoming;
        self.listen_ports = listen_ports;
        self.has_v6 = ipv6 && relay_v6.is_some();
        self.files = files;
        self.host = host;
    }
}

/// What a process tells of itself when it joins.
pub(crate) struct Joining<'a> {
    /// `argv[0]`.
    pub(crate) program: &'a [u8],
    /// Path of the executable.
    pub(crate) executable: &'a [u8],
    /// What belongs to its debugger; stays here.
    pub(crate) debuggers: Ports,
}

/// What the host says to a process that joins.
#[expect(clippy::large_enum_variant, reason = "stands on the stack for a moment")]
enum Reply {
    Member(Settings, Option<HostName>, Option<Shadow>),
    Skipped,
}

/// Joins the session that the environment names by `value`. Without a good value, or when the host leaves this
/// process alone, the hooks stay passive. What a process starts inherits the environment either way.
pub(crate) fn attach(value: &[u8], process: &Joining<'_>) {
    let Some(mut session) = Session::set_out(value) else { return };
    session.debuggers = process.debuggers;
    let Joining { program, executable, .. } = process;
    let program = program.get(..PROGRAM_ROOM).unwrap_or(program);
    let executable = executable.get(executable.len().saturating_sub(PROGRAM_ROOM)..).unwrap_or_default();
    let request = Request::Attach { program, executable };
    match client::ask_as::<_, 768, 640>(&session, request, Patience::Brief, reply) {
        Ok(Reply::Member(settings, host_name, shadow)) => {
            session.follow(settings);
            session.host_name = host_name;
            session.shadow = shadow;
        }
        Ok(Reply::Skipped) => return,
        Err(_) => {}
    }
    if SESSION.set(session).is_ok() {
        ACTIVE.store(true, Ordering::Release);
    }
}

/// What the session that the environment names by `value` changes in a program's environment; none without a host.
pub(crate) fn environment(value: &[u8]) -> Option<EnvironmentReply> {
    let session = Session::set_out(value)?;
    let decode = |body: &[u8]| codec::decode(body).ok();
    client::ask_long::<_, 64>(&session, Request::Environment, Patience::Brief, MAX_ENVIRONMENT_REPLY, decode).ok()
}

fn reply(body: &[u8]) -> Option<Reply> {
    let (settings, name, files) = match codec::decode(body).ok()? {
        AttachReply::Member { settings, host_name, files } => (settings, host_name, files),
        AttachReply::Skipped => return Some(Reply::Skipped),
    };
    let host_name = name.filter(|name| !name.is_empty() && !name.contains('\0')).and_then(|name| {
        let mut bytes = [0; MAX_HOST_NAME];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some((bytes, name.len()))
    });
    let shadow = files.and_then(|rules| Shadow::new(&rules, settings.host));
    Some(Reply::Member(settings, host_name, shadow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debuggers_port_is_known_on_loopback_only() {
        let value = layer::session_value(&layer::Session { name: b"m", uid: 1, token: Token([7; 16]) });
        let mut session = Session::set_out(&value).expect("a session");
        let line: [&[u8]; 3] = [b"node", b"--inspect", b"app.js"];
        session.debuggers = decide::debuggers::ports(line.into_iter(), |_| None, |_| None);
        for (address, expected) in [
            ("127.0.0.1:9229", true),
            ("127.9.9.9:9229", true),
            ("[::1]:9229", true),
            ("[::ffff:127.0.0.1]:9229", true),
            ("0.0.0.0:9229", true),
            ("127.0.0.1:9230", false),
            ("10.0.0.1:9229", false),
        ] {
            assert_eq!(session.is_debugger(address.parse().expect("an address")), expected, "{address}");
        }
    }

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
