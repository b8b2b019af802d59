//! What the session host asks the agent: **the table** of requests, each with its reply and its channel.
//!
//! Every request opens a multiplexed stream of its own: one [`AnyRequest`] from the host, one reply from
//! the agent. A request whose row says so then turns the stream into raw bytes.
//! A new request is one row here and one function in the agent.

mod incoming;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::files::{
    ChangePath, Changed, ListDirectory, LookAt, Looked, Metadata, OpenFile, Opened, ReadAhead, ReadFile,
};
use crate::handshake::Channel;

pub use incoming::*;

/// A question with the one type of answer that belongs to it.
pub trait Request: Into<AnyRequest> {
    /// What the agent answers.
    type Reply: Serialize + DeserializeOwned;
    /// Which connection carries it.
    const CHANNEL: Channel;
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident -> $reply:ty, $channel:ident;)*) => {
        /// Any request of the table, as it stands first in a stream.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum AnyRequest {
            $($(#[$doc])* $name($name),)*
        }
        $(
            impl From<$name> for AnyRequest {
                fn from(request: $name) -> Self {
                    Self::$name(request)
                }
            }
            impl Request for $name {
                type Reply = $reply;
                const CHANNEL: Channel = Channel::$channel;
            }
        )*
    };
}

requests! {
    /// The target container's environment.
    GetEnvironment -> Result<Environment, RemoteError>, Control;
    /// Who the pod is, and the files by which its programs resolve names.
    Describe -> Result<Description, RemoteError>, Control;
    /// Takes another container of the pod for the target: the one that has followed it.
    FollowTarget -> Result<(), RemoteError>, Control;
    /// Addresses of a name, as the pod resolves it.
    Resolve -> Result<Resolved, ResolveError>, Control;
    /// Name of an address, as the pod resolves it.
    ReverseResolve -> Result<Named, ResolveError>, Control;
    /// A question of any kind to the pod's name servers; the answer is a whole DNS message (RFC 1035 4.1).
    QueryDns -> Result<Vec<u8>, ResolveError>, Control;
    /// A TCP connection from the pod; raw bytes follow a success.
    ConnectTcp -> Result<Connected, RemoteError>, Data;
    /// A UDP socket of the pod; [`UdpMessage`]s follow a success, both ways.
    OpenUdp -> Result<UdpOpened, RemoteError>, Data;
    /// A connection to a Unix socket of the pod. After a success follow raw bytes for a stream and
    /// [`UnixDatagram`]s both ways for the other kinds.
    ConnectUnix -> Result<(), RemoteError>, Data;
    /// New connections to a port of the pod, for as long as the stream stands.
    OpenPort -> Result<PortOpened, RemoteError>, Control;
    /// Another wish for a port that the session has open.
    ChangePort -> Result<(), RemoteError>, Control;
    /// The next connection to any open port, whenever it comes. The client's bytes follow; see [`Taken`] for what the
    /// host says.
    Accept -> Arrival, Data;
    /// Events that the agent tells by itself; [`Event`] messages follow.
    Subscribe -> (), Control;
    /// What is at a path of the pod.
    LookAt -> Result<Looked, RemoteError>, Control;
    /// The entries of a directory of the pod; [`crate::files::Listed`] messages follow a success.
    ListDirectory -> Result<(), RemoteError>, Data;
    /// The content of a file of the pod; pieces follow a success.
    ReadFile -> Result<Metadata, RemoteError>, Data;
    /// What a program is likely to look at next; [`crate::files::Ahead`] messages follow a success.
    ReadAhead -> Result<(), RemoteError>, Data;
    /// A file of the pod to be written; changes and what came of them follow a success.
    OpenFile -> Result<Opened, RemoteError>, Data;
    /// A change of what is at a path of the pod.
    ChangePath -> Result<Changed, RemoteError>, Control;
}

/// Asks for the target container's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetEnvironment {}

/// A process's environment in the kernel's order (`/proc/<pid>/environ`): `NAME=value` entries as bytes,
/// entries without `=` or with an empty name left out.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Environment(pub Vec<(Vec<u8>, Vec<u8>)>);

/// Shows names only: values are often secrets.
impl core::fmt::Debug for Environment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

/// Asks who the pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Describe {}

/// Who the pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `uname(2)`'s node name.
    pub host_name: String,
    /// The addresses of its interfaces, loopback aside.
    pub addresses: Vec<IpAddr>,
    /// The files of [`POD_FILES`], in that order; none for one that the pod does not have.
    pub files: Vec<Option<Vec<u8>>>,
}

/// The files by which programs resolve names and find out their host's name. A session shows the pod's.
pub const POD_FILES: [&str; 4] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/hostname"];

/// Asks to follow the target into its container's next life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowTarget {
    /// Runtime id of the container, as in [`crate::launch::Launch`].
    pub container_id: String,
}

/// Asks for a name's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The name as the program wrote it: search domains are the agent's matter, a trailing dot counts.
    pub name: String,
    /// Which addresses are wanted.
    pub families: Families,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Its addresses in the order in which to try them.
    pub addresses: Vec<IpAddr>,
    /// The name behind all aliases (`AI_CANONNAME`), without a trailing dot.
    pub canonical: String,
    /// The other names on the way to it (`h_aliases`).
    pub aliases: Vec<String>,
}

/// What an address is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name, without a trailing dot.
    pub name: String,
    /// Its other names (`h_aliases`).
    pub aliases: Vec<String>,
}

