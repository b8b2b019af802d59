//! What the cluster says of a configuration: names that are not there, targets that are not ready.

use config::ide::{Fact, Facts};
use config::{IncomingMode, Origin, Span, Target};
use serde_json::{Value, json};
use tower_lsp::lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString};

use super::Parsed;
use crate::failure::nearest;
use crate::kube::contexts::looks_like_production;
use crate::kube::target::is_of_mesh;
use crate::serve::rpc::{ContextRow, TargetDetails, Targets};

/// What is known of the world around one file.
#[derive(Default)]
pub(in crate::serve) struct Live {
    /// Names, for completion.
    pub(in crate::serve) facts: Facts,
    /// The targets of the namespace, if they are known.
    pub(in crate::serve) targets: Option<Targets>,
    /// Contexts that look like production; the current one is none's name.
    production: Vec<Option<String>>,
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
        let names = |row: &ContextRow| [Some(Some(row.name.clone())), row.current.then_some(None)];
        let production = contexts.iter().filter(|row| row.production).flat_map(names).flatten().collect();
        Self { facts, targets, production, details }
    }
}

/// The problems; none where nothing is known.
pub(super) fn diagnostics(parsed: &Parsed, live: &Live) -> Vec<Diagnostic> {
    let mut found = Found { parsed, stale: !live.facts.fresh, diagnostics: Vec::new() };
    let config = &parsed.resolved().config;
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
    found.production(live);
    found.pods(live);
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
        let incoming = &self.parsed.resolved().config.feature.network.incoming;
        if known.is_empty() {
            return;
        }
        let key = "feature.network.incoming.ports";
        // What stands in a variable is not this file's matter.
        let Origin::File(_) = self.parsed.resolved().origin(key) else { return };
        let node = key.split('.').try_fold(&self.parsed.document.root, |node, key| node.get(key));
        for (element, port) in node.iter().flat_map(|node| node.elements()).zip(incoming.ports.iter().flatten()) {
            if known.contains(port) {
                continue;
            }
            let ports: Vec<String> = known.iter().map(u16::to_string).collect();
            let message = format!("the target declares no port {port} (it declares {})", ports.join(", "));
            self.tell_at(element.span, "port-not-declared", &message, Some(json!({ "choices": ports })));
        }
    }

    /// Taking all traffic away from people is worth a second thought.
    fn production(&mut self, live: &Live) {
        let config = &self.parsed.resolved().config;
        let incoming = &config.feature.network.incoming;
        let takes_all = incoming.mode == IncomingMode::Steal && incoming.http_filter.filter().is_none();
        let has_target = config.target.path != Some(Target::Targetless);
        let namespace = config.target.namespace.as_deref();
        let is_production =
            live.production.contains(&config.kube_context) || namespace.is_some_and(looks_like_production);
        if takes_all && has_target && is_production {
            let message = "all traffic of the target is taken away in what looks like production: set a filter, or the \
                           mode to \"mirror\"";
            self.tell("feature.network.incoming.mode", "steal-in-production", message.to_owned(), None);
        }
    }

    /// What the target's pods mean for the traffic that comes.
    fn pods(&mut self, live: &Live) {
        let Some(details) = &live.details else { return };
        if self.parsed.resolved().config.feature.network.incoming.mode == IncomingMode::Off {
            return;
        }
        let ready = details.pods.iter().filter(|pod| pod.available).count();
        if ready > 1 {
            let message = format!("{ready} pods of the target are ready: only the traffic of one of them comes");
            self.hint("target.path", "several-pods", message);
        }
        let mesh = details.containers.iter().find(|container| is_of_mesh(&container.name));
        if let Some(mesh) = mesh {
            let message =
                format!("{} takes the pod's connections: what comes has it as the client, over loopback", mesh.name);
            self.hint("target.path", "mesh-sidecar", message);
        }
    }

    fn hint(&mut self, key: &str, code: &str, message: String) {
        let count = self.diagnostics.len();
        self.tell(key, code, message, None);
        self.diagnostics[count..].iter_mut().for_each(|told| told.severity = Some(DiagnosticSeverity::HINT));
    }

    fn tell(&mut self, key: &str, code: &str, message: String, near: Option<String>) {
        let resolved = self.parsed.resolved();
        // What stands in a variable is not this file's matter.
        let Origin::File(span) = resolved.origin(key) else { return };
        let near_text = near.as_ref().map(|near| format!("; did you mean `{near}`")).unwrap_or_default();
        self.tell_at(span, code, &format!("{message}{near_text}"), near.map(|near| json!({ "nearest": near })));
    }

    fn tell_at(&mut self, span: Span, code: &str, message: &str, data: Option<Value>) {
        let stale = if self.stale { " (stale: the cluster has not answered lately)" } else { "" };
        self.diagnostics.push(Diagnostic {
            range: self.parsed.range(span),
            severity: Some(DiagnosticSeverity::WARNING),
            code: Some(NumberOrString::String(code.to_owned())),
            source: Some("mirror (cluster)".to_owned()),
            message: format!("{message}{stale}"),
            data,
            ..Diagnostic::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use tower_lsp::lsp_types::Url;

    use super::*;

    fn codes(text: &str, live: &Live) -> Vec<String> {
        let parsed = Parsed::new(&Url::parse("file:///p/.mirror.json").expect("a uri"), text);
        let code = |problem: Diagnostic| match problem.code {
            Some(NumberOrString::String(code)) => code,
            other => panic!("{other:?}"),
        };
        diagnostics(&parsed, live).into_iter().map(code).collect()
    }

    #[test]
    fn taking_all_traffic_in_production_is_told() {
        let row = |name: &str, current, production| ContextRow {
            name: name.to_owned(),
            cluster: None,
            server: None,
            user: None,
            namespace: "default".to_owned(),
            current,
            production,
        };
        let live = Live::new(&[row("eu-prod", true, true), row("dev", false, false)], &[], None, None);
        let text = |context: &str, incoming: &str| {
            format!(r#"{{{context} "target": "pod/a", "feature": {{"network": {{"incoming": {incoming}}}}}}}"#)
        };
        for (context, incoming, is_told) in [
            ("", r#""steal""#, true),
            (r#""kube_context": "eu-prod","#, r#""steal""#, true),
            (r#""kube_context": "dev","#, r#""steal""#, false),
            ("", r#""mirror""#, false),
            ("", r#"{"mode": "steal", "http_filter": {"header_filter": "a: b"}}"#, false),
        ] {
            let told = codes(&text(context, incoming), &live);
            assert_eq!(told.contains(&"steal-in-production".to_owned()), is_told, "{context} {incoming}");
        }
        let namespace = text(r#""kube_context": "dev","#, r#""steal""#)
            .replace(r#""pod/a""#, r#"{"path": "pod/a", "namespace": "production"}"#);
        assert!(codes(&namespace, &live).contains(&"steal-in-production".to_owned()), "{namespace}");
    }

    fn details(pods: &Value, container: &str, ports: &Value) -> Live {
        let container =
            json!({ "name": container, "image": "i", "init": false, "ports": ports, "variables": [], "mounts": [] });
        let row = json!({
            "path": "deployment/a", "kind": "deployment", "name": "a", "namespace": "n", "ready": "2/2",
            "available": true, "containers": [], "ports": [], "labels": {}, "owned": false, "created": 0, "users": [],
        });
        let details = json!({ "target": row, "pods": pods, "containers": [container], "services": [], "problems": [] });
        Live { details: Some(serde_json::from_value(details).expect("details")), ..Live::default() }
    }

    #[test]
    fn a_port_that_is_not_declared_is_marked_and_others_are_offered() {
        let ports = [80, 8080].map(|port| json!({ "port": port, "protocol": "TCP" }));
        let live = details(&json!([{ "name": "a", "available": true }]), "app", &json!(ports));
        let text =
            r#"{"target": "pod/a", "feature": {"network": {"incoming": {"mode": "steal", "ports": [80, 9090]}}}}"#;
        let parsed = Parsed::new(&Url::parse("file:///p/.mirror.json").expect("a uri"), text);
        let told = diagnostics(&parsed, &live);
        let [problem] = told.as_slice() else { panic!("{told:?}") };
        let actions = crate::serve::language::actions(&parsed, problem.range, &told, &told, &Default::default());
        let edits: Vec<Value> = serde_json::to_value(actions)
            .expect("encodes")
            .as_array()
            .expect("a list")
            .iter()
            .filter(|action| action["diagnostics"][0]["code"] == "port-not-declared")
            .map(|action| action["edit"]["changes"]["file:///p/.mirror.json"][0].clone())
            .collect();
        let at = text.find("9090").expect("there");
        let range = json!({ "start": { "line": 0, "character": at }, "end": { "line": 0, "character": at + 4 } });
        let edit = |text: &str| json!({ "range": range, "newText": text });
        assert_eq!(edits, [edit("80"), edit("8080")]);
    }

    #[test]
    fn pods_that_share_traffic_are_told() {
        let pod = |available| json!({ "name": "a", "available": available });
        let text = r#"{"target": "deployment/a"}"#;
        assert_eq!(codes(text, &details(&json!([pod(true), pod(true)]), "app", &json!([]))), ["several-pods"]);
        assert_eq!(codes(text, &details(&json!([pod(true), pod(false)]), "app", &json!([]))), [""; 0]);
        assert_eq!(codes(text, &details(&json!([pod(true)]), "istio-proxy", &json!([]))), ["mesh-sidecar"]);
        let off = r#"{"target": "deployment/a", "feature": {"network": {"incoming": "off"}}}"#;
        assert_eq!(codes(off, &details(&json!([pod(true), pod(true)]), "istio-proxy", &json!([]))), [""; 0]);
    }
}
