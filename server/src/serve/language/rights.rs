//! The rights that a configuration needs: which are missing, and the manifest that grants them.

use config::Origin;
use serde_json::json;
use tower_lsp::lsp_types::{CodeAction, CodeActionKind, Command, Diagnostic, DiagnosticSeverity, NumberOrString};

use super::Parsed;
use crate::kube::permissions::{self, Subject};
use crate::serve::reviews::Rights;

/// The command that an editor carries out: shows a text that is no file yet.
const SHOW: &str = "mirror.showText";

const MISSING: &str = "rights-missing";

/// What the user may not do and must, at the target.
pub(super) fn diagnostic(parsed: &Parsed, rights: &Rights) -> Option<Diagnostic> {
    let Origin::File(span) = parsed.resolved().origin("target.path") else { return None };
    (!rights.missing.is_empty()).then(|| Diagnostic {
        range: parsed.range(span),
        severity: Some(DiagnosticSeverity::WARNING),
        code: Some(NumberOrString::String(MISSING.to_owned())),
        source: Some("mirror (cluster)".to_owned()),
        message: format!("you are not permitted to {}: no session can start", rights.missing.join(", ")),
        ..Diagnostic::default()
    })
}

/// Shows the manifest: as a repair where rights are missing, else as an action on the whole file.
pub(super) fn action(parsed: &Parsed, rights: &Rights, problems: &[Diagnostic]) -> Option<CodeAction> {
    if parsed.resolved().has_errors() {
        return None;
    }
    let config = &parsed.resolved().config;
    let namespace = config.target.namespace.as_deref().or(rights.namespace.as_deref()).unwrap_or("default");
    let text = permissions::manifest(&Subject::of(config), namespace, rights.user.as_deref());
    let title = "Show the rights that this configuration needs";
    let is_missing = |problem: &&Diagnostic| problem.code == Some(NumberOrString::String(MISSING.to_owned()));
    let repaired = problems.iter().find(is_missing);
    Some(CodeAction {
        title: title.to_owned(),
        kind: Some(if repaired.is_some() { CodeActionKind::QUICKFIX } else { CodeActionKind::SOURCE }),
        diagnostics: repaired.map(|problem| vec![problem.clone()]),
        command: Some(Command {
            title: title.to_owned(),
            command: SHOW.to_owned(),
            arguments: Some(vec![json!("yaml"), json!(text)]),
        }),
        ..CodeAction::default()
    })
}
