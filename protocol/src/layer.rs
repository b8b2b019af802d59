//! What the layer asks the session host: one Unix stream connection per request, one message each way.
//!
//! One connection per request means that nothing half-read is left when a signal handler jumps out of a
//! call, and that no descriptor of ours lives in the user's process between calls. The socket is abstract
//! (`unix(7)`), so every local user can see its name: each [`Message`] therefore carries the session's
//! token, which only the environment of the user's processes holds.
//!
//! Requests borrow and are encoded on the layer's stack, since a hook may run in a signal handler.

mod files;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use serde::{Deserialize, Serialize};

use crate::agent::{Families, Named, POD_FILES, ResolveError, Resolved, UnixKind};

pub use files::*;

/// Environment variable that makes the layer active: `<socket name>:<uid of the host>:<token in hex>`.
pub const SESSION_VARIABLE: &str = "MIRROR_LAYER_SESSION";

/// Environment variable by which the layer itself gives its process the variables of the session: for whoever starts
/// programs by command lines that people see. It says which names, with `,` between them, keep the value that they have.
pub const ENVIRONMENT_VARIABLE: &str = "MIRROR_LAYER_ENVIRONMENT";

/// Proof that a request comes from a process of the session.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub [u8; 16]);

/// Never shows the token: logs must not let anyone in.
impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What [`SESSION_VARIABLE`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session<'a> {
    /// The host's abstract socket, without its leading NUL.
    pub name: &'a [u8],
    /// The host's uid (`SO_PEERCRED`): after the host's end another user could take its name.
    pub uid: u32,
    /// The session's token.
    pub token: Token,
}

/// Writes [`SESSION_VARIABLE`]'s value.
pub fn session_value(session: &Session<'_>) -> Vec<u8> {
    let hex: String = session.token.0.iter().map(|byte| format!("{byte:02x}")).collect();
    [session.name, format!(":{}:{hex}", session.uid).as_bytes()].concat()
}

/// Reads [`SESSION_VARIABLE`]'s value without allocating.
pub fn parse_session_value(value: &[u8]) -> Option<Session<'_>> {
    let mut parts = value.rsplitn(3, |byte| *byte == b':');
    let (hex, uid, name) = (parts.next()?, parts.next()?, parts.next()?);
    if name.is_empty() || hex.len() != 32 {
        return None;
    }
    let mut token = [0; 16];
    for (byte, pair) in token.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |c: u8| (c as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    let uid = core::str::from_utf8(uid).ok()?.parse().ok()?;
    Some(Session { name, uid, token: Token(token) })
}

/// One request as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// Must be the session's.
    pub token: Token,
    /// What is asked.
    #[serde(borrow)]
    pub request: Request<'a>,
}

/// Largest encoded [`Message`] that the layer sends, in bytes: room for a question to a name server.
pub const MAX_REQUEST: usize = 4 * 1024;

/// Largest encoded reply that the layer reads on its stack, in bytes: room for [`MAX_ADDRESSES`].
pub const MAX_REPLY: usize = 8 * 1024;

/// Largest encoded [`DnsReply`], in bytes, which is read into allocated memory.
pub const MAX_DNS_REPLY: usize = 65_535 + 16;

/// Largest encoded [`EnvironmentReply`], in bytes, which is read into allocated memory: more than `execve(2)` takes.
pub const MAX_ENVIRONMENT_REPLY: usize = 6 << 20;

/// Most addresses in one answer; the host cuts longer ones.
pub const MAX_ADDRESSES: usize = 256;

/// Most bytes of all aliases in one answer, each with one byte before it; the host leaves out what is beyond.
pub const MAX_ALIASES: usize = 2 * 1024;

/// Most ports that listeners are moved from.
pub const MAX_LISTEN_PORTS: usize = 16;

/// Longest host name in bytes (`gethostname(2)` on Linux).
pub const MAX_HOST_NAME: usize = 64;

