//! Where a cursor is, in terms of the key table, while the text is still being written.
//!
//! JSON is read by its parser, which goes on after mistakes. A half-written line of YAML or TOML is another thing than
//! what it will be, so there the lines themselves say it: indentation, or the table's header.

use crate::document::Document;
use crate::syntax::{Format, Span, cursor};

/// What may be written at the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// A key of the object at the path.
    Key,
    /// A value of the key at the path.
    Value,
}

/// A place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// For a key: the object that it stands in. For a value: its key. List elements are `[]`.
    pub path: String,
    /// Which of them.
    pub position: Position,
    /// What a completion replaces.
    pub span: Span,
    /// What stands there already, without quotes.
    pub typed: String,
}

/// The place of an offset.
pub fn at(document: &Document, offset: usize) -> Context {
    match document.format {
        Format::Json => json(document, offset),
        Format::Yaml => by_line(&document.text, offset, ':', yaml_parent),
        Format::Toml => by_line(&document.text, offset, '=', toml_parent),
    }
}

fn json(document: &Document, offset: usize) -> Context {
    let found = cursor::at(&document.root, offset);
    let text = document.text.get(found.span.start..offset.clamp(found.span.start, found.span.end)).unwrap_or_default();
    let typed = text.trim_matches('"').to_owned();
    match found.place {
        cursor::Place::Key => {
            let parent = found.path.rsplit_once('.').map_or("", |(parent, _)| parent).to_owned();
            // A dot in the key itself is no step.
            let key = document.text.get(found.span.start..found.span.end).unwrap_or_default().trim_matches('"');
            let parent = found.path.strip_suffix(key).map_or(parent, |rest| rest.trim_end_matches('.').to_owned());
            Context { path: parent, position: Position::Key, span: found.span, typed }
        }
        cursor::Place::Value => Context { path: found.path, position: Position::Value, span: found.span, typed },
        cursor::Place::Inside => {
            let position = if found.path.ends_with("[]") { Position::Value } else { Position::Key };
            Context { path: found.path, position, span: Span::new(offset, offset), typed: String::new() }
        }
    }
}

/// A line is `key SIGN value`, `- value`, or the beginning of one of them.
fn by_line(text: &str, offset: usize, sign: char, parent: fn(&str, usize) -> String) -> Context {
    let start = text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end = text.get(offset..).and_then(|after| after.find(['\n', '\r'])).map_or(text.len(), |at| offset + at);
    let line = text.get(start..end).unwrap_or_default();
    let mut parent = parent(text, start);
    let mut inner = line.len() - line.trim_start().len();
    while line.get(inner..).is_some_and(|rest| rest.starts_with("- ")) {
        parent.push_str("[]");
        inner += 2 + line[inner + 2..].len() - line[inner + 2..].trim_start().len();
    }
    let rest = line.get(inner..).unwrap_or_default();
    let place = |from: usize, to: usize, path: String, position: Position| {
        let raw = text.get(from..offset.clamp(from, to)).unwrap_or_default();
        let typed = raw.trim_matches(['"', '\'']).to_owned();
        Context { path, position, span: Span::new(from, to), typed }
    };
    if let Some(at) = rest.find(sign) {
        let value = start + inner + at + 1;
        if offset >= value {
            let path = join(&parent, rest[..at].trim().trim_matches('"'));
            let gap = line[value - start..].len() - line[value - start..].trim_start().len();
            // The gap itself is not replaced.
            let from = (value + gap).min(offset.max(value));
            let to = (start + line.trim_end().len()).max(from);
            return place(from, to, path, Position::Value);
        }
        return place(start + inner, start + inner + rest[..at].trim_end().len(), parent, Position::Key);
    }
    let to = (start + inner + rest.trim_end().len()).max((start + inner).min(offset.max(start)));
    let from = (start + inner).min(offset.max(start));
    let position = if parent.ends_with("[]") { Position::Value } else { Position::Key };
    place(from, to.max(from), parent, position)
}

