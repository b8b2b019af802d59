//! The hosts file (`hosts(5)`). Pure: text in, answers out.

use std::net::IpAddr;

/// All addresses that the file gives a name and that are wanted, in the file's order, and the first name of
/// the first such line.
pub(super) fn addresses(file: &[u8], name: &str, wanted: impl Fn(&IpAddr) -> bool) -> Option<(Vec<IpAddr>, String)> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let text = String::from_utf8_lossy(file);
    let mut found: Option<(Vec<IpAddr>, String)> = None;
    for (address, mut names) in text.lines().filter_map(parse_line).filter(|(address, _)| wanted(address)) {
        let Some(first) = names.next() else { continue };
        if !first.eq_ignore_ascii_case(name) && !names.any(|other| other.eq_ignore_ascii_case(name)) {
            continue;
        }
        let (addresses, _) = found.get_or_insert_with(|| (Vec::new(), first.to_owned()));
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    found
}

/// The first name that the file gives an address.
pub(super) fn name(file: &[u8], address: IpAddr) -> Option<String> {
    let text = String::from_utf8_lossy(file);
    let (_, mut names) = text.lines().filter_map(parse_line).find(|(other, _)| *other == address)?;
    names.next().map(str::to_owned)
}

/// Address and names of a line; none for comments, empty lines and nonsense.
fn parse_line(line: &str) -> Option<(IpAddr, impl Iterator<Item = &str>)> {
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let address = words.next()?;
    // A scope (`fe80::1%eth0`) has no place in the answer.
    let address = address.split('%').next()?.parse().ok()?;
    let mut names = words.peekable();
    names.peek()?;
    Some((address, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # both\n\n\
        10.1.0.7\tweb-0.web.default.svc.cluster.local\tweb-0\n10.1.0.8 Web-0\n10.1.0.7 web-0\n\
        999.1.1.1 bad\n10.1.0.9\n#10.1.0.10 hidden\n\xff\xfe 10.1.0.11\nfe80::1%eth0 scoped\n";

    #[test]
    fn names_are_found_in_every_line_whatever_their_case() {
        let table: [(&str, &[&str]); 8] = [
            ("localhost", &["127.0.0.1", "::1"]),
            ("LOCALHOST.", &["127.0.0.1", "::1"]),
            ("web-0", &["10.1.0.7", "10.1.0.8"]),
            ("web-0.web.default.svc.cluster.local", &["10.1.0.7"]),
            ("scoped", &["fe80::1"]),
            ("bad", &[]),
            ("hidden", &[]),
            ("", &[]),
        ];
        for (name, expected) in table {
            let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().expect("valid")).collect();
            let found = addresses(FILE, name, |_| true).map(|(addresses, _)| addresses);
            assert_eq!(found.unwrap_or_default(), expected, "{name}");
        }
    }

    #[test]
    fn the_first_name_of_a_line_is_the_canonical_one() {
        for (name, wants_v4, expected) in [
            ("web-0", true, Some("web-0.web.default.svc.cluster.local")),
            ("WEB-0", true, Some("web-0.web.default.svc.cluster.local")),
            ("ip6-localhost", false, Some("localhost")),
            ("ip6-localhost", true, None),
        ] {
            let found = addresses(FILE, name, |address| address.is_ipv4() == wants_v4);
            assert_eq!(found.map(|(_, canonical)| canonical).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn an_address_has_its_first_name() {
        for (address, expected) in [
            ("10.1.0.7", Some("web-0.web.default.svc.cluster.local")),
            ("::1", Some("localhost")),
            ("10.1.0.9", None),
            ("10.1.0.10", None),
        ] {
            let found = name(FILE, address.parse().expect("valid"));
            assert_eq!(found.as_deref(), expected, "{address}");
        }
    }
}
