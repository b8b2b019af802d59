//! The user's filters: which destinations and names are the pod's.
//!
//! They are asked where a connection is made, not on every call: after [`crate::outgoing`] has called a
//! destination remote.

use std::net::IpAddr;

/// One list of entries and what it means to be on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// No filter: everything is remote.
    #[default]
    All,
    /// Only these are remote.
    Remote(Vec<Entry>),
    /// All but these are remote.
    Local(Vec<Entry>),
}

/// `[tcp://|udp://][NAME|IP|IP/PREFIX][:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The transport it is limited to.
    pub transport: Option<Transport>,
    /// What it compares.
    pub host: Host,
    /// The port it is limited to.
    pub port: Option<u16>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The host part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Every host.
    Any,
    /// A name in lower case; `*.` in front takes every name below.
    Name(String),
    /// An address with the number of leading bits that count.
    Subnet(IpAddr, u8),
}

impl Filter {
    /// Whether a connection is the pod's. `is_named` tells whether the program got the address for a name that
    /// the pattern takes.
    pub fn is_remote(
        &self,
        transport: Transport,
        destination: std::net::SocketAddr,
        is_named: impl Fn(&str) -> bool,
    ) -> bool {
        let listed = |entries: &[Entry]| {
            entries.iter().any(|entry| {
                entry.transport.is_none_or(|only| only == transport)
                    && entry.port.is_none_or(|only| only == destination.port())
                    && match &entry.host {
                        Host::Any => true,
                        Host::Name(pattern) => is_named(pattern),
                        Host::Subnet(network, length) => contains(*network, *length, destination.ip()),
                    }
            })
        };
        self.side(listed)
    }

    /// Whether a name is the pod's to resolve. Transport and port say nothing of names.
    pub fn is_remote_name(&self, name: &str) -> bool {
        let listed = |entries: &[Entry]| {
            entries.iter().any(|entry| match &entry.host {
                Host::Any => entry.port.is_none(),
                Host::Name(pattern) => matches_name(pattern, name),
                Host::Subnet(..) => false,
            })
        };
        self.side(listed)
    }

    /// Whether an address is the pod's to name.
    pub fn is_remote_address(&self, address: IpAddr) -> bool {
        let listed = |entries: &[Entry]| {
            entries.iter().any(|entry| match entry.host {
                Host::Any => entry.port.is_none(),
                Host::Name(_) => false,
                Host::Subnet(network, length) => contains(network, length, address),
            })
        };
        self.side(listed)
    }

    /// The names of all entries.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().filter_map(|entry| match &entry.host {
            Host::Name(pattern) => Some(pattern.as_str()),
            Host::Any | Host::Subnet(..) => None,
        })
    }

    fn entries(&self) -> &[Entry] {
        match self {
            Self::All => &[],
            Self::Remote(entries) | Self::Local(entries) => entries,
        }
    }

    fn side(&self, listed: impl Fn(&[Entry]) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Remote(entries) => listed(entries),
            Self::Local(entries) => !listed(entries),
        }
    }
}

/// Whether `pattern` (in lower case) takes `name`, whatever its case and with or without its last dot.
pub fn matches_name(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.strip_prefix('*') {
        // What is left begins with a dot, so that a name is never below itself.
        Some(parent) => name
            .len()
            .checked_sub(parent.len())
            .filter(|front| *front > 0)
            .and_then(|front| name.get(front..))
            .is_some_and(|end| end.eq_ignore_ascii_case(parent)),
        None => name.eq_ignore_ascii_case(pattern.strip_suffix('.').unwrap_or(pattern)),
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let same = |a: u128, b: u128, bits: u8| {
        let rest = bits.saturating_sub(length);
        rest >= 128 || a >> rest == b >> rest
    };
    match (network.to_canonical(), address.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(transport: Option<Transport>, host: Host, port: Option<u16>) -> Entry {
        Entry { transport, host, port }
    }

    fn name(pattern: &str) -> Host {
        Host::Name(pattern.to_owned())
    }

    fn subnet(address: &str, length: u8) -> Host {
        Host::Subnet(address.parse().expect("an address"), length)
    }

    #[test]
    fn names_match_below_a_star_and_exactly_otherwise() {
        for (pattern, name, expected) in [
            ("db.default", "db.default", true),
            ("db.default", "DB.default.", true),
            ("db.default", "db", false),
            ("*.default", "db.default", true),
            ("*.default", "a.db.DEFAULT.", true),
            ("*.default", "default", false),
            ("*.default", ".default", false),
            ("*.default", "xdefault", false),
            ("*.default", "é.default", true),
        ] {
            assert_eq!(matches_name(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn connections_go_by_subnet_port_transport_and_name() {
        use Transport::{Tcp, Udp};
        let entries = vec![
            entry(None, subnet("10.1.0.0", 16), None),
            entry(Some(Udp), Host::Any, Some(53)),
            entry(None, subnet("fd00::", 8), Some(443)),
            entry(Some(Tcp), name("*.corp"), None),
            entry(None, subnet("0.0.0.0", 0), Some(7)),
        ];
        let is_named = |pattern: &str| pattern == "*.corp";
        for (transport, destination, named, listed) in [
            (Tcp, "10.1.2.3:80", false, true),
            (Tcp, "10.2.2.3:80", false, false),
            (Udp, "8.8.8.8:53", false, true),
            (Tcp, "8.8.8.8:53", false, false),
            (Tcp, "[fd00::1]:443", false, true),
            (Tcp, "[fd00::1]:80", false, false),
            (Tcp, "[::ffff:10.1.2.3]:80", false, true),
            (Tcp, "192.168.0.1:80", true, true),
            (Udp, "192.168.0.1:80", true, false),
            (Udp, "192.168.0.1:7", false, true),
            (Udp, "[fd00::1]:7", false, false),
        ] {
            let to: std::net::SocketAddr = destination.parse().expect("an address");
            let asked = |filter: Filter| filter.is_remote(transport, to, |pattern| named && is_named(pattern));
            assert_eq!(asked(Filter::Remote(entries.clone())), listed, "{transport:?} {destination}");
            assert_eq!(asked(Filter::Local(entries.clone())), !listed, "{transport:?} {destination}");
            assert!(asked(Filter::All));
        }
    }

    #[test]
    fn names_and_addresses_to_resolve_have_a_side() {
        let entries =
            vec![entry(Some(Transport::Tcp), name("api.corp"), Some(443)), entry(None, subnet("10.0.0.0", 8), None)];
        let (remote, local) = (Filter::Remote(entries.clone()), Filter::Local(entries));
        for (asked, listed) in [("api.corp", true), ("db", false)] {
            assert_eq!((remote.is_remote_name(asked), local.is_remote_name(asked)), (listed, !listed), "{asked}");
        }
        for (asked, listed) in [("10.9.9.9", true), ("11.0.0.1", false)] {
            let address = asked.parse().expect("an address");
            assert_eq!((remote.is_remote_address(address), local.is_remote_address(address)), (listed, !listed));
        }
        let port_only = Filter::Local(vec![entry(None, Host::Any, Some(5432))]);
        assert!(port_only.is_remote_name("db"), "a port says nothing of names");
        assert!(!Filter::Local(vec![entry(None, Host::Any, None)]).is_remote_name("db"));
        assert_eq!(remote.patterns().collect::<Vec<_>>(), ["api.corp"]);
    }
}
