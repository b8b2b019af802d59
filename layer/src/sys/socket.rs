//! What this library asks of the program's sockets, and does to them.

use core::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{End, Errno, Timeval, call, name_of, number_option, option};
use crate::address::{self, Encoded};

/// What a socket speaks, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Tcp,
    Udp,
    /// Something else, or it is no socket.
    Other,
}

pub(crate) fn speaks(fd: c_int) -> Speaks {
    match (kind(fd), number_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)) {
        (Ok(libc::SOCK_STREAM), Ok(libc::IPPROTO_TCP)) => Speaks::Tcp,
        (Ok(libc::SOCK_DGRAM), Ok(libc::IPPROTO_UDP)) => Speaks::Udp,
        _ => Speaks::Other,
    }
}

/// `SOCK_STREAM` or `SOCK_DGRAM` and so on.
pub(crate) fn kind(fd: c_int) -> Result<c_int, Errno> {
    number_option(fd, libc::SOL_SOCKET, libc::SO_TYPE)
}

/// Whether a TCP socket has sent its request to connect and has no answer.
pub(crate) fn is_connecting(fd: c_int) -> bool {
    const TCP_SYN_SENT: u8 = 2;
    option::<1>(fd, libc::IPPROTO_TCP, libc::TCP_INFO) == Ok([TCP_SYN_SENT])
}

fn set_number(fd: c_int, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    let arguments = [fd as usize, level as usize, name as usize, (&raw const value).addr(), size_of::<c_int>(), 0];
    // SAFETY: setsockopt(2) with a number that is ours.
    unsafe { call(libc::SYS_setsockopt, arguments) }.map(drop)
}

/// How long a connect without an answer lasts where the program has said how often it is repeated (`TCP_SYNCNT`):
/// the first wait is a second, each further one twice as long.
///
/// The usual number counts as none: then the pod's kernel decides.
pub(crate) fn syn_timeout(fd: c_int) -> Option<Timeval> {
    const USUAL: c_int = 6;
    match number_option(fd, libc::IPPROTO_TCP, libc::TCP_SYNCNT) {
        Ok(repeats @ 1..USUAL) => Some([(2 << repeats) - 1, 0]),
        _ => None,
    }
}

/// Has the next connect send its request at once, where the program wants it to wait for the first data
/// (`TCP_FASTOPEN_CONNECT`): the session host waits for it.
pub(crate) fn connect_at_once(fd: c_int) {
    if number_option(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT).is_ok_and(|wanted| wanted != 0) {
        let _ = set_number(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 0);
    }
}

/// Binds a UDP socket that has no port to one, as the kernel does at the first datagram; its address then.
pub(crate) fn bind_to_a_port(fd: c_int) -> Result<SocketAddr, Errno> {
    let own = name_of(fd, End::Local).ok_or(libc::EINVAL)?;
    match bind(fd, own) {
        // Another thread was quicker.
        Ok(()) | Err(libc::EINVAL) => {}
        Err(errno) => return Err(errno),
    }
    match name_of(fd, End::Local) {
        Some(bound) if bound.port() != 0 => Ok(bound),
        _ => {
            // `IP_BIND_ADDRESS_NO_PORT` leaves the port to a connect.
            let option = |value| set_number(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, value);
            option(0)?;
            let bound = bind(fd, own);
            option(1)?;
            bound.and_then(|()| name_of(fd, End::Local).ok_or(libc::EINVAL))
        }
    }
}

/// Binds the program's socket.
pub(crate) fn bind(fd: c_int, own: SocketAddr) -> Result<(), Errno> {
    let own = address::encode(own);
    let bytes = own.as_bytes();
    // SAFETY: bind(2) with bytes that are ours.
    unsafe { call(libc::SYS_bind, [fd as usize, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0]) }.map(drop)
}

/// Binds the program's socket to an address and leaves the port to a connect (kernel 4.2; before, to the bind).
pub(crate) fn bind_without_port(fd: c_int, own: SocketAddr) -> Result<(), Errno> {
    let changed = set_number(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
    let bound = bind(fd, own);
    changed.and_then(|()| set_number(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 0)).ok();
    bound
}

/// Takes a socket's far end away: a UDP socket is unconnected again, a TCP one gives up.
pub(crate) fn disconnect(fd: c_int) {
    let unspecified = [0u8; 16];
    // SAFETY: connect(2) with bytes that are ours, of the family AF_UNSPEC.
    let _ = unsafe { call(libc::SYS_connect, [fd as usize, unspecified.as_ptr().addr(), unspecified.len(), 0, 0, 0]) };
}

/// What the kernel says to a TCP socket in 127.0.0.0/8 that is to leave this machine: `EINVAL`, unless the socket
/// has had a connection before, for which it has other words. It is asked by a connect that leads nowhere.
pub(crate) fn refuse_loopback(fd: c_int) -> Errno {
    let nowhere = match number_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) {
        Ok(libc::AF_INET6) => SocketAddr::from((Ipv4Addr::BROADCAST.to_ipv6_mapped(), 1)),
        _ => SocketAddr::from((Ipv4Addr::BROADCAST, 1)),
    };
    match connect(fd, &address::encode(nowhere)) {
        Err(errno) if errno != libc::ENETUNREACH => errno,
        _ => libc::EINVAL,
    }
}

/// Whether an address of this machine's kernel is a loopback one.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    match decide::outgoing::unmapped(address) {
        SocketAddr::V4(v4) => v4.ip().is_loopback(),
        SocketAddr::V6(v6) => *v6.ip() == Ipv6Addr::LOCALHOST,
    }
}

/// Sends bytes on a Unix socket with a copy of the descriptor `passed`, without ever raising SIGPIPE.
pub(crate) fn send_passing(fd: c_int, bytes: &[u8], passed: c_int) -> Result<usize, Errno> {
    // `CMSG_SPACE` of one number: a header, and the number filled up to a word.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        passed: c_int,
        padding: c_int,
    }
    let length = size_of::<libc::cmsghdr>() + size_of::<c_int>();
    let header = libc::cmsghdr { cmsg_len: length as _, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS };
    let mut control = Control { header, passed, padding: 0 };
    let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr is numbers and pointers, which may be null.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let arguments = [fd as usize, (&raw const message).addr(), libc::MSG_NOSIGNAL as usize, 0, 0, 0];
    // SAFETY: sendmsg(2) with a message whose parts are ours.
    unsafe { call(libc::SYS_sendmsg, arguments) }
}

/// Seconds of a clock that only runs forward.
pub(crate) fn seconds() -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let arguments = [libc::CLOCK_MONOTONIC_COARSE as usize, (&raw mut now).addr(), 0, 0, 0, 0];
    // SAFETY: clock_gettime(2) with room for the answer.
    let _ = unsafe { call(libc::SYS_clock_gettime, arguments) };
    now.tv_sec as u32
}

/// Connects the program's socket.
pub(crate) fn connect(fd: c_int, address: &Encoded) -> Result<(), Errno> {
    let bytes = address.as_bytes();
    // SAFETY: connect(2) with bytes that are ours.
    unsafe { call(libc::SYS_connect, [fd as usize, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0]) }.map(drop)
}
