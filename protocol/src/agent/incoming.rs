//! Traffic of the pod: ports that the session opens, and the connections and requests that come to them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Asks for a port's new connections. A port that this session has opened already is `EADDRINUSE`. Of several sessions
/// the newest gets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPort {
    /// The port, on all addresses of the pod.
    pub port: u16,
    /// Who answers.
    pub mode: PortMode,
    /// Refuses with `EBUSY` when another session steals the port's connections.
    pub alone: bool,
    /// The application answers the kubelet's HTTP probes: each connection waits for its client's first bytes.
    pub probed: bool,
    /// Resets the connections that stand, each when it is idle, so that their clients come back.
    pub flush: bool,
    /// Which HTTP requests the mode is for; the others are the application's alone. None is for whole connections. A
    /// filter that cannot be understood is `EINVAL`.
    pub filter: Option<HttpFilter>,
    /// How long a request that the filter chooses may wait for its answer when the program has it.
    pub hold: Duration,
    /// How long one may wait for the program to show that it will read it.
    pub patience: Duration,
    /// Whether it is then answered that the program is paused, instead of by the application.
    pub unavailable: bool,
}

/// Asks for something else on an open port: mode, filter, probes and times. New connections are treated so, and the
/// next requests of those that stand on a port with a filter. One that is not open is `ENOENT`. `flush` has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePort(pub OpenPort);

/// A port that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortOpened {
    /// Addresses of the pod by which a connection of the agent's own has come to it, at most one of each family.
    pub verified: Vec<IpAddr>,
    /// Those by which one has not. If none has come at all, the port is not opened.
    pub failed: Vec<IpAddr>,
}

/// Which HTTP requests. Regular expressions are of the crate `regex-lite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpFilter {
    /// Regular expression on each header as `Name: value`, upper and lower case are the same.
    Header(String),
    /// Regular expression on the path, and on the path with its query.
    Path(String),
    /// The method, upper and lower case are the same.
    Method(String),
    /// Regular expression on the query, without the `?`.
    Query(String),
    /// All must match.
    All(Vec<HttpFilter>),
    /// One must match.
    Any(Vec<HttpFilter>),
    /// Must not match.
    Not(Box<HttpFilter>),
}

/// What happens to the connections of an open port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortMode {
    /// They are the session's.
    Steal,
    /// They are the application's, and the session gets a copy of what clients send.
    Mirror,
}

/// Asks for one connection. Several may be asked for ahead, so that none waits for the way to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {}

/// The host's first byte on the stream of a stolen connection. Until then the program has seen nothing of it. On a port
/// with a filter the agent sends nothing before, [`Part`]s after it, and gets such a byte for each request, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Taken {
    /// The program has the connection. What it says follows.
    ByProgram = 1,
    /// The program does not take it. All bytes follow that the host has of the client's, then the end of its
    /// direction: the application gets these, and whatever else the client sends.
    Returned = 2,
    /// The program does not take it, and the client is to be told so. Only of a port with a filter.
    Unavailable = 3,
}

impl TryFrom<u8> for Taken {
    type Error = u8;

    fn try_from(byte: u8) -> Result<Self, u8> {
        [Self::ByProgram, Self::Returned, Self::Unavailable].into_iter().find(|taken| *taken as u8 == byte).ok_or(byte)
    }
}

/// Stands before each part of what the agent says on the stream of a port with a filter. To each that begins a request
/// the host answers with a [`Taken`], before anything that the program says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The head of a request, whole: the program is to be seen to read before it gets its end.
    pub begins: bool,
    /// Bytes that follow, less than 2³¹.
    pub length: u32,
}

impl Part {
    /// Bytes of a part's own.
    pub const SIZE: usize = 4;

    const BEGINS: u32 = 1 << 31;

    /// As it travels.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let begins = if self.begins { Self::BEGINS } else { 0 };
        (self.length & !Self::BEGINS | begins).to_le_bytes()
    }

    /// As it arrives.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let word = u32::from_le_bytes(bytes);
        Self { begins: word & Self::BEGINS != 0, length: word & !Self::BEGINS }
    }
}

/// A connection to the pod, as the session has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Whose it is.
    pub accepted: Accepted,
    /// Whether the program answers.
    pub mode: PortMode,
    /// Whether [`Part`]s with single requests follow.
    pub filtered: bool,
}

/// A connection to the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The client.
    pub peer: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
}

/// A request that the application has answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedRequest {
    /// The pod's port.
    pub port: u16,
    /// Who has asked.
    pub client: IpAddr,
    /// The method.
    pub method: String,
    /// The path, without its query (which may hold secrets), cut to [`PassedRequest::LONGEST_PATH`] bytes.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
    /// Time to the answer's head.
    pub elapsed: Duration,
}

impl PassedRequest {
    /// Most bytes of a path that are told.
    pub const LONGEST_PATH: usize = 512;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_its_length_and_whether_it_begins_a_request() {
        for part in [Part { begins: true, length: 70_000 }, Part { begins: false, length: 0 }] {
            assert_eq!(Part::from_bytes(part.to_bytes()), part);
        }
    }
}
