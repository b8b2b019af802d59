//! Answers [`protocol::agent::OpenUdp`]: a UDP socket of the pod, whose datagrams travel as messages.
//!
//! The socket lives until the host ends its direction of the stream. What arrives while the stream has no
//! room waits in the kernel's queue, which drops what is too much, as it does for a slow program.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicI32, Ordering};

use link::{Call, MessageError, Stream, read_message, write_message};
use protocol::agent::{OpenUdp, UdpMessage, UdpOpened};
use rustix::io::Errno;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tracing::debug;

use super::{errno_of, refusal, source};
use crate::dispatch::{Counters, reply};
use crate::scratch;

/// What the kernel says where no route leads.
const UNREACHABLE: [Errno; 2] = [Errno::NETUNREACH, Errno::HOSTUNREACH];

/// Opens the socket, replies, and then carries datagrams both ways.
pub(crate) async fn serve(counters: &Counters, call: Call, request: OpenUdp) -> Result<(), MessageError> {
    let attempt = async |port| open(request.peer, request.connect, port).await;
    match source::with_port(request.source_port, attempt).await {
        Ok((socket, opened)) => {
            Counters::add(&counters.udp_sockets, 1);
            let stream = call.reply::<OpenUdp>(&Ok(opened)).await?;
            let socket = Socket {
                peer: request.connect.then_some(request.peer),
                socket,
                failure: AtomicI32::new(0),
                failed: Notify::new(),
                counters,
            };
            socket.carry(stream).await
        }
        Err(error) => {
            let verb = if request.connect { "connect a UDP socket to" } else { "open a UDP socket for" };
            reply::<OpenUdp>(call, &Err(refusal(&error, format!("{verb} {}", request.peer)))).await
        }
    }
}

async fn open(peer: SocketAddr, connect: bool, port: u16) -> io::Result<(UdpSocket, UdpOpened)> {
    if !connect {
        look_for_route(peer).await?;
    }
    let socket = UdpSocket::bind(source::any_address(peer, port)).await?;
    // Programs that may not broadcast were refused by their own kernel.
    socket.set_broadcast(true)?;
    if connect {
        socket.connect(peer).await?;
    }
    let local = socket.local_addr()?;
    Ok((socket, UdpOpened { local }))
}

/// Fails as the first datagram to `peer` would where no route leads there: connecting a socket sends nothing.
async fn look_for_route(peer: SocketAddr) -> io::Result<()> {
    let probe = UdpSocket::bind(source::any_address(peer, 0)).await?;
    probe.set_broadcast(true)?;
    match probe.connect(peer).await {
        Err(error) if UNREACHABLE.iter().any(|errno| errno_of(&error) == errno.raw_os_error()) => Err(error),
        _ => Ok(()),
    }
}

struct Socket<'c> {
    socket: UdpSocket,
    /// Where a connected socket is connected to.
    peer: Option<SocketAddr>,
    /// An error that sending came upon and that the host is to be told of; 0 for none.
    failure: AtomicI32,
    failed: Notify,
    counters: &'c Counters,
}

