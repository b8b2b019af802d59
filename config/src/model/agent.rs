//! `agent`: the helper pod in the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Image, PullSecret, SecurityProfile, Toleration, choices, section};
use crate::keys::Shape;
use crate::text;

/// The longest time that a setting in seconds takes: a day.
const DAY: u64 = 86_400;

const QUANTITIES: Shape = Shape::Map { key: text::LABEL_KEY, value: &Shape::Scalar(text::QUANTITY) };

choices! {
    /// When the agent's image is pulled.
    PullPolicy {
        /// When the node does not have it.
        IfNotPresent = "IfNotPresent",
        /// At every start.
        Always = "Always",
        /// Never.
        Never = "Never",
    }
}

choices! {
    /// A Linux capability that the agent asks for.
    Capability {
        /// Reset connections that stand; steer new ones in an ephemeral container, and before Linux 6.9.
        NetAdmin = "NET_ADMIN",
        /// Read the environment and files of the target.
        SysPtrace = "SYS_PTRACE",
        /// Enter the network of the target, and steer new connections.
        SysAdmin = "SYS_ADMIN",
        /// Steer new connections in an ephemeral container.
        Bpf = "BPF",
    }
}

section! {
    /// The agent: the short-lived helper that runs beside the target.
    Agent in "agent.", short &[];
    /// Log filter of the agent, such as `info` or `debug`.
    now log_level: String = "\"info\"", Shape::Text(text::SOME);
    /// The agent logs one JSON object per line.
    later json_log: bool = "false", Shape::Bool;
    /// Namespace that the agent runs in; that of the target if left out. Without a target, and for an ephemeral
    /// agent, it has no effect.
    now namespace: Option<String> = "null", Shape::Text(text::LABEL);
    /// Image of the agent, as text or as `{"registry": NAME, "tag": TAG}`. If left out, the agent is sent along and
    /// runs in an image that the node has already.
    now image: Option<Image> = "null", Shape::Either(&[Shape::Text(text::IMAGE), Shape::Record("$image")]);
    /// When the agent's image is pulled.
    now image_pull_policy: PullPolicy = "\"IfNotPresent\"", Shape::OneOf(PullPolicy::CHOICES);
    /// Pull secrets of the agent's image, as names or as `{"name": NAME}`.
    now image_pull_secrets: Vec<PullSecret> = "[]", Shape::List(&Shape::Either(&[
        Shape::Text(text::SUBDOMAIN), Shape::Record("$secret"),
    ]));
    /// How long the finished Job is kept for a look at its logs, in seconds.
    now ttl: Duration = "1", Shape::seconds(0, 65_535);
    /// How long the agent waits for its first client, in seconds.
    now communication_timeout: Duration = "30", Shape::seconds(1, DAY);
    /// How long to wait for the agent to run, in seconds.
    now startup_timeout: Duration = "60", Shape::seconds(1, DAY);
    /// How long the agent waits for a client that has gone silent, in seconds. Traffic goes to the
    /// target meanwhile.
    now grace_time: Duration = "60", Shape::seconds(0, DAY);
    /// Run in an ephemeral container of the target's pod instead of a Job, with fewer rights. Needs `image`; the pod
    /// keeps the entry until it is gone. In namespaces that admit no capabilities the agent runs without, and the
    /// target's connections are not taken.
    now ephemeral: bool = "false", Shape::Bool;
    /// Reset connections that stand when stealing begins, each when it is idle and after 10 s at the latest, so that
    /// their clients come back.
    now flush_connections: bool = "true", Shape::Bool;
    /// Capabilities that the agent does without; what needs them is then refused, with the reason.
    now disabled_capabilities: Vec<Capability> = "[]", Shape::List(&Shape::OneOf(Capability::CHOICES));
    /// Run the agent's container privileged, for nodes whose security modules forbid what it must do.
    now privileged: bool = "false", Shape::Bool;
    /// Look whether the node has room for one more pod before the agent is made.
    later check_out_of_pods: bool = "true", Shape::Bool;
    /// Labels of the Job and its pod, beside mirror's own.
    now labels: BTreeMap<String, String> = "{}", Shape::Map { key: text::LABEL_KEY, value: &Shape::Text(text::LABEL_VALUE) };
    /// Annotations of the Job and its pod.
    now annotations: BTreeMap<String, String> = "{}", Shape::Map { key: text::LABEL_KEY, value: &Shape::Scalar(text::ANY) };
    /// Tolerations of the pod, as in Kubernetes; `[]` for none. All taints are tolerated if left out.
    now tolerations: Vec<Toleration> = "[{\"operator\": \"Exists\"}]", Shape::List(&Shape::Record("$toleration"));
    /// Labels of the nodes that a targetless agent may run on.
    now node_selector: BTreeMap<String, String> = "{}", Shape::Map { key: text::LABEL_KEY, value: &Shape::Text(text::LABEL_VALUE) };
    /// Service account of the pod; the namespace's default one if left out.
    now service_account: Option<String> = "null", Shape::Text(text::SUBDOMAIN);
    /// Priority class of the pod.
    now priority_class: Option<String> = "null", Shape::Text(text::SUBDOMAIN);
    /// Mark the pod so that Istio, Linkerd and Kuma put no sidecar into it.
    now disable_mesh_sidecar_injection: bool = "true", Shape::Bool;
    sections { dns: AgentDns, resources: Resources, security_context: SecurityContext }
}

section! {
    /// How the agent asks the cluster's name servers.
    AgentDns in "agent.dns.", short &[];
    /// How long one question waits for its answer, in seconds.
    later timeout: Duration = "1", Shape::seconds(1, 3600);
    /// How often a question is asked; as the target's `resolv.conf` says if left out.
    later attempts: Option<u32> = "null", Shape::Integer { min: 1, max: 100 };
}

section! {
    /// Resources of the agent's container, as in Kubernetes. No CPU limit by default: it would delay traffic.
    Resources in "agent.resources.", short &[];
    /// What the scheduler sets aside, such as `{"cpu": "1m", "memory": "1Mi"}`.
    now requests: BTreeMap<String, String> = "{\"cpu\": \"1m\", \"memory\": \"1Mi\"}", QUANTITIES;
    /// What the agent may use at most, such as `{"memory": "256Mi"}`.
    now limits: BTreeMap<String, String> = "{\"memory\": \"256Mi\"}", QUANTITIES;
}

section! {
    /// Security profiles of the agent's pod.
    SecurityContext in "agent.security_context.", short &[];
    /// AppArmor profile, such as `{"type": "Unconfined"}`; the cluster's choice if left out.
    later app_armor_profile: Option<SecurityProfile> = "null", Shape::Record("$profile");
    /// Seccomp profile; that of the container runtime if left out.
    later seccomp_profile: Option<SecurityProfile> = "null", Shape::Record("$profile");
}