/// Asks the pod's name servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryDns {
    /// A whole message, which goes out as it is (`res_send`). Every response is an answer, whatever its code.
    Message(Vec<u8>),
    /// Records of a name (`res_query`, or with the search list `res_search`). A response without records of
    /// the answer section is a failure.
    Records {
        /// The name as the program wrote it.
        name: String,
        /// DNS class, such as 1 for `IN`.
        class: u16,
        /// DNS type, such as 33 for `SRV`.
        kind: u16,
        /// Whether the search list of the pod applies.
        search: bool,
    },
}

/// Address families of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Families {
    /// A records only.
    V4,
    /// AAAA records only.
    V6,
    /// Both.
    Both,
}

/// Asks for an address's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReverseResolve {
    /// The address.
    pub address: IpAddr,
}

/// Why a look-up gave nothing, in the terms of `getaddrinfo(3)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolveError {
    /// The name is not there (`EAI_NONAME`, NXDOMAIN).
    NoName,
    /// The name is there but has no record of the wanted kind (`EAI_NODATA`).
    NoData,
    /// No answer in time; asking again may help (`EAI_AGAIN`).
    Again,
    /// The servers answered with a failure that stays (`EAI_FAIL`).
    Fail,
    /// The look-up could not be made at all (`EAI_SYSTEM` with this `errno`).
    System(i32),
}

/// Asks for a TCP connection from the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectTcp {
    /// Where to.
    pub destination: SocketAddr,
    /// The port to connect from, as the program has bound its socket; 0 for any. A port that cannot be had in
    /// the pod becomes any.
    pub source_port: u16,
}

/// A connection that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The pod's own end.
    pub local: SocketAddr,
    /// The far end, as the pod's kernel names it.
    pub peer: SocketAddr,
}

/// Asks for a UDP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenUdp {
    /// `AF_INET` or `AF_INET6`, by example: the first destination. A connected socket is connected to it
    /// (`udp(7)`): it gets datagrams from there only, and refusals.
    pub peer: SocketAddr,
    /// Whether to connect the socket.
    pub connect: bool,
    /// The port to send from; 0 for any. A port that cannot be had in the pod becomes any.
    pub source_port: u16,
}

/// A UDP socket that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpOpened {
    /// The pod's own end; the address is unspecified while the socket is not connected.
    pub local: SocketAddr,
}

/// Longest payload of a datagram over IPv4 in bytes (`udp(7)`: 65,535 with both headers). IPv6 has 20 more.
pub const MAX_DATAGRAM: usize = 65_527;

/// What travels over the stream of a UDP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UdpMessage {
    /// One datagram, from or for `peer`.
    Datagram {
        /// The far end.
        peer: SocketAddr,
        /// At most [`MAX_DATAGRAM`] bytes.
        payload: Vec<u8>,
    },
    /// Agent to host: the pod's kernel reports an error on a connected socket (ICMP, `udp(7)`).
    Failed {
        /// Such as `ECONNREFUSED`.
        errno: i32,
    },
}

/// Asks for a connection to a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectUnix {
    /// Where to.
    pub address: UnixAddress,
    /// What for.
    pub kind: UnixKind,
}

/// Name of a Unix socket (`unix(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnixAddress {
    /// A path, absolute below the container's root.
    Path(Vec<u8>),
    /// An abstract name without its leading NUL.
    Abstract(Vec<u8>),
}

/// Kind of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnixKind {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
    /// `SOCK_SEQPACKET`.
    SeqPacket,
}

/// One message of a Unix socket that keeps boundaries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixDatagram(pub Vec<u8>);

/// Asks for the agent's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {}

/// What the agent tells by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The agent ends, with the reason; the session is over.
    Leaving(Leaving),
    /// Something the user should know, ready to be shown.
    Warning(String),
    /// The target's process has ended, but its pod has not: its container may be started again.
    TargetEnded,
    /// Requests that a filter has left to the application.
    Passed {
        /// The oldest first.
        requests: Vec<PassedRequest>,
        /// How many more there were than are told.
        omitted: u64,
    },
}

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaving {
    /// The target's pod ended.
    TargetEnded,
    /// Kubernetes asked it to (SIGTERM: the Job was deleted or the node drains).
    Terminated,
}

/// An operation that failed in the pod: the kernel's error number with what was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// Linux error number (`errno(3)`, x86-64 and arm64 numbering).
    pub errno: i32,
    /// What was tried, for logs and messages; no period, no secrets.
    pub context: String,
}

impl core::fmt::Display for RemoteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} (errno {})", self.context, self.errno)
    }
}

impl std::error::Error for RemoteError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_request_keeps_its_bytes() {
        let request =
            AnyRequest::from(ConnectTcp { destination: SocketAddr::from(([10, 1, 2, 3], 80)), source_port: 0 });
        let bytes = codec::encode(&request).expect("encodes");
        assert_eq!(bytes, [8, 0, 0, 0, 6, 0, 10, 1, 2, 3, 80, 0]);
        assert_eq!(codec::decode::<AnyRequest>(&bytes[codec::PREFIX..]), Ok(request));
    }

    #[test]
    fn an_environment_never_shows_its_values() {
        let environment = Environment(vec![(b"PASSWORD".to_vec(), b"hunter2".to_vec())]);
        assert_eq!(format!("{environment:?}"), r#"["PASSWORD"]"#);
    }
}
