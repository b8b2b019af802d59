//! What a user is told when something cannot be done: one type for every class of failure.
//!
//! Made where an operation fails, shown once at the edge (terminal, JSON line or JSON-RPC). It says what
//! was tried, on what, and the next step. It never holds a secret.

use serde::{Deserialize, Serialize};

/// The classes of failure, each with an exit code of its own so that scripts can tell them apart.
/// Numbers follow `sysexits.h` where one fits and the shell's 126, 127 and 130 where those are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The command line makes no sense.
    Usage = 64,
    /// The target, its container or its namespace is not there.
    TargetNotFound = 66,
    /// There is no such session on this machine.
    SessionNotFound = 67,
    /// The API server cannot be reached or does not answer as one.
    ClusterUnreachable = 69,
    /// A defect of mirror.
    Internal = 70,
    /// The operating system refused something on this machine.
    System = 71,
    /// The agent could not be started or was lost while starting.
    Agent = 74,
    /// The target is there but not ready; trying again later may help.
    TargetNotReady = 75,
    /// Who we are is not accepted, or may not do this.
    Permission = 77,
    /// Configuration of mirror or the kubeconfig is missing or wrong.
    Config = 78,
    /// The program is there but cannot be run, or the layer cannot enter it.
    ProgramUnusable = 126,
    /// The program is not there.
    ProgramNotFound = 127,
    /// Ctrl-C before the program started.
    Interrupted = 130,
}

/// One failure, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides the exit code.
    pub class: Class,
    /// What was tried, on what, and what came of it: lower case, no period.
    pub message: String,
    /// Further lines: the server's own words, candidates, a rule to add.
    pub details: Vec<String>,
    /// What to do next.
    pub next: Option<String>,
    /// The same for programs, where it is something that they can offer.
    pub remedies: Vec<Remedy>,
}

/// Something that helps against a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Run this command line at a terminal: it asks for the login.
    LogIn(String),
    /// Ask for this RBAC rule.
    Grant(String),
    /// Correct this file.
    Open(String),
    /// Read this log.
    ReadLog(String),
    /// Choose a target, and with it a container, a namespace and a context.
    PickTarget,
}

impl Failure {
    /// A failure of `class`.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), details: Vec::new(), next: None, remedies: Vec::new() }
    }

    /// Adds a line of detail.
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Says what to do next.
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Says what helps, for programs.
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    /// A failed system call or file operation on this machine.
    pub fn system(what: impl core::fmt::Display, source: impl core::fmt::Display) -> Self {
        Self::new(Class::System, format!("{what}: {source}"))
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.class as u8
    }
}

/// What most functions of this crate return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The candidates nearest to `wanted`, best first, at most three: for "did you mean".
pub fn nearest<'a, I: IntoIterator<Item = &'a str>>(wanted: &str, candidates: I) -> Vec<&'a str> {
    let mut scored: Vec<_> = candidates
        .into_iter()
        .map(|candidate| {
            let contains = !wanted.is_empty() && (candidate.contains(wanted) || wanted.contains(candidate));
            let likeness = strsim::jaro_winkler(wanted, candidate);
            (if contains { likeness.max(0.9) } else { likeness }, candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    scored.sort_by(|(a, left), (b, right)| b.total_cmp(a).then(left.cmp(right)));
    scored.dedup_by_key(|(_, candidate)| *candidate);
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_offers_likely_names_only() {
        let names = ["echo-server", "other", "echo-client", "web"];
        assert_eq!(nearest("echo-servr", names), ["echo-server", "echo-client"]);
        assert_eq!(nearest("echo", names), ["echo-client", "echo-server"]);
        assert_eq!(nearest("zzz", names), [""; 0]);
    }
}
