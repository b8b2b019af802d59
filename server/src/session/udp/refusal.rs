//! Lets a program's own UDP socket hear of a refusal.
//!
//! When the pod's peer refuses a datagram, the program must find `ECONNREFUSED` on its socket. Only the kernel
//! can put it there, and it does so when a datagram of that socket finds nobody: so the host sends an empty one
//! *through the program's socket* to an address where nobody takes it. The layer passes that socket along
//! when it is connected.
//!
//! The copy keeps the socket alive and its port taken, so it is held for a short time, and not once an answer
//! has come: whoever answers is not going to refuse the next datagram.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, sockopt};

/// How long a program's socket is held after its connect: refusals come within a round trip. Not for longer: its
/// port, which the program may have chosen, can be bound again only when the last copy is closed.
const HELD: Duration = Duration::from_secs(1);

/// Sockets that are held at a time; the oldest goes first.
const MAX_HELD: usize = 1024;

/// Programs' sockets, by cookie.
#[derive(Default)]
pub(super) struct Descriptors {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    sockets: HashMap<u64, (u64, Arc<OwnedFd>)>,
    /// Cookies with the number of their entry, oldest first.
    order: VecDeque<(u64, u64)>,
    entries: u64,
}

impl Descriptors {
    /// Holds a descriptor for a while, if it is the UDP socket `cookie` as announced.
    pub(super) fn hold(self: &Arc<Self>, cookie: u64, descriptor: OwnedFd) {
        let is_announced = sockopt::socket_cookie(&descriptor) == Ok(cookie)
            && sockopt::socket_type(&descriptor) == Ok(SocketType::DGRAM);
        if !is_announced {
            tracing::debug!("a layer passed another descriptor than it announced");
            return;
        }
        let mut held = self.held();
        held.entries += 1;
        let entry = held.entries;
        held.sockets.insert(cookie, (entry, Arc::new(descriptor)));
        held.order.push_back((cookie, entry));
        if held.sockets.len() > MAX_HELD {
            held.drop_oldest();
        }
        drop(held);
        let descriptors = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(HELD).await;
            descriptors.held().expire(entry);
        });
    }

    /// Lets go of a socket.
    pub(super) fn release(&self, cookie: u64) {
        self.held().sockets.remove(&cookie);
    }

    /// Makes the kernel tell the program's socket, if it is held, that nobody is at `relay`: nobody may be.
    pub(super) fn refuse(&self, cookie: u64, relay: SocketAddr) -> bool {
        let Some((_, socket)) = self.held().sockets.get(&cookie).cloned() else { return false };
        // A socket with an unread error tells that instead of sending; the program shall find this one.
        match knock(&socket, relay).or_else(|_| knock(&socket, relay)) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "cannot raise a refusal on a program's socket");
                false
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_held(&self, cookie: u64) -> bool {
        self.held().sockets.contains_key(&cookie)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn drop_oldest(&mut self) {
        while let Some((cookie, entry)) = self.order.pop_front() {
            if self.remove(cookie, entry) {
                return;
            }
        }
    }

    /// Drops everything up to `entry`: all wait for the same time.
    fn expire(&mut self, entry: u64) {
        while let Some((cookie, oldest)) = self.order.pop_front_if(|(_, oldest)| *oldest <= entry) {
            self.remove(cookie, oldest);
        }
    }

    fn remove(&mut self, cookie: u64, entry: u64) -> bool {
        let is_held = self.sockets.get(&cookie).is_some_and(|(held, _)| *held == entry);
        if is_held {
            self.sockets.remove(&cookie);
        }
        is_held
    }
}

/// Sends nothing to `relay`. With the address, because by now the socket may be connected elsewhere.
fn knock(socket: &OwnedFd, relay: SocketAddr) -> Result<(), Errno> {
    let relay = match (relay, sockopt::socket_domain(socket)?) {
        (SocketAddr::V4(v4), AddressFamily::INET6) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        (relay, _) => relay,
    };
    debug_assert!(relay.is_ipv4() || relay.ip() != Ipv6Addr::UNSPECIFIED);
    sendto(socket, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &relay).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::UdpSocket;

    fn program(relay: &str) -> Option<(UdpSocket, SocketAddr, u64)> {
        // Connected to itself, the relay takes nothing from others.
        let ours = UdpSocket::bind(relay).ok()?;
        let relay = ours.local_addr().expect("bound");
        ours.connect(relay).expect("connects");
        let program = UdpSocket::bind((relay.ip(), 0)).expect("a socket");
        program.connect(relay).expect("connects");
        program.set_nonblocking(true).expect("set");
        let cookie = sockopt::socket_cookie(&program).expect("a cookie");
        std::mem::forget(ours);
        Some((program, relay, cookie))
    }

    #[tokio::test]
    async fn a_refusal_is_found_by_the_program_and_wakes_its_poll() {
        for relay in ["127.78.6.2:0", "[::1]:0"] {
            let Some((program, relay, cookie)) = program(relay) else { continue };
            let descriptors = Arc::new(Descriptors::default());
            assert!(!descriptors.refuse(cookie, relay), "nothing is held");
            descriptors.hold(cookie, program.try_clone().expect("a copy").into());
            assert!(descriptors.refuse(cookie, relay));
            assert!(descriptors.refuse(cookie, relay), "also while the first is unread");
            let program = tokio::net::UdpSocket::from_std(program).expect("registered");
            let error = program.recv(&mut [0; 1]).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            descriptors.release(cookie);
            assert!(!descriptors.refuse(cookie, relay));
        }
    }

    #[tokio::test]
    async fn descriptors_are_let_go_in_their_turn_and_are_never_too_many() {
        let descriptors = Arc::new(Descriptors::default());
        let (program, _, cookie) = program("127.78.6.3:0").expect("IPv4");
        let copy = || OwnedFd::from(program.try_clone().expect("a copy"));
        descriptors.hold(cookie + 1, copy());
        assert_eq!(descriptors.held().sockets.len(), 0, "another socket than announced");
        descriptors.hold(cookie, copy());
        descriptors.hold(cookie, copy());
        descriptors.held().expire(1);
        assert_eq!(descriptors.held().sockets.len(), 1, "connected again");
        descriptors.held().expire(2);
        assert_eq!(descriptors.held().sockets.len(), 0);
        assert_eq!(descriptors.held().order.len(), 0);
        for _ in 0..MAX_HELD + 5 {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            descriptors.hold(sockopt::socket_cookie(&socket).expect("a cookie"), socket.into());
        }
        assert_eq!(descriptors.held().sockets.len(), MAX_HELD);
    }
}