/// What the layer asks. Each variant names the reply that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// A process has loaded the layer. Reply: [`AttachReply`].
    Attach {
        /// `argv[0]`, cut to 256 bytes.
        program: &'a [u8],
        /// Path of the executable (`/proc/self/exe`), cut to 256 bytes from its front.
        executable: &'a [u8],
    },
    /// What changes in the environment of a process with [`ENVIRONMENT_VARIABLE`]. Reply: [`EnvironmentReply`].
    Environment,
    /// A TCP socket wants to connect to an address that the layer's rules call remote. Reply: [`ConnectReply`].
    Connect {
        /// `SO_COOKIE` of the user's socket.
        cookie: u64,
        /// Where the program wants to go; v4-mapped IPv6 addresses arrive as IPv4.
        destination: SocketAddr,
        /// The port to which the program has bound the socket; 0 for none.
        source_port: u16,
        /// Whether the program has bound the socket to an address in 127.0.0.0/8, from where no other machine is
        /// reached.
        from_loopback: bool,
        /// Which loopback addresses the socket can reach.
        over: Over,
        /// Whether the call must not wait for long (`O_NONBLOCK`).
        nonblocking: bool,
    },
    /// A socket connects to the address of [`ConnectReply::Park`] and waits there. Reply: `()`.
    Parked {
        /// `SO_COOKIE` of the user's socket.
        cookie: u64,
        /// The socket's own address as this machine's kernel names it.
        local: SocketAddr,
    },
    /// Why the pod could not connect a parked socket, of which this machine's kernel says that it was refused. Reply:
    /// `i32`, the pod's errno; 0 where nothing else is known. It is told once, as `SO_ERROR` is (`socket(7)`).
    Failure {
        /// `SO_COOKIE` of the user's socket.
        cookie: u64,
    },
    /// A UDP socket wants to send or to be connected to a remote address. Reply: [`UdpReply`].
    ///
    /// With a `connect` the layer passes the socket itself along (`SCM_RIGHTS`), through which the host can raise
    /// a refusal; the host keeps it for a short time only.
    Udp {
        /// `SO_COOKIE` of the user's socket.
        cookie: u64,
        /// The remote address; v4-mapped IPv6 addresses arrive as IPv4.
        peer: SocketAddr,
        /// The socket's own address as this machine's kernel names it; the layer has bound it, if need be.
        local: SocketAddr,
        /// The port to which the program itself has bound the socket; 0 for none.
        source_port: u16,
        /// As in [`Request::Connect`].
        from_loopback: bool,
        /// Which loopback addresses the socket can reach.
        over: Over,
        /// Whether the socket is to be connected.
        connect: bool,
    },
    /// A TCP socket listens. Asked only where [`Settings::incoming`] is set. Reply: `i32`, once connections of the
    /// pod come, if any are to come: 0, or the errno with which `listen` is to fail.
    Listen {
        /// `SO_COOKIE` of the socket.
        cookie: u64,
        /// Its address as this machine's kernel names it.
        bound: SocketAddr,
    },
    /// Who stands behind the loopback address that a datagram came from. Reply: [`UdpPeerReply`].
    UdpPeer {
        /// The address.
        relay: SocketAddr,
    },
    /// A Unix socket wants to connect or to send to a name. Asked only where [`Settings::unix`] is set.
    /// Reply: [`UnixReply`].
    Unix {
        /// What the program passed: a path without its NUL, or an abstract name with its leading NUL.
        address: &'a [u8],
        /// The socket's kind.
        kind: UnixKind,
    },
    /// What `getsockname` and `getpeername` should say of a TCP or UDP socket. Reply: [`NamesReply`].
    Names {
        /// `SO_COOKIE` of the socket.
        cookie: u64,
        /// Its far end as this machine's kernel names it, if there is one: a connection to the program's listener is
        /// known by where it comes from.
        peer: Option<SocketAddr>,
    },
    /// Addresses of a name. Reply: [`ResolveReply`].
    Resolve {
        /// The name as the program wrote it.
        name: &'a str,
        /// Wanted families.
        families: Families,
    },
    /// Name of an address. Reply: [`ReverseReply`].
    ReverseResolve {
        /// The address.
        address: IpAddr,
    },
    /// A question to name servers. Reply: [`DnsReply`].
    QueryDns(DnsQuestion<'a>),
    /// A change of what is at a path that the layer's [`FileRules`] leave to the host. Reply: [`ChangeReply`].
    ChangeFile {
        /// The path, absolute, at most [`MAX_PATH`] bytes.
        path: &'a [u8],
        /// What is to be done.
        #[serde(borrow)]
        change: PathChange<'a>,
    },
    /// A descriptor that a file of the pod may be written through was synchronised or closed. Reply: `i32`, once the pod
    /// has what was written: 0, or the errno of what went wrong.
    Settle {
        /// The number of the session's file.
        inode: u64,
        /// Whether it is to outlive the node's power (`fsync`).
        durable: bool,
    },
    /// A path that the layer's [`FileRules`] leave to the host. Reply: [`FileReply`].
    File {
        /// The path, absolute, at most [`MAX_PATH`] bytes.
        path: &'a [u8],
        /// Whether a link at its end is followed.
        follow: bool,
        /// What for.
        purpose: Purpose,
    },
}

