//! What one session is to be: the resolved configuration, lowered to what the session host needs.
//!
//! Made by whoever starts a session (`mirror exec`, `mirror serve`) and handed to the session host
//! as JSON over its control socket. Holds no secret but what the user wrote into the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use config::AddressFilters;
use config::target::Target;
use protocol::agent::{HttpFilter, PortMode};
use serde::{Deserialize, Serialize};

use crate::kube::client::ClusterOptions;

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// Which cluster.
    pub cluster: ClusterOptions,
    /// Whose place to take.
    pub target: Target,
    /// How to run the agent.
    pub agent: AgentOptions,
    /// Which of the pod's variables the program gets.
    pub environment: EnvironmentOptions,
    /// Outgoing connections and names.
    pub network: NetworkOptions,
    /// Traffic of the pod.
    pub incoming: IncomingOptions,
    /// Files of the pod.
    pub files: FileOptions,
    /// Which of the processes are left alone.
    pub skip: SkipOptions,
}

impl SessionSpec {
    /// Whether the program sees the pod's host name. Without a target the pod is the agent's own: nobody's identity.
    pub fn has_host_name(&self) -> bool {
        self.network.host_name && self.target != Target::Targetless
    }

    /// Whether the program sees the pod's version of one of [`protocol::agent::POD_FILES`].
    pub fn has_file(&self, path: &str) -> bool {
        match path {
            "/etc/hostname" => self.has_host_name(),
            _ => self.network.dns,
        }
    }
}

/// How to run the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentOptions {
    /// Namespace of the Job; none means the target's.
    pub namespace: Option<String>,
    /// Run in a container of the target's pod, not in a Job.
    pub ephemeral: bool,
    /// Capabilities to do without.
    pub disabled_capabilities: Vec<String>,
    /// Run the container of an agent with a target privileged.
    pub privileged: bool,
    /// Image that has the agent inside; none delivers the agent into an image that the node has.
    pub image: Option<String>,
    /// `imagePullPolicy` of the agent's container.
    pub image_pull_policy: String,
    /// Names of `imagePullSecrets`.
    pub image_pull_secrets: Vec<String>,
    /// `ttlSecondsAfterFinished` of the Job.
    pub ttl: Duration,
    /// Longest wait for the agent.
    pub startup_timeout: Duration,
    /// How long the agent waits for its first client.
    pub first_contact: Duration,
    /// How long the agent waits for a client that went silent.
    pub grace: Duration,
    /// Log level of the agent.
    pub log_level: String,
    /// More labels of Job and pod.
    pub labels: BTreeMap<String, String>,
    /// More annotations of Job and pod.
    pub annotations: BTreeMap<String, String>,
    /// `tolerations` of the pod (Kubernetes API shape).
    pub tolerations: serde_json::Value,
    /// `resources` of the container (Kubernetes API shape).
    pub resources: serde_json::Value,
    /// `nodeSelector` of a targetless agent.
    pub node_selector: BTreeMap<String, String>,
    /// `serviceAccountName`.
    pub service_account: Option<String>,
    /// `priorityClassName`.
    pub priority_class: Option<String>,
    /// Keep mesh sidecars out of the agent's pod.
    pub disable_mesh_sidecar_injection: bool,
}

impl AgentOptions {
    /// Whether an agent with a target does without a capability.
    pub fn is_without(&self, capability: &str) -> bool {
        !self.privileged && self.disabled_capabilities.iter().any(|name| name == capability)
    }
}

/// Which of the pod's variables the program gets, in the terms of `feature.env`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentOptions {
    /// False leaves the local environment as it is.
    pub enabled: bool,
    /// Patterns (`*`, `?`) of names to take; none takes all but the default exclusions.
    pub include: Option<Vec<String>>,
    /// Patterns of names not to take.
    pub exclude: Vec<String>,
    /// Values that win over everything.
    pub overrides: BTreeMap<String, String>,
    /// Names to remove from the local environment.
    pub unset: Vec<String>,
    /// Values of the user's env file: they win over the pod's.
    pub file: BTreeMap<String, String>,
    /// Regular expressions on names, with the value that takes the place of the pod's.
    pub mapping: BTreeMap<String, String>,
}

/// Shows names of variables only: their values may be secrets.
impl core::fmt::Debug for EnvironmentOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EnvironmentOptions")
            .field("enabled", &self.enabled)
            .field("include", &self.include)
            .field("exclude", &self.exclude)
            .field("overrides", &self.overrides.keys())
            .field("unset", &self.unset)
            .field("file", &self.file.keys())
            .field("mapping", &self.mapping.keys())
            .finish()
    }
}

