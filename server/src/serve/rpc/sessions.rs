//! Sessions: how they are asked for, what they are, what is told of them.

use serde::{Deserialize, Serialize};

use super::launch::{LaunchFacts, LaunchPlan};
use super::problem::Problem;
use super::targets::Place;

/// What a session is to be.
// No `Debug`: the launch facts may hold secrets.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionStart {
    /// The workspace folder (a path): the configuration is looked for there, and its relative paths are meant from there.
    pub folder: String,
    /// The configuration file; else the first of `.mirror.json`, `.mirror.yaml`, … in the folder, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The target that was picked (`deployment/web`, `targetless`); else the configuration's. A start without either
    /// fails with `target-missing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The container that was picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Where the target was picked; what is missing is the configuration's.
    #[serde(default)]
    pub place: Place,
    /// What happens to the target's traffic, if another thing than the configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The program that is about to be launched.
    pub launch: LaunchFacts,
    /// Token for `$/progress`, as in LSP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_done_token: Option<String>,
}

/// What happens to the target's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// Nothing.
    Off,
    /// The program gets a copy.
    Mirror,
    /// The program gets it instead of the target.
    Steal,
}

/// A session that stands.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionStarted {
    /// The session.
    pub session: SessionInfo,
    /// How to launch the program.
    pub plan: LaunchPlan,
    /// Whether a session that stood already is used again.
    pub reused: bool,
}

/// Which session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionParams {
    /// Its name.
    pub session: String,
}

/// All sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// The oldest first.
    pub sessions: Vec<SessionInfo>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its name.
    pub session: String,
    /// Version of the `mirror` that holds it.
    pub version: String,
    /// Who has started it.
    pub origin: Origin,
    /// How it is.
    pub state: SessionState,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub started: u64,
    /// The workspace folder that it was started for, or that in which `mirror exec` was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Its configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Name of the launch configuration, or the program of `mirror exec`.
    pub name: String,
    /// Type of the debugger; none for `mirror exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debugger: Option<String>,
    /// The context.
    pub context: String,
    /// Address of the API server.
    pub server: String,
    /// The target's namespace.
    pub namespace: String,
    /// Whether the context or the namespace looks like one of production.
    #[serde(default)]
    pub production: bool,
    /// The target: `deployment/web`, `targetless`.
    pub target: String,
    /// The pod whose place the program takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The container whose place the program takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What happens to the target's traffic.
    pub traffic: Traffic,
    /// Whether that holds for some HTTP requests only.
    pub filtered: bool,
    /// Its processes, those that have ended left out.
    pub processes: Vec<Process>,
    /// The target's ports that lead to it.
    pub ports: Vec<Port>,
    /// The host's log file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Seconds that it lives without a process before it ends.
    pub grace: u64,
}

/// Who has started a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `mirror serve`, for an editor.
    Editor,
    /// `mirror exec`.
    Terminal,
}

/// How a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// The agent is being made.
    Starting,
    /// It stands, and no process takes part: none yet, or none any more. Ends after the grace time.
    WaitingForProgram,
    /// A process takes part.
    Active,
    /// A process takes part, but something is missing: see the cause.
    Degraded,
    /// The agent cannot be reached; the program goes on, and what it asks of the pod fails.
    Lost,
    /// It is over.
    Ended,
}

/// A session is in another state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionStateChanged {
    /// The session.
    pub session: String,
    /// How it is.
    pub state: SessionState,
    /// Why.
    pub cause: String,
}

/// A process that has loaded the layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<i32>,
    /// Its arguments, at most 64 of 256 characters each.
    pub argv: Vec<String>,
    /// Whether the configuration leaves it alone (`skip_processes`, build tools).
    pub skipped: bool,
    /// When it loaded the layer, in milliseconds since 1970.
    pub since: u64,
}

/// The session's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionProcesses {
    /// The session.
    pub session: String,
    /// All that live.
    pub processes: Vec<Process>,
}

/// A port of the target that leads to the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The target's port.
    pub port: u16,
    /// The port that the program listens on.
    pub local: u16,
    /// What happens to its traffic.
    pub mode: PortMode,
    /// Whether that holds for some HTTP requests only.
    pub filtered: bool,
}

/// What happens to the traffic of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PortMode {
    /// The program gets a copy.
    Mirror,
    /// The program gets it instead of the target.
    Steal,
}

/// The ports of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionPorts {
    /// The session.
    pub session: String,
    /// All that are open.
    pub ports: Vec<Port>,
}

/// Requests and connections that came to a session since the last notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionRequests {
    /// The session.
    pub session: String,
    /// The oldest first. The same `id` comes once more when its answer is known.
    pub requests: Vec<RequestSeen>,
    /// How many were left out because there were too many.
    pub omitted: u64,
}

/// A request, or a connection where single requests are not told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequestSeen {
    /// Counts up within the session.
    pub id: u64,
    /// When it came, in milliseconds since 1970.
    pub at: u64,
    /// The target's port.
    pub port: u16,
    /// Address of the client.
    pub client: String,
    /// The method, of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path, of an HTTP request, without its query (which may hold secrets).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Status of the answer, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Time to the answer's head, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// Who has it.
    pub outcome: Outcome,
}

/// Who has a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The program.
    Local,
    /// The program has a copy, the target answers.
    Copied,
    /// The target: a filter left it there, or the program did not take it.
    Passed,
}

/// Something that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionWarning {
    /// The session; none while it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What.
    pub problem: Problem,
}

/// Which session to update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionUpdate {
    /// Its name.
    pub session: String,
}

/// Another configuration of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionApplied {
    /// The session.
    pub session: String,
    /// What happens to the target's traffic now.
    pub traffic: Traffic,
    /// Whether that holds for some HTTP requests only.
    pub filtered: bool,
    /// What came of it.
    pub updated: SessionUpdated,
}

/// What came of an update, by the keys of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionUpdated {
    /// What holds now.
    pub applied: Vec<String>,
    /// What holds for processes that start from now on.
    pub for_new_processes: Vec<String>,
    /// What needs a restart of the session.
    pub needs_restart: Vec<String>,
}
