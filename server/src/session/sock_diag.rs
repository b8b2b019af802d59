//! Asks the kernel about sockets of this network namespace (`sock_diag(7)`): whose is the other end of a
//! connection, who listens, which still exist, and which have been closed.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use decide::outgoing::stand_in;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

/// `INET_DIAG_NOCOOKIE` of `linux/inet_diag.h`: no particular socket is meant.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// `INET_DIAG_SKV6ONLY` of `linux/inet_diag.h`.
const V6_ONLY: u16 = 11;

/// States of `net/tcp_states.h`.
const SYN_RECEIVED: u8 = 3;
const LISTENS: u8 = 10;

/// `SKNLGRP_INET_TCP_DESTROY` to `SKNLGRP_INET6_UDP_DESTROY` of `linux/sock_diag.h`.
const DESTROY_GROUPS: std::ops::RangeInclusive<u32> = 1..=4;

/// Where the cookie stands in an `inet_diag_msg`, behind its netlink header.
const COOKIE_AT: std::ops::Range<usize> = 60..68;

/// Announcements that may wait for us, in bytes: as many as an unprivileged process gets.
const ANNOUNCEMENT_BUFFER: i32 = 4 << 20;

thread_local! {
    /// Asks for single sockets, which is done for each request that a filter takes.
    static KEPT: Cell<Option<Socket>> = const { Cell::new(None) };
}

/// A socket as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// `SO_COOKIE`.
    pub(super) cookie: u64,
    /// Effective uid of who made it.
    pub(super) uid: u32,
}

/// Finds the TCP socket bound to `local` and connected to `remote`.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Owner> {
    ask(local, remote).map(|found| Owner { cookie: cookie(&found), uid: found.header.uid })
}

fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Box<InetResponse>> {
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
    let socket = match KEPT.take() {
        Some(socket) => socket,
        None => socket()?,
    };
    send(&socket, request, NLM_F_REQUEST)?;
    let (answer, _) = socket.recv_from_full()?;
    // Without an answer it is not kept: a late one would be taken for that to the next question.
    KEPT.set(Some(socket));
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => Ok(found),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::other("unexpected answer of sock_diag")),
    }
}

/// How far a connection to a listener has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// It is in the listener's queue.
    Waiting,
    /// A program has it, or gets it only once there is something to read (`TCP_DEFER_ACCEPT`).
    Accepted,
    /// There is no such connection any more.
    Gone,
}

/// How far the connection from `source` to the listener at `to` has come.
pub(super) fn acceptance(to: SocketAddr, source: SocketAddr) -> io::Result<Acceptance> {
    match ask(to, source) {
        // Without such a connection the kernel names the listener.
        Ok(found) if found.header.state == LISTENS => Ok(Acceptance::Gone),
        Ok(found) if found.header.inode == 0 && found.header.state != SYN_RECEIVED => Ok(Acceptance::Waiting),
        Ok(_) => Ok(Acceptance::Accepted),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Acceptance::Gone),
        Err(error) => Err(error),
    }
}

