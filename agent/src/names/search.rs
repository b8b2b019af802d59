//! Which full names a program's name may mean (`resolv.conf(5)`: search, ndots). Pure.

use hickory_proto::rr::Name;
use resolv_conf::Config;

/// Dots from which the C library ignores larger settings.
const MAX_NDOTS: u32 = 15;

/// The full names to ask for, in order. None for what can be no name.
pub(super) fn candidates(name: &str, config: &Config) -> Vec<Name> {
    if let Some(absolute) = name.strip_suffix('.') {
        return full(absolute, "").into_iter().collect();
    }
    let searched = config.get_last_search_or_domain().filter_map(|domain| full(name, domain));
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let mut names: Vec<Name> = searched.collect();
    if let Some(itself) = full(name, "") {
        let first = dots >= config.ndots.min(MAX_NDOTS) as usize;
        // A search domain of "." gives the name itself as well.
        names.retain(|other| *other != itself);
        names.insert(if first { 0 } else { names.len() }, itself);
    }
    names
}

/// Names that are this host whatever the servers say (RFC 6761, 6.3).
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Underscores and other bytes that host names should not have are the server's matter.
fn full(name: &str, domain: &str) -> Option<Name> {
    let domain = domain.trim_matches('.');
    let separator = if domain.is_empty() { "" } else { "." };
    if name.is_empty() || !name.is_ascii() {
        return None;
    }
    Name::from_ascii(format!("{name}{separator}{domain}.")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_follow_search_list_and_ndots() {
        let pod =
            "search ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\nnameserver 10.0.0.10\n";
        let plain = "search example.com\nnameserver 10.0.0.10\n";
        let long = "x".repeat(64);
        let table: [(&str, &str, &[&str]); 11] = [
            (pod, "db", &["db.ns.svc.cluster.local.", "db.svc.cluster.local.", "db.cluster.local.", "db."]),
            (
                pod,
                "db.other",
                &[
                    "db.other.ns.svc.cluster.local.",
                    "db.other.svc.cluster.local.",
                    "db.other.cluster.local.",
                    "db.other.",
                ],
            ),
            (pod, "db.", &["db."]),
            (
                pod,
                "a.b.c.d.e.f",
                &[
                    "a.b.c.d.e.f.",
                    "a.b.c.d.e.f.ns.svc.cluster.local.",
                    "a.b.c.d.e.f.svc.cluster.local.",
                    "a.b.c.d.e.f.cluster.local.",
                ],
            ),
            (pod, "_grpc._tcp.db.ns.svc.cluster.local.", &["_grpc._tcp.db.ns.svc.cluster.local."]),
            (plain, "db.other", &["db.other.", "db.other.example.com."]),
            ("search .\n", "db", &["db."]),
            ("domain old.example\n", "db", &["db.old.example.", "db."]),
            ("", "db", &["db."]),
            (plain, "a..b", &[]),
            (plain, &long, &[]),
        ];
        for (text, name, expected) in table {
            let config = Config::parse_with_errors(text.as_bytes()).0;
            let names: Vec<_> = candidates(name, &config).iter().map(Name::to_ascii).collect();
            assert_eq!(names, expected, "{name}");
        }
        for name in ["", ".", "é.example"] {
            assert!(candidates(name, &Config::new()).is_empty(), "{name}");
        }
    }

    #[test]
    fn localhost_is_known_in_every_form() {
        for (name, expected) in
            [("localhost", true), ("LocalHost.", true), ("a.localhost", true), ("mylocalhost", false), ("", false)]
        {
            assert_eq!(is_localhost(name), expected, "{name}");
        }
    }
}