/// Outgoing connections and names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOptions {
    /// TCP connections are made by the pod.
    pub outgoing_tcp: bool,
    /// Datagrams are sent by the pod.
    pub outgoing_udp: bool,
    /// Which connections and datagrams those are.
    pub outgoing_filter: AddressFilters,
    /// Regular expressions on names of Unix sockets that are the pod's.
    pub unix_streams: Vec<String>,
    /// Loopback destinations stay on this machine.
    pub ignore_localhost: bool,
    /// How long a non-blocking connect may wait for the pod's result.
    pub connect_wait: Duration,
    /// Names are resolved by the pod.
    pub dns: bool,
    /// Which names those are.
    pub dns_filter: AddressFilters,
    /// IPv6 sockets and addresses are allowed.
    pub ipv6: bool,
    /// The program sees the pod's host name.
    pub host_name: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            outgoing_tcp: true,
            outgoing_udp: true,
            outgoing_filter: AddressFilters::All,
            unix_streams: Vec::new(),
            ignore_localhost: true,
            connect_wait: Duration::from_millis(50),
            dns: true,
            dns_filter: AddressFilters::All,
            ipv6: true,
            host_name: true,
        }
    }
}

/// Traffic of the pod, in the terms of `feature.network.incoming`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingOptions {
    /// What happens to it; none leaves it alone.
    pub mode: Option<PortMode>,
    /// The only ports that the program may listen on for the pod; none is all of them.
    pub ports: Option<Vec<u16>>,
    /// Ports on which it gets nothing.
    pub ignored_ports: Vec<u16>,
    /// Port of the program, port of the pod.
    pub mapping: Vec<(u16, u16)>,
    /// Port of the program, port of this machine where it really listens.
    pub listen_ports: Vec<(u16, u16)>,
    /// What listens on loopback only gets nothing.
    pub ignore_localhost: bool,
    /// Connections to a stolen port that stand are reset.
    pub flush_connections: bool,
    /// The kubelet's HTTP probes are the program's, too.
    pub probes: bool,
    /// Which HTTP requests the mode is for; none is for whole connections.
    pub filter: Option<HttpFilter>,
    /// The only ports that are filtered, of the program or of the pod; none is all of them.
    pub filtered_ports: Option<Vec<u16>>,
    /// What happens when another session steals the same port.
    pub on_concurrent_steal: OnConcurrentSteal,
    /// What happens to connections that the program does not accept.
    pub on_pause: OnPause,
    /// How long they wait at most.
    pub hold: Duration,
}

/// Whose a file is that neither a pattern nor a list names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unnamed {
    /// This machine's.
    #[default]
    Local,
    /// The pod's is read, this machine's is written.
    Read,
    /// The pod's.
    Write,
}

/// What this machine has that its programs need, and the pod's mode: the lists of `decide::files::defaults`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLists {
    /// Places of this machine, each with why it is one.
    pub places: Vec<(String, String)>,
    /// The home of its user.
    pub home: Option<String>,
    /// Whose all else is.
    pub unnamed: Unnamed,
}

/// Files of the pod, in the terms of `feature.fs`. The patterns are regular expressions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOptions {
    /// Patterns of paths, with the text that takes the place of what has matched.
    pub mapping: BTreeMap<String, String>,
    /// Files that are missing.
    pub not_found: Vec<String>,
    /// Files of the pod.
    pub read_write: Vec<String>,
    /// Files of the pod that can only be read.
    pub read_only: Vec<String>,
    /// Files of this machine.
    pub local: Vec<String>,
    /// What holds beside the patterns; nothing without a target, or where all files are local.
    pub lists: Option<FileLists>,
    /// Largest file that is read from the pod, in bytes.
    pub max_size: u64,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            mapping: BTreeMap::new(),
            not_found: Vec::new(),
            read_write: Vec::new(),
            read_only: Vec::new(),
            local: Vec::new(),
            lists: None,
            max_size: 256 << 20,
        }
    }
}

impl FileOptions {
    /// Whether any file may be the pod's, so that the agent needs the rights of the pod's user.
    pub fn reads_the_pod(&self) -> bool {
        self.lists.is_some() || !(self.read_write.is_empty() && self.read_only.is_empty())
    }
}

/// What happens when another session steals the same port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConcurrentSteal {
    /// The program cannot listen on it.
    #[default]
    Abort,
    /// This session takes the port over.
    Override,
    /// The program gets none of its traffic.
    Continue,
}

/// What happens to stolen connections while the program stands at a breakpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnPause {
    /// They wait, then the target gets them.
    #[default]
    Hold,
    /// The target gets them soon.
    Pass,
    /// They are answered with status 503.
    Unavailable,
}

/// Which of the processes are left alone, in the terms of `decide::programs::Skip`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipOptions {
    /// File names in which nothing is intercepted.
    pub named: Vec<String>,
    /// Leave build tools alone.
    pub build_tools: bool,
    /// File names that count as build tools too.
    pub more_build_tools: Vec<String>,
}
