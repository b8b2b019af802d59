//! Another configuration for a session that runs: what can change does, the rest is named. **The table** is [`EFFECTS`].

use std::sync::{Arc, Mutex, PoisonError};

use decide::programs::Skip;
use protocol::agent::Environment;
use serde_json::Value;

use super::board::{self, Board};
use super::environment::{self, Changes};
use super::layers::Layers;
use super::message::{About, Ready};
use super::registry::Plan;
use super::spec::{SessionSpec, SkipOptions};
use super::startup::Started;
use crate::failure::{Class, Failure, Result};
use crate::serve::rpc::SessionUpdated;

/// When a change holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// From the next connection, name or request on.
    Now,
    /// For processes that start from now on.
    NewProcesses,
    /// After a restart of the session.
    Restart,
}

/// Each part of a spec (as a JSON pointer), what the configuration calls it, and when a change of it holds.
const EFFECTS: &[(&str, &str, Effect)] = &[
    ("/cluster/kubeconfig", "kubeconfig", Effect::Restart),
    ("/cluster/context", "kube_context", Effect::Restart),
    ("/cluster/namespace", "target.namespace", Effect::Restart),
    ("/cluster/accept_invalid_certificates", "accept_invalid_certificates", Effect::Restart),
    ("/target", "target.path", Effect::Restart),
    ("/agent", "agent", Effect::Restart),
    ("/environment", "feature.env", Effect::NewProcesses),
    ("/network/outgoing_tcp", "feature.network.outgoing.tcp", Effect::NewProcesses),
    ("/network/outgoing_udp", "feature.network.outgoing.udp", Effect::NewProcesses),
    ("/network/outgoing_filter", "feature.network.outgoing.filter", Effect::Now),
    ("/network/unix_streams", "feature.network.outgoing.unix_streams", Effect::NewProcesses),
    ("/network/ignore_localhost", "feature.network.outgoing.ignore_localhost", Effect::NewProcesses),
    ("/network/connect_wait", "feature.network.outgoing.connect_wait", Effect::Restart),
    ("/network/dns", "feature.network.dns.enabled", Effect::Restart),
    ("/network/dns_filter", "feature.network.dns.filter", Effect::Now),
    ("/network/ipv6", "feature.network.ipv6", Effect::NewProcesses),
    ("/network/host_name", "feature.hostname", Effect::Restart),
    ("/incoming/mode", "feature.network.incoming.mode", Effect::Now),
    ("/incoming/ports", "feature.network.incoming.ports", Effect::Now),
    ("/incoming/ignored_ports", "feature.network.incoming.ignore_ports", Effect::Now),
    ("/incoming/mapping", "feature.network.incoming.port_mapping", Effect::Now),
    ("/incoming/listen_ports", "feature.network.incoming.listen_ports", Effect::Restart),
    ("/incoming/ignore_localhost", "feature.network.incoming.ignore_localhost", Effect::Now),
    ("/incoming/flush_connections", "agent.flush_connections", Effect::Now),
    ("/incoming/probes", "feature.network.incoming.probes", Effect::Now),
    ("/incoming/filter", "feature.network.incoming.http_filter", Effect::Now),
    ("/incoming/filtered_ports", "feature.network.incoming.http_filter.ports", Effect::Now),
    ("/incoming/on_concurrent_steal", "feature.network.incoming.on_concurrent_steal", Effect::Now),
    ("/incoming/on_pause", "feature.network.incoming.on_pause", Effect::Now),
    ("/incoming/hold", "feature.network.incoming.hold", Effect::Now),
    ("/files", "feature.fs", Effect::Restart),
    ("/skip/named", "skip_processes", Effect::NewProcesses),
    ("/skip/build_tools", "skip_build_tools", Effect::NewProcesses),
    ("/skip/more_build_tools", "skip_extra_build_tools", Effect::NewProcesses),
];

/// What a session's programs get, and what it follows from.
pub(super) struct Updates {
    pod: Environment,
    /// What every program gets, whatever the configuration says.
    base: Ready,
    /// Whether connections of the pod can come at all.
    takes_connections: bool,
    layers: Arc<Layers>,
    board: Arc<Board>,
    plan: Mutex<Plan>,
    /// One update at a time. With what was told last to need a restart.
    now: tokio::sync::Mutex<(SessionSpec, Vec<String>)>,
}