impl Socket<'_> {
    async fn carry(self, stream: Stream) -> Result<(), MessageError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::select! {
            ended = self.send_all(&mut reader) => ended?,
            failed = self.receive_all(&mut writer) => return failed,
        }
        // Once the host sees the end, the port is free.
        drop(self);
        writer.shutdown().await.map_err(MessageError::Io)
    }

    /// Sends what the host says until it ends its direction.
    async fn send_all(&self, reader: &mut ReadHalf<Stream>) -> Result<(), MessageError> {
        loop {
            match read_message(reader).await {
                Ok(UdpMessage::Datagram { peer, payload }) => self.send(peer, &payload).await,
                Ok(UdpMessage::Failed { .. }) => {}
                Err(MessageError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&self, peer: SocketAddr, payload: &[u8]) {
        let mut result = self.send_once(peer, payload).await;
        if let (Err(error), Some(_)) = (&result, self.peer) {
            self.failure.store(errno_of(error), Ordering::Relaxed);
            self.failed.notify_one();
            // What was refused may be an earlier datagram: the kernel then has not sent this one (`udp(7)`).
            result = self.send_once(peer, payload).await;
        }
        match result {
            Ok(count) => {
                Counters::add(&self.counters.datagrams_sent, 1);
                Counters::add(&self.counters.sent, count as u64);
            }
            Err(error) => debug!(%peer, %error, "datagram dropped"),
        }
    }

    async fn send_once(&self, peer: SocketAddr, payload: &[u8]) -> io::Result<usize> {
        match as_family_of(peer, self.socket.local_addr()?) {
            _ if self.peer == Some(peer) => self.socket.send(payload).await,
            Some(peer) => self.socket.send_to(payload, peer).await,
            None => Err(Errno::AFNOSUPPORT.into()),
        }
    }

    /// Hands on what arrives; returns when the host takes nothing more.
    async fn receive_all(&self, writer: &mut WriteHalf<Stream>) -> Result<(), MessageError> {
        loop {
            let received = tokio::select! {
                received = scratch::receive(&self.socket, datagram) => Some(received),
                () = self.failed.notified() => None,
            };
            let sent_into = self.failure.swap(0, Ordering::Relaxed);
            if sent_into != 0 {
                write_message(writer, &UdpMessage::Failed { errno: sent_into }).await?;
            }
            match received {
                Some(Ok((message, length))) => {
                    Counters::add(&self.counters.datagrams_received, 1);
                    Counters::add(&self.counters.received, length as u64);
                    write_message(writer, &message).await?;
                }
                Some(Err(error)) if self.peer.is_some() => {
                    write_message(writer, &UdpMessage::Failed { errno: errno_of(&error) }).await?;
                }
                Some(Err(error)) => debug!(%error, "receive datagrams"),
                None => {}
            }
        }
    }
}

fn datagram(payload: &[u8], peer: SocketAddr) -> (UdpMessage, usize) {
    (UdpMessage::Datagram { peer, payload: payload.to_vec() }, payload.len())
}

/// `peer` as a socket of the family of `local` names it; none where it cannot.
fn as_family_of(peer: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
    match (peer, local) {
        (SocketAddr::V4(v4), SocketAddr::V6(_)) => {
            Some(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into())
        }
        (SocketAddr::V6(v6), SocketAddr::V4(_)) => Some(SocketAddrV4::new(v6.ip().to_ipv4_mapped()?, v6.port()).into()),
        _ => Some(peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_without_a_route_is_told_of_at_once() {
        for peer in ["127.0.0.1:9", "10.255.0.1:9", "[2001:db8::9]:9"] {
            let peer: SocketAddr = peer.parse().expect("valid");
            let Ok(native) = std::net::UdpSocket::bind(source::any_address(peer, 0)) else { continue };
            let native = native.connect(peer).map_err(|error| errno_of(&error));
            assert_eq!(open(peer, false, 0).await.map(drop).map_err(|error| errno_of(&error)), native, "{peer}");
        }
    }

    #[test]
    fn peers_are_named_in_the_sockets_family() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("valid");
        for (peer, local, expected) in [
            ("10.0.0.1:53", "0.0.0.0:1", Some("10.0.0.1:53")),
            ("10.0.0.1:53", "[::]:1", Some("[::ffff:10.0.0.1]:53")),
            ("[::ffff:10.0.0.1]:53", "0.0.0.0:1", Some("10.0.0.1:53")),
            ("[fd00::1]:53", "[::]:1", Some("[fd00::1]:53")),
            ("[fd00::1]:53", "0.0.0.0:1", None),
        ] {
            assert_eq!(as_family_of(parse(peer), parse(local)), expected.map(parse), "{peer} {local}");
        }
    }
}