/// Which loopback addresses a socket can reach, thus of which family the host's answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Over {
    /// 127.0.0.0/8, in v4-mapped form if the socket is an IPv6 one.
    V4,
    /// `::1`.
    V6,
}

/// A question to name servers, as [`crate::agent::QueryDns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsQuestion<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// Records of a name.
    Records {
        /// The name as the program wrote it.
        name: &'a str,
        /// DNS class.
        class: u16,
        /// DNS type.
        kind: u16,
        /// Whether the search list applies.
        search: bool,
    },
}

/// What becomes of a process that has loaded the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "stands on the stack for a moment")]
pub enum AttachReply<'a> {
    /// It takes part.
    Member {
        /// How it decides.
        settings: Settings,
        /// The pod's name, of at most [`MAX_HOST_NAME`] bytes; none leaves this machine's.
        host_name: Option<&'a str>,
        /// Which files are the pod's; none where all are this machine's, but for those of [`Settings::files`].
        #[serde(borrow)]
        files: Option<FileRules<'a>>,
    },
    /// It is left alone (a build tool, or the user said so). What it starts asks for itself.
    Skipped,
}

/// What a program of the session has in its environment, as `mirror exec` would set it. Has no `Debug`: values are often
/// secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentReply {
    /// Variables to set, as bytes: they need not be UTF-8.
    pub set: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names to remove, whatever their case.
    pub unset: Vec<String>,
}

/// What a process needs to know to decide by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The session's relay for IPv4 sockets; its whole /24 is the session's.
    pub relay_v4: SocketAddrV4,
    /// The session's relay for IPv6 sockets, none where IPv6 is off on this machine.
    pub relay_v6: Option<SocketAddrV6>,
    /// The pod's IPv4 address, if it has one: sockets that are bound to it stand at .0 of the relay's /24.
    pub pod: Option<Ipv4Addr>,
    /// Outgoing TCP connections are made by the pod.
    pub outgoing_tcp: bool,
    /// Outgoing datagrams are sent by the pod.
    pub outgoing_udp: bool,
    /// Some Unix sockets are the pod's.
    pub unix: bool,
    /// Connections of the pod come to the program's listeners.
    pub incoming: bool,
    /// Where the program says that it listens, and where it really does; pairs of zeros stand for none.
    pub listen_ports: [(u16, u16); MAX_LISTEN_PORTS],
    /// Loopback destinations stay on this machine.
    pub ignore_localhost: bool,
    /// Names are resolved by the pod.
    pub dns: bool,
    /// IPv6 sockets and addresses are allowed.
    pub ipv6: bool,
    /// The pod's version of each of [`POD_FILES`].
    pub files: [PodFile; POD_FILES.len()],
    /// The host's process id, in whose `/proc/<pid>/fd` the files are.
    pub host: u32,
}

/// Where the layer finds one of [`POD_FILES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodFile {
    /// It is this machine's.
    Local,
    /// The pod has none: `ENOENT`.
    Absent,
    /// In the host, under this descriptor number.
    Descriptor(u32),
}

/// What to do with a socket that wants to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectReply {
    /// Connect the user's socket to this loopback address in place of the destination: the host expects it.
    Relay(SocketAddr),
    /// The pod's connection was refused: connect the user's socket to this loopback address, where the kernel refuses
    /// it in every way that a refusal can be told.
    Refused(SocketAddr),
    /// This machine connects: the user's filters say so.
    Local,
    /// Connect to this loopback address in place of the destination: the program's own listener, which the pod's
    /// address means.
    Redirect(SocketAddr),
    /// The pod is still connecting, and the call may wait no longer. Start to connect the user's socket to this
    /// loopback address, send [`Request::Parked`], and return `EINPROGRESS`: the host completes or refuses the
    /// connection once it knows.
    Park(SocketAddr),
    /// Fail with this error number: the pod's kernel said so, or the session is lost.
    Failed(i32),
}

/// What to do with a UDP socket and a remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UdpReply {
    /// Use this loopback address in place of the remote one. It stands for the pair of socket and remote address
    /// as long as the socket lives, and for nothing else during the session.
    Relay(SocketAddr),
    /// This machine sends: the user's filters say so.
    Local,
    /// Fail with this error number.
    Failed(i32),
}

/// Who stands behind a loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UdpPeerReply {
    /// This remote address.
    Known(SocketAddr),
    /// Nobody of the session: the address is what it is.
    Unknown,
}

