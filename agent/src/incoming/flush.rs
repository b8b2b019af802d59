//! Ends the connections to a port that stood before it was stolen, so that their clients come back.
//!
//! Each is reset while nobody waits for an answer on it: the server has sent last, and nothing has moved for a while.
//! One that is never so quiet is reset all the same after a time (`SOCK_DESTROY`, `sock_diag(7)`, kernel 4.5, with
//! `CONFIG_INET_DIAG_DESTROY`).

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NetlinkSerializable};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// How long nothing moves on a connection that is idle.
const IDLE: Duration = Duration::from_millis(300);

/// The same where it cannot be told whether the server has sent last: the kernel's clock ticks every few milliseconds.
const SURELY_IDLE: Duration = Duration::from_secs(2);

/// How long connections get to become idle.
const LIMIT: Duration = Duration::from_secs(10);

/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Where `last_data_sent` and `last_data_recv` stand in `struct tcp_info`: milliseconds since then.
const SENT: std::ops::Range<usize> = 44..48;
const RECEIVED: std::ops::Range<usize> = 52..56;

/// Where `bytes_acked` stands (kernel 4.1): what the server has sent, and the client has.
const ACKNOWLEDGED: std::ops::Range<usize> = 120..128;

/// A connection as the kernel knows it.
#[derive(Debug, Clone)]
struct Connection {
    family: u8,
    id: SocketId,
    quiet: Option<Quiet>,
}

/// How quiet a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quiet {
    /// Since when the server has sent nothing.
    sent: Duration,
    /// Since when it has received nothing.
    received: Duration,
    has_answered: bool,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.quiet.is_some_and(|Quiet { sent, received, has_answered }| match sent.cmp(&received) {
            Ordering::Less => sent >= IDLE,
            Ordering::Equal => has_answered && sent >= SURELY_IDLE,
            Ordering::Greater => false,
        })
    }
}

/// The connections that stand to a port now.
#[derive(Debug)]
pub(super) struct Standing {
    port: u16,
    cookies: HashSet<[u8; 8]>,
}

impl Standing {
    pub(super) fn on(port: u16) -> Self {
        let cookies = established(port).unwrap_or_else(|error| {
            warn!(port, %error, "connections that stand cannot be listed, and stay");
            HashMap::new()
        });
        Self { port, cookies: cookies.into_keys().collect() }
    }

    /// Resets each of them at a moment that is good for it.
    pub(super) async fn flush(self) {
        let Self { port, mut cookies } = self;
        let (began, mut count) = (Instant::now(), 0_u64);
        while !cookies.is_empty() {
            let Ok(established) = established(port) else { return };
            cookies.retain(|cookie| established.contains_key(cookie));
            let due = |connection: &&Connection| connection.is_idle() || began.elapsed() >= LIMIT;
            let due: Vec<Connection> =
                cookies.iter().filter_map(|cookie| established.get(cookie)).filter(due).cloned().collect();
            for connection in due {
                cookies.remove(&connection.id.cookie);
                match destroy(connection) {
                    Ok(()) => count += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return warn!(port, %error, "connections that stand cannot be reset, and stay"),
                }
            }
            sleep(LOOK).await;
        }
        info!(port, count, "connections that stood were reset");
    }
}

/// The connections to `port`, by cookie.
fn established(port: u16) -> io::Result<HashMap<[u8; 8], Connection>> {
    let mut found = HashMap::new();
    for (family, any) in [(AF_INET, Ipv4Addr::UNSPECIFIED.into()), (AF_INET6, Ipv6Addr::UNSPECIFIED.into())] {
        let id = SocketId {
            source_port: port,
            destination_port: 0,
            source_address: any,
            destination_address: any,
            interface_id: 0,
            cookie: [0xff; 8],
        };
        let states = StateFlags::ESTABLISHED;
        let request =
            InetRequest { family, protocol: IPPROTO_TCP, extensions: ExtensionFlags::INFO, states, socket_id: id };
        let socket = send(SockDiagMessage::InetRequest(request), NLM_F_REQUEST | NLM_F_DUMP)?;
        answers(&socket, |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer {
                let InetResponse { header, nlas } = *answer;
                let quiet = nlas.iter().find_map(quiet);
                let connection = Connection { family, id: header.socket_id, quiet };
                found.insert(connection.id.cookie, connection);
            }
        })?;
    }
    Ok(found)
}

fn quiet(nla: &Nla) -> Option<Quiet> {
    let Nla::TcpInfo(info) = nla else { return None };
    let since = |at: std::ops::Range<usize>| {
        let bytes = info.get(at)?.try_into().ok()?;
        Some(Duration::from_millis(u32::from_ne_bytes(bytes).into()))
    };
    let acknowledged = info.get(ACKNOWLEDGED)?.try_into().ok().map(u64::from_ne_bytes)?;
    Some(Quiet { sent: since(SENT)?, received: since(RECEIVED)?, has_answered: acknowledged > 1 })
}

fn destroy(connection: Connection) -> io::Result<()> {
    let Connection { family, id, .. } = connection;
    let (extensions, states) = (ExtensionFlags::empty(), StateFlags::all());
    let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id: id };
    let request = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
    let socket = send(request, NLM_F_REQUEST | NLM_F_ACK)?;
    answers(&socket, |_| {})
}

fn send<M: NetlinkSerializable>(message: M, flags: u16) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(message));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    Ok(socket)
}

/// Reads to the end of the kernel's answer.
fn answers(socket: &Socket, mut each: impl FnMut(SockDiagMessage)) -> io::Result<()> {
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => each(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                // An acknowledgement.
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(()),
                other => debug!(?other, "unexpected answer of sock_diag"),
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Needs root.
    #[tokio::test]
    async fn connections_are_reset_when_they_are_idle() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("listens");
            let there = listener.local_addr().expect("bound");
            let connect = || (TcpStream::connect(there).expect("connects"), listener.accept().expect("accepts").0);
            let (mut idle, mut server) = connect();
            idle.write_all(b"question").expect("writes");
            server.read_exact(&mut [0; 8]).expect("reads");
            server.write_all(b"answer").expect("writes");
            idle.read_exact(&mut [0; 6]).expect("reads");
            let (mut waiting, mut working) = connect();
            waiting.write_all(b"question").expect("writes");
            working.read_exact(&mut [0; 8]).expect("reads");
            let standing = Standing::on(there.port());
            let (_later, _kept) = connect();
            assert_eq!(standing.cookies.len(), 2);
            let flushing = tokio::spawn(standing.flush());
            idle.set_nonblocking(true).expect("set");
            while idle.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                tokio::task::yield_now().await;
            }
            assert!(!flushing.is_finished(), "one waits for its answer");
            working.write_all(b"answer").expect("is alive");
            waiting.read_exact(&mut [0; 6]).expect("the answer comes");
            flushing.await.expect("ends");
            assert!(waiting.read(&mut [0]).is_err(), "reset once it is idle");
            assert_eq!(Standing::on(there.port()).cookies.len(), 1, "the later one stays");
        }
    }
}
