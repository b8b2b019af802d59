//! Diagnostics for people (the style of rustc) and for programs (JSON).
//!
//! Called by the command line. Whether to use colours is the caller's decision; nothing is printed here.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Origin, Severity};
use crate::document::Document;

/// Widest part of a source line that is shown.
const WIDTH: usize = 120;

/// Whether to use terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI escape sequences.
    Always,
}

/// All diagnostics as text, each with its source line, and a last line that counts them.
pub fn render(diagnostics: &[Diagnostic], document: Option<&Document>, colour: Colour) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        one(&mut out, diagnostic, document, colour);
    }
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let parts: Vec<_> = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}{}", if n == 1 { "" } else { "s" }))
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(out, "{}", parts.join(", "));
    }
    out
}

/// One place as text: `file:line:column`, the name of a variable or an option, or `default`.
pub fn place(origin: &Origin, document: Option<&Document>) -> String {
    match (origin, document) {
        (Origin::File(span), Some(document)) => {
            let position = document.position(span.start);
            format!("{}:{}:{}", document.name, position.line, position.column)
        }
        (Origin::File(_), None) => "file".to_owned(),
        (Origin::Variable(name), _) => format!("variable {name}"),
        (Origin::Option(name), _) => format!("option {name}"),
        (Origin::Default, _) => "default".to_owned(),
    }
}

/// All diagnostics as a JSON array: `code`, `severity`, `message`, `key`, `nearest`, and the place as `file`,
/// `line`, `column`, `endLine`, `endColumn` (from 1), or as `variable` or `option`.
pub fn to_json(diagnostics: &[Diagnostic], document: Option<&Document>) -> Value {
    let one = |diagnostic: &Diagnostic| {
        let mut value = json!({
            "code": diagnostic.code,
            "severity": diagnostic.severity.to_string(),
            "message": diagnostic.message,
        });
        if let Some(key) = &diagnostic.key {
            value["key"] = json!(key);
        }
        if let Some(nearest) = &diagnostic.nearest {
            value["nearest"] = json!(nearest);
        }
        put_place(&mut value, &diagnostic.origin, document);
        if let Some((origin, label)) = &diagnostic.related {
            let mut related = json!({ "message": label });
            put_place(&mut related, origin, document);
            value["related"] = related;
        }
        value
    };
    diagnostics.iter().map(one).collect()
}

fn put_place(value: &mut Value, origin: &Origin, document: Option<&Document>) {
    match (origin, document) {
        (Origin::File(span), Some(document)) => {
            let (start, end) = (document.position(span.start), document.position(span.end));
            value["file"] = json!(document.name);
            value["line"] = json!(start.line);
            value["column"] = json!(start.column);
            value["endLine"] = json!(end.line);
            value["endColumn"] = json!(end.column);
        }
        (Origin::Variable(name), _) => value["variable"] = json!(name),
        (Origin::Option(name), _) => value["option"] = json!(name),
        _ => {}
    }
}

fn one(out: &mut String, diagnostic: &Diagnostic, document: Option<&Document>, colour: Colour) {
    let code = match diagnostic.severity {
        Severity::Error => "31;1",
        Severity::Warning => "33;1",
        Severity::Hint => "36;1",
    };
    let paint = |text: &str, code: &str| match colour {
        Colour::Never => text.to_owned(),
        Colour::Always => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
    };
    let head = format!("{}[{}]", diagnostic.severity, diagnostic.code);
    let _ = writeln!(out, "{}: {}", paint(&head, code), paint(&plain(&diagnostic.message), "1"));
    let _ = writeln!(out, "  {} {}", paint("-->", "34;1"), place(&diagnostic.origin, document));
    if let (Some(span), Some(document)) = (diagnostic.span(), document) {
        let position = document.position(span.start);
        let line = document.line(position.line);
        let end = document.position(span.end);
        let last = if end.line == position.line { end.column } else { line.chars().count() + 1 };
        let (shown, before, length) = window(line, position.column - 1, last.saturating_sub(position.column).max(1));
        let number = position.line.to_string();
        let blank = " ".repeat(number.len());
        let bar = paint("|", "34;1");
        let _ = writeln!(out, " {blank} {bar}");
        let _ = writeln!(out, " {} {bar} {shown}", paint(&number, "34;1"));
        let _ = writeln!(out, " {blank} {bar} {}{}", " ".repeat(before), paint(&"^".repeat(length), code));
    }
    if let Some((origin, label)) = &diagnostic.related {
        let _ = writeln!(out, "  {} {}: {label}", paint("=", "34;1"), place(origin, document));
    }
    out.push('\n');
}

/// The part of a line around the marked one: its text, the columns before the mark, the length of the mark.
fn window(line: &str, start: usize, length: usize) -> (String, usize, usize) {
    let line = line.trim_start_matches('\u{feff}');
    let n_columns = line.chars().count();
    let cut = if n_columns > WIDTH { start.saturating_sub(WIDTH / 3) } else { 0 };
    let mut shown: String = line.chars().skip(cut).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (before_dots, after_dots) = (cut > 0, n_columns > cut + WIDTH);
    if before_dots {
        shown.insert(0, '…');
    }
    if after_dots {
        shown.push('…');
    }
    let before = start - cut + usize::from(before_dots);
    (shown, before, length.min((WIDTH - (start - cut).min(WIDTH - 1)).max(1)))
}

/// A message with nothing in it that a terminal would obey.
fn plain(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