/// Bytes that the connection's end at `to` has got from `source` and not read; none without such a connection.
pub(super) fn unread(to: SocketAddr, source: SocketAddr) -> io::Result<Option<u32>> {
    match ask(to, source) {
        Ok(found) => Ok(Some(found.header.recv_queue).filter(|_| found.header.state != LISTENS)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The address by which a listener of `uid` on `port` is reached over loopback of the given family; none without
/// such a listener. Where it can be, it is the address that stands in for the pod's in the network of `relay`.
pub(super) fn listener_on_loopback(v4: bool, port: u16, uid: u32, relay: Ipv4Addr) -> io::Result<Option<SocketAddr>> {
    let (mut found, all) = (None, stand_in(relay));
    for family in if v4 { &[AF_INET, AF_INET6][..] } else { &[AF_INET6] } {
        dump(*family, IPPROTO_TCP, StateFlags::LISTEN, (port, 0), |socket| {
            if socket.header.uid == uid
                && let Some(ip) = on_loopback(v4, socket, all)
                && (ip == all || found.is_none() && !is_of_sessions(ip))
            {
                found = Some(SocketAddr::from((ip, port)));
            }
        })?;
    }
    Ok(found)
}

/// Whether an address is one where sessions have sockets of their own, which are never the program's.
fn is_of_sessions(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[1] != 0)
}

/// The UDP socket of `uid` that datagrams of a family to `port` of the pod's address are for: its cookie, and where
/// it is reached. It is bound to all addresses, or stands in for the pod's in the network of `relay`.
pub(super) fn datagrams_to_pod(
    v4: bool,
    port: u16,
    uid: u32,
    relay: Ipv4Addr,
) -> io::Result<Option<(u64, SocketAddr)>> {
    let stands_in = IpAddr::from(stand_in(relay));
    let mut found = None;
    for family in if v4 { &[AF_INET, AF_INET6][..] } else { &[AF_INET6] } {
        dump(*family, IPPROTO_UDP, StateFlags::all(), (port, 0), |socket| {
            let SocketId { source_address, destination_port, .. } = socket.header.socket_id;
            let is_for_pod = source_address.is_unspecified() || source_address.to_canonical() == stands_in;
            // A connected socket hears its peer only.
            if socket.header.uid == uid
                && destination_port == 0
                && is_for_pod
                && found.is_none()
                && let Some(ip) = on_loopback(v4, socket, Ipv4Addr::LOCALHOST)
            {
                found = Some((cookie(socket), SocketAddr::new(ip, port)));
            }
        })?;
    }
    Ok(found)
}

/// Where on loopback a socket is reached that is bound and has no far end; over IPv4 at `all` if it is bound to all
/// addresses.
fn on_loopback(v4: bool, listener: &InetResponse, all: Ipv4Addr) -> Option<IpAddr> {
    let v6_only = listener.nlas.iter().any(|nla| matches!(nla, Nla::Other(other) if is_v6_only(other)));
    match (v4, listener.header.socket_id.source_address) {
        (true, IpAddr::V4(ip)) if ip.is_unspecified() => Some(all.into()),
        (true, IpAddr::V4(ip)) if ip.is_loopback() => Some(ip.into()),
        (true, IpAddr::V6(ip)) if ip.is_unspecified() && !v6_only => Some(all.into()),
        (true, IpAddr::V6(ip)) => {
            ip.to_ipv4_mapped().filter(|ip| ip.is_loopback() || ip.is_unspecified()).map(|ip| match ip.is_loopback() {
                true => ip.into(),
                false => all.into(),
            })
        }
        (false, IpAddr::V6(ip)) if ip.is_unspecified() || ip.is_loopback() => Some(Ipv6Addr::LOCALHOST.into()),
        _ => None,
    }
}

fn is_v6_only(nla: &netlink_packet_core::DefaultNla) -> bool {
    use netlink_packet_core::Nla as _;
    let mut value = vec![0; nla.value_len()];
    nla.emit_value(&mut value);
    nla.kind() == V6_ONLY && value == [1]
}

/// The port of the TCP socket `wanted`, which is connected to `remote`.
pub(super) fn port_of(wanted: u64, remote: SocketAddr) -> io::Result<Option<u16>> {
    let mut found = None;
    // A dual-stack socket that is connected over IPv4 is among the IPv6 ones.
    for family in [AF_INET, AF_INET6] {
        dump(family, IPPROTO_TCP, StateFlags::all(), (0, remote.port()), |socket| {
            if cookie(socket) == wanted {
                found = Some(socket.header.socket_id.source_port);
            }
        })?;
    }
    Ok(found)
}

/// The cookies of all TCP and UDP sockets that the kernel's tables hold: a socket is there once it is bound.
pub(super) fn cookies() -> io::Result<HashSet<u64>> {
    let mut cookies = HashSet::new();
    for (family, protocol) in
        [(AF_INET, IPPROTO_TCP), (AF_INET6, IPPROTO_TCP), (AF_INET, IPPROTO_UDP), (AF_INET6, IPPROTO_UDP)]
    {
        dump(family, protocol, StateFlags::all(), (0, 0), |socket| {
            cookies.insert(cookie(socket));
        })?;
    }
    Ok(cookies)
}

/// The cookies of all TCP sockets that listen. Cheap, however many connections there are.
pub(super) fn listening() -> io::Result<HashSet<u64>> {
    let mut cookies = HashSet::new();
    for family in [AF_INET, AF_INET6] {
        dump(family, IPPROTO_TCP, StateFlags::LISTEN, (0, 0), |socket| {
            cookies.insert(cookie(socket));
        })?;
    }
    Ok(cookies)
}

/// Lists sockets with the given source and destination ports; 0 is any.
fn dump(
    family: u8,
    protocol: u8,
    states: StateFlags,
    ports: (u16, u16),
    mut each: impl FnMut(&InetResponse),
) -> io::Result<()> {
    let any = if family == AF_INET { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let request = InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: SocketId {
            source_port: ports.0,
            destination_port: ports.1,
            source_address: any,
            destination_address: any,
            interface_id: 0,
            cookie: NO_COOKIE,
        },
    };
    let socket = socket()?;
    send(&socket, request, NLM_F_REQUEST | NLM_F_DUMP)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => each(&found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(()),
                _ => return Err(io::Error::other("unexpected answer of sock_diag")),
            }
            rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn send(socket: &Socket, request: InetRequest, flags: u16) -> io::Result<()> {
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

fn cookie(socket: &InetResponse) -> u64 {
    u64::from_ne_bytes(socket.header.socket_id.cookie)
}

/// What the kernel announces of sockets that are gone for good: closed by all who had them.
pub(super) struct Announcements(Socket);

impl Announcements {
    /// Begins to listen, for TCP and UDP.
    pub(super) fn join() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        // The default holds a burst of some hundred closed sockets only.
        socket.set_rx_buf_sz(ANNOUNCEMENT_BUFFER).ok();
        for group in DESTROY_GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// The cookie of one socket that is gone; none for a message that says something else. `WouldBlock`
    /// without an announcement, `ENOBUFS` where some were lost.
    pub(super) fn next(&self) -> io::Result<Option<u64>> {
        let mut message = Vec::with_capacity(4096);
        self.0.recv(&mut message, 0)?;
        Ok(message.get(COOKIE_AT).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes))
    }
}

impl AsRawFd for Announcements {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::net::sockopt::socket_cookie;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

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
    fn a_connection_waits_until_it_is_accepted() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            let to = SocketAddr::from((
                if address == "[::1]:0" { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) },
                port,
            ));
            let client = TcpStream::connect(to).expect("connects");
            let source = client.local_addr().expect("bound");
            assert_eq!(acceptance(to, source).expect("asked"), Acceptance::Waiting, "{address}");
            let accepted = listener.accept().expect("accepts");
            assert_eq!(acceptance(to, source).expect("asked"), Acceptance::Accepted, "{address}");
            rustix::net::sockopt::set_socket_linger(&accepted.0, Some(std::time::Duration::ZERO)).expect("set");
            drop(accepted);
            assert_eq!(acceptance(to, source).expect("asked"), Acceptance::Gone, "{address}");
            drop(listener);
            assert_eq!(acceptance(to, source).expect("asked"), Acceptance::Gone, "{address}");
        }
    }

    #[test]
    fn unread_bytes_are_counted_until_they_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let to = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(to).expect("connects");
        let source = client.local_addr().expect("bound");
        let count = || unread(to, source).expect("asked");
        assert_eq!(count(), Some(0));
        client.write_all(b"bytes").expect("writes");
        assert_eq!(count(), Some(5), "not even accepted");
        let (mut accepted, _) = listener.accept().expect("accepts");
        accepted.read_exact(&mut [0; 3]).expect("reads");
        assert_eq!(count(), Some(2));
        accepted.read_exact(&mut [0; 2]).expect("reads");
        assert_eq!(count(), Some(0));
        rustix::net::sockopt::set_socket_linger(&accepted, Some(std::time::Duration::ZERO)).expect("set");
        drop(accepted);
        assert_eq!(count(), None);
    }

    #[test]
    fn an_unknown_connection_is_an_error() {
        let nowhere = SocketAddr::from(([127, 99, 99, 99], 1));
        assert!(owner(nowhere, nowhere).is_err());
    }

    #[test]
    fn listeners_are_found_where_loopback_reaches_them() {
        let uid = rustix::process::geteuid().as_raw();
        let preferred = IpAddr::from([127, 3, 2, 0]);
        let find = |v4, port, uid| listener_on_loopback(v4, port, uid, Ipv4Addr::new(127, 3, 2, 9));
        for (address, v4, v6) in [
            ("127.0.0.1:0", Some("127.0.0.1"), None),
            ("127.0.3.1:0", Some("127.0.3.1"), None),
            ("127.3.2.0:0", Some("127.3.2.0"), None),
            ("127.3.2.1:0", None, None),
            ("127.77.1.1:0", None, None),
            ("0.0.0.0:0", Some("127.3.2.0"), None),
            ("[::]:0", Some("127.3.2.0"), Some("::1")),
            ("[::1]:0", None, Some("::1")),
        ] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            let at = |ip: Option<&str>| ip.map(|ip| SocketAddr::new(ip.parse().expect("an address"), port));
            assert_eq!(find(true, port, uid).expect("asked"), at(v4), "{address}");
            assert_eq!(find(false, port, uid).expect("asked"), at(v6), "{address}");
            assert_eq!(find(true, port, uid + 1).expect("asked"), None);
            drop(listener);
            assert_eq!(find(true, port, uid).expect("asked"), None);
        }
        for order in [["127.0.0.1", "127.3.2.0"], ["127.3.2.0", "127.0.0.1"]] {
            let first = TcpListener::bind((order[0], 0)).expect("a listener");
            let port = first.local_addr().expect("bound").port();
            let _second = TcpListener::bind((order[1], port)).expect("another");
            assert_eq!(find(true, port, uid).expect("asked"), Some(SocketAddr::new(preferred, port)));
        }
    }

    #[test]
    fn a_datagram_to_the_pod_has_one_socket() {
        let (uid, relay) = (rustix::process::geteuid().as_raw(), Ipv4Addr::new(127, 78, 8, 1));
        for (address, v4, v6) in [
            ("0.0.0.0:0", Some("127.0.0.1"), None),
            ("127.78.8.0:0", Some("127.78.8.0"), None),
            ("127.0.0.1:0", None, None),
            ("[::]:0", Some("127.0.0.1"), Some("::1")),
        ] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().expect("bound").port();
            let cookie = socket_cookie(&socket).expect("a cookie");
            let at = |ip: Option<&str>| ip.map(|ip| (cookie, SocketAddr::new(ip.parse().expect("an address"), port)));
            assert_eq!(datagrams_to_pod(true, port, uid, relay).expect("asked"), at(v4), "{address}");
            assert_eq!(datagrams_to_pod(false, port, uid, relay).expect("asked"), at(v6), "{address}");
            assert_eq!(datagrams_to_pod(true, port, uid + 1, relay).expect("asked"), None);
        }
    }

    #[test]
    fn sockets_exist_until_they_are_closed_and_then_it_is_announced() {
        let announcements = Announcements::join().expect("joined");
        // Sockets of other tests may be too many.
        while !is_announced(&announcements) {}
    }

    /// Whether announcements came of all sockets that this closes; some may be lost.
    fn is_announced(announcements: &Announcements) -> bool {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(tcp.local_addr().expect("bound")).expect("connects");
        let there = client.peer_addr().expect("connected");
        let mut wanted: HashSet<u64> = [socket_cookie(&udp), socket_cookie(&tcp)].map(|c| c.expect("a cookie")).into();
        assert!(cookies().expect("listed").is_superset(&wanted));
        let listening: Vec<u64> = listening().expect("listed").intersection(&wanted).copied().collect();
        assert_eq!(listening, [socket_cookie(&tcp).expect("a cookie")]);
        let port = client.local_addr().expect("bound").port();
        assert_eq!(port_of(socket_cookie(&client).expect("a cookie"), there).expect("asked"), Some(port));
        drop((udp, tcp));
        while !cookies().expect("listed").is_disjoint(&wanted) {
            std::thread::yield_now();
        }
        while !wanted.is_empty() {
            match announcements.next() {
                Ok(gone) => drop(gone.map(|cookie| wanted.remove(&cookie))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => return false,
                Err(error) => panic!("{error}"),
            }
        }
        true
    }
}
