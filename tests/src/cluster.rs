//! The cluster as tests see it: what its state folder says, and kubectl as administrator.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::load);

/// The cluster that `cargo xtask cluster up` made.
pub struct Cluster {
    state: Value,
}

impl Cluster {
    /// The one cluster of this machine.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    fn load() -> Self {
        let folder = std::env::var("MIRROR_CLUSTER_DIR").unwrap_or_else(|_| "/var/lib/mirror-cluster".to_owned());
        let file = Path::new(&folder).join("cluster.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}: run `cargo xtask test`, which starts the cluster", file.display())
        });
        Self { state: serde_json::from_str(&text).expect("cluster.json is JSON") }
    }

    fn text(&self, key: &str) -> &str {
        self.state[key].as_str().unwrap_or_else(|| panic!("cluster.json has no {key}"))
    }

    /// The kubeconfig of the ordinary developer, who has the rights that mirror needs and no others.
    pub fn user_kubeconfig(&self) -> PathBuf {
        PathBuf::from(self.text("user_kubeconfig"))
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

    /// Objects of a kind with a label, in all namespaces: `namespace/name`.
    pub fn labelled(&self, kind: &str, label: &str) -> Vec<String> {
        let format = r#"jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}"#;
        let listed = self.kubectl(&["get", kind, "-A", "-l", label, "-o", format]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Waits until nothing with `label` is left, or fails after `seconds` with what is.
    pub fn wait_gone(&self, label: &str, seconds: u32) {
        let timeout = format!("--timeout={seconds}s");
        for kind in ["jobs", "pods", "configmaps"] {
            let gone = self.try_kubectl(&["wait", "--for=delete", kind, "-A", "-l", label, &timeout]);
            let left = self.labelled(kind, label);
            assert!(
                left.is_empty(),
                "{kind} left after {seconds} s: {left:?}\n{}",
                String::from_utf8_lossy(&gone.stderr)
            );
        }
    }

    /// The first pod of a label selector in a namespace.
    pub fn pod(&self, namespace: &str, label: &str) -> String {
        self.kubectl(&["get", "pods", "-n", namespace, "-l", label, "-o", "jsonpath={.items[0].metadata.name}"])
    }
}
