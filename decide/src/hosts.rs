//! The hosts file (`hosts(5)`) as glibc reads it. Pure: text in, answers out, the same wherever the file is read.

use std::net::{IpAddr, Ipv4Addr};

/// An address with the names that a file gives it, or a name with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// In the file's order; an address that several lines have is there as often.
    pub addresses: Vec<IpAddr>,
    /// The first name of the first line.
    pub name: String,
    /// The other names of that line, and those of the lines after it.
    pub aliases: Vec<String>,
}

/// All lines with an address that `form` accepts, in the form that it gives them.
pub fn entries(text: &str, form: impl Fn(IpAddr) -> Option<IpAddr>) -> impl Iterator<Item = Host> {
    text.lines().filter_map(move |line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?;
        // A scope (`fe80::1%eth0`) has no place in the answer.
        let address = form(address.split('%').next()?.parse().ok()?)?;
        let name = words.next()?.to_owned();
        Some(Host { addresses: vec![address], name, aliases: words.map(str::to_owned).collect() })
    })
}

/// What the file says of a name.
pub fn of_name(file: &[u8], name: &str, form: impl Fn(IpAddr) -> Option<IpAddr>) -> Option<Host> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_meant = |other: &String| other.eq_ignore_ascii_case(name);
    let text = String::from_utf8_lossy(file);
    let mut lines = entries(&text, form).filter(|line| is_meant(&line.name) || line.aliases.iter().any(is_meant));
    let mut found = lines.next()?;
    for line in lines {
        found.addresses.extend(line.addresses);
        found.aliases.extend(line.aliases);
        if line.name != found.name {
            found.aliases.push(line.name);
        }
    }
    Some(found)
}

/// What the file says of an address.
pub fn of_address(file: &[u8], address: IpAddr) -> Option<Host> {
    let form = if address.is_ipv4() { as_v4 } else { as_v6 };
    entries(&String::from_utf8_lossy(file), form).find(|line| line.addresses.contains(&address))
}

/// An address for who asks for IPv4 only: for glibc `::1` is 127.0.0.1 then, and the others have none.
pub fn as_v4(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => Some(address),
        IpAddr::V6(v6) if v6.is_loopback() => Some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
    }
}

/// An address for who asks for IPv6 only.
pub fn as_v6(address: IpAddr) -> Option<IpAddr> {
    address.is_ipv6().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # both\n\n\
        10.1.0.7\tweb-0.web.default.svc.cluster.local\tweb-0\n10.1.0.8 Web-0\n10.1.0.7 web-0\n\
        999.1.1.1 bad\n10.1.0.9\n#10.1.0.10 hidden\n\xff\xfe 10.1.0.11\nfe80::1%eth0 scoped\n::ffff:10.1.0.12 mapped\n";

    #[test]
    fn names_are_found_in_every_line_whatever_their_case() {
        let table: [(&str, &[&str], &[&str]); 9] = [
            ("localhost", &["127.0.0.1", "::1"], &["127.0.0.1", "127.0.0.1"]),
            ("LOCALHOST.", &["127.0.0.1", "::1"], &["127.0.0.1", "127.0.0.1"]),
            ("web-0", &["10.1.0.7", "10.1.0.8", "10.1.0.7"], &["10.1.0.7", "10.1.0.8", "10.1.0.7"]),
            ("web-0.web.default.svc.cluster.local", &["10.1.0.7"], &["10.1.0.7"]),
            ("scoped", &["fe80::1"], &[]),
            ("mapped", &["::ffff:10.1.0.12"], &["10.1.0.12"]),
            ("bad", &[], &[]),
            ("hidden", &[], &[]),
            ("", &[], &[]),
        ];
        for (name, any, v4) in table {
            let parsed = |list: &[&str]| list.iter().map(|text| text.parse().expect("valid")).collect::<Vec<IpAddr>>();
            let found = |host: Option<Host>| host.map(|host| host.addresses).unwrap_or_default();
            assert_eq!(found(of_name(FILE, name, Some)), parsed(any), "{name}");
            assert_eq!(found(of_name(FILE, name, as_v4)), parsed(v4), "{name}");
        }
    }

    #[test]
    fn the_first_name_of_a_line_is_the_canonical_one_and_all_others_are_aliases() {
        let full = "web-0.web.default.svc.cluster.local";
        let table: [(&str, &str, &[&str]); 4] = [
            ("web-0", full, &["web-0", "Web-0", "web-0"]),
            ("WEB-0", full, &["web-0", "Web-0", "web-0"]),
            (full, full, &["web-0"]),
            ("localhost", "localhost", &["ip6-localhost"]),
        ];
        for (name, canonical, aliases) in table {
            let found = of_name(FILE, name, as_v4).expect("found");
            assert_eq!(found.name, canonical, "{name}");
            assert_eq!(found.aliases, aliases, "{name}");
        }
    }

    #[test]
    fn an_address_has_the_names_of_its_first_line() {
        let table: [(&str, &[&str]); 6] = [
            ("10.1.0.7", &["web-0.web.default.svc.cluster.local", "web-0"]),
            ("::1", &["localhost", "ip6-localhost"]),
            ("127.0.0.1", &["localhost"]),
            ("127.0.0.2", &[]),
            ("10.1.0.9", &[]),
            ("10.1.0.10", &[]),
        ];
        for (address, expected) in table {
            let found = of_address(FILE, address.parse().expect("valid"));
            let names = found.map(|host| [vec![host.name], host.aliases].concat()).unwrap_or_default();
            assert_eq!(names, expected, "{address}");
        }
    }
}
