//! Rules about outgoing connections and names.

use super::Facts;
use crate::address::Host;
use crate::diagnostic::Severity;
use crate::model::AddressFilters;

const FILTER: &str = "feature.network.outgoing.filter";

/// A name in a filter is recognised by the agent's answer to the question for it.
pub(super) fn name_filter_needs_dns(facts: &mut Facts<'_>) {
    let network = &facts.config.feature.network;
    let is_name = |entry: &&crate::AddressFilter| matches!(entry.host, Host::Name(_));
    let AddressFilters::Remote(entries) = &network.outgoing.filter else {
        return;
    };
    let Some(entry) = entries.iter().find(is_name).filter(|_| !network.dns.enabled) else {
        return;
    };
    let message =
        format!("`{entry}` is a name that only the cluster knows, and `feature.network.dns.enabled` is false");
    facts.tell_both(Severity::Warning, "name-filter-needs-dns", (FILTER, "feature.network.dns.enabled"), message);
}

/// A filter on nothing.
pub(super) fn filter_without_outgoing(facts: &mut Facts<'_>) {
    let network = &facts.config.feature.network;
    let (is_off, dns_is_off) = (!network.outgoing.tcp && !network.outgoing.udp, !network.dns.enabled);
    if is_off {
        facts.tell_no_effect(FILTER, "all connections stay local");
    }
    if dns_is_off {
        facts.tell_no_effect("feature.network.dns.filter", "all names are resolved locally");
    }
}
