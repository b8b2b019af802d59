//! Failures as clients are told of them.

use serde_json::Value;
use tower_lsp::jsonrpc::{Error, ErrorCode};

use super::rpc::{Action, ActionKind, Problem};
use crate::failure::{Class, Failure, Remedy};

/// The JSON-RPC code of every failure; which one it is, `data.code` says.
const FAILURE: i64 = -32050;

/// What functions behind requests return.
pub(super) type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem without a failure behind it.
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), causes: Vec::new(), next: None, actions: Vec::new() }
    }

    pub(super) fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    pub(super) fn action(mut self, title: &str, kind: ActionKind, argument: Option<String>) -> Self {
        self.actions.push(Action { title: title.to_owned(), kind, argument });
        self
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let is_login = failure.remedies.iter().any(|remedy| matches!(remedy, Remedy::LogIn(_)));
        let code = if is_login { "login-required".to_owned() } else { word(failure.class) };
        let mut problem = Self { causes: failure.details, next: failure.next, ..Self::new(&code, failure.message) };
        for remedy in failure.remedies {
            problem = match remedy {
                Remedy::LogIn(command) => problem.action("Log in", ActionKind::RunInTerminal, Some(command)),
                Remedy::Grant(rule) => problem.action("Copy RBAC rule", ActionKind::Copy, Some(rule)),
                Remedy::ReadLog(file) => problem.action("Show log", ActionKind::ShowLog, Some(file)),
                Remedy::PickTarget => problem.action("Pick target", ActionKind::PickTarget, None),
                Remedy::Open(file) => problem.action("Open configuration", ActionKind::OpenFile, Some(file)),
            };
        }
        match failure.class {
            Class::TargetNotFound => problem.action("Pick target", ActionKind::PickTarget, None),
            Class::TargetNotReady | Class::ClusterUnreachable | Class::Agent => {
                problem.action("Retry", ActionKind::Retry, None)
            }
            _ => problem,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let message = problem.message.clone().into();
        Self { code: ErrorCode::ServerError(FAILURE), message, data: serde_json::to_value(problem).ok() }
    }
}

/// The class's word, as JSON has it.
fn word(class: Class) -> String {
    match serde_json::to_value(class) {
        Ok(Value::String(word)) => word,
        _ => "internal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_stable_codes_and_actions() {
        let failure = Failure::new(Class::TargetNotFound, "there is no pod x").detail("pods there are: y").next("z");
        let problem = Problem::from(failure);
        assert_eq!((problem.code.as_str(), problem.causes.len()), ("target-not-found", 1));
        assert_eq!(problem.actions.iter().map(|action| action.kind).collect::<Vec<_>>(), [ActionKind::PickTarget]);
        let expired = Failure::new(Class::Permission, "expired").remedy(Remedy::LogIn("log in".to_owned()));
        let error = Error::from(Problem::from(expired));
        assert_eq!(error.data.expect("data")["code"], "login-required");
    }
}
