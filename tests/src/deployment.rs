//! A Deployment of a test's own, whose traffic it may take.

use serde_json::json;

use crate::{Cluster, Laptop};

/// One pod that answers `from pod`, with a Service of the same name; gone with the value.
pub struct Deployment {
    name: String,
    port: u16,
}

impl Deployment {
    /// Makes it, and waits until it answers on `port`.
    pub fn start(laptop: &Laptop, port: u16) -> Self {
        let label = laptop.selector().replace("mirror-test=", "");
        let name = format!("shop-{label}");
        let script = format!("mkdir -p /site; echo from pod > /site/who; cd /site; exec python3 -m http.server {port}");
        let container = json!({
            "name": "shop", "image": "mirror.test/debian:1", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script], "ports": [{"name": "http", "containerPort": port}],
            "env": [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "COLOUR", "value": "green"},
                {"name": "SHOP_TOKEN", "value": "not-to-be-seen"},
            ],
            "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 5, "httpGet": {"port": port, "path": "/who"}},
        });
        let labels = json!({"app": name});
        let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": port}]},
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [deployment, service]});
        Cluster::shared().apply(&list.to_string());
        // From here on it is deleted, whatever happens.
        let deployment = Self { name, port };
        Cluster::shared().kubectl(&["rollout", "status", &deployment.path(), "--timeout=90s"]);
        deployment
    }

    /// Its name, and that of its Service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port on which it answers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The target that it is.
    pub fn path(&self) -> String {
        format!("deployment/{}", self.name)
    }

    /// Where the cluster finds it.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.name, self.port)
    }

    /// What a request from the cluster gets, or why it gets nothing.
    pub fn ask(&self, path: &str, header: &str) -> String {
        let url = format!("{}{path}", self.url());
        let arguments = ["exec", "deploy/debian", "-c", "nginx", "--", "curl", "-sS", "-m", "10", "-H", header, &url];
        let output = Cluster::shared().try_kubectl(&arguments);
        String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for kind in ["deployment", "service"] {
            Cluster::shared().try_kubectl(&["delete", kind, &self.name, "--wait=false"]);
        }
    }
}
