//! Which full names a program's name may mean, and in which order they are tried (`resolv.conf(5)`: search,
//! ndots, no-tld-query).

use hickory_proto::rr::Name;
use resolv_conf::Config;

use super::query::Failure;

/// Dots from which the C library ignores larger settings.
const MAX_NDOTS: u32 = 15;

/// The full names to ask for. All empty for what can be no name.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The name as it is, when it has enough dots.
    first: Option<Name>,
    /// With the domains of the search list.
    searched: Vec<Name>,
    /// The name as it is, when it was not tried before.
    last: Option<Name>,
}

impl Plan {
    /// The name as it is and nothing else. Without any label it is the root.
    pub(super) fn as_it_is(name: &str) -> Self {
        let first = match name.strip_suffix('.').unwrap_or(name) {
            "" => Some(Name::root()),
            name => full(name, ""),
        };
        Self { first, ..Self::default() }
    }

    /// What the search list makes of the name.
    pub(super) fn new(name: &str, config: &Config) -> Self {
        if name.ends_with('.') {
            return Self::as_it_is(name);
        }
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let enough = dots >= config.ndots.min(MAX_NDOTS) as usize;
        let itself = full(name, "");
        let mut searched: Vec<Name> =
            config.get_last_search_or_domain().filter_map(|domain| full(name, domain)).collect();
        if enough {
            searched.retain(|other| Some(other) != itself.as_ref());
            return Self { first: itself, searched, last: None };
        }
        // A search domain of "." gives the name itself as well.
        let tried = itself.as_ref().is_some_and(|itself| searched.contains(itself));
        let forbidden = dots == 0 && !searched.is_empty() && config.no_tld_query;
        Self { first: None, searched, last: itself.filter(|_| !tried && !forbidden) }
    }

    /// Asks for one name after the other as `res_search` does: the first success counts, a name that is not
    /// there leads to the next one, and other failures leave the search list. Which failure is the answer
    /// in the end is glibc's rule too.
    pub(super) async fn follow<T>(&self, ask: impl AsyncFn(&Name) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut of_first = None;
        if let Some(name) = &self.first {
            match ask(name).await {
                Err(failure) => of_first = Some(failure),
                answer => return answer,
            }
        }
        let (mut no_data, mut broken, mut latest) = (false, false, Failure::NoName);
        for name in &self.searched {
            match ask(name).await {
                Err(failure) => latest = failure,
                answer => return answer,
            }
            match latest {
                Failure::NoName => {}
                Failure::NoData => no_data = true,
                Failure::BrokenServer => broken = true,
                Failure::Refused | Failure::TimedOut | Failure::System(_) => break,
            }
        }
        if let Some(name) = &self.last {
            match ask(name).await {
                Err(failure) => latest = failure,
                answer => return answer,
            }
        }
        Err(match of_first {
            Some(failure) => failure,
            None if no_data => Failure::NoData,
            None if broken => Failure::BrokenServer,
            None => latest,
        })
    }
}

/// Underscores and other bytes that host names should not have are the server's matter.
fn full(name: &str, domain: &str) -> Option<Name> {
    let domain = domain.trim_matches('.');
    let separator = if domain.is_empty() { "" } else { "." };
    // An empty label at the end would pass for the root.
    if name.is_empty() || !name.is_ascii() || name.ends_with('.') {
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
        let table: [(&str, &str, &[&str]); 17] = [
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
            (pod, ".", &["."]),
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
            ("search . a.example\n", "db", &["db.", "db.a.example."]),
            ("search a.example\noptions no-tld-query\n", "db", &["db.a.example."]),
            ("search a.example\noptions no-tld-query ndots:3\n", "db.x", &["db.x.a.example.", "db.x."]),
            ("options no-tld-query\n", "db", &["db."]),
            ("domain old.example\n", "db", &["db.old.example.", "db."]),
            ("", "db", &["db."]),
            ("", "db..", &[]),
            (plain, "a..b", &[]),
            (plain, &long, &[]),
        ];
        for (text, name, expected) in table {
            let config = Config::parse_with_errors(text.as_bytes()).0;
            let plan = Plan::new(name, &config);
            let names: Vec<_> = plan.first.iter().chain(&plan.searched).chain(&plan.last).map(Name::to_ascii).collect();
            assert_eq!(names, expected, "{name}");
        }
        for name in ["", "..", "é.example"] {
            let plan = Plan::new(name, &Config::new());
            assert!(plan.first.is_none() && plan.searched.is_empty() && plan.last.is_none(), "{name}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_wire() {
        let name = |last: usize| format!("{}{}", format!("{}.", "x".repeat(63)).repeat(3), "x".repeat(last));
        for (last, expected) in [(61, true), (62, false)] {
            assert_eq!(Plan::as_it_is(&name(last)).first.is_some(), expected, "{}", name(last).len());
        }
    }

    #[tokio::test]
    async fn failures_lead_on_or_out_as_in_glibc() {
        use Failure::{BrokenServer, NoData, NoName, Refused, TimedOut};
        let config = |ndots| {
            let text = format!("search a b c\noptions ndots:{ndots}\n");
            Config::parse_with_errors(text.as_bytes()).0
        };
        let table: [(u32, &[Failure], Failure); 9] = [
            (1, &[NoName, NoName, NoName, NoName], NoName),
            (1, &[NoName, NoData, NoName, NoName], NoData),
            (1, &[BrokenServer, NoName, NoName, NoName], BrokenServer),
            (1, &[BrokenServer, NoData, BrokenServer, NoName], NoData),
            (1, &[NoName, TimedOut, NoName], NoName),
            (1, &[TimedOut, TimedOut], TimedOut),
            (1, &[Refused, Refused], Refused),
            (0, &[NoName, NoData, NoData, NoData], NoName),
            (0, &[TimedOut, NoName, TimedOut], TimedOut),
        ];
        for (ndots, failures, expected) in table {
            let asked = std::sync::atomic::AtomicUsize::new(0);
            let ask = async |_: &Name| {
                let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err::<(), _>(failures[number])
            };
            assert_eq!(Plan::new("x", &config(ndots)).follow(ask).await, Err(expected), "{failures:?}");
            assert_eq!(asked.into_inner(), failures.len(), "{failures:?}");
        }
    }
}
