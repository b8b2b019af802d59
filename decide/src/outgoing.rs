//! Whether an outgoing TCP connection or a datagram is made by this machine or by the pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What the decision depends on, besides the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Outgoing TCP connections are made by the pod.
    pub tcp: bool,
    /// Outgoing datagrams are sent by the pod.
    pub udp: bool,
    /// Loopback destinations stay on this machine.
    pub ignore_localhost: bool,
    /// IPv6 destinations are allowed.
    pub ipv6: bool,
    /// Where IPv4 sockets reach the session host; its whole /24 is the session's.
    pub relay_v4: SocketAddrV4,
    /// Where IPv6 sockets reach the session host.
    pub relay_v6: Option<SocketAddrV6>,
    /// The pod's IPv4 address.
    pub pod: Option<Ipv4Addr>,
}

/// Who makes the connection, or sends the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This machine's kernel, as if we were not there.
    Local,
    /// The pod. The address has lost its v4-mapped form, if it had it.
    Remote(SocketAddr),
    /// Nobody: the session does without IPv6.
    NoIpv6,
}

impl Rules {
    /// Who connects to `destination` by TCP.
    pub fn connect(&self, destination: SocketAddr) -> Verdict {
        self.decide(self.tcp, destination)
    }

    /// Who sends a datagram to `destination`, and who connects a UDP socket to it.
    ///
    /// The broadcast address of a subnet is like any other: which one that is, the far side's links say.
    pub fn datagram(&self, destination: SocketAddr) -> Verdict {
        self.decide(self.udp, destination)
    }

    fn decide(&self, by_pod: bool, destination: SocketAddr) -> Verdict {
        let destination = unmapped(destination);
        let stays = !by_pod
            || self.is_relay(destination)
            || has_no_remote_meaning(destination)
            || (self.ignore_localhost && is_loopback(destination.ip()));
        match (stays, destination) {
            (true, _) => Verdict::Local,
            (false, SocketAddr::V6(_)) if !self.ipv6 => Verdict::NoIpv6,
            (false, _) => Verdict::Remote(destination),
        }
    }

    /// Whether `peer`, as the kernel names it, is a relay of the session by the address alone.
    pub fn is_relay(&self, peer: SocketAddr) -> bool {
        match unmapped(peer) {
            SocketAddr::V4(peer) => peer.ip().octets()[..3] == self.relay_v4.ip().octets()[..3],
            SocketAddr::V6(peer) => {
                self.relay_v6.is_some_and(|relay| (relay.ip(), relay.port()) == (peer.ip(), peer.port()))
            }
        }
    }

    /// Where a socket stands on this machine that is bound to the pod's own address; none for other addresses.
    ///
    /// An address of the session's network: like the pod's it collides with no socket on another address, the kernel
    /// remembers it for us, and nobody outside this machine reaches it.
    pub fn stand_in(&self, own: SocketAddr) -> Option<SocketAddr> {
        let own = unmapped(own);
        let is_pods = self.pod.is_some_and(|pod| own.ip() == IpAddr::V4(pod));
        is_pods.then(|| SocketAddr::from((stand_in(*self.relay_v4.ip()), own.port())))
    }

    /// What an address of a socket that stands in for one of the pod's is there; none for other addresses.
    pub fn in_pod(&self, here: SocketAddr) -> Option<SocketAddr> {
        let here = unmapped(here);
        let stands_in = here.ip() == IpAddr::V4(stand_in(*self.relay_v4.ip()));
        self.pod.filter(|_| stands_in).map(|pod| SocketAddr::from((pod, here.port())))
    }

