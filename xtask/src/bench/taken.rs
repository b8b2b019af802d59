//! The pod whose traffic `cargo xtask bench incoming` measures, and the sessions that take it.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::children::{Helper, bound};
use super::ways::{Cluster, Distance};
use crate::tidy;

/// What a session takes of the pod's traffic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests with a header.
    Filter,
    /// Everything.
    Steal,
    /// A copy of everything.
    Mirror,
}

/// A pod of the bench's own with one server on two ports.
pub(super) struct Pod<'c> {
    cluster: &'c Cluster,
    name: String,
    pub(super) address: String,
    /// The file of its node's network namespace.
    pub(super) netns: String,
}

impl<'c> Pod<'c> {
    /// The port that sessions take.
    pub(super) const PORT: u16 = 8080;
    /// The one that they leave alone.
    pub(super) const DIRECT: u16 = 8081;

    /// Starts it; `label` is also its name's end.
    pub(super) fn start(cluster: &'c Cluster, label: &str) -> Result<Self> {
        let name = format!("bench-{label}");
        let command = server("1", &[Self::PORT, Self::DIRECT])?;
        let container = json!({
            "name": "server", "image": "mirror.test/debian:1", "imagePullPolicy": "IfNotPresent", "command": command,
            "readinessProbe": {"periodSeconds": 1, "tcpSocket": {"port": Self::DIRECT}},
        });
        let spec = json!({
            "terminationGracePeriodSeconds": 1, "activeDeadlineSeconds": 3600, "restartPolicy": "Never",
            "containers": [container],
        });
        cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))?;
        // From here on it is deleted, whatever happens.
        let mut pod = Self { cluster, name, address: String::new(), netns: String::new() };
        let named = format!("pod/{}", pod.name);
        cluster.kubectl(&["wait", "--for=condition=Ready", &named, "--timeout=60s"])?;
        pod.address = cluster.kubectl(&["get", &named, "--output=jsonpath={.status.podIP}"])?;
        let node = cluster.kubectl(&["get", &named, "--output=jsonpath={.spec.nodeName}"])?;
        pod.netns = cluster.node_netns(&node)?;
        Ok(pod)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // It also has a deadline of its own.
        self.cluster.kubectl(&["delete", "pod", &self.name, "--wait=false"]).ok();
    }
}

/// The same server on this machine, in a session.
pub(super) struct Session {
    _server: Helper,
}

impl Session {
    /// Returns once connections come to it. Its agent's pod has the label `mirror.test/bench=LABEL`.
    pub(super) fn start(
        cluster: &Cluster,
        mirror: &std::path::Path,
        pod: &Pod<'_>,
        label: &str,
        kind: Kind,
    ) -> Result<Self> {
        // A port of its own: others of this machine may listen on the pod's.
        const OWN: u16 = 18_080;
        let mut command = bound(mirror);
        command.args(["exec", "--quiet"]).arg(format!("--target=pod/{}", pod.name));
        command
            .env("KUBECONFIG", cluster.access(Distance::NONE)?.kubeconfig)
            .env("MIRROR_AGENT_LABELS", format!("{{\"mirror.test/bench\": {label:?}}}"))
            .env("MIRROR_NETWORK_INCOMING_MODE", if kind == Kind::Mirror { "mirror" } else { "steal" })
            .env("MIRROR_NETWORK_INCOMING_PORT_MAPPING", format!("[[{OWN}, {}]]", Pod::PORT));
        if kind == Kind::Filter {
            command.env("MIRROR_NETWORK_INCOMING_HTTP_FILTER_HEADER_FILTER", "^x-bench: mine$");
        }
        let mut server = Helper::start(command.arg("--").args(server("2", &[OWN])?))?;
        let line = server.line()?;
        ensure!(line == format!("serves {OWN}"), "the server says {line:?}");
        Ok(Self { _server: server })
    }
}

/// A command that serves on ports and answers with a number.
fn server(number: &str, ports: &[u16]) -> Result<Vec<String>> {
    let file = tidy::root().join("tests/apps/bench/serve.js");
    let script = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let words = ["node".to_owned(), "-e".to_owned(), script, number.to_owned()];
    Ok(words.into_iter().chain(ports.iter().map(u16::to_string)).collect())
}
