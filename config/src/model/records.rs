//! Objects that occur inside lists or in place of text: their keys, their types, and what must hold inside one.
//!
//! Rows of a record have a path that begins with `$` and its name. Called by the key table and by
//! `check`.

use serde::{Deserialize, Serialize};

use super::{Lower, choices};
use crate::keys::{Key, Shape};
use crate::syntax::{Node, Value};
use crate::target::{KINDS, LabelSelector, Target, TargetError};
use crate::text;

/// Rows of records: documentation, path, shape.
macro_rules! records {
    ($($(#[doc = $doc:literal])+ $path:literal = $shape:expr;)+) => {
        pub(super) const KEYS: &[Key] = &[
            $(Key { path: $path, shape: $shape, default: "null", in_effect: true, raw_doc: concat!($($doc, "\n"),+) },)+
        ];
    };
}

const NAME: Shape = Shape::Text(text::SUBDOMAIN);

records! {
    /// Name of a pod.
    "$target.pod" = NAME;
    /// Name of a Deployment.
    "$target.deployment" = NAME;
    /// Name of a StatefulSet.
    "$target.stateful_set" = NAME;
    /// Name of a DaemonSet.
    "$target.daemon_set" = NAME;
    /// Name of a ReplicaSet.
    "$target.replica_set" = NAME;
    /// Name of a Job.
    "$target.job" = NAME;
    /// Name of a CronJob.
    "$target.cron_job" = NAME;
    /// Name of a Service: the pods of its selector.
    "$target.service" = Shape::Text(text::LABEL);
    /// Name of an Argo Rollout.
    "$target.rollout" = NAME;
    /// Labels that the pods carry.
    "$target.labels" = Shape::Map { key: text::LABEL_KEY, value: &Shape::Text(text::LABEL_VALUE) };
    /// Name of the container.
    "$target.container" = Shape::Text(text::LABEL);
    /// Regular expression on each header as `Name: value`.
    "$filter.header" = Shape::Text(text::HTTP_REGEX);
    /// Regular expression on the path, and on the path with its query.
    "$filter.path" = Shape::Text(text::HTTP_REGEX);
    /// HTTP method, such as `GET`.
    "$filter.method" = Shape::Text(text::METHOD);
    /// Regular expression on the query, without the `?`.
    "$filter.query" = Shape::Text(text::HTTP_REGEX);
    /// Filters that must all match.
    "$filter.all_of" = Shape::List(&Shape::Record("$filter"));
    /// Filters of which one must match.
    "$filter.any_of" = Shape::List(&Shape::Record("$filter"));
    /// A filter that must not match.
    "$filter.not" = Shape::Record("$filter");
    /// Only these are remote.
    "$sides.remote" = Shape::List(&Shape::Text(text::ADDRESS));
    /// All but these are remote.
    "$sides.local" = Shape::List(&Shape::Text(text::ADDRESS));
    /// Image name with its registry, without a tag.
    "$image.registry" = Shape::Text(text::IMAGE);
    /// Tag; mirror's own version if left out.
    "$image.tag" = Shape::Text(text::SOME);
    /// Name of a pull secret.
    "$secret.name" = NAME;
    /// Taint key; all keys if left out.
    "$toleration.key" = Shape::Text(text::LABEL_KEY);
    /// How `value` is compared.
    "$toleration.operator" = Shape::OneOf(Operator::CHOICES);
    /// Taint value.
    "$toleration.value" = Shape::Text(text::LABEL_VALUE);
    /// Taint effect; all effects if left out.
    "$toleration.effect" = Shape::OneOf(Effect::CHOICES);
    /// Seconds for which a `NoExecute` taint is tolerated.
    "$toleration.tolerationSeconds" = Shape::Integer { min: 0, max: i64::MAX };
    /// Kind of the security profile.
    "$profile.type" = Shape::OneOf(Profile::CHOICES);
    /// Name of the profile on the node, for `Localhost`.
    "$profile.localhost_profile" = Shape::Text(text::SOME);
}

choices! {
    /// How a toleration compares.
    Operator {
        /// The values must be equal.
        Equal = "Equal",
        /// Any value.
        Exists = "Exists",
    }
}

choices! {
    /// What a taint does.
    Effect {
        /// New pods stay away.
        NoSchedule = "NoSchedule",
        /// New pods stay away if possible.
        PreferNoSchedule = "PreferNoSchedule",
        /// Pods are driven out.
        NoExecute = "NoExecute",
    }
}

choices! {
    /// Kind of a security profile.
    Profile {
        /// The one of the container runtime.
        RuntimeDefault = "RuntimeDefault",
        /// None.
        Unconfined = "Unconfined",
        /// A profile on the node.
        Localhost = "Localhost",
    }
}

/// What must hold inside a record, beyond the shape of each key. The message says what is wrong.
pub(crate) fn verify(record: &str, node: &Node) -> Result<(), String> {
    let has = |name: &str| node.get(name).is_some();
    match record {
        "$target" => target(node).map(drop).map_err(|error| error.to_string()),
        "$filter" => exactly_one(node, "one filter has one kind: combine several with `all_of` or `any_of`"),
        "$sides" if has("remote") && has("local") => {
            Err("`remote` and `local` exclude each other: keep one of them".to_owned())
        }
        "$image" if !has("registry") => Err("`registry` is missing: it is the image name without the tag".to_owned()),
        "$secret" if !has("name") => Err("`name` is missing: it is the name of the pull secret".to_owned()),
        "$profile" if !has("type") => Err("`type` is missing: it is the kind of the profile".to_owned()),
        _ => Ok(()),
    }
}

fn exactly_one(node: &Node, message: &str) -> Result<(), String> {
    match node.members() {
        [_] => Ok(()),
        [] => Err("it is empty: write a filter such as `\"header\": \"x-user: me\"`, or remove it".to_owned()),
        _ => Err(message.to_owned()),
    }
}

/// A target from its object form.
pub(super) fn target(node: &Node) -> Result<Target, TargetError> {
    let container = node.get("container").and_then(Node::as_str);
    let kinds: Vec<_> = KINDS.iter().filter_map(|row| Some((row, node.get(row.key)?.as_str()?))).collect();
    match (kinds.as_slice(), node.get("labels")) {
        ([(row, name)], None) => Target::workload(row.kind, name, container),
        ([], Some(labels)) => {
            let pairs = labels.members().iter().filter_map(|label| Some((&label.key, label.value.as_str()?)));
            let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
            let container = container.map(str::to_owned);
            Ok(Target::Labels { selector: LabelSelector::parse(&pairs.join(","))?, container })
        }
        ([], None) => Err(TargetError::Empty),
        _ => Err(TargetError::Several),
    }
}

/// An agent image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image(pub String);

impl Lower for Image {
    fn lower(node: &Node) -> Option<Self> {
        if let Some(text) = node.as_str() {
            return Some(Self(text.to_owned()));
        }
        let registry = node.get("registry")?.as_str()?;
        let tag = node.get("tag").and_then(Node::as_str).unwrap_or(env!("CARGO_PKG_VERSION"));
        Some(Self(format!("{registry}:{tag}")))
    }
}

/// A pull secret of the agent's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullSecret {
    /// Its name.
    pub name: String,
}

impl Lower for PullSecret {
    fn lower(node: &Node) -> Option<Self> {
        let name = node.as_str().or_else(|| node.get("name")?.as_str())?;
        Some(Self { name: name.to_owned() })
    }
}

/// A toleration of the agent's pod; the fields are those of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Taint key; all if none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// `Equal` or `Exists`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operator: Option<String>,
    /// Taint value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
    /// Taint effect; all if none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub effect: Option<String>,
    /// How long, in seconds; for ever if none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub toleration_seconds: Option<u64>,
}

