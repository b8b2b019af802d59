//! Asks the kernel whose socket is at the other end of a loopback connection (`sock_diag(7)`).

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

/// `INET_DIAG_NOCOOKIE` of `linux/inet_diag.h`: no particular socket is meant.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// A socket as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// `SO_COOKIE`.
    pub(super) cookie: u64,
    /// Effective uid of who made it.
    pub(super) uid: u32,
}

/// Finds the TCP socket bound to `local` and connected to `remote` in this network namespace.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Owner> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: NO_COOKIE,
        },
    };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            Ok(Owner { cookie: u64::from_ne_bytes(found.header.socket_id.cookie), uid: found.header.uid })
        }
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::other("unexpected answer of sock_diag")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_cookie;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connected_socket_is_found_by_its_ends() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let there = listener.local_addr().expect("bound");
            let client = TcpStream::connect(there).expect("connects");
            let (_server, here) = listener.accept().expect("accepts");
            let owner = owner(here, there).expect("found");
            assert_eq!(owner.cookie, socket_cookie(&client).expect("a cookie"));
            assert_eq!(owner.uid, rustix::process::geteuid().as_raw());
        }
    }

    #[test]
    fn an_unknown_connection_is_an_error() {
        let nowhere = SocketAddr::from(([127, 99, 99, 99], 1));
        assert!(owner(nowhere, nowhere).is_err());
    }
}