/// The keys of the lines above that are indented less.
fn yaml_parent(text: &str, start: usize) -> String {
    let own = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let mut indent = own.len() - own.trim_start().len();
    let mut steps = Vec::new();
    for line in text.get(..start).unwrap_or_default().lines().rev() {
        let content = line.trim_start();
        let at = line.len() - content.len();
        if content.is_empty() || content.starts_with('#') || at >= indent {
            continue;
        }
        let (dash, content) = match content.strip_prefix("- ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, content),
        };
        if let Some((key, _)) = content.split_once(':')
            && !(dash && at + 2 >= indent)
        {
            steps.push(key.trim().trim_matches(['"', '\'']).to_owned());
        }
        if dash {
            steps.push("[]".to_owned());
        }
        indent = at;
        if indent == 0 {
            break;
        }
    }
    steps.iter().rev().fold(String::new(), |path, step| join(&path, step))
}

/// The header of the table that the line is in.
fn toml_parent(text: &str, start: usize) -> String {
    let header = text.get(..start).unwrap_or_default().lines().rev().map(str::trim).find(|line| line.starts_with('['));
    let Some(header) = header else { return String::new() };
    let path = header.trim_start_matches('[').split(']').next().unwrap_or_default().replace(' ', "");
    if header.starts_with("[[") { format!("{path}[]") } else { path }
}

fn join(parent: &str, step: &str) -> String {
    match (parent, step) {
        (_, "[]") => format!("{parent}[]"),
        ("", step) => step.to_owned(),
        (parent, step) => format!("{parent}.{step}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, marked: &str, path: &str, position: Position, typed: &str) {
        let offset = marked.find("$0").expect("the test marks the cursor");
        let document = Document::new("", marked.replace("$0", ""), format);
        let found = at(&document, offset);
        assert_eq!((found.path.as_str(), found.position, found.typed.as_str()), (path, position, typed), "{marked}");
    }

    #[test]
    fn json_places() {
        use Position::{Key, Value};
        check(Format::Json, r#"{"agent": {"tt$0l": 1}}"#, "agent", Key, "tt");
        check(Format::Json, r#"{$0}"#, "", Key, "");
        check(Format::Json, r#"{"target": "dep$0"}"#, "target", Value, "dep");
        check(Format::Json, r#"{"target": $0}"#, "target", Value, "");
        check(Format::Json, r#"{"feature": {"env": {"include": ["A$0"]}}}"#, "feature.env.include[]", Value, "A");
    }

    #[test]
    fn yaml_places() {
        use Position::{Key, Value};
        check(Format::Yaml, "tar$0", "", Key, "tar");
        check(Format::Yaml, "agent:\n  tt$0", "agent", Key, "tt");
        check(Format::Yaml, "agent:\n  ttl: 1\n  $0", "agent", Key, "");
        check(Format::Yaml, "target: $0", "target", Value, "");
        check(Format::Yaml, "target: dep$0", "target", Value, "dep");
        check(Format::Yaml, "feature:\n  env:\n    include:\n      - A$0", "feature.env.include[]", Value, "A");
        check(Format::Yaml, "agent:\n  tolerations:\n    - ke$0", "agent.tolerations[]", Value, "ke");
        check(Format::Yaml, "agent:\n  tolerations:\n    - key: a\n      op$0", "agent.tolerations[]", Value, "op");
        check(Format::Yaml, "agent:\n  ttl: 1\nfea$0", "", Key, "fea");
    }

    #[test]
    fn toml_places() {
        use Position::{Key, Value};
        check(Format::Toml, "tar$0", "", Key, "tar");
        check(Format::Toml, "target = \"dep$0\"", "target", Value, "dep");
        check(Format::Toml, "[feature.env]\ninc$0", "feature.env", Key, "inc");
        check(Format::Toml, "[feature.network]\nincoming = $0", "feature.network.incoming", Value, "");
    }
}
