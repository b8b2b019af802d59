//! Loopback addresses at which the kernel refuses TCP connections.
//!
//! A program's socket that the pod's peer has refused is connected there: a refusal shows in the result of
//! `connect`, in `SO_ERROR`, in events and in names, and only the kernel can show it in all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use protocol::layer::Over;
use tokio::net::TcpSocket;

/// The refusing addresses of a session: of each family a socket that is bound and never listens. Without
/// `SO_REUSEADDR`, so that nobody else can listen at its port, not even on all addresses.
pub(super) struct Refusing {
    v4: Option<TcpSocket>,
    v6: Option<TcpSocket>,
}

impl Refusing {
    /// Takes a port of `v4` and one of `::1`, as far as they are to be had.
    pub(super) fn open(v4: Ipv4Addr) -> Self {
        let bound = |socket: io::Result<TcpSocket>, ip: IpAddr| {
            let socket = socket?;
            socket.bind(SocketAddr::new(ip, 0)).map(|()| socket)
        };
        Self {
            v4: bound(TcpSocket::new_v4(), v4.into()).ok(),
            v6: bound(TcpSocket::new_v6(), Ipv6Addr::LOCALHOST.into()).ok(),
        }
    }

    /// Where a socket is refused that can reach `over`.
    pub(super) fn address(&self, over: Over) -> Option<SocketAddr> {
        let socket = match over {
            Over::V4 => &self.v4,
            Over::V6 => &self.v6,
        };
        socket.as_ref()?.local_addr().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn connections_are_refused_and_nobody_can_listen_there() {
        let refusing = Refusing::open(Ipv4Addr::new(127, 78, 9, 1));
        for over in [Over::V4, Over::V6] {
            let Some(address) = refusing.address(over) else { continue };
            let refused = std::net::TcpStream::connect(address).expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let all: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            for ip in [address.ip(), all] {
                assert!(TcpListener::bind((ip, address.port())).is_err(), "{ip}");
            }
        }
        assert!(refusing.address(Over::V4).is_some());
    }
}