impl Updates {
    /// Begins with what the session was started with.
    pub(super) fn new(
        spec: &SessionSpec,
        base: Ready,
        started: &Started,
        about: &About,
        layers: &Arc<Layers>,
        board: &Arc<Board>,
    ) -> Result<Self> {
        let pod = started.pod_environment.clone();
        let changes = environment::changes(pod.clone(), &spec.environment)?;
        let ready = ready(&base, &changes);
        layers.joining.write().unwrap_or_else(PoisonError::into_inner).environment = changes;
        let plan = Plan { ready, request: about.request.clone(), fingerprint: about.fingerprint.clone() };
        Ok(Self {
            pod,
            base,
            takes_connections: started.takes_connections,
            layers: layers.clone(),
            board: board.clone(),
            plan: Mutex::new(plan),
            now: tokio::sync::Mutex::new((spec.clone(), Vec::new())),
        })
    }

    /// What a program that starts now needs.
    pub(super) fn plan(&self) -> Plan {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what can change.
    pub(super) async fn apply(&self, spec: &str, fingerprint: &str) -> Result<SessionUpdated> {
        let cannot = |error| Failure::new(Class::Internal, format!("the session's spec cannot be read: {error}"));
        let wanted: SessionSpec = serde_json::from_str(spec).map_err(cannot)?;
        let mut now = self.now.lock().await;
        let (current, told) = &mut *now;
        let (next, updated) = merge(current, &wanted)?;
        // What can fail comes first: then nothing has changed.
        let changes = environment::changes(self.pod.clone(), &next.environment)?;
        self.layers.rules.replace(&next.network)?;
        let ready = ready(&self.base, &changes);
        self.join_as(&next, changes);
        if next.incoming != current.incoming {
            let mut options = next.incoming.clone();
            options.mode = options.mode.filter(|_| self.takes_connections);
            self.layers.incoming.update(options).await;
        }
        *current = next;
        {
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.ready = ready;
            if updated.needs_restart.is_empty() {
                fingerprint.clone_into(&mut plan.fingerprint);
            }
        }
        if !updated.is_without_news(told) {
            tracing::info!(?updated, "another configuration");
            let traffic = board::traffic(current.incoming.mode.filter(|_| self.takes_connections));
            self.board.updated(traffic, current.incoming.filter.is_some(), updated.clone());
        }
        told.clone_from(&updated.needs_restart);
        Ok(updated)
    }

    fn join_as(&self, spec: &SessionSpec, environment: Changes) {
        let mut joining = self.layers.joining.write().unwrap_or_else(PoisonError::into_inner);
        let (settings, network) = (&mut joining.settings, &spec.network);
        settings.outgoing_tcp = network.outgoing_tcp;
        settings.outgoing_udp = network.outgoing_udp;
        settings.unix = !network.unix_streams.is_empty();
        settings.ignore_localhost = network.ignore_localhost;
        settings.ipv6 = network.ipv6;
        joining.skip = skip(&spec.skip);
        joining.environment = environment;
    }
}

impl SessionUpdated {
    /// Whether nothing holds that did not before, and what needs a restart has been `told`.
    fn is_without_news(&self, told: &[String]) -> bool {
        self.applied.is_empty() && self.for_new_processes.is_empty() && self.needs_restart == told
    }
}

/// The spec that holds when `wanted` follows `current`, and what of it holds when.
fn merge(current: &SessionSpec, wanted: &SessionSpec) -> Result<(SessionSpec, SessionUpdated)> {
    let internal = |error: serde_json::Error| Failure::new(Class::Internal, format!("cannot compare: {error}"));
    let mut next = serde_json::to_value(current).map_err(internal)?;
    let wanted = serde_json::to_value(wanted).map_err(internal)?;
    let mut updated = SessionUpdated { applied: Vec::new(), for_new_processes: Vec::new(), needs_restart: Vec::new() };
    for (pointer, key, effect) in EFFECTS {
        let (Some(now), Some(then)) = (next.pointer_mut(pointer), wanted.pointer(pointer)) else { continue };
        if now == then {
            continue;
        }
        // Processes that have begun without it do not tell where they listen.
        let begins = *pointer == "/incoming/mode" && *now == Value::Null;
        match if begins { Effect::Restart } else { *effect } {
            Effect::Restart => {
                updated.needs_restart.push((*key).to_owned());
                continue;
            }
            Effect::Now => updated.applied.push((*key).to_owned()),
            Effect::NewProcesses => updated.for_new_processes.push((*key).to_owned()),
        }
        now.clone_from(then);
    }
    Ok((serde_json::from_value(next).map_err(internal)?, updated))
}

/// Which processes are left alone.
pub(super) fn skip(options: &SkipOptions) -> Skip {
    let SkipOptions { named, build_tools, more_build_tools } = options.clone();
    Skip { named, build_tools, more_build_tools }
}

fn ready(base: &Ready, changes: &Changes) -> Ready {
    let mut ready = base.clone();
    ready.set = changes.set.iter().chain(&base.set).cloned().collect();
    (ready.unset, ready.from_pod) = (changes.unset.clone(), changes.from_pod);
    ready
}

#[cfg(test)]
mod tests {
    use protocol::agent::{HttpFilter, PortMode};

