//! Health, reports, and the configuration as it holds.

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::sessions::Traffic;
use super::targets::Place;

/// No parameters, or no result: an empty object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Nothing {}

/// Version and health of the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of `mirror`; the same as in `initialize`'s `serverInfo`.
    pub version: String,
    /// Process id of the helper.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// Whether all is well.
    pub health: Health,
    /// What is not well.
    pub problems: Vec<Problem>,
    /// How many sessions it follows.
    pub sessions: usize,
    /// How many watches of clusters it has.
    pub watches: usize,
    /// How many configuration files are open.
    pub documents: usize,
}

/// Health of the helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// All is well.
    Good,
    /// Something cannot be done: see `problems`.
    Degraded,
}

/// A report for a bug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DiagnosticsReport {
    /// Markdown.
    pub text: String,
}

/// Where a configuration is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EffectiveParams {
    /// The workspace folder (a path).
    pub folder: String,
    /// The file; else the first of `.mirror.json`, `.mirror.yaml`, … in the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Where a target was picked, which wins over the configuration.
    #[serde(default)]
    pub place: Place,
}

/// The configuration that holds in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EffectiveConfig {
    /// The file, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The target (`deployment/web`, `targetless`), if the configuration names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The kubeconfig that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// The context, of the configuration or the kubeconfig's current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The namespace, of the configuration or the context's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the context or the namespace looks like one of production.
    pub production: bool,
    /// What happens to the target's traffic.
    pub traffic: Traffic,
    /// Every setting that is not at its default.
    pub settings: Vec<Setting>,
    /// Errors of the file, and why the kubeconfig cannot be used.
    pub problems: Vec<Problem>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Its value; values that may be secrets are masked.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}
