//! `resolv.conf(5)` as glibc's `res_init` takes it. Pure: text in, settings out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use libc::{c_int, c_ulong};

/// Most name servers and search domains of the resolver's state (`resolv.h`: `MAXNS`, `MAXDNSRCH`).
pub(crate) const SERVERS: usize = 3;
pub(crate) const DOMAINS: usize = 6;

/// Room for all search domains, each with a NUL.
pub(crate) const DOMAIN_ROOM: usize = 256;

/// Where name servers listen.
const PORT: u16 = 53;

/// What the file may ask for at most (`resolv.h`: `RES_MAXNDOTS`, `RES_MAXRETRANS`, `RES_MAXRETRY`).
const MAX_NDOTS: c_int = 15;
const MAX_TIMEOUT: c_int = 30;
const MAX_ATTEMPTS: c_int = 5;

/// Options that are a word and a bit of the state (`resolv.h`).
const FLAGS: [(&str, c_ulong); 11] = [
    ("use-vc", 1 << 3),
    ("rotate", 1 << 14),
    ("edns0", 1 << 20),
    ("single-request", 1 << 21),
    ("single-request-reopen", 1 << 22),
    ("no-tld-query", 1 << 24),
    ("no_tld_query", 1 << 24),
    ("no-reload", 1 << 25),
    ("trust-ad", 1 << 26),
    ("no-aaaa", 1 << 27),
    ("inet6", 1 << 13),
];

/// All bits that the file can set.
pub(crate) fn all_flags() -> c_ulong {
    FLAGS.iter().fold(0, |bits, (_, bit)| bits | bit)
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    /// At most [`SERVERS`], at least one.
    pub(crate) servers: Vec<SocketAddr>,
    /// At most [`DOMAINS`].
    pub(crate) search: Vec<&'a str>,
    pub(crate) ndots: c_int,
    /// Seconds, and how often; none where the file says nothing.
    pub(crate) timeout: Option<c_int>,
    pub(crate) attempts: Option<c_int>,
    /// Of [`all_flags`].
    pub(crate) flags: c_ulong,
}

impl<'a> Settings<'a> {
    /// Reads a file. `host_name` gives the domain where the file has none.
    pub(crate) fn read(text: &'a str, host_name: &'a str) -> Self {
        let mut settings =
            Self { servers: Vec::new(), search: Vec::new(), ndots: 1, timeout: None, attempts: None, flags: 0 };
        for line in text.lines().filter(|line| !line.starts_with([';', '#'])) {
            let Some((keyword, rest)) = line.split_once([' ', '\t']) else { continue };
            let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
            match keyword {
                "nameserver" if settings.servers.len() < SERVERS => {
                    settings.servers.extend(words.next().and_then(server))
                }
                "domain" => settings.search = words.take(1).collect(),
                "search" => settings.search = words.take(DOMAINS).collect(),
                "options" => settings.follow(rest),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        if settings.search.is_empty() {
            settings.search.extend(host_name.split_once('.').map(|(_, domain)| domain));
        }
        settings
    }

    /// Takes options as the file and the variable `RES_OPTIONS` write them.
    pub(crate) fn follow(&mut self, options: &str) {
        for word in options.split_ascii_whitespace() {
            let (name, number) = word.split_once(':').unwrap_or((word, ""));
            let digits = number.bytes().take_while(u8::is_ascii_digit).count();
            let number = number.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            match name {
                "ndots" => self.ndots = MAX_NDOTS.min(number),
                "timeout" => self.timeout = Some(MAX_TIMEOUT.min(number)),
                "attempts" => self.attempts = Some(MAX_ATTEMPTS.min(number)),
                _ => self.flags |= FLAGS.iter().find(|(flag, _)| *flag == word).map_or(0, |(_, bit)| *bit),
            }
        }
    }
}

/// A name server's address. Names of interfaces are this machine's, so only a scope that is a number counts.
fn server(word: &str) -> Option<SocketAddr> {
    let (address, scope) = word.split_once('%').unwrap_or((word, "0"));
    Some(match address.parse().ok()? {
        IpAddr::V4(v4) => SocketAddr::from((v4, PORT)),
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, PORT, 0, scope.parse().unwrap_or(0))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(settings: &Settings<'_>) -> (Vec<String>, String, [Option<c_int>; 3], c_ulong) {
        let Settings { servers, search, ndots, timeout, attempts, flags } = settings;
        (
            servers.iter().map(SocketAddr::to_string).collect(),
            search.join(" "),
            [Some(*ndots), *timeout, *attempts],
            *flags,
        )
    }

    #[test]
    fn a_pods_file_is_read() {
        let text = "# made by the kubelet\nsearch default.svc.cluster.local svc.cluster.local\tcluster.local\n\
                    nameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5 edns0  timeout:2\n";
        let settings = Settings::read(text, "web-0.example");
        let search = "default.svc.cluster.local svc.cluster.local cluster.local".to_owned();
        let servers = vec!["10.96.0.10:53".to_owned(), "[fd00::a]:53".to_owned()];
        assert_eq!(shown(&settings), (servers, search, [Some(5), Some(2), None], 1 << 20));
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_what_is_too_much_is_cut() {
        let text = "nameserver\nnameserver x\n;nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver fe80::1%3\n\
                    nameserver 10.0.0.3\nnameserver 10.0.0.4\nsearch a b c d e f g\nsearching x\ndomain one two\n\
                    options ndots:99 attempts:77 timeout:x rotated use-vc:1 trust-ad ndots\nsearch a b c d e f g\n";
        let settings = Settings::read(text, "");
        let servers = ["10.0.0.1:53", "[fe80::1%3]:53", "10.0.0.3:53"].map(str::to_owned).to_vec();
        assert_eq!(shown(&settings), (servers, "a b c d e f".to_owned(), [Some(0), Some(0), Some(5)], 1 << 26));
        let domain = Settings::read("search a\ndomain one two\n", "");
        assert_eq!(domain.search, ["one"]);
    }

    #[test]
    fn an_empty_file_means_this_host() {
        let expected = |domain: &str| (vec!["127.0.0.1:53".to_owned()], domain.to_owned(), [Some(1), None, None], 0);
        assert_eq!(shown(&Settings::read("", "web-0")), expected(""));
        assert_eq!(shown(&Settings::read("", "web-0.example.com")), expected("example.com"));
        let mut settings = Settings::read("options ndots:5 rotate\n", "");
        settings.follow("ndots:2 no_tld_query");
        assert_eq!((settings.ndots, settings.flags), (2, 1 << 14 | 1 << 24));
    }
}
