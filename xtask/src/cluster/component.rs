//! The programs of the cluster: a table of what runs where with which arguments. Starting and
//! stopping is in `supervise`.

use super::layout::{API_PORT, CONTROL_ADDRESS, Layout, Machine, POD_RANGE, SERVICE_RANGE};
use super::state::State;

/// One program of the cluster.
pub(crate) struct Component {
    /// Its name for `cluster stop` and in `cluster.json`.
    pub(crate) name: String,
    /// The machine that it runs on.
    pub(crate) machine: Machine,
    /// The program and its arguments.
    pub(crate) arguments: Vec<String>,
    /// Files whose content counts as part of the command line.
    pub(crate) files: Vec<String>,
}

/// What starts at once: without etcd and the API server nothing else gets far.
pub(crate) fn first(layout: &Layout) -> Vec<Component> {
    vec![etcd(layout), api_server(layout), outside(layout)]
}

/// What needs a ready API server.
pub(crate) fn second(layout: &Layout, nodes: u8) -> Vec<Component> {
    let mut components = vec![controller_manager(layout), scheduler(layout)];
    for number in 1..=nodes {
        components.push(kubelet(layout, number));
        components.push(kube_proxy(layout, number));
    }
    components
}

/// The container runtimes of the nodes, which need nothing else.
pub(crate) fn containerds(layout: &Layout, nodes: u8) -> Vec<Component> {
    (1..=nodes).map(|number| containerd(layout, number)).collect()
}

/// All programs that run on machines, in the order in which they start.
pub(crate) fn all(layout: &Layout, nodes: u8) -> Vec<Component> {
    let mut components = first(layout);
    components.extend(containerds(layout, nodes));
    components.extend(second(layout, nodes));
    components
}

/// A forwarder from the machine's own loopback to the API server. It starts in the machine's own
/// namespace.
pub(crate) fn forward_arguments(layout: &Layout, state: &State, port: u16, delay: u64) -> Vec<String> {
    let words = [
        state.xtask.as_str(),
        "cluster",
        "forward",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--connect",
        &format!("127.0.0.1:{API_PORT}"),
        "--netns",
        &layout.netns_path(Machine::Control),
        "--delay",
        &delay.to_string(),
    ];
    words.map(str::to_owned).to_vec()
}

fn etcd(layout: &Layout) -> Component {
    let data = layout.text("control/etcd");
    control(
        layout,
        "etcd",
        &[
            "--name=mirror",
            &format!("--data-dir={data}"),
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=mirror=http://127.0.0.1:2380",
            // A test cluster may lose its data when the machine does.
            "--unsafe-no-fsync",
            "--heartbeat-interval=500",
            "--election-timeout=2500",
            "--log-level=warn",
        ],
    )
}

fn api_server(layout: &Layout) -> Component {
    let pki = |file: &str| layout.text(&format!("pki/{file}"));
    control(
        layout,
        "kube-apiserver",
        &[
            "--etcd-servers=http://127.0.0.1:2379",
            &format!("--advertise-address={CONTROL_ADDRESS}"),
            &format!("--secure-port={API_PORT}"),
            &format!("--service-cluster-ip-range={}", SERVICE_RANGE.both()),
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            &format!("--client-ca-file={}", pki("ca.crt")),
            &format!("--tls-cert-file={}", pki("apiserver.crt")),
            &format!("--tls-private-key-file={}", pki("apiserver.key")),
            &format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            &format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
            &format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
            // By name it would ask the machine's own name server, and wait.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            &format!("--service-account-key-file={}", pki("service-accounts.pub")),
            &format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
            "--profiling=false",
            "--shutdown-delay-duration=0s",
        ],
    )
}

fn controller_manager(layout: &Layout) -> Component {
    control(
        layout,
        "kube-controller-manager",
        &[
            &format!("--kubeconfig={}", layout.text("control/controller-manager.kubeconfig")),
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            &format!("--service-account-private-key-file={}", layout.text("pki/service-accounts.key")),
            &format!("--root-ca-file={}", layout.text("pki/ca.crt")),
            // Its usual patience with itself makes starting all controllers take 5 s.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            // A node that was killed is to be noticed within a test's patience.
            "--node-monitor-grace-period=20s",
            "--profiling=false",
        ],
    )
}

fn scheduler(layout: &Layout) -> Component {
    control(
        layout,
        "kube-scheduler",
        &[
            &format!("--kubeconfig={}", layout.text("control/scheduler.kubeconfig")),
            "--leader-elect=false",
            "--profiling=false",
        ],
    )
}

/// A server that is no pod and that pods reach, as a data base beside the cluster would be. Its
/// name in the cluster is `outside.mirror.test`.
fn outside(layout: &Layout) -> Component {
    control(layout, "outside", &["--http=80", "--greeting=220 outside ready\r\n"])
}

fn containerd(layout: &Layout, node: u8) -> Component {
    let config = layout.text(&format!("node{node}/containerd.toml"));
    Component {
        name: format!("node{node}/containerd"),
        machine: Machine::Node(node),
        arguments: ["containerd", "--config", &config].map(str::to_owned).to_vec(),
        files: vec![config, layout.text(&format!("node{node}/cni/10-mirror.conflist"))],
    }
}

fn kubelet(layout: &Layout, node: u8) -> Component {
    let machine = Machine::Node(node);
    let config = layout.text(&format!("node{node}/kubelet.yaml"));
    let arguments = [
        layout.text("bin/kubelet"),
        format!("--config={config}"),
        format!("--kubeconfig={}", layout.text(&format!("node{node}/kubelet.kubeconfig"))),
        format!("--root-dir={}", layout.text(&format!("node{node}/kubelet"))),
        format!("--hostname-override={}", machine.name()),
        format!("--node-ip={},{}", machine.address(), machine.address_six()),
        "--housekeeping-interval=30s".to_owned(),
        "--v=0".to_owned(),
    ];
    Component { name: format!("node{node}/kubelet"), machine, arguments: arguments.to_vec(), files: vec![config] }
}

fn kube_proxy(layout: &Layout, node: u8) -> Component {
    let machine = Machine::Node(node);
    let arguments = [
        layout.text("bin/kube-proxy"),
        format!("--kubeconfig={}", layout.text(&format!("node{node}/kube-proxy.kubeconfig"))),
        format!("--hostname-override={}", machine.name()),
        "--proxy-mode=nftables".to_owned(),
        format!("--cluster-cidr={}", POD_RANGE.both()),
        // The machine refuses to change its own limits and scores.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0s".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0s".to_owned(),
        "--oom-score-adj=0".to_owned(),
        "--v=0".to_owned(),
    ];
    Component { name: format!("node{node}/kube-proxy"), machine, arguments: arguments.to_vec(), files: Vec::new() }
}

fn control(layout: &Layout, name: &str, arguments: &[&str]) -> Component {
    let mut all = vec![layout.text(&format!("bin/{name}"))];
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    Component { name: name.to_owned(), machine: Machine::Control, arguments: all, files: Vec::new() }
}
