//! The user's filters at work: which connections, datagrams, names and Unix sockets are the pod's.
//!
//! They live in the host and not in the layer: a connection asks the host anyway, and a rule by name needs to
//! know for which names the session's processes got an address, whichever of them asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use config::{AddressFilter, AddressFilters};
use decide::filter::{Entry, Filter, Host, matches_name};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use regex_lite::Regex;

use super::spec::NetworkOptions;
use crate::failure::{Class, Failure, Result};

pub(super) use decide::filter::Transport;

/// Addresses whose names are remembered; the oldest make way.
const MAX_LEARNED: usize = 16_384;

/// Who resolves a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolver {
    /// The pod.
    Pod,
    /// The process's own C library.
    Machine,
    /// This machine, through the host, because a rule by name must know the addresses.
    Host,
}

/// The filters of one session, as the configuration has them now.
#[derive(Default)]
pub(super) struct Rules {
    filters: RwLock<Arc<Filters>>,
    learned: Mutex<Learned>,
}

#[derive(Default)]
struct Filters {
    outgoing: Filter,
    dns: Filter,
    unix: Vec<Regex>,
}

/// For which patterns of the outgoing filter the program got an address.
#[derive(Default)]
struct Learned {
    patterns: HashMap<IpAddr, HashSet<String>>,
    order: VecDeque<IpAddr>,
}

impl Filters {
    fn new(options: &NetworkOptions) -> Result<Self> {
        let compile = |pattern: &String| {
            let wrong = |error| format!("feature.network.outgoing.unix_streams: {pattern}: {error}");
            Regex::new(pattern).map_err(|error| Failure::new(Class::Config, wrong(error)))
        };
        let unix = options.unix_streams.iter().map(compile).collect::<Result<_>>()?;
        let (outgoing, dns) = (lower(&options.outgoing_filter), lower(&options.dns_filter));
        Ok(Self { outgoing, dns, unix })
    }

    fn has_pattern_for(&self, name: &str) -> bool {
        self.outgoing.patterns().any(|pattern| matches_name(pattern, name))
    }
}

impl Rules {
    pub(super) fn new(options: &NetworkOptions) -> Result<Self> {
        Ok(Self { filters: RwLock::new(Arc::new(Filters::new(options)?)), learned: Mutex::default() })
    }

