//! One target with everything that is of use in a configuration. Names of variables, never values.

use std::collections::BTreeSet;

use config::target::{Target, TargetKind};
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, Pod, Service, Volume};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, DynamicObject, ListParams};

use super::client::{Cluster, Operation};
use super::kinds::resource;
use super::list::{Row, pod_row, workload_row};
use super::target::{self, not_ready};
use crate::failure::{Class, Failure, Result};
use crate::serve::rpc::{ContainerDetails, PodRow, ServiceRow, TargetPort, VariableName, VolumeMount};

/// Pods that are looked at.
const PODS: usize = 100;

/// What there is to know of one target.
pub struct Details {
    /// Its row.
    pub row: Row,
    /// Its pods.
    pub pods: Vec<PodRow>,
    /// The containers of the first pod.
    pub containers: Vec<ContainerDetails>,
    /// Services that lead to the first pod.
    pub services: Vec<ServiceRow>,
    /// What could not be found out.
    pub failures: Vec<Failure>,
}

/// Looks at one target.
pub async fn details(cluster: &Cluster, target: &Target) -> Result<Details> {
    let Target::Workload(workload) = target else {
        return Err(Failure::new(Class::Usage, format!("{target} is no single target"))
            .next("name one as KIND/NAME, such as deployment/web"));
    };
    let kind = workload.kind.row();
    let mut failures = Vec::new();
    let pods = target::pods_of(cluster, target).await?;
    let row = match (workload.kind, pods.first()) {
        (TargetKind::Pod, Some(pod)) => pod_row(pod),
        _ => {
            let api: Api<DynamicObject> =
                Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource(kind));
            let operation = Operation {
                verb: "get",
                group: kind.group,
                resource: kind.resource,
                namespace: Some(&cluster.namespace),
                name: Some(&workload.name),
            };
            workload_row(kind, &cluster.ask(operation, api.get(&workload.name)).await?)
        }
    };
    let first = pods.iter().find(|pod| not_ready(pod).is_none()).or(pods.first());
    let services = match first {
        Some(pod) => services(cluster, pod).await.unwrap_or_else(|failure| {
            failures.push(failure);
            Vec::new()
        }),
        None => Vec::new(),
    };
    let containers = first.map(containers).unwrap_or_default();
    Ok(Details { row, pods: pods.iter().take(PODS).map(pod_line).collect(), containers, services, failures })
}

fn pod_line(pod: &Pod) -> PodRow {
    let reason = not_ready(pod);
    PodRow {
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        available: reason.is_none(),
        reason,
    }
}

fn containers(pod: &Pod) -> Vec<ContainerDetails> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let own = spec.containers.iter().map(|container| (container, false));
    let init = spec.init_containers.iter().flatten();
    // One that is restarted for ever is a sidecar.
    let init = init.map(|container| (container, container.restart_policy.as_deref() != Some("Always")));
    own.chain(init).map(|(container, init)| container_line(container, init, volumes)).collect()
}

fn container_line(container: &Container, init: bool, volumes: &[Volume]) -> ContainerDetails {
    let ports = container.ports.iter().flatten().filter_map(|port| {
        let number = port.container_port.try_into().ok()?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some(TargetPort { port: number, name: port.name.clone(), protocol })
    });
    let mounts = container.volume_mounts.iter().flatten().map(|mount| VolumeMount {
        path: mount.mount_path.clone(),
        source: volumes.iter().find(|volume| volume.name == mount.name).map_or_else(String::new, volume_source),
        read_only: mount.read_only == Some(true),
    });
    let from = container.env_from.iter().flatten().filter_map(all_of);
    let variables = container.env.iter().flatten().map(variable);
    let mut seen = BTreeSet::new();
    ContainerDetails {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        init,
        ports: ports.collect(),
        variables: variables.chain(from).filter(|variable| seen.insert(variable.name.clone())).collect(),
        mounts: mounts.collect(),
    }
}

fn variable(variable: &EnvVar) -> VariableName {
    let source = variable.value_from.as_ref();
    let secret = source.and_then(|source| source.secret_key_ref.as_ref());
    let map = source.and_then(|source| source.config_map_key_ref.as_ref());
    let field = source.and_then(|source| source.field_ref.as_ref());
    let source = match (secret, map, field, source) {
        (Some(secret), ..) => format!("secret {}", secret.name),
        (_, Some(map), ..) => format!("config map {}", map.name),
        (.., Some(field), _) => format!("field {}", field.field_path),
        (.., Some(_)) => "the container's resources".to_owned(),
        _ => "value".to_owned(),
    };
    VariableName { name: variable.name.clone(), source }
}

/// Whole sets of variables, whose names only the cluster knows.
fn all_of(from: &EnvFromSource) -> Option<VariableName> {
    let secret = from.secret_ref.as_ref().map(|secret| format!("secret {}", secret.name));
    let map = from.config_map_ref.as_ref().map(|map| format!("config map {}", map.name));
    let name = format!("{}*", from.prefix.as_deref().unwrap_or_default());
    secret.or(map).map(|source| VariableName { name, source })
}

fn volume_source(volume: &Volume) -> String {
    let named = |kind: &str, name: Option<&String>| name.map(|name| format!("{kind} {name}"));
    let secret = volume.secret.as_ref().and_then(|secret| named("secret", secret.secret_name.as_ref()));
    let map = volume.config_map.as_ref().and_then(|map| named("config map", Some(&map.name)));
    let claim = volume.persistent_volume_claim.as_ref();
    let claim = claim.and_then(|claim| named("volume claim", Some(&claim.claim_name)));
    let empty = volume.empty_dir.as_ref().map(|_| "empty directory".to_owned());
    let host = volume.host_path.as_ref().and_then(|host| named("host path", Some(&host.path)));
    let projected = volume.projected.as_ref().map(|_| "projected".to_owned());
    secret.or(map).or(claim).or(empty).or(host).or(projected).unwrap_or_else(|| volume.name.clone())
}

async fn services(cluster: &Cluster, pod: &Pod) -> Result<Vec<ServiceRow>> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let all = cluster.list(&api, Some(&cluster.namespace), ListParams::default()).await?;
    let label = |name: &String| pod.metadata.labels.as_ref()?.get(name);
    let mut rows = Vec::new();
    for service in &all {
        let (Some(name), Some(spec)) = (&service.metadata.name, &service.spec) else { continue };
        let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty());
        if !selector.is_some_and(|selector| selector.iter().all(|(key, value)| label(key) == Some(value))) {
            continue;
        }
        for port in spec.ports.iter().flatten() {
            let target_port = match &port.target_port {
                Some(IntOrString::Int(number)) => number.to_string(),
                Some(IntOrString::String(name)) => name.clone(),
                None => port.port.to_string(),
            };
            rows.push(ServiceRow { name: name.clone(), port: port.port.try_into().unwrap_or(0), target_port });
        }
    }
    Ok(rows)
}
