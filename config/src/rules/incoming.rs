//! Rules about incoming traffic and its filters.

use std::collections::HashSet;

use super::Facts;
use crate::diagnostic::Severity;
use crate::model::{HttpFilter, HttpFilterConfig, IncomingMode, OnPause, PortPair};

const MODE: &str = "feature.network.incoming.mode";
const FILTER: &str = "feature.network.incoming.http_filter";
/// Most pairs of `listen_ports` (`protocol::layer::MAX_LISTEN_PORTS`).
const MAX_LISTEN_PORTS: usize = 16;

const MAPPINGS: [&str; 2] = ["feature.network.incoming.port_mapping", "feature.network.incoming.listen_ports"];

/// Without a target there is nothing to steal from.
pub(super) fn steal_needs_a_target(facts: &mut Facts<'_>) {
    if facts.config.feature.network.incoming.mode != IncomingMode::Steal {
        return;
    }
    if facts.is_targetless() {
        let message = "there is nothing to steal from without a target: name a target, or set the mode to \"off\"";
        facts.tell_both(Severity::Error, "steal-needs-target", (MODE, "target.path"), message);
    } else if facts.config.target.path.is_none() {
        let message = "no target is set: choose one when the session starts, or nothing can be stolen";
        facts.tell(Severity::Hint, "steal-needs-target", MODE, message);
    }
}

/// A white list and a black list.
pub(super) fn ports_and_ignore_ports(facts: &mut Facts<'_>) {
    let incoming = &facts.config.feature.network.incoming;
    if incoming.ports.is_some() && !incoming.ignore_ports.is_empty() {
        let paths = ("feature.network.incoming.ignore_ports", "feature.network.incoming.ports");
        let message = "`ports` and `ignore_ports` exclude each other: keep one of them";
        facts.tell_both(Severity::Error, "exclusive-keys", paths, message);
    }
}

/// Which of several filters would count is nothing to guess.
pub(super) fn one_kind_of_filter(facts: &mut Facts<'_>) {
    let set = kinds_in(&facts.config.feature.network.incoming.http_filter);
    if let [first, second, ..] = set.as_slice() {
        let paths = (format!("{FILTER}.{second}"), format!("{FILTER}.{first}"));
        let message = format!("`{first}` and `{second}` are two filters: combine them with `all_of` or `any_of`");
        facts.tell_both(Severity::Error, "exclusive-keys", (&paths.0, &paths.1), message);
    }
}

fn kinds_in(filter: &HttpFilterConfig) -> Vec<&'static str> {
    let kinds = [
        ("header_filter", filter.header_filter.is_some()),
        ("path_filter", filter.path_filter.is_some()),
        ("method_filter", filter.method_filter.is_some()),
        ("query_filter", filter.query_filter.is_some()),
        ("all_of", filter.all_of.is_some()),
        ("any_of", filter.any_of.is_some()),
        ("not", filter.not.is_some()),
    ];
    kinds.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
}

/// An empty `all_of` would match every request, an empty `any_of` none.
pub(super) fn empty_composite(facts: &mut Facts<'_>) {
    let filter = &facts.config.feature.network.incoming.http_filter;
    let wrong: Vec<_> = [
        ("all_of", filter.all_of.clone().map(HttpFilter::All)),
        ("any_of", filter.any_of.clone().map(HttpFilter::Any)),
        ("not", filter.not.clone()),
    ]
    .into_iter()
    .filter(|(_, filter)| filter.as_ref().is_some_and(has_empty))
    .collect();
    for (name, _) in wrong {
        let message = format!("`{name}` combines no filter: write at least one, or remove it");
        facts.tell(Severity::Error, "empty-filter", &format!("{FILTER}.{name}"), message);
    }
}

fn has_empty(filter: &HttpFilter) -> bool {
    match filter {
        HttpFilter::All(parts) | HttpFilter::Any(parts) => parts.is_empty() || parts.iter().any(has_empty),
        HttpFilter::Not(part) => has_empty(part),
        _ => false,
    }
}

/// Filters choose among what is taken.
pub(super) fn filter_needs_traffic(facts: &mut Facts<'_>) {
    let incoming = &facts.config.feature.network.incoming;
    if incoming.mode != IncomingMode::Off {
        return;
    }
    if let Some(kind) = kinds_in(&incoming.http_filter).first() {
        let reason = format!("filters choose what is taken, and the mode is \"{}\"", incoming.mode);
        facts.tell_no_effect(&format!("{FILTER}.{kind}"), &reason);
    }
}

/// A filter on a port that nothing is taken from.
pub(super) fn filtered_port_is_not_taken(facts: &mut Facts<'_>) {
    let incoming = &facts.config.feature.network.incoming;
    let filtered = incoming.http_filter.ports.clone().unwrap_or_default();
    let is_taken = |port: &u16| {
        !incoming.ignore_ports.contains(port) && incoming.ports.as_ref().is_none_or(|ports| ports.contains(port))
    };
    let idle: Vec<_> = filtered.into_iter().filter(|port| !is_taken(port)).collect();
    for port in idle {
        let message = format!("port {port} is filtered but not taken: see `ports` and `ignore_ports`");
        facts.tell(Severity::Warning, "no-effect", &format!("{FILTER}.ports"), message);
    }
}

/// One port cannot lead to two.
pub(super) fn duplicate_mapping(facts: &mut Facts<'_>) {
    for path in MAPPINGS {
        let pairs = pairs_of(facts, path).to_vec();
        let (mut firsts, mut seconds) = (HashSet::new(), HashSet::new());
        for pair in pairs {
            let first_is_new = firsts.insert(pair.first);
            if seconds.insert(pair.second) && first_is_new {
                continue;
            }
            let port = if first_is_new { pair.second } else { pair.first };
            let message = format!("port {port} occurs twice on the same side: keep one of the pairs");
            facts.tell(Severity::Error, "duplicate-port", path, message);
        }
    }
}

/// A pair that changes nothing.
pub(super) fn mapping_to_itself(facts: &mut Facts<'_>) {
    for path in MAPPINGS {
        let same: Vec<_> = pairs_of(facts, path).iter().filter(|pair| pair.first == pair.second).copied().collect();
        for pair in same {
            let message = format!("port {} is mapped to itself: remove the pair", pair.first);
            facts.tell(Severity::Warning, "no-effect", path, message);
        }
    }
}

/// Every process of the session keeps them in a place of fixed size.
pub(super) fn too_many_listen_ports(facts: &mut Facts<'_>) {
    let path = MAPPINGS[1];
    let count = pairs_of(facts, path).len();
    if count > MAX_LISTEN_PORTS {
        let message = format!("{count} pairs are more than {MAX_LISTEN_PORTS}: leave some out");
        facts.tell(Severity::Error, "too-many", path, message);
    }
}

fn pairs_of<'a>(facts: &Facts<'a>, path: &str) -> &'a [PortPair] {
    let incoming = &facts.config.feature.network.incoming;
    if path == MAPPINGS[0] { &incoming.port_mapping } else { &incoming.listen_ports }
}

/// The time to hold a request counts only where requests are held.
pub(super) fn hold_without_effect(facts: &mut Facts<'_>) {
    let on_pause = facts.config.feature.network.incoming.on_pause;
    if on_pause != OnPause::Hold {
        facts.tell_no_effect("feature.network.incoming.hold", &format!("`on_pause` is \"{on_pause}\""));
    }
}