    use super::*;
    use crate::session::spec::{IncomingOptions, NetworkOptions};

    fn spec(text: &str) -> SessionSpec {
        let document = config::Document::new("a.json".to_owned(), text, config::Format::Json);
        let resolved = config::resolve(Some(&document), &|_| None, &[]);
        assert!(!resolved.has_errors(), "{:?}", resolved.diagnostics);
        let work = crate::machine::Work {
            folders: Vec::new(),
            path: "/bin".into(),
            variables: std::collections::BTreeMap::new(),
            command: &[],
        };
        crate::settings::session_spec(&resolved.config, None, &work).expect("a spec")
    }

    #[test]
    fn the_table_has_a_row_for_every_part_and_names_real_keys() {
        let whole = serde_json::to_value(spec(r#"{"target": "pod/a"}"#)).expect("encodes");
        let has = |pointer: &str| EFFECTS.iter().any(|(row, _, _)| *row == pointer);
        for (name, value) in whole.as_object().expect("an object") {
            let parts = value.as_object().into_iter().flatten().map(|(part, _)| format!("/{name}/{part}"));
            let is_covered = has(&format!("/{name}")) || parts.collect::<Vec<_>>().iter().all(|part| has(part));
            assert!(is_covered, "no row for a part of {name}");
        }
        for (pointer, key, _) in EFFECTS {
            assert!(whole.pointer(pointer).is_some(), "nothing at {pointer}");
            let is_key = |known: &config::keys::Key| known.path == *key || known.path.starts_with(&format!("{key}."));
            assert!(config::keys::all().any(is_key), "no key {key}");
        }
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let before = spec(r#"{"target": "pod/a", "feature": {"network": {"incoming": "steal"}}}"#);
        let after = spec(
            r#"{"target": "pod/b", "skip_processes": ["make"], "feature": {"env": {"override": {"A": "1"}},
                "network": {"incoming": {"mode": "steal", "http_filter": {"path_filter": "^/a"}}}}}"#,
        );
        let (next, updated) = merge(&before, &after).expect("merged");
        assert_eq!(updated.applied, ["feature.network.incoming.http_filter"]);
        assert_eq!(updated.for_new_processes, ["feature.env", "skip_processes"]);
        assert_eq!(updated.needs_restart, ["target.path"]);
        assert_eq!(next, SessionSpec { target: before.target.clone(), ..after.clone() });
        assert_eq!(next.incoming.filter, Some(HttpFilter::Path("^/a".to_owned())));
        let (again, updated) = merge(&next, &after).expect("merged");
        assert_eq!(again, next);
        assert!(updated.is_without_news(&["target.path".to_owned()]) && !updated.is_without_news(&[]), "{updated:?}");
    }

    #[test]
    fn traffic_cannot_begin_where_processes_do_not_tell_of_listeners() {
        let whole = spec(r#"{"target": "pod/a"}"#);
        let with = |mode| SessionSpec { incoming: IncomingOptions { mode, ..whole.incoming.clone() }, ..whole.clone() };
        let (off, on) = (with(None), with(Some(PortMode::Mirror)));
        assert_eq!(merge(&off, &on).expect("merged").1.needs_restart, ["feature.network.incoming.mode"]);
        assert_eq!(merge(&on, &off).expect("merged").1.applied, ["feature.network.incoming.mode"]);
        let network = NetworkOptions { ipv6: !whole.network.ipv6, ..whole.network.clone() };
        let (next, updated) = merge(&whole, &SessionSpec { network, ..whole.clone() }).expect("merged");
        assert_eq!((next.network.ipv6, updated.for_new_processes.len()), (!whole.network.ipv6, 1));
    }
}
