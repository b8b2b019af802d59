//! What the kubelet asks of a pod's ports, to find out how its containers are.

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe as ContainerProbe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

/// A probe over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Port of the pod.
    pub port: u16,
    /// What is asked.
    pub kind: ProbeKind,
}

/// Kinds of probes, by how they can be told from other connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeKind {
    /// They say what they are.
    Http,
    /// A connection without a word.
    Tcp,
    /// HTTPS, and gRPC, whose heads are compressed.
    Encrypted,
}

/// The probes of all containers.
pub fn of(spec: &PodSpec) -> Vec<Probe> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers.flat_map(of_container).collect()
}

/// Whether there are probes of a kind on a port.
pub fn are_on(probes: &[Probe], port: u16, kind: ProbeKind) -> bool {
    probes.contains(&Probe { port, kind })
}

fn of_container(container: &Container) -> impl Iterator<Item = Probe> {
    let all = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    all.into_iter().flatten().filter_map(|probe| of_probe(container, probe))
}

fn of_probe(container: &Container, probe: &ContainerProbe) -> Option<Probe> {
    if let Some(http) = &probe.http_get {
        let is_encrypted = http.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let kind = if is_encrypted { ProbeKind::Encrypted } else { ProbeKind::Http };
        // A probe of another host is none of this pod.
        return http.host.is_none().then(|| number(container, &http.port)).flatten().map(|port| Probe { port, kind });
    }
    if let Some(tcp) = &probe.tcp_socket {
        return number(container, &tcp.port).map(|port| Probe { port, kind: ProbeKind::Tcp });
    }
    let port = u16::try_from(probe.grpc.as_ref()?.port).ok()?;
    Some(Probe { port, kind: ProbeKind::Encrypted })
}

/// A port may be named after one of the container's.
fn number(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.filter(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port).next();
            named.and_then(|number| u16::try_from(number).ok()).or_else(|| name.parse().ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_found_by_number_and_name() {
        let spec = serde_json::json!({"containers": [
            {"name": "a", "ports": [{"name": "web", "containerPort": 8080}],
             "readinessProbe": {"httpGet": {"port": "web", "path": "/"}},
             "livenessProbe": {"httpGet": {"port": 8443, "scheme": "HTTPS"}},
             "startupProbe": {"tcpSocket": {"port": 8080}}},
            {"name": "b", "livenessProbe": {"grpc": {"port": 9000}},
             "readinessProbe": {"exec": {"command": ["true"]}},
             "startupProbe": {"httpGet": {"port": 1, "host": "example.com"}}}
        ]});
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        let probe = |port, kind| Probe { port, kind };
        let wanted = [
            probe(8443, ProbeKind::Encrypted),
            probe(8080, ProbeKind::Http),
            probe(8080, ProbeKind::Tcp),
            probe(9000, ProbeKind::Encrypted),
        ];
        assert_eq!(of(&spec), wanted);
        assert!(are_on(&wanted, 8080, ProbeKind::Tcp) && !are_on(&wanted, 8443, ProbeKind::Tcp));
    }
}
