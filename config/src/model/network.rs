//! `feature.network` with `outgoing` and `dns`.

use std::time::Duration;

use super::{Incoming, section};
use crate::keys::{Shape, Short};

pub use super::filter::AddressFilters;

/// The longest that a `connect` may be held back.
const MAX_CONNECT_WAIT: u64 = 10_000;

section! {
    /// Which network traffic is shared with the target. `false` shares none.
    Network in "feature.network.", short &[Short::Bool {
        on: &[
            ("incoming.mode", "\"mirror\""), ("outgoing.tcp", "true"), ("outgoing.udp", "true"),
            ("dns.enabled", "true"),
        ],
        off: &[
            ("incoming.mode", "\"off\""), ("outgoing.tcp", "false"), ("outgoing.udp", "false"),
            ("dns.enabled", "false"),
        ],
    }];
    /// `false`: the local process gets no IPv6 sockets and no IPv6 answers.
    now ipv6: bool = "true", Shape::Bool;
    sections { incoming: Incoming, outgoing: Outgoing, dns: Dns }
}

section! {
    /// Connections that the local process opens. `false` leaves all of them local.
    Outgoing in "feature.network.outgoing.", short &[Short::Bool {
        on: &[("tcp", "true"), ("udp", "true")],
        off: &[("tcp", "false"), ("udp", "false")],
    }];
    /// TCP connections go out from the target.
    now tcp: bool = "true", Shape::Bool;
    /// UDP traffic goes out from the target.
    now udp: bool = "true", Shape::Bool;
    /// Connections to `localhost` stay on the local machine; `false` makes them those of the pod.
    now ignore_localhost: bool = "true", Shape::Bool;
    /// Which connections go out from the target: `{"remote": [...]}` only these, `{"local": [...]}` all but these.
    /// Each entry is `[tcp://|udp://][NAME|ADDRESS|SUBNET][:PORT]`; a name may begin with `*.`. An entry with a name
    /// holds for the addresses that the program got for that name; names that stay local are resolved locally.
    now filter: AddressFilters = "null", Shape::Record("$sides");
    /// Unix sockets that are the target's, as regular expressions on their paths; an abstract name begins with `@`.
    now unix_streams: Vec<String> = "[]", Shape::REGEXES;
    /// How long a non-blocking `connect` waits for the true result before it says "in progress", in milliseconds.
    now connect_wait: Duration = "50", Shape::milliseconds(0, MAX_CONNECT_WAIT);
}

section! {
    /// Names that the local process resolves. `false` resolves all of them locally.
    Dns in "feature.network.dns.", short &[Short::Bool { on: &[("enabled", "true")], off: &[("enabled", "false")] }];
    /// Names are resolved as the target resolves them.
    now enabled: bool = "true", Shape::Bool;
    /// Which names are resolved by the target: `{"remote": [...]}` only these, `{"local": [...]}` all but these.
    /// The entries are those of `feature.network.outgoing.filter`; transport and port say nothing of names.
    now filter: AddressFilters = "null", Shape::Record("$sides");
}
