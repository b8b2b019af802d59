//! The cluster as tests see it: what its state folder says, and kubectl as administrator.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Running, processes};

static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::load);

/// What the command line of each agent has.
pub(crate) const AGENT: &str = "/mirror/loader";

/// The cluster that `cargo xtask cluster up` made.
pub struct Cluster {
    folder: PathBuf,
    state: Value,
}

impl Cluster {
    /// The one cluster of this machine.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    fn load() -> Self {
        let folder = std::env::var("MIRROR_CLUSTER_DIR").unwrap_or_else(|_| "/var/lib/mirror-cluster".to_owned());
        let folder = PathBuf::from(folder);
        let file = folder.join("cluster.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}: run `cargo xtask test`, which starts the cluster", file.display())
        });
        Self { folder, state: serde_json::from_str(&text).expect("cluster.json is JSON") }
    }

    /// Where the cluster's tool keeps its state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn text(&self, key: &str) -> &str {
        self.state[key].as_str().unwrap_or_else(|| panic!("cluster.json has no {key}"))
    }

    /// The kubeconfig of the ordinary developer, who has the rights that mirror needs and no others.
    pub fn user_kubeconfig(&self) -> PathBuf {
        PathBuf::from(self.text("user_kubeconfig"))
    }

    /// kubectl, for a laptop's own commands.
    pub fn kubectl_path(&self) -> PathBuf {
        PathBuf::from(self.text("kubectl"))
    }

    /// The certificate of the authority that signed the workload's.
    pub fn ca_certificate(&self) -> &str {
        self.text("ca_certificate")
    }

    /// Libraries of client programs: `python` for `PYTHONPATH`, `node_modules` for `NODE_PATH`.
    pub fn libraries(&self) -> &Path {
        Path::new(self.text("libraries"))
    }

    /// A curl that resolves names by c-ares.
    pub fn curl_with_c_ares(&self) -> PathBuf {
        self.folder.join("bin/curl-with-c-ares")
    }

    /// The API server's address.
    pub fn api_url(&self) -> &str {
        self.text("api_url")
    }

    /// Runs a task of the cluster's own tool, such as `["restart", "kube-apiserver"]`.
    pub fn task(&self, arguments: &[&str]) -> Output {
        let output =
            Command::new(self.text("xtask")).arg("cluster").args(arguments).output().expect("the cluster's tool runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Kills the API server.
    pub fn stop_api_server(&'static self) -> Outage {
        self.task(&["stop", "kube-apiserver"]);
        Outage { cluster: self }
    }

    /// A kubeconfig for `user`, who may do nothing until the test binds a role.
    pub fn mint_kubeconfig(&self, user: &str, file: &Path, extra: &[&str]) {
        let file_text = file.to_str().expect("a plain path");
        self.task(&[&["kubeconfig", "--user", user, "--out", file_text], extra].concat());
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
    }

    /// kubectl as administrator, which must succeed; its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("kubectl prints text")
    }

    /// kubectl as administrator.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        Command::new(self.text("kubectl")).args(arguments).output().expect("kubectl runs")
    }

    /// Applies a manifest given as text.
    pub fn apply(&self, manifest: &str) {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(manifest.as_bytes()).expect("written");
        self.kubectl(&["apply", "-f", file.path().to_str().expect("a plain path")]);
    }

    /// Puts rights into force: returns once the API server says so of `question`, such as `get pods`.
    pub fn grant(&self, manifest: &str, user: &str, question: &str, expected: &str) {
        self.apply(manifest);
        let arguments: Vec<&str> =
            ["auth", "can-i"].into_iter().chain(question.split(' ')).chain(["--as", user]).collect();
        while String::from_utf8_lossy(&self.try_kubectl(&arguments).stdout).trim() != expected {}
    }

    /// Waits until a Job has been placed, has run, has ended and has been collected.
    fn runs_a_job(&self) {
        let name = format!("canary-{}", std::process::id());
        self.apply(&format!(
            r#"{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}, labels: {{mirror-test: {name}}}}}, spec: {{
                backoffLimit: 0, ttlSecondsAfterFinished: 0, template: {{
                    metadata: {{labels: {{mirror-test: {name}}}}},
                    spec: {{restartPolicy: Never, containers: [{{
                        name: canary, image: "mirror.test/echo-server:1", imagePullPolicy: Never, args: [--help]
                    }}]}}
                }}
            }}}}"#
        ));
        self.wait_gone(&format!("mirror-test={name}"), 120);
    }

    /// Objects of a kind with a label, in all namespaces: `namespace/name`.
    pub fn labelled(&self, kind: &str, label: &str) -> Vec<String> {
        let format = r#"jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}"#;
        let listed = self.kubectl(&["get", kind, "-A", "-l", label, "-o", format]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Waits until nothing with `label` is left and returns how long that took, or fails after `seconds` with
    /// what is.
    #[track_caller]
    pub fn wait_gone(&self, label: &str, seconds: u32) -> Duration {
        const KINDS: &str = "jobs,pods,configmaps";
        let began = Instant::now();
        let limit = Duration::from_secs(seconds.into());
        loop {
            // It waits for what it finds at first, so that what comes later needs another turn.
            let timeout = format!("--timeout={}s", limit.saturating_sub(began.elapsed()).as_secs().max(1));
            let gone = self.try_kubectl(&["wait", "--for=delete", KINDS, "-A", "-l", label, &timeout]);
            let left = self.labelled(KINDS, label);
            if left.is_empty() {
                return began.elapsed();
            }
            let said = String::from_utf8_lossy(&gone.stderr);
            assert!(began.elapsed() < limit, "left after {seconds} s: {left:?}\n{said}");
        }
    }

    /// Follows the objects of a kind with a label: prints `kind/name` when one comes into being or changes.
    pub fn watch(&self, kind: &str, label: &str) -> Running {
        let mut command = Command::new(self.text("kubectl"));
        command.args(["get", kind, "-A", "-l", label, "--watch", "-o", "name"]);
        Running::start(command)
    }

    /// UIDs of the pods with a label.
    pub fn pod_uids(&self, label: &str) -> Vec<String> {
        let format = r#"jsonpath={range .items[*]}{.metadata.uid}{"\n"}{end}"#;
        self.kubectl(&["get", "pods", "-A", "-l", label, "-o", format]).lines().map(str::to_owned).collect()
    }

    /// The processes of pods that have an argument, as this machine numbers them.
    pub fn processes(&self, pod_uids: &[String], argument: &str) -> Vec<i32> {
        processes::find(|pid| {
            let groups = String::from_utf8_lossy(&processes::read(pid, "cgroup")).into_owned();
            pod_uids.iter().any(|uid| groups.contains(uid.as_str()))
                && processes::has(&processes::read(pid, "cmdline"), argument)
        })
    }

    /// The processes of pods that are agents of ours.
    pub fn agents(&self, pod_uids: &[String]) -> Vec<i32> {
        self.processes(pod_uids, AGENT)
    }

    /// A command that runs in a pod's network, and for the rest on this machine.
    pub fn in_network_of(&self, pod_uid: &str, program: &str) -> Command {
        let uids = [pod_uid.to_owned()];
        let process = *self.processes(&uids, "/pause").first().unwrap_or_else(|| panic!("pod {pod_uid} runs"));
        let mut command = Command::new("nsenter");
        command.args([&format!("--net=/proc/{process}/ns/net"), "--", program]);
        command
    }

    /// Waits until pods have no agent's process any more.
    pub fn wait_agents_gone(&self, pod_uids: &[String], within: Duration) {
        processes::wait_gone(|| self.agents(pod_uids), Instant::now() + within);
    }

    /// Gives every node an image from an archive.
    pub fn import_image(&self, archive: &Path) {
        for node in 0..self.n_nodes() {
            self.ctr(node, &["images", "import", archive.to_str().expect("a plain path")]);
        }
    }

    /// Takes an image from every node.
    pub fn remove_image(&self, name: &str) {
        for node in 0..self.n_nodes() {
            self.ctr(node, &["images", "remove", name]);
        }
    }

    /// A program of this machine in the network of a node, from where all pods are reached.
    pub fn on_node(&self, program: &str) -> Command {
        let netns = self.state["nodes"][0]["netns"].as_str().expect("a node");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={netns}")).arg(program);
        command
    }

    fn n_nodes(&self) -> usize {
        self.state["nodes"].as_array().map_or(0, Vec::len)
    }

    /// Runs containerd's own tool on a node.
    fn ctr(&self, node: usize, arguments: &[&str]) {
        let command = self.state["nodes"][node]["ctr"].as_array().expect("a command line");
        let words: Vec<&str> = command.iter().filter_map(Value::as_str).chain(arguments.iter().copied()).collect();
        let output = Command::new(words[0]).args(&words[1..]).output().expect("ctr runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The first pod of a label selector in a namespace.
    pub fn pod(&self, namespace: &str, label: &str) -> String {
        self.kubectl(&["get", "pods", "-n", namespace, "-l", label, "-o", "jsonpath={.items[0].metadata.name}"])
    }
}

/// A time without an API server. Its end waits until the cluster works as before.
#[must_use]
pub struct Outage {
    cluster: &'static Cluster,
}

impl Drop for Outage {
    fn drop(&mut self) {
        let start = |mode: &str, part: &str| {
            let ended = Command::new(self.cluster.text("xtask")).args(["cluster", mode, part]).status();
            assert!(std::thread::panicking() || ended.is_ok_and(|status| status.success()), "{mode} {part}");
        };
        start("start", "kube-apiserver");
        // Who lost its watches asks again after ever longer pauses: a kubelet then starts no pod for up to a minute.
        let nodes = self.cluster.state["nodes"].as_array().into_iter().flatten();
        let kubelets = nodes.filter_map(|node| Some(format!("{}/kubelet", node["name"].as_str()?)));
        ["kube-controller-manager", "kube-scheduler"].into_iter().for_each(|part| start("restart", part));
        kubelets.for_each(|part| start("restart", &part));
        if !std::thread::panicking() {
            self.cluster.runs_a_job();
        }
    }
}