    /// Other filters, from the next connection or name on. Which addresses belong to a new rule by name is known once
    /// the program asks for such a name again.
    pub(super) fn replace(&self, options: &NetworkOptions) -> Result<()> {
        *self.filters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Filters::new(options)?);
        Ok(())
    }

    fn filters(&self) -> Arc<Filters> {
        self.filters.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the pod makes this connection or sends this datagram.
    pub(super) fn is_remote(&self, transport: Transport, destination: SocketAddr) -> bool {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let patterns = learned.patterns.get(&destination.ip().to_canonical());
        let is_learned = |pattern: &str| patterns.is_some_and(|patterns| patterns.contains(pattern));
        self.filters().outgoing.is_remote(transport, destination, is_learned)
    }

    /// Whether the pod's Unix socket of this name is meant: a path, or an abstract name with its leading NUL,
    /// which the patterns write as `@`.
    pub(super) fn is_remote_unix(&self, address: &[u8]) -> bool {
        let name = match address.strip_prefix(b"\0") {
            Some(name) => format!("@{}", String::from_utf8_lossy(name)),
            None => String::from_utf8_lossy(address).into_owned(),
        };
        self.filters().unix.iter().any(|pattern| pattern.is_match(&name))
    }

    /// Who resolves `name`. Without a filter for names, one that the outgoing filter keeps local is this
    /// machine's: the pod need not know it.
    pub(super) fn resolver(&self, name: &str) -> Resolver {
        let filters = self.filters();
        let is_remote = match (&filters.dns, &filters.outgoing) {
            (Filter::All, Filter::Local(_)) => !filters.has_pattern_for(name),
            (dns, _) => dns.is_remote_name(name),
        };
        match is_remote {
            true => Resolver::Pod,
            false if filters.has_pattern_for(name) => Resolver::Host,
            false => Resolver::Machine,
        }
    }

    /// Whether the pod tells the name of an address.
    pub(super) fn is_remote_address(&self, address: IpAddr) -> bool {
        self.filters().dns.is_remote_address(address)
    }

    /// Notes that the program got these addresses for any of these names.
    pub(super) fn learn(&self, names: &[&str], addresses: &[IpAddr]) {
        let is_meant = |pattern: &&str| names.iter().any(|name| matches_name(pattern, name));
        let filters = self.filters();
        let patterns: Vec<&str> = filters.outgoing.patterns().filter(is_meant).collect();
        if patterns.is_empty() {
            return;
        }
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        for address in addresses.iter().map(IpAddr::to_canonical) {
            if !learned.patterns.contains_key(&address) {
                learned.order.push_back(address);
            }
            learned.patterns.entry(address).or_default().extend(patterns.iter().map(|pattern| (*pattern).to_owned()));
        }
        while learned.order.len() > MAX_LEARNED {
            if let Some(oldest) = learned.order.pop_front() {
                learned.patterns.remove(&oldest);
            }
        }
    }

    /// Notes what a name server told a program that resolves by itself.
    pub(super) fn learn_message(&self, bytes: &[u8]) {
        if self.filters().outgoing.patterns().next().is_none() {
            return;
        }
        let Ok(message) = Message::from_vec(bytes) else { return };
        let asked = message.queries.iter().map(|query| query.name().to_ascii());
        let names: Vec<String> = asked.chain(message.answers.iter().map(|answer| answer.name.to_ascii())).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let addresses = message.answers.iter().filter_map(|answer| match &answer.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        self.learn(&names, &addresses.collect::<Vec<_>>());
    }
}

fn lower(filters: &AddressFilters) -> Filter {
    let entries = |entries: &[AddressFilter]| entries.iter().map(entry).collect();
    match filters {
        AddressFilters::All => Filter::All,
        AddressFilters::Remote(remote) => Filter::Remote(entries(remote)),
        AddressFilters::Local(local) => Filter::Local(entries(local)),
    }
}

fn entry(filter: &AddressFilter) -> Entry {
    Entry {
        transport: filter.transport.map(|transport| match transport {
            config::Transport::Tcp => Transport::Tcp,
            config::Transport::Udp => Transport::Udp,
        }),
        host: match &filter.host {
            config::Host::Any => Host::Any,
            config::Host::Name(name) => Host::Name(name.clone()),
            config::Host::Subnet(address, length) => Host::Subnet(*address, *length),
        },
        port: filter.port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(entries: &[&str]) -> Vec<AddressFilter> {
        entries.iter().map(|entry| entry.parse().expect("a filter")).collect()
    }

    fn rules(outgoing: AddressFilters, dns: AddressFilters, unix: &[&str]) -> Rules {
        let options = NetworkOptions {
            outgoing_filter: outgoing,
            dns_filter: dns,
            unix_streams: unix.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..NetworkOptions::default()
        };
        Rules::new(&options).expect("good rules")
    }

    fn to(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_rule_by_name_holds_for_the_addresses_that_were_got_for_it() {
        let rules = rules(AddressFilters::Remote(filters(&["*.corp:443"])), AddressFilters::All, &[]);
        assert!(!rules.is_remote(Transport::Tcp, to("10.0.0.1:443")));
        rules.learn(&["other"], &[to("10.0.0.1:0").ip()]);
        assert!(!rules.is_remote(Transport::Tcp, to("10.0.0.1:443")));
        rules.learn(&["x", "api.CORP."], &[to("10.0.0.1:0").ip()]);
        assert!(rules.is_remote(Transport::Tcp, to("10.0.0.1:443")));
        assert!(!rules.is_remote(Transport::Tcp, to("10.0.0.1:80")));
        assert!(!rules.is_remote(Transport::Tcp, to("10.0.0.2:443")));
    }

    #[test]
    fn what_name_servers_tell_counts_too() {
        use hickory_proto::op::Query;
        use hickory_proto::rr::{Name, Record, RecordType};
        let rules = rules(AddressFilters::Local(filters(&["api.corp"])), AddressFilters::All, &[]);
        let name = Name::from_ascii("api.corp.").expect("a name");
        let mut message = Message::query();
        message.add_query(Query::query(name.clone(), RecordType::A));
        let address = hickory_proto::rr::rdata::A::new(10, 0, 0, 9);
        message.add_answer(Record::from_rdata(name, 1, RData::A(address)));
        assert!(rules.is_remote(Transport::Udp, to("10.0.0.9:1")));
        rules.learn_message(&message.to_vec().expect("encodes"));
        assert!(!rules.is_remote(Transport::Udp, to("10.0.0.9:1")));
    }

    #[test]
    fn other_filters_hold_from_the_next_connection_on() {
        let rules = rules(AddressFilters::All, AddressFilters::All, &[]);
        assert!(rules.is_remote(Transport::Tcp, to("10.0.0.1:443")));
        let outgoing_filter = AddressFilters::Local(filters(&["10.0.0.0/8"]));
        rules.replace(&NetworkOptions { outgoing_filter, ..NetworkOptions::default() }).expect("good rules");
        assert!(!rules.is_remote(Transport::Tcp, to("10.0.0.1:443")));
        let unix_streams = vec!["(".to_owned()];
        assert!(rules.replace(&NetworkOptions { unix_streams, ..NetworkOptions::default() }).is_err());
        assert!(!rules.is_remote(Transport::Tcp, to("10.0.0.1:443")), "wrong ones change nothing");
    }

    #[test]
    fn names_that_the_outgoing_filter_keeps_local_are_resolved_here() {
        let local = || AddressFilters::Local(filters(&["*.corp", "10.0.0.0/8"]));
        let derived = rules(local(), AddressFilters::All, &[]);
        assert_eq!(derived.resolver("api.corp"), Resolver::Host);
        assert_eq!(derived.resolver("db"), Resolver::Pod);
        let explicit = rules(local(), AddressFilters::Local(filters(&["db"])), &[]);
        assert_eq!(explicit.resolver("api.corp"), Resolver::Pod);
        assert_eq!(explicit.resolver("db"), Resolver::Machine);
        let remote = rules(AddressFilters::Remote(filters(&["db"])), AddressFilters::All, &[]);
        assert_eq!(remote.resolver("anything"), Resolver::Pod);
    }

    #[test]
    fn unix_sockets_go_by_pattern() {
        let rules = rules(AddressFilters::All, AddressFilters::All, &["^/var/run/docker\\.sock$", "^@bus"]);
        for (address, expected) in
            [("/var/run/docker.sock", true), ("/var/run/docker.sock2", false), ("\0bus-1", true), ("bus", false)]
        {
            assert_eq!(rules.is_remote_unix(address.as_bytes()), expected, "{address:?}");
        }
        assert!(!Rules::default().is_remote_unix(b"/any"));
    }

    #[test]
    fn memory_of_names_is_bounded() {
        let rules = rules(AddressFilters::Remote(filters(&["n"])), AddressFilters::All, &[]);
        for number in 0..MAX_LEARNED as u32 + 10 {
            rules.learn(&["n"], &[IpAddr::from(number.to_be_bytes())]);
        }
        assert_eq!(rules.learned.lock().expect("not poisoned").patterns.len(), MAX_LEARNED);
    }
}
