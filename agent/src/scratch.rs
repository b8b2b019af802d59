//! One receive buffer for all sockets of a thread, so that thousands of idle ones cost none.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// More than any datagram of IP has (65,535 with its headers).
const SCRATCH: usize = 64 * 1024;

/// What makes receiving worth a try: the runtime does not count errors that are waiting (ICMP) as readable.
pub(crate) const ARRIVAL: Interest = Interest::READABLE.add(Interest::ERROR);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Lends the thread's buffer of 64 KiB out; what is in it is left over from others. Must not be called from
/// within `use_it`.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| use_it(buffer))
}

/// Waits for a datagram, which `use_it` gets with its sender, or for an error of the socket. Cancel safe.
pub(crate) async fn receive<T>(socket: &UdpSocket, use_it: impl Fn(&[u8], SocketAddr) -> T) -> io::Result<T> {
    let receive = || {
        with(|buffer| {
            let (_, length, peer) = rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::empty())?;
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::InvalidData)?;
            Ok(use_it(&buffer[..length], peer))
        })
    };
    socket.async_io(ARRIVAL, receive).await
}
