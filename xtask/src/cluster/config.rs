//! The configuration files of a node: containerd, its network plugins, kubelet.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::image;
use super::layout::{DNS_ADDRESS, Layout, Machine, SIX, pod_range, pod_range_six};

/// Writes a node's configuration files.
pub(crate) fn write(layout: &Layout, node: u8) -> Result<()> {
    let folder = layout.machine(Machine::Node(node));
    let write = |inside: &str, text: String| -> Result<()> {
        let path = folder.join(inside);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    write("containerd.toml", containerd(layout, node))?;
    write("cni/10-mirror.conflist", pretty(&network(node)))?;
    // Kubernetes reads YAML, and JSON is YAML.
    write("kubelet.yaml", pretty(&kubelet(layout, node)))?;
    write("resolv.conf", String::new())
}

fn containerd(layout: &Layout, node: u8) -> String {
    let folder = layout.machine(Machine::Node(node)).display().to_string();
    let socket = layout.containerd_socket(node);
    let pause = image::PAUSE;
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "/run/containerd"
oom_score = 0

[grpc]
address = "{socket}"

[debug]
level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# The machine has no CAP_SYS_RESOURCE: without this, runc dies of a write to oom_score_adj.
restrict_oom_score_adj = true
# As newer releases do by default: ports below 1024 for everybody.
enable_unprivileged_ports = true
enable_unprivileged_icmp = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// Each pod has a cable of its own to its node and no neighbours: with a bridge, an answer from a
/// pod of the same node would go round the address translation of Services.
///
/// No address is probed for duplicates: nobody else can have it on such a cable, and the probe keeps each pod waiting for
/// one to two seconds. A pod answers every datagram to a port that nobody has: the kernel's limit, one message a second to
/// each address, would leave one test without the answers that another used up. `tuning` says so before the cable is there;
/// as it goes on from a result, `loopback` gives it one.
fn network(node: u8) -> Value {
    let cable = json!({
        "type": "ptp",
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni-addresses",
            "ranges": [[{ "subnet": pod_range(node) }], [{ "subnet": pod_range_six(node) }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": SIX }],
        },
    });
    json!({
        "cniVersion": "0.4.0",
        "name": "mirror",
        "plugins": [
            { "type": "loopback" },
            { "type": "tuning", "sysctl": {
                "net.ipv6.conf.default.accept_dad": "0",
                "net.ipv4.icmp_ratelimit": "0",
                "net.ipv6.icmp.ratelimit": "0",
            } },
            cable,
        ],
    })
}

fn kubelet(layout: &Layout, node: u8) -> Value {
    let machine = Machine::Node(node);
    let inside = |file: &str| format!("{}/{file}", layout.machine(machine).display());
    let pki = |file: &str| layout.text(&format!("pki/{file}"));
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": pki(&format!("node{node}-server.crt")),
        "tlsPrivateKeyFile": pki(&format!("node{node}-server.key")),
        "address": machine.address(),
        "healthzBindAddress": "127.0.0.1",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.cgroup(machine),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket(node)),
        "resolvConf": inside("resolv.conf"),
        "volumePluginDir": inside("volume-plugins"),
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "oomScoreAdj": 0,
        "serializeImagePulls": false,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        "maxPods": 200,
        "nodeLeaseDurationSeconds": 20,
        "shutdownGracePeriod": "0s",
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
