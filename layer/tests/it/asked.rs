//! What hooked processes ask a scripted host.

use std::net::{IpAddr, SocketAddr};

use protocol::agent::{Families, UnixKind};
use protocol::layer::{Over, Purpose};

/// What a hooked process asked, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Attach {
        program: Vec<u8>,
        executable: Vec<u8>,
    },
    Connect {
        cookie: u64,
        destination: SocketAddr,
        source_port: u16,
        from_loopback: bool,
        over: Over,
        nonblocking: bool,
    },
    Parked {
        cookie: u64,
        local: SocketAddr,
    },
    Failure {
        cookie: u64,
    },
    /// `passed` is what came with it: whether it is a socket with the same cookie.
    Udp {
        cookie: u64,
        peer: SocketAddr,
        local: SocketAddr,
        source_port: u16,
        from_loopback: bool,
        over: Over,
        connect: bool,
        passed: Option<bool>,
    },
    UdpPeer {
        relay: SocketAddr,
    },
    Unix {
        address: Vec<u8>,
        kind: UnixKind,
    },
    Listen {
        cookie: u64,
        bound: SocketAddr,
    },
    Names {
        cookie: u64,
        peer: Option<SocketAddr>,
    },
    Resolve {
        name: String,
        families: Families,
    },
    Reverse {
        address: IpAddr,
    },
    File {
        path: Vec<u8>,
        follow: bool,
        purpose: Purpose,
    },
    /// `change` as `Debug` shows it.
    ChangeFile {
        path: Vec<u8>,
        change: String,
    },
    Environment,
    Settle {
        inode: u64,
        durable: bool,
    },
    Message(Vec<u8>),
    Records {
        name: String,
        class: u16,
        kind: u16,
        search: bool,
    },
}
