//! Keys that users of mirrord may have in their file and that have no effect here, with the reason.
//!
//! Called by `check` when a key is not in the table, and by the schema. A row covers everything below it.

use crate::diagnostic::Severity;

/// One key of mirrord that is recognised and left alone.
#[derive(Debug)]
pub struct IgnoredKey {
    /// Dotted path, records as in [`crate::keys::Key::path`].
    pub path: &'static str,
    /// How loud to be: an error where leaving the key out would do more than the user asked for.
    pub severity: Severity,
    /// Why, and what to do; continues the sentence "`key` is ignored: ...".
    pub why: &'static str,
}

const NO_OPERATOR: &str = "there is no operator in the cluster, every session has an agent of its own";
const NO_FILTER: &str =
    "it would take requests that it should leave alone, so the file is refused: use the other filters";
const NO_PROXY: &str = "there is no proxy process to tune";
const NO_IPTABLES: &str = "traffic is steered without iptables";
const STARTS_AT_ONCE: &str = "the helper retries on its own";

/// Every such key.
#[rustfmt::skip]
pub const IGNORED: &[IgnoredKey] = &[
    row("operator", NO_OPERATOR),
    row("multi_cluster", NO_OPERATOR),
    row("profile", "there are no profiles in the cluster: keep the settings in this file"),
    row("traceparent", NO_OPERATOR),
    row("baggage", NO_OPERATOR),
    row("api", "sessions are always visible to the helper"),
    row("telemetry", "nothing is reported to anybody"),
    row("sip_binaries", "it concerns macOS only"),
    row("skip_sip", "it concerns macOS only"),
    row("startup_retry", STARTS_AT_ONCE),
    row("ci", "there is no separate CI mode: `mirror exec` does"),
    row("key", "sessions have no user-chosen key: filter by a header of your own"),
    row("container", "containers are not started by mirror"),
    row("internal_proxy", NO_PROXY),
    row("external_proxy", NO_PROXY),
    row("experimental", "what it switches is either the normal behaviour here or does not exist"),
    row("agent.external_ip_fix", "the application is always reached at the address that the client used"),
    row("agent.nftables", NO_IPTABLES),
    row("agent.clean_iptables_on_start", NO_IPTABLES),
    row("agent.metrics", "the agent serves no metrics"),
    row("agent.exclude_from_mesh", "the agent listens on loopback only, where no mesh takes part"),
    row("agent.inject_headers", "responses are never changed"),
    row("agent.override_cache_control", "responses are never changed"),
    row("agent.max_body_buffer_size", "there are no body filters"),
    row("agent.max_body_buffer_timeout", "there are no body filters"),
    row("agent.http_detection_timeout", "a connection is read until it is known to be HTTP or not"),
    row("agent.jaq_time_limit", "there are no jq filters"),
    row("feature.copy_target", "the target itself is used, never a copy of it"),
    row("feature.split_queues", "queues are not split: the local process reads from the real queues"),
    row("feature.db_branches", "databases are not branched: the local process uses the real ones"),
    row("feature.preview", "there are no preview environments"),
    row("feature.magic", "its parts are covered by `feature.env` and `feature.fs`"),
    row("feature.env.load_from_process", "the environment is always there before the process starts"),
    row("feature.fs.readonly_file_buffer", "files are fetched whole: see `feature.fs.max_file_size`"),
    row("feature.network.incoming.tls_delivery", "TLS is passed on as it came"),
    row("feature.network.incoming.https_delivery", "TLS is passed on as it came"),
    refused("feature.network.incoming.http_filter.header_filter_jq", NO_FILTER),
    refused("feature.network.incoming.http_filter.body_filter", NO_FILTER),
    refused("$filter.header_jq", NO_FILTER),
    refused("$filter.body", NO_FILTER),
];

const fn row(path: &'static str, why: &'static str) -> IgnoredKey {
    IgnoredKey { path, severity: Severity::Warning, why }
}

const fn refused(path: &'static str, why: &'static str) -> IgnoredKey {
    IgnoredKey { path, severity: Severity::Error, why }
}

/// The row of a path.
pub fn find(path: &str) -> Option<&'static IgnoredKey> {
    IGNORED.iter().find(|row| row.path == path)
}

/// The rows directly below a path.
pub fn children(parent: &str) -> impl Iterator<Item = &'static IgnoredKey> {
    IGNORED.iter().filter(move |row| row.path.rsplit_once('.').map_or("", |(parent, _)| parent) == parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_both_ignored_and_known() {
        for row in IGNORED {
            assert!(crate::keys::find(row.path).is_none(), "{}", row.path);
        }
    }
}
