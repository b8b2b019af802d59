//! What is told when something cannot be done.

use serde::{Deserialize, Serialize};

/// Why something cannot be done, and what to do next. It is the `data` of each JSON-RPC error of the server (whose
/// `message` is the same), and stands in results where only a part is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Stable word for programs: a class such as `target-not-found`, `permission`, `cluster-unreachable`, `config`,
    /// or one of `target-missing`, `not-yet`, `session-not-found`, `interrupted`, `login-required`.
    pub code: String,
    /// What was tried, on what, and what came of it: lower case, no period.
    pub message: String,
    /// Further lines: the cluster's own words, candidates, a rule to add.
    pub causes: Vec<String>,
    /// What to do next, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What to do next, as buttons.
    pub actions: Vec<Action>,
}

/// Something that a client can offer as a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The button's text.
    pub title: String,
    /// What it does.
    pub kind: ActionKind,
    /// What it does it with: the text to copy, the command to run, the file to open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Try the same again.
    Retry,
    /// Open the target picker and try again with what was chosen.
    PickTarget,
    /// Open the file `argument`.
    OpenFile,
    /// Run the command line `argument` in a terminal that the user sees, for example to log in, then try again.
    RunInTerminal,
    /// Copy `argument` to the clipboard, for example an RBAC rule.
    Copy,
    /// Show the log file `argument`.
    ShowLog,
}
