//! What can be done at a place: repairs of problems, and changes that people want.

use std::collections::HashMap;

use config::{Format, IncomingMode, Origin, Span};
use serde_json::{Value, json};
use tower_lsp::lsp_types::{
    CodeAction, CodeActionKind, CodeActionOrCommand, Command, CreateFile, CreateFileOptions, Diagnostic,
    DocumentChangeOperation, DocumentChanges, NumberOrString, OneOf, OptionalVersionedTextDocumentIdentifier, Range,
    ResourceOp, TextDocumentEdit, TextEdit, Url, WorkspaceEdit,
};

use super::{Around, Parsed, machine, rights};

/// The command that an editor carries out: opens its target picker and writes what is picked to a range.
const PICK: &str = "mirror.pickTargetInto";

/// A filter to begin with.
const FILTER: &str = r#""http_filter": { "header_filter": "x-user: ^NAME$" }"#;

/// Problems whose keys can be removed without a change.
const IGNORED: &str = "ignored-key";

/// Problems whose keys stand for something that is not supported: without them more is done than was asked for.
const UNSUPPORTED: &str = "unsupported-key";

/// The actions for a range with its problems; `all` are those of the file.
pub(in crate::serve) fn actions(
    parsed: &Parsed,
    range: Range,
    problems: &[Diagnostic],
    all: &[Diagnostic],
    around: &Around,
) -> Vec<CodeActionOrCommand> {
    let mut found: Vec<CodeAction> = problems.iter().flat_map(|problem| repairs(parsed, problem)).collect();
    found.extend(problems.iter().filter_map(|problem| remove(parsed, problem)));
    found.extend(remove_all(parsed, all));
    found.extend(convert(parsed));
    found.extend(machine::actions(parsed, range, problems));
    found.extend(filter(parsed, range));
    found.extend(rights::action(parsed, &around.rights, problems));
    let mut found: Vec<CodeActionOrCommand> = found.into_iter().map(CodeActionOrCommand::CodeAction).collect();
    found.extend(pick(parsed, range).map(CodeActionOrCommand::Command));
    found
}

fn edit(parsed: &Parsed, edits: Vec<TextEdit>) -> Option<WorkspaceEdit> {
    Some(WorkspaceEdit { changes: Some(HashMap::from([(parsed.uri.clone(), edits)])), ..WorkspaceEdit::default() })
}

/// Puts a valid text in the place of a wrong one: the nearest, or any of several.
fn repairs(parsed: &Parsed, problem: &Diagnostic) -> Vec<CodeAction> {
    let data = problem.data.as_ref();
    let nearest = data.and_then(|data| data.get("nearest")?.as_str());
    let choices = data.and_then(|data| data.get("choices")?.as_array()).into_iter().flatten();
    let texts = nearest.into_iter().chain(choices.filter_map(Value::as_str));
    texts.map(|text| repair(parsed, problem, text, nearest.is_some())).collect()
}

fn repair(parsed: &Parsed, problem: &Diagnostic, valid: &str, is_preferred: bool) -> CodeAction {
    let text = &parsed.document.text;
    let start = parsed.lines.offset(text, problem.range.start);
    let end = parsed.lines.offset(text, problem.range.end);
    let quoted = text.get(start..end).is_some_and(|text| text.starts_with('"'));
    let new_text = if quoted { json!(valid).to_string() } else { valid.to_owned() };
    CodeAction {
        title: format!("Change to `{valid}`"),
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(vec![problem.clone()]),
        edit: edit(parsed, vec![TextEdit { range: problem.range, new_text }]),
        is_preferred: Some(is_preferred),
        ..CodeAction::default()
    }
}

fn is(problem: &Diagnostic, wanted: &str) -> bool {
    matches!(&problem.code, Some(NumberOrString::String(code)) if code == wanted)
}

/// Removes a key without effect.
fn remove(parsed: &Parsed, problem: &Diagnostic) -> Option<CodeAction> {
    if !is(problem, IGNORED) && !is(problem, UNSUPPORTED) {
        return None;
    }
    let range = member(parsed, problem)?;
    Some(CodeAction {
        title: "Remove this key".to_owned(),
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(vec![problem.clone()]),
        edit: edit(parsed, vec![TextEdit { range, new_text: String::new() }]),
        ..CodeAction::default()
    })
}

/// Tidies a file of mirrord: all keys without effect go.
fn remove_all(parsed: &Parsed, all: &[Diagnostic]) -> Option<CodeAction> {
    let idle = all.iter().filter(|problem| is(problem, IGNORED));
    let ranges: Vec<Range> = idle.filter_map(|problem| member(parsed, problem)).collect();
    let edits = ranges.iter().map(|range| TextEdit { range: *range, new_text: String::new() }).collect();
    (ranges.len() > 1).then(|| CodeAction {
        title: "Remove all keys that have no effect in mirror".to_owned(),
        kind: Some(CodeActionKind::QUICKFIX),
        edit: edit(parsed, edits),
        ..CodeAction::default()
    })
}