    /// Whether only the session host knows if `peer` is a relay: IPv6 has one loopback address, so relays share
    /// it with everybody.
    pub fn may_be_relay(&self, peer: SocketAddr) -> bool {
        self.relay_v6.is_some() && peer.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST) && peer.port() != 0
    }

    /// The session's end for a socket: `None` when the socket can reach neither relay.
    ///
    /// `v6_only` is the socket's `IPV6_V6ONLY`. A destination that was written in v4-mapped form goes to the
    /// v4 relay, because such a socket may be bound to a v4-mapped address, from which `::1` is out of reach.
    pub fn relay_for(&self, socket: Family, written: SocketAddr, v6_only: bool) -> Option<SocketAddr> {
        match (socket, self.relay_v6) {
            (Family::V4, _) => Some(SocketAddr::V4(self.relay_v4)),
            (Family::V6, Some(relay)) if unmapped(written).is_ipv6() => Some(SocketAddr::V6(relay)),
            (Family::V6, _) if !v6_only => Some(mapped(self.relay_v4)),
            (Family::V6, _) => None,
        }
    }
}

/// A socket's address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// The address that stands in for the pod's, in the network of the IPv4 relay.
pub fn stand_in(relay: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = relay.octets();
    Ipv4Addr::new(a, b, c, 0)
}

/// Whether `ip` means this host: loopback, or unspecified, which Linux connects to loopback.
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// `address` without the v4-mapped form.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// `address` in v4-mapped form, as IPv6 sockets see IPv4.
pub fn mapped(address: SocketAddrV4) -> SocketAddr {
    SocketAddr::from((address.ip().to_ipv6_mapped(), address.port()))
}

/// Destinations that name one of this machine's links. TCP cannot have some of them, which the kernel says.
/// IPv4 link-local is not among them: clouds serve metadata and nodes serve names there.
fn has_no_remote_meaning(destination: SocketAddr) -> bool {
    match destination.ip() {
        IpAddr::V4(ip) => ip.is_multicast() || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => ip.is_multicast() || is_v6_link_local(ip),
    }
}

