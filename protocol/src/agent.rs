//! What the session host asks the agent: **the table** of requests, each with its reply and its channel.
//!
//! Every request opens a multiplexed stream of its own: one [`AnyRequest`] from the host, one reply from
//! the agent. A request whose row says so then turns the stream into raw bytes.
//! A new request is one row here and one function in the agent.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::handshake::Channel;

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
    /// Addresses of a name, as the pod resolves it.
    Resolve -> Result<Vec<IpAddr>, ResolveError>, Control;
    /// Name of an address, as the pod resolves it.
    ReverseResolve -> Result<String, ResolveError>, Control;
    /// A TCP connection from the pod; raw bytes follow a success.
    ConnectTcp -> Result<Connected, RemoteError>, Data;
    /// Events that the agent tells by itself; [`Event`] messages follow.
    Subscribe -> (), Control;
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

/// Asks for a name's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The name as the program wrote it: search domains are the agent's matter, a trailing dot counts.
    pub name: String,
    /// Which addresses are wanted.
    pub families: Families,
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
}

/// A connection that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The pod's own end.
    pub local: SocketAddr,
    /// The far end, as the pod's kernel names it.
    pub peer: SocketAddr,
}

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
}

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaving {
    /// The target container ended or was restarted.
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
        let request = AnyRequest::from(ConnectTcp { destination: SocketAddr::from(([10, 1, 2, 3], 80)) });
        let bytes = codec::encode(&request).expect("encodes");
        assert_eq!(bytes, [7, 0, 0, 0, 3, 0, 10, 1, 2, 3, 80]);
        assert_eq!(codec::decode::<AnyRequest>(&bytes[codec::PREFIX..]), Ok(request));
    }

    #[test]
    fn an_environment_never_shows_its_values() {
        let environment = Environment(vec![(b"PASSWORD".to_vec(), b"hunter2".to_vec())]);
        assert_eq!(format!("{environment:?}"), r#"["PASSWORD"]"#);
    }
}