/// Writes a file of ours beside one of mirrord, which stays.
fn convert(parsed: &Parsed) -> Option<CodeAction> {
    let migration = config::migrate::migrate(&parsed.document)?;
    if migration.path.exists() {
        return None;
    }
    let uri = Url::from_file_path(&migration.path).ok()?;
    let options = CreateFileOptions { overwrite: Some(false), ignore_if_exists: Some(false) };
    let create = CreateFile { uri: uri.clone(), options: Some(options), annotation_id: None };
    let text = TextEdit { range: Range::default(), new_text: migration.text };
    let fill = TextDocumentEdit {
        text_document: OptionalVersionedTextDocumentIdentifier { uri, version: None },
        edits: vec![OneOf::Left(text)],
    };
    let steps = vec![DocumentChangeOperation::Op(ResourceOp::Create(create)), DocumentChangeOperation::Edit(fill)];
    let name = migration.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Some(CodeAction {
        title: format!("Convert to {name}"),
        kind: Some(CodeActionKind::REFACTOR_REWRITE),
        edit: Some(WorkspaceEdit {
            document_changes: Some(DocumentChanges::Operations(steps)),
            ..WorkspaceEdit::default()
        }),
        ..CodeAction::default()
    })
}

/// A key with its value and what separates it from the next one.
fn member(parsed: &Parsed, problem: &Diagnostic) -> Option<Range> {
    let text = &parsed.document.text;
    let start = parsed.lines.offset(text, problem.range.start);
    let found = find(&parsed.document.root, start)?;
    let rest = text.get(found.end..)?;
    let mut end = found.end;
    if parsed.document.format == Format::Json {
        let gap = rest.len() - rest.trim_start().len();
        if rest[gap..].starts_with(',') {
            end += gap + 1;
        }
    }
    // The whole line, where nothing else stands on it.
    let line_start = text[..found.start].rfind('\n').map_or(0, |at| at + 1);
    let line_rest = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    let alone = text[line_start..found.start].trim().is_empty() && text[end..line_rest].trim().is_empty();
    let span = if alone { Span::new(line_start, line_rest) } else { Span::new(found.start, end) };
    Some(parsed.range(span))
}

/// The member whose key begins at an offset.
fn find(node: &config::syntax::Node, start: usize) -> Option<Span> {
    for member in node.members() {
        if member.key_span.start == start {
            return Some(Span::new(start, member.key_span.end.max(member.value.span.end)));
        }
        if let Some(found) = find(&member.value, start) {
            return Some(found);
        }
    }
    node.elements().iter().find_map(|element| find(element, start))
}

/// Steals only the user's own requests.
fn filter(parsed: &Parsed, range: Range) -> Option<CodeAction> {
    let incoming = &parsed.resolved().config.feature.network.incoming;
    if parsed.document.format != Format::Json
        || incoming.mode != IncomingMode::Steal
        || incoming.http_filter.filter().is_some()
    {
        return None;
    }
    let node = ["feature", "network", "incoming"].iter().try_fold(&parsed.document.root, |node, key| node.get(key))?;
    let own = parsed.range(node.span);
    if own.end < range.start || own.start > range.end {
        return None;
    }
    let (span, new_text) = match node.as_str() {
        Some(mode) => (node.span, format!(r#"{{ "mode": "{mode}", {FILTER} }}"#)),
        None => {
            let inside = node.span.start + 1;
            let comma = if node.members().is_empty() { " " } else { "," };
            (Span::new(inside, inside), format!(" {FILTER}{comma}"))
        }
    };
    Some(CodeAction {
        title: "Steal only requests with a header of mine".to_owned(),
        kind: Some(CodeActionKind::REFACTOR),
        edit: edit(parsed, vec![TextEdit { range: parsed.range(span), new_text }]),
        ..CodeAction::default()
    })
}

/// Opens the editor's picker and writes what is picked.
fn pick(parsed: &Parsed, range: Range) -> Option<Command> {
    let Origin::File(span) = parsed.resolved().origin("target.path") else { return None };
    let own = parsed.range(span);
    let touches = own.start <= range.end && range.start <= own.end;
    let arguments = vec![json!(parsed.uri), json!(own)];
    touches.then(|| Command {
        title: "Pick another target…".to_owned(),
        command: PICK.to_owned(),
        arguments: Some(arguments),
    })
}
