//! What a key or value means.

use std::fmt::Write;

use super::facts::Facts;
use crate::document::Document;
use crate::keys::{self, Shape};
use crate::layered::Resolved;
use crate::render;
use crate::syntax::{Span, cursor};

/// The answer to a pointer that rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hover {
    /// Markdown.
    pub text: String,
    /// What it is about.
    pub span: Span,
}

/// What is to be said of the key or value at an offset.
pub fn hover(document: &Document, offset: usize, resolved: &Resolved, facts: &Facts) -> Option<Hover> {
    let found = cursor::at(&document.root, offset);
    if found.place == cursor::Place::Inside {
        return None;
    }
    let key = keys::locate(&found.path)?;
    let mut text = String::new();
    if found.place == cursor::Place::Value
        && let Some(fact) = fact(document, found.span, key.path, &found.path, facts)
    {
        let _ = writeln!(text, "{fact}\n");
    }
    let _ = writeln!(text, "**`{}`** — {}\n\n{}", key.path.trim_start_matches('$'), key.shape.describe(), key.doc());
    if let Shape::OneOf(choices) = key.shape {
        text.push('\n');
        for choice in choices {
            let _ = writeln!(text, "- `{}`: {}", choice.word, choice.doc().replace('\n', " "));
        }
    }
    if !key.in_effect {
        text.push_str("\n*Accepted, not in effect yet.*\n");
    }
    if let Some(effective) = resolved.effective().into_iter().find(|setting| setting.key == key.path) {
        let place = render::place(&effective.origin, Some(document));
        let _ = writeln!(text, "\nNow: `{}` ({place})", effective.value);
        if key.default != "null" {
            let _ = writeln!(text, "\nDefault: `{}`", key.default);
        }
    }
    if let Some(variable) = key.variable() {
        let _ = writeln!(text, "\nVariable: `{variable}`");
    }
    Some(Hover { text, span: found.span })
}

/// What the cluster says of a value.
fn fact(document: &Document, span: Span, key: &str, path: &str, facts: &Facts) -> Option<String> {
    let value = document.text.get(span.start..span.end)?.trim_matches(['"', '\'']);
    let place = if key.starts_with('$') { key } else { path };
    // A target may name its container, too.
    let names =
        |fact: &str| value == fact || value.strip_prefix(fact).is_some_and(|rest| rest.starts_with("/container/"));
    let found = facts.at(place).iter().find(|fact| names(&fact.value))?;
    let stale = if facts.fresh { "" } else { " (the cluster has not answered lately)" };
    Some(format!("`{}`: {}{stale}", found.value, found.detail))
}

#[cfg(test)]
mod tests {
    use super::super::facts::Fact;
    use super::*;
    use crate::layered::resolve;
    use crate::syntax::Format;

    fn check(format: Format, marked: &str) -> Option<String> {
        let offset = marked.find("$0").expect("the test marks the cursor");
        let document = Document::new("a.json", marked.replace("$0", ""), format);
        let resolved = resolve(Some(&document), &|_| None, &[]);
        let targets = vec![Fact { value: "deployment/web".to_owned(), detail: "1/1 ready".to_owned() }];
        hover(&document, offset, &resolved, &Facts { targets, ..Facts::default() }).map(|hover| hover.text)
    }

    #[test]
    fn keys_are_explained_with_their_value_and_default() {
        let text = check(Format::Json, r#"{"agent": {"t$0tl": 7}}"#).expect("a text");
        assert!(text.contains("agent.ttl") && text.contains("Now: `\"7s\"` (a.json:1"), "{text}");
        let text = check(Format::Yaml, "agent:\n  tt$0l: 7\n").expect("a text");
        assert!(text.contains("Default: `"), "{text}");
        assert_eq!(check(Format::Json, r#"{"nonsen$0se": 1}"#), None);
    }

    #[test]
    fn values_are_explained_by_the_cluster() {
        let text = check(Format::Json, r#"{"target": "deployment/w$0eb"}"#).expect("a text");
        assert!(text.starts_with("`deployment/web`: 1/1 ready (the cluster has not answered lately)"), "{text}");
    }
}