impl Lower for Toleration {
    fn lower(node: &Node) -> Option<Self> {
        let text = |name: &str| node.get(name).and_then(Node::as_str).map(str::to_owned);
        Some(Self {
            key: text("key"),
            operator: text("operator"),
            value: text("value"),
            effect: text("effect"),
            toleration_seconds: node.get("tolerationSeconds").and_then(u64::lower),
        })
    }
}

/// A security profile of the agent's pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityProfile {
    /// Its kind.
    pub kind: Profile,
    /// Its name on the node, for `Localhost`.
    pub localhost_profile: Option<String>,
}

impl Lower for SecurityProfile {
    fn lower(node: &Node) -> Option<Self> {
        Some(Self {
            kind: Profile::lower(node.get("type")?)?,
            localhost_profile: node.get("localhost_profile").and_then(Node::as_str).map(str::to_owned),
        })
    }
}

/// Two ports that belong together; which is which, the field says that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPair {
    /// The first of the pair.
    pub first: u16,
    /// The second of the pair.
    pub second: u16,
}

impl Lower for PortPair {
    fn lower(node: &Node) -> Option<Self> {
        match node.value {
            Value::Array(ref pair) => match pair.as_slice() {
                [first, second] => Some(Self { first: u16::lower(first)?, second: u16::lower(second)? }),
                _ => None,
            },
            _ => None,
        }
    }
}
