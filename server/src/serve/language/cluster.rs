//! What the cluster says of a configuration: names that are not there, targets that are not ready.

use config::ide::{Fact, Facts};
use config::{Origin, Target};
use serde_json::json;
use tower_lsp::lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString};

use super::Parsed;
use crate::failure::nearest;
use crate::serve::rpc::{ContextRow, TargetDetails, Targets};

/// What is known of the world around one file.
#[derive(Default)]
pub(in crate::serve) struct Live {
    /// Names, for completion.
    pub(in crate::serve) facts: Facts,
    /// The targets of the namespace, if they are known.
    pub(in crate::serve) targets: Option<Targets>,
    /// The configured target, if it is known.
    pub(in crate::serve) details: Option<TargetDetails>,
}

impl Live {
    /// Puts the names together.
    pub(in crate::serve) fn new(
        contexts: &[ContextRow],
        namespaces: &[String],
        targets: Option<Targets>,
        details: Option<TargetDetails>,
    ) -> Self {
        let fact = |value: &str, detail: String| Fact { value: value.to_owned(), detail };
        let mut facts =
            Facts { fresh: targets.as_ref().is_some_and(|targets| targets.problems.is_empty()), ..Facts::default() };
        facts.contexts = contexts
            .iter()
            .map(|row| {
                let current = if row.current { ", the current one" } else { "" };
                fact(
                    &row.name,
                    format!("{}, namespace {}{current}", row.server.as_deref().unwrap_or("?"), row.namespace),
                )
            })
            .collect();
        facts.namespaces = namespaces.iter().map(|name| fact(name, String::new())).collect();
        for row in targets.iter().flat_map(|targets| &targets.targets) {
            let ready = if row.ready.is_empty() { String::new() } else { format!("{} ready, ", row.ready) };
            let image = row.containers.first().map_or("", |container| container.image.as_str());
            let note = row.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
            facts.targets.push(fact(&row.path, format!("{ready}{image}{note}")));
            if row.kind == "service" {
                facts.services.push(fact(&row.name, "service".to_owned()));
            }
        }
        for container in details.iter().flat_map(|details| &details.containers) {
            facts.containers.push(fact(&container.name, container.image.clone()));
            let named = |port: &crate::serve::rpc::TargetPort| {
                let name = port.name.as_deref().unwrap_or("port");
                fact(&port.port.to_string(), format!("{name} of container {}", container.name))
            };
            facts.ports.extend(container.ports.iter().map(named));
            facts.variables.extend(container.variables.iter().map(|one| fact(&one.name, one.source.clone())));
            facts.mounts.extend(container.mounts.iter().map(|one| fact(&one.path, one.source.clone())));
        }
        for names in [&mut facts.ports, &mut facts.variables, &mut facts.mounts] {
            names.dedup_by(|a, b| a.value == b.value);
        }
        Self { facts, targets, details }
    }
}

/// The problems; none where nothing is known.
pub(super) fn diagnostics(parsed: &Parsed, live: &Live) -> Vec<Diagnostic> {
    let mut found = Found { parsed, stale: !live.facts.fresh, diagnostics: Vec::new() };
    let config = &parsed.resolved.config;
    if let Some(context) = &config.kube_context {
        found.missing("kube_context", "context-not-found", "context", context, &live.facts.contexts);
    }
    if let Some(namespace) = &config.target.namespace {
        found.missing("target.namespace", "namespace-not-found", "namespace", namespace, &live.facts.namespaces);
    }
    if let (Some(Target::Workload(workload)), Some(targets)) = (&config.target.path, &live.targets)
        && targets.complete
    {
        let path = format!("{}/{}", workload.kind, workload.name);
        let kind = workload.kind.to_string();
        match targets.targets.iter().find(|row| row.path == path) {
            Some(row) => {
                if let Some(reason) = &row.reason {
                    found.tell("target.path", "target-not-ready", format!("{path}: {reason}"), None);
                }
            }
            // A kind that may not be listed may have it.
            None if targets.problems.is_empty() => {
                let names = targets.targets.iter().filter(|row| row.kind == kind).map(|row| row.name.as_str());
                let near = nearest(&workload.name, names).first().map(|name| format!("{kind}/{name}"));
                let message = format!("there is no {kind} {:?} in namespace {}", workload.name, targets.namespace);
                found.tell("target.path", "target-not-found", message, near);
            }
            None => {}
        }
        if let (Some(container), false) = (&workload.container, live.facts.containers.is_empty()) {
            found.missing("target.path", "container-not-found", "container", container, &live.facts.containers);
        }
    }
    found.ports(live);
    found.diagnostics
}

struct Found<'a> {
    parsed: &'a Parsed,
    stale: bool,
    diagnostics: Vec<Diagnostic>,
}

impl Found<'_> {
    /// A name that is not among those that are known; what nobody knows is no problem.
    fn missing(&mut self, key: &str, code: &str, what: &str, name: &str, known: &[Fact]) {
        if known.is_empty() || known.iter().any(|fact| fact.value == name) {
            return;
        }
        let near = nearest(name, known.iter().map(|fact| fact.value.as_str())).first().map(|near| (*near).to_owned());
        // The container is a part of its text.
        let near = if key == "target.path" { None } else { near };
        self.tell(key, code, format!("there is no {what} {name:?}"), near);
    }

    /// Ports that the target does not declare get no traffic by its Services; it may listen on them nevertheless.
    fn ports(&mut self, live: &Live) {
        let Some(details) = &live.details else { return };
        let known: Vec<u16> =
            details.containers.iter().flat_map(|container| &container.ports).map(|port| port.port).collect();
        let incoming = &self.parsed.resolved.config.feature.network.incoming;
        if known.is_empty() {
            return;
        }
        for port in incoming.ports.iter().flatten().filter(|port| !known.contains(port)) {
            let ports = known.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("the target declares no port {port} (it declares {ports})");
            self.tell("feature.network.incoming.ports", "port-not-declared", message, None);
        }
    }

    fn tell(&mut self, key: &str, code: &str, message: String, near: Option<String>) {
        let resolved = &self.parsed.resolved;
        // What stands in a variable is not this file's matter.
        let Origin::File(span) = resolved.origin(key) else { return };
        let near_text = near.as_ref().map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
        let stale = if self.stale { " (stale: the cluster has not answered lately)" } else { "" };
        self.diagnostics.push(Diagnostic {
            range: self.parsed.range(span),
            severity: Some(DiagnosticSeverity::WARNING),
            code: Some(NumberOrString::String(code.to_owned())),
            source: Some("mirror (cluster)".to_owned()),
            message: format!("{message}{near_text}{stale}"),
            data: near.map(|near| json!({ "nearest": near })),
            ..Diagnostic::default()
        });
    }
}