/// What to do with a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnixReply<'a> {
    /// Use this abstract name (without its leading NUL) in place of the address. It serves one connection.
    Relay(&'a [u8]),
    /// This machine's socket is meant.
    Local,
    /// Fail with this error number.
    Failed(i32),
}

/// What every name of [`UnixReply::Relay`] begins with.
const UNIX_RELAY: &[u8] = b"mirror-";

/// Length of the word behind that.
pub const UNIX_WORD: usize = 26;

/// Longest abstract name without its leading NUL (`unix(7)`).
const MAX_ABSTRACT: usize = 107;

/// The abstract name (without its leading NUL) of a relay to `address`. It has a word of [`UNIX_WORD`] bytes of its
/// own, and tells the address, which `getpeername` shows, if there is room for it.
pub fn unix_relay_name(word: &str, address: &[u8]) -> Vec<u8> {
    let mut name = [UNIX_RELAY, word.as_bytes()].concat();
    if name.len() + 1 + address.len() <= MAX_ABSTRACT {
        name.push(b':');
        name.extend_from_slice(address);
    }
    name
}

/// The address behind a relay, as [`Request::Unix`] has it; `None` for other names.
pub fn behind_unix_relay(name: &[u8]) -> Option<&[u8]> {
    let told = name.strip_prefix(UNIX_RELAY)?;
    let address = told.get(UNIX_WORD..)?.strip_prefix(b":")?;
    (!address.is_empty()).then_some(address)
}

/// What a socket's names are in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamesReply {
    /// The socket's ends as the pod's kernel names them.
    Known {
        /// For `getsockname`.
        local: SocketAddr,
        /// For `getpeername`.
        peer: SocketAddr,
    },
    /// Not a socket of the session.
    Unknown,
}

/// A name's addresses.
pub type ResolveReply = Answer<Resolved>;

/// An address's name.
pub type ReverseReply = Answer<Named>;

/// A name server's answer: a whole DNS message.
pub type DnsReply = Answer<Vec<u8>>;

/// The answer to a question about names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<T> {
    /// The pod's, with success.
    Found(T),
    /// The pod's, with a failure.
    Failed(ResolveError),
    /// This machine answers: the user's filters say so.
    Local,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn the_session_variable_round_trips_and_rejects_garbage() {
        let session = Session { name: b"mirror-abc", uid: 1000, token: Token([0xa5; 16]) };
        assert_eq!(parse_session_value(&session_value(&session)), Some(session));
        let zeros = "0".repeat(32);
        for garbage in ["", ":", "name", "name:1:", "name:1:00", &format!(":1:{zeros}"), &format!("n:x:{zeros}")] {
            assert_eq!(parse_session_value(garbage.as_bytes()), None, "{garbage}");
        }
    }

    #[test]
    fn the_longest_request_and_reply_fit_their_buffers() {
        let name = "n".repeat(255);
        let request = Request::QueryDns(DnsQuestion::Message(&[0xff; 4000]));
        let mut buffer = [0; MAX_REQUEST];
        codec::encode_into(&Message { token: Token([1; 16]), request }, &mut buffer).expect("fits");
        let aliases = vec!["n".to_owned(); MAX_ALIASES / 2];
        let resolved = Resolved { addresses: vec![IpAddr::from([0xff; 16]); MAX_ADDRESSES], canonical: name, aliases };
        let reply: ResolveReply = Answer::Found(resolved);
        assert!(codec::encode(&reply).expect("encodes").len() <= MAX_REPLY);
        let reply: DnsReply = Answer::Found(vec![0xff; 65_535]);
        assert!(codec::encode(&reply).expect("encodes").len() <= MAX_DNS_REPLY);
    }

    #[test]
    fn a_relays_name_tells_the_address_that_has_room() {
        for (address, told) in [
            (b"/run/app.sock".to_vec(), true),
            (b"\0bus:1\0".to_vec(), true),
            (vec![b'x'; 73], true),
            (vec![b'x'; 74], false),
        ] {
            let name = unix_relay_name(&"a".repeat(UNIX_WORD), &address);
            assert!(name.len() <= MAX_ABSTRACT);
            assert_eq!(behind_unix_relay(&name), told.then_some(&address[..]));
        }
        for name in [&b"mirror-a"[..], b"mirror-a:/x", b"mirror-abcdefghijklmnopqrstuvwxyz:", b"other-a:/x", b""] {
            assert_eq!(behind_unix_relay(name), None);
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        assert_eq!(format!("{:?}", Token([7; 16])), "Token(…)");
    }
}
