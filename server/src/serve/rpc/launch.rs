//! What is known of a program before its launch, and how it is launched in a session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the client knows of the program that it is about to launch.
// No `Debug`: variables may be secrets.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LaunchFacts {
    /// Type of the debugger as VS Code names it (`node`, `debugpy`, `java`, `cppdbg`, …); `terminal` for a shell or a
    /// task without one.
    #[serde(rename = "type")]
    pub debugger: String,
    /// Name of the launch configuration. A session of the same folder, name and configuration that still stands is used
    /// again instead of starting another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The debug configuration as the client would launch it, variables substituted. What is missing below is taken
    /// from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Map<String, Value>>,
    /// The program that is executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Variables that the launch sets. They win over the pod's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Folder in which it is executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// How to launch a program so that it takes part in the session.
// No `Debug`: values are secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LaunchPlan {
    /// Variables to set, those of the launch that still hold among them. Values are secrets: hand them to the program,
    /// show and log names only.
    pub set: BTreeMap<String, String>,
    /// Variables to remove from what the program would inherit.
    pub unset: Vec<String>,
    /// How the debugger takes variables.
    pub environment: EnvironmentStyle,
    /// Fields of the debug configuration to replace, in the debugger's own form; all others stay. Applying it is all
    /// that a client does: `{ ...configuration, ...plan.configuration }`.
    pub configuration: Map<String, Value>,
    /// Ports of the debugger, as the launch facts tell them: they stay on this machine, are never opened in the
    /// cluster, and must not be changed by the client.
    pub debugger_ports: Vec<u16>,
}

/// How a debugger takes variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentStyle {
    /// An object `env`; `null` removes a variable.
    EnvWithNull,
    /// An object `env` of texts; a variable that is to be removed is set to the empty text.
    Env,
    /// An array `environment` of `{ "name": …, "value": … }`.
    EnvironmentList,
}