fn is_v6_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        tcp: true,
        udp: true,
        ignore_localhost: true,
        ipv6: true,
        relay_v4: SocketAddrV4::new(Ipv4Addr::new(127, 77, 3, 1), 4000),
        relay_v6: Some(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 4001, 0, 0)),
        pod: Some(Ipv4Addr::new(10, 244, 0, 9)),
    };

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn check(rules: Rules, cases: &[(&str, Verdict)]) {
        for (destination, expected) in cases {
            assert_eq!(rules.connect(address(destination)), *expected, "{destination}");
            assert_eq!(rules.datagram(address(destination)), *expected, "{destination}");
        }
    }

    #[test]
    fn destinations_are_local_or_remote() {
        use Verdict::{Local, Remote};
        check(
            RULES,
            &[
                ("10.0.0.1:80", Remote(address("10.0.0.1:80"))),
                ("169.254.169.254:80", Remote(address("169.254.169.254:80"))),
                ("[::ffff:10.0.0.1]:80", Remote(address("10.0.0.1:80"))),
                ("[fd00::1]:443", Remote(address("[fd00::1]:443"))),
                ("127.0.0.1:80", Local),
                ("127.200.1.1:80", Local),
                ("0.0.0.0:80", Local),
                ("[::]:80", Local),
                ("[::1]:80", Local),
                ("[::ffff:127.0.0.1]:80", Local),
                ("[::ffff:0.0.0.0]:80", Local),
                ("[fe80::1]:80", Local),
                ("[febf::1]:80", Local),
                ("[fec0::1]:80", Remote(address("[fec0::1]:80"))),
                ("[ff02::1]:80", Local),
                ("224.0.0.1:80", Local),
                ("255.255.255.255:80", Local),
            ],
        );
    }

    #[test]
    fn loopback_goes_to_the_pod_when_asked_but_never_the_relays() {
        use Verdict::{Local, Remote};
        check(
            Rules { ignore_localhost: false, ..RULES },
            &[
                ("127.0.0.1:80", Remote(address("127.0.0.1:80"))),
                ("0.0.0.0:80", Remote(address("0.0.0.0:80"))),
                ("[::1]:80", Remote(address("[::1]:80"))),
                ("127.77.3.1:4000", Local),
                ("127.77.3.250:1", Local),
                ("[::ffff:127.77.3.9]:4000", Local),
                ("127.77.4.1:4000", Remote(address("127.77.4.1:4000"))),
                ("[::1]:4001", Local),
            ],
        );
    }

    #[test]
    fn switched_off_means_local_and_no_ipv6_means_refused() {
        check(Rules { tcp: false, udp: false, ..RULES }, &[("10.0.0.1:80", Verdict::Local)]);
        let (far, remote) = (address("10.0.0.1:80"), Verdict::Remote(address("10.0.0.1:80")));
        for (tcp, udp) in [(true, false), (false, true)] {
            let rules = Rules { tcp, udp, ..RULES };
            assert_eq!(rules.connect(far), if tcp { remote } else { Verdict::Local });
            assert_eq!(rules.datagram(far), if udp { remote } else { Verdict::Local });
        }
        check(
            Rules { ipv6: false, ..RULES },
            &[
                ("[fd00::1]:80", Verdict::NoIpv6),
                ("[::1]:80", Verdict::Local),
                ("[::ffff:10.0.0.1]:80", Verdict::Remote(address("10.0.0.1:80"))),
            ],
        );
    }

    #[test]
    fn relays_are_known_by_their_network_or_asked_for() {
        for (peer, is, may_be) in [
            ("127.77.3.1:4000", true, false),
            ("127.77.3.9:53", true, false),
            ("[::ffff:127.77.3.9]:53", true, false),
            ("127.77.4.1:4000", false, false),
            ("[::1]:4001", true, true),
            ("[::1]:53", false, true),
            ("[::1]:0", false, false),
            ("[fd00::1]:53", false, false),
        ] {
            assert_eq!((RULES.is_relay(address(peer)), RULES.may_be_relay(address(peer))), (is, may_be), "{peer}");
        }
        assert!(!Rules { relay_v6: None, ..RULES }.may_be_relay(address("[::1]:53")));
    }

    #[test]
    fn the_pods_own_address_has_a_stand_in() {
        for (own, here) in [
            ("10.244.0.9:80", Some("127.77.3.0:80")),
            ("[::ffff:10.244.0.9]:80", Some("127.77.3.0:80")),
            ("10.244.0.8:80", None),
            ("0.0.0.0:80", None),
            ("[::]:80", None),
        ] {
            let here = here.map(address);
            assert_eq!(RULES.stand_in(address(own)), here, "{own}");
            assert_eq!(here.and_then(|here| RULES.in_pod(here)), here.map(|_| unmapped(address(own))));
        }
        assert_eq!(RULES.in_pod(address("[::ffff:127.77.3.0]:80")), Some(address("10.244.0.9:80")));
        assert_eq!(RULES.in_pod(address("127.77.3.1:80")), None);
        let unknown = Rules { pod: None, ..RULES };
        assert_eq!(unknown.stand_in(address("10.244.0.9:80")), None);
        assert_eq!(unknown.in_pod(address("127.77.3.0:80")), None);
    }

    #[test]
    fn a_socket_gets_the_relay_that_it_can_reach() {
        let v6 = address("[fd00::1]:80");
        let (v4, written_mapped) = (address("10.0.0.1:80"), address("[::ffff:10.0.0.1]:80"));
        let alone = Rules { relay_v6: None, ..RULES };
        let relay = |text| Some(address(text));
        for (rules, socket, written, v6_only, expected) in [
            (RULES, Family::V4, v4, false, relay("127.77.3.1:4000")),
            (RULES, Family::V6, v6, false, relay("[::1]:4001")),
            (RULES, Family::V6, v6, true, relay("[::1]:4001")),
            (RULES, Family::V6, written_mapped, false, relay("[::ffff:127.77.3.1]:4000")),
            (RULES, Family::V6, written_mapped, true, None),
            (alone, Family::V6, v6, false, relay("[::ffff:127.77.3.1]:4000")),
            (alone, Family::V6, v6, true, None),
        ] {
            assert_eq!(rules.relay_for(socket, written, v6_only), expected, "{socket:?} {written} {v6_only}");
        }
    }
}
