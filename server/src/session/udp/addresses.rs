//! Gives each mapping a loopback address that was nobody else's before.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use protocol::layer::Over;

/// First port that is open to everybody.
const FIRST_PORT: u16 = 1024;

/// Ports of each address.
const PORTS: u32 = 65_536 - FIRST_PORT as u32;

/// IPv4 addresses of mappings: .2 to .254 of the session's /24, whose .1 is the relay of TCP.
const FIRST_HOST: u8 = 2;
const HOSTS: u32 = 253;

/// How often another port is tried where one is taken.
const ATTEMPTS: usize = 64;

/// The loopback addresses of a session.
pub(super) struct Addresses {
    /// The session's /24.
    v4: Ipv4Addr,
    next_v4: AtomicU32,
    used_v6: Mutex<Used>,
}

/// A bit for each port of `::1` that was ours.
struct Used(Vec<u64>);

impl Addresses {
    pub(super) fn new(v4: Ipv4Addr) -> Self {
        Self { v4, next_v4: AtomicU32::new(0), used_v6: Mutex::new(Used(vec![0; 65_536 / 64])) }
    }

    /// A socket at an unused address. IPv4 begins again after 16 million mappings, when those that are that
    /// old are gone or still hold their port. IPv6 has one address only, whose ports the kernel chooses so that
    /// no local service loses its own; where it chooses none that is unused, one is used again.
    pub(super) fn bind(&self, over: Over) -> io::Result<UdpSocket> {
        let socket = match over {
            Over::V4 => self.bind_v4(),
            Over::V6 => self.bind_v6(),
        }?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn bind_v4(&self) -> io::Result<UdpSocket> {
        let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            match UdpSocket::bind(self.nth_v4(self.next_v4.fetch_add(1, Ordering::Relaxed))) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
                bound => return bound,
            }
        }
        Err(taken)
    }

    fn nth_v4(&self, number: u32) -> SocketAddr {
        let number = number % (HOSTS * PORTS);
        let [a, b, c, _] = self.v4.octets();
        let host = FIRST_HOST + (number % HOSTS) as u8;
        SocketAddr::from(([a, b, c, host], FIRST_PORT + (number / HOSTS) as u16))
    }

    fn bind_v6(&self) -> io::Result<UdpSocket> {
        // Kept until the end, so that the kernel does not give the same one again.
        let mut taken = Vec::new();
        loop {
            let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
            let port = socket.local_addr()?.port();
            let fresh = self.used_v6.lock().unwrap_or_else(PoisonError::into_inner).mark(port);
            if fresh || taken.len() == ATTEMPTS {
                return Ok(socket);
            }
            taken.push(socket);
        }
    }
}

impl Used {
    /// Whether `port` is used for the first time.
    fn mark(&mut self, port: u16) -> bool {
        let (word, bit) = (&mut self.0[usize::from(port / 64)], 1 << (port % 64));
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn addresses_differ_and_stay_in_the_session_s_range() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 9, 8, 1));
        let all: HashSet<_> = (0..HOSTS * PORTS).step_by(977).map(|n| addresses.nth_v4(n)).collect();
        assert_eq!(all.len(), (HOSTS * PORTS).div_ceil(977) as usize);
        for address in [addresses.nth_v4(0), addresses.nth_v4(HOSTS * PORTS - 1)] {
            let SocketAddr::V4(address) = address else { panic!("not IPv4") };
            assert_eq!(address.ip().octets()[..3], [127, 9, 8]);
            assert!((2..=254).contains(&address.ip().octets()[3]) && address.port() >= 1024);
        }
        assert_eq!(addresses.nth_v4(HOSTS * PORTS), addresses.nth_v4(0));
    }

    #[test]
    fn closed_sockets_do_not_give_their_address_to_others() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 78, 4, 1));
        for over in [Over::V4, Over::V6] {
            let Ok(first) = addresses.bind(over) else { continue };
            let mut seen = HashSet::from([first.local_addr().expect("bound")]);
            drop(first);
            for _ in 0..500 {
                assert!(seen.insert(addresses.bind(over).expect("a socket").local_addr().expect("bound")));
            }
        }
    }

    #[test]
    fn a_taken_address_is_passed_over() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 78, 5, 1));
        let _taken = UdpSocket::bind(addresses.nth_v4(0)).expect("free");
        let socket = addresses.bind(Over::V4).expect("another");
        assert_eq!(socket.local_addr().expect("bound"), addresses.nth_v4(1));
    }
}
