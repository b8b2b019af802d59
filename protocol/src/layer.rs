//! What the layer asks the session host: one Unix stream connection per request, one message each way.
//!
//! One connection per request means that nothing half-read is left when a signal handler jumps out of a
//! call, and that no descriptor of ours lives in the user's process between calls. The socket is abstract
//! (`unix(7)`), so every local user can see its name: each [`Message`] therefore carries the session's
//! token, which only the environment of the user's processes holds.
//!
//! Requests borrow and are encoded on the layer's stack, since a hook may run in a signal handler.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use serde::{Deserialize, Serialize};

use crate::agent::{Families, ResolveError};

/// Environment variable that makes the layer active: `<socket name>:<uid of the host>:<token in hex>`.
pub const SESSION_VARIABLE: &str = "MIRROR_LAYER_SESSION";

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

/// Largest encoded [`Message`] that the layer sends, in bytes: a name has at most 253 (RFC 1035 2.3.4).
pub const MAX_REQUEST: usize = 1024;

/// Largest encoded reply that the layer reads, in bytes: room for [`MAX_ADDRESSES`].
pub const MAX_REPLY: usize = 8 * 1024;

/// Most addresses in one answer; the host cuts longer ones.
pub const MAX_ADDRESSES: usize = 256;

/// What the layer asks. Each variant names the reply that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// A process has loaded the layer. Reply: [`Settings`].
    Attach {
        /// `argv[0]`, cut to 256 bytes.
        program: &'a [u8],
    },
    /// A TCP socket wants to connect to an address that the rules call remote. Reply: [`ConnectReply`].
    Connect {
        /// `SO_COOKIE` of the user's socket.
        cookie: u64,
        /// Where the program wants to go; v4-mapped IPv6 addresses arrive as IPv4.
        destination: SocketAddr,
        /// Whether the call must not wait for long (`O_NONBLOCK`).
        nonblocking: bool,
    },
    /// What `getsockname` and `getpeername` should say of a socket. Reply: [`NamesReply`].
    Names {
        /// `SO_COOKIE` of the socket.
        cookie: u64,
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
}

/// What a process needs to know to decide by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The session's relay for IPv4 sockets; its whole /24 is reserved for relays.
    pub relay_v4: SocketAddrV4,
    /// The session's relay for IPv6 sockets, none where IPv6 is off on this machine.
    pub relay_v6: Option<SocketAddrV6>,
    /// Outgoing TCP connections are made by the pod.
    pub outgoing_tcp: bool,
    /// Loopback destinations stay on this machine.
    pub ignore_localhost: bool,
    /// Names are resolved by the pod.
    pub dns: bool,
    /// IPv6 sockets and addresses are allowed.
    pub ipv6: bool,
}

/// What to do with a socket that wants to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectReply {
    /// Connect the user's socket to the relay ([`Settings::relay_v4`] or `relay_v6`): the host expects it.
    Relay,
    /// Fail with this error number: the pod's kernel said so, or the session is lost.
    Failed(i32),
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
pub type ResolveReply = Result<Vec<IpAddr>, ResolveError>;

/// An address's name.
pub type ReverseReply = Result<String, ResolveError>;

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
        let request = Request::Resolve { name: &name, families: Families::Both };
        let mut buffer = [0; MAX_REQUEST];
        codec::encode_into(&Message { token: Token([1; 16]), request }, &mut buffer).expect("fits");
        let reply: ResolveReply = Ok(vec![IpAddr::from([0xff; 16]); MAX_ADDRESSES]);
        assert!(codec::encode(&reply).expect("encodes").len() <= MAX_REPLY);
    }

    #[test]
    fn a_token_is_never_shown() {
        assert_eq!(format!("{:?}", Token([7; 16])), "Token(…)");
    }
}
