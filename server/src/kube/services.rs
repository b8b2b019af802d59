//! The Services that lead to a pod: the names by which its clients reach it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::client::Cluster;

/// Services that are looked at, and how long they may take to come: they are told of, nothing depends on them.
const LIMIT: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(3);

/// A port of a Service that leads to one of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// The Service's name.
    pub service: String,
    /// Its own port.
    pub port: u16,
    /// The pod's.
    pub target: u16,
}

/// The ports of all Services that select the pod; none where they may not be listed.
pub(super) async fn of(cluster: &Cluster, pod: &Pod) -> Vec<ServicePort> {
    let Some(namespace) = pod.metadata.namespace.as_deref() else { return Vec::new() };
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().limit(LIMIT);
    match tokio::time::timeout(PATIENCE, api.list(&params)).await {
        Ok(Ok(services)) => services.items.iter().flat_map(|service| ports(service, pod)).collect(),
        failed => {
            tracing::debug!(failed = ?failed.map(|listed| listed.err()), "services are not told of");
            Vec::new()
        }
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<ServicePort> {
    let (Some(name), Some(spec)) = (&service.metadata.name, &service.spec) else { return Vec::new() };
    let label = |name: &String| pod.metadata.labels.as_ref()?.get(name);
    let selector = spec.selector.iter().flatten();
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
        && selector.into_iter().all(|(key, value)| label(key) == Some(value));
    let of_tcp = spec.ports.iter().flatten().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let of_pod = of_tcp.filter(|_| selects).filter_map(|port| {
        let own = u16::try_from(port.port).ok()?;
        let target = port.target_port.as_ref().map_or(Some(own), |target| number(pod, target))?;
        Some(ServicePort { service: name.clone(), port: own, target })
    });
    of_pod.collect()
}

/// A port may be named after one of the pod's.
fn number(pod: &Pod, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let named = ports.find(|port| port.name.as_ref() == Some(name))?;
            u16::try_from(named.container_port).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_lead_to_a_pod_by_labels_and_to_its_ports_by_number_and_name() {
        let pod = serde_json::json!({
            "metadata": {"labels": {"app": "web", "tier": "front"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"name": "http", "containerPort": 8080}]}]}
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let service = |spec| {
            let service = serde_json::json!({"metadata": {"name": "web"}, "spec": spec});
            let service: Service = serde_json::from_value(service).expect("a service");
            ports(&service, &pod).into_iter().map(|port| (port.port, port.target)).collect::<Vec<_>>()
        };
        for (spec, found) in [
            (serde_json::json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}), vec![(80, 80)]),
            (
                serde_json::json!({"selector": {"app": "web", "tier": "front"}, "ports": [
                    {"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 9000},
                    {"port": 82, "targetPort": "none"}, {"port": 53, "protocol": "UDP"}
                ]}),
                vec![(80, 8080), (81, 9000)],
            ),
            (serde_json::json!({"selector": {"app": "other"}, "ports": [{"port": 80}]}), vec![]),
            (serde_json::json!({"selector": {"app": "web", "x": "y"}, "ports": [{"port": 80}]}), vec![]),
            (serde_json::json!({"selector": {}, "ports": [{"port": 80}]}), vec![]),
            (serde_json::json!({"ports": [{"port": 80}]}), vec![]),
        ] {
            assert_eq!(service(spec.clone()), found, "{spec}");
        }
    }
}
