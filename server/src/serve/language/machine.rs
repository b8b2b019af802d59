//! What this machine says of a configuration: ports on which the program cannot listen.

use std::collections::HashMap;

use config::ide::{self, Listen};
use tower_lsp::lsp_types::{
    CodeAction, CodeActionKind, Diagnostic, DiagnosticSeverity, NumberOrString, Range, TextEdit, WorkspaceEdit,
};

use super::Parsed;
use crate::machine::ports::{self, Ports};

/// The ports on which the program will listen here, as far as the file says.
pub(in crate::serve) fn wanted(parsed: &Parsed) -> Vec<u16> {
    ide::listens(&parsed.document, parsed.resolved()).iter().map(|port| port.local).collect()
}

/// The problems; none where nothing has been looked at.
pub(super) fn diagnostics(parsed: &Parsed, ports: &Ports) -> Vec<Diagnostic> {
    let listens = ide::listens(&parsed.document, parsed.resolved());
    listens.iter().filter_map(|listen| diagnostic(parsed, listen, ports)).collect()
}

fn diagnostic(parsed: &Parsed, listen: &Listen, ports: &Ports) -> Option<Diagnostic> {
    let port = listen.local;
    let (code, message) = match ports.taken.get(&port) {
        Some(who) => {
            ("port-busy", format!("port {port} of this machine is taken by {who}: the program cannot listen on it"))
        }
        None if port < ports.first_allowed => {
            let first = ports.first_allowed;
            ("port-privileged", format!("only root may listen on port {port} of this machine; others begin at {first}"))
        }
        None => return None,
    };
    Some(Diagnostic {
        range: parsed.range(listen.span),
        severity: Some(DiagnosticSeverity::WARNING),
        code: Some(NumberOrString::String(code.to_owned())),
        source: Some("mirror (machine)".to_owned()),
        message,
        ..Diagnostic::default()
    })
}

/// Moves the ports in a range to ones that are free: as a repair of their problems, else as a change that people want.
pub(super) fn actions(parsed: &Parsed, range: Range, problems: &[Diagnostic]) -> Vec<CodeAction> {
    let listens = ide::listens(&parsed.document, parsed.resolved());
    let used: Vec<u16> = listens.iter().flat_map(|listen| [listen.program, listen.local]).collect();
    let touches = |listen: &&Listen| {
        let own = parsed.range(listen.span);
        own.start <= range.end && range.start <= own.end
    };
    listens.iter().filter(touches).filter_map(|listen| action(parsed, listen, &used, problems)).collect()
}

fn action(parsed: &Parsed, listen: &Listen, used: &[u16], problems: &[Diagnostic]) -> Option<CodeAction> {
    let free = ports::free(listen.program, used)?;
    let (span, new_text) = ide::relisten(&parsed.document, listen, free)?;
    let own = parsed.range(listen.span);
    let is_repaired = |problem: &&Diagnostic| {
        let is_of_port = |code: &str| code == "port-busy" || code == "port-privileged";
        problem.range == own && matches!(&problem.code, Some(NumberOrString::String(code)) if is_of_port(code))
    };
    let repaired = problems.iter().find(is_repaired);
    let edit = TextEdit { range: parsed.range(span), new_text };
    Some(CodeAction {
        title: format!("Listen on a free port of this machine instead ({free})"),
        kind: Some(if repaired.is_some() { CodeActionKind::QUICKFIX } else { CodeActionKind::REFACTOR }),
        is_preferred: Some(repaired.is_some()),
        diagnostics: repaired.map(|problem| vec![problem.clone()]),
        edit: Some(WorkspaceEdit {
            changes: Some(HashMap::from([(parsed.uri.clone(), vec![edit])])),
            ..WorkspaceEdit::default()
        }),
        ..CodeAction::default()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tower_lsp::lsp_types::Url;

    use super::*;

    #[test]
    fn ports_that_are_taken_or_need_root_are_told_where_they_stand() {
        let text = r#"{"feature": {"network": {"incoming": {"ports": [80, 9000], "listen_ports": [[443, 8443]]}}}}"#;
        let parsed = Parsed::new(&Url::parse("file:///p/.mirror.json").expect("a uri"), text);
        let taken = BTreeMap::from([(8443, "node (pid 7)".to_owned())]);
        let found = diagnostics(&parsed, &Ports { taken, first_allowed: 1024 });
        let shown: Vec<_> = found
            .iter()
            .map(|problem| {
                let start = problem.range.start.character as usize;
                (problem.code.clone(), &text[start..problem.range.end.character as usize])
            })
            .collect();
        let code = |code: &str| Some(NumberOrString::String(code.to_owned()));
        assert_eq!(shown, [(code("port-privileged"), "80"), (code("port-busy"), "8443")]);
        assert!(found[1].message.contains("node (pid 7)"));
        assert_eq!(diagnostics(&parsed, &Ports::default()), []);
    }
}
