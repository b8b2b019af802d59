//! The order in which to try the addresses of a name (RFC 6724, section 6), with glibc's tables.
//!
//! Of the ten rules those are here which need no more than addresses: 1, 2, 5, 6, 8 and 9. The C library's
//! `gai.conf` is not read.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::interfaces::{self, Interface};

/// Scopes of addresses (RFC 4291, section 2.7).
const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// Longer prefixes first: label and precedence (`getaddrinfo.c` of glibc 2.36: as RFC 3484, but with unique local
/// addresses and Teredo as labels of their own). IPv4 addresses count as v4-mapped ones.
const POLICY: [(Ipv6Addr, u32, u8, u8); 8] = [
    (Ipv6Addr::LOCALHOST, 128, 0, 50),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4, 10),
    (Ipv6Addr::UNSPECIFIED, 96, 3, 20),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 7, 40),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2, 30),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 5, 40),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 6, 40),
    (Ipv6Addr::UNSPECIFIED, 0, 1, 40),
];

/// Any: connecting a datagram socket sends nothing.
const PORT: u16 = 53;

/// Sorts as `getaddrinfo` does in this network. Those that the rules call equal stay in their order.
pub(super) fn sort(addresses: &mut [IpAddr]) {
    if addresses.len() < 2 {
        return;
    }
    let interfaces = interfaces::all().unwrap_or_default();
    addresses.sort_by_cached_key(|address| rank(*address, source(*address), &interfaces));
}

/// The address from which the kernel would go there; none where it would not.
fn source(address: IpAddr) -> Option<IpAddr> {
    let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((address, PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What compares less is tried first.
fn rank(address: IpAddr, source: Option<IpAddr>, interfaces: &[Interface]) -> impl Ord + use<> {
    let (label, precedence) = policy(address);
    let same = |of: fn(IpAddr) -> u8| source.is_some_and(|source| of(source) == of(address));
    let common = source.map_or(0, |source| common_prefix(address, source, interfaces));
    (
        source.is_none(),
        !same(scope),
        source.is_none_or(|source| policy(source).0 != label),
        Reverse(precedence),
        scope(address),
        Reverse(common),
    )
}

fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(v6) if v6.is_multicast() => v6.octets()[1] & 0xf,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => LINK_LOCAL,
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => SITE_LOCAL,
        IpAddr::V6(_) => GLOBAL,
    }
}

/// Label and precedence.
fn policy(address: IpAddr) -> (u8, u8) {
    let bits = mapped(address).to_bits();
    let row = POLICY.iter().find(|(network, prefix, ..)| (bits ^ network.to_bits()).leading_zeros() >= *prefix);
    row.map_or((1, 40), |(_, _, label, precedence)| (*label, *precedence))
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// How many leading bits both have in common; of IPv4 addresses only within the source's network.
fn common_prefix(address: IpAddr, source: IpAddr, interfaces: &[Interface]) -> u32 {
    match (address, source) {
        (IpAddr::V4(address), IpAddr::V4(source)) => {
            let common = (address.to_bits() ^ source.to_bits()).leading_zeros();
            let network = interfaces.iter().find(|interface| interface.address == IpAddr::V4(source));
            if network.is_some_and(|network| common >= u32::from(network.prefix)) { common } else { 0 }
        }
        _ => (mapped(address).to_bits() ^ mapped(source).to_bits()).leading_zeros(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Each address with the source that the kernel would take, `-` for none.
    fn sorted(pairs: &[(&str, &str)], interfaces: &[(&str, u8)]) -> Vec<String> {
        let interfaces: Vec<Interface> =
            interfaces.iter().map(|(address, prefix)| Interface { address: ip(address), prefix: *prefix }).collect();
        let mut pairs: Vec<_> = pairs.iter().map(|(to, from)| (ip(to), from.parse::<IpAddr>().ok())).collect();
        pairs.sort_by_cached_key(|(address, source)| rank(*address, *source, &interfaces));
        pairs.into_iter().map(|(address, _)| address.to_string()).collect()
    }

    #[test]
    fn each_rule_decides_where_those_before_it_do_not() {
        let own = [("10.244.1.7", 24), ("fd00:1::7", 64)];
        for (rule, pairs, expected) in [
            ("1: unusable last", vec![("2001:db8::1", "-"), ("10.0.0.1", "10.244.1.7")], ["10.0.0.1", "2001:db8::1"]),
            (
                "2: scope of the source",
                vec![("fe80::1", "fd00:1::7"), ("10.0.0.1", "10.244.1.7")],
                ["10.0.0.1", "fe80::1"],
            ),
            (
                "5: label of the source",
                vec![("2001:db8::1", "fd00:1::7"), ("10.0.0.1", "10.244.1.7")],
                ["10.0.0.1", "2001:db8::1"],
            ),
            ("6: IPv6 first", vec![("10.0.0.1", "10.244.1.7"), ("fd00:2::1", "fd00:1::7")], ["fd00:2::1", "10.0.0.1"]),
            ("6: ::1 first", vec![("127.0.0.1", "127.0.0.1"), ("::1", "::1")], ["::1", "127.0.0.1"]),
            (
                "9: the nearer network",
                vec![("fd00:2::1", "fd00:1::7"), ("fd00:1::1", "fd00:1::7")],
                ["fd00:1::1", "fd00:2::1"],
            ),
            (
                "9: IPv4 within the network",
                vec![("10.244.1.100", "10.244.1.7"), ("10.244.1.6", "10.244.1.7")],
                ["10.244.1.6", "10.244.1.100"],
            ),
            (
                "9: not outside of it",
                vec![("10.99.0.1", "10.244.1.7"), ("10.244.2.1", "10.244.1.7")],
                ["10.99.0.1", "10.244.2.1"],
            ),
        ] {
            assert_eq!(sorted(&pairs, &own), expected, "{rule}");
        }
    }

    #[test]
    fn loopback_has_a_source_and_a_few_addresses_are_not_asked_for() {
        assert_eq!(source(ip("127.0.0.1")), Some(ip("127.0.0.1")));
        let mut one = [ip("127.0.0.1")];
        sort(&mut one);
        assert_eq!(one, [ip("127.0.0.1")]);
    }
}
