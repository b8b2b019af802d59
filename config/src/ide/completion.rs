//! What may be written at a place.

use super::context::{self, Context, Position};
use super::facts::{Fact, Facts};
use crate::document::Document;
use crate::ignored;
use crate::keys::{self, Key, Shape};
use crate::syntax::{Format, Node, Span};
use crate::target::KINDS;

/// What a completion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionKind {
    /// A key.
    Key,
    /// A word of a few, `true` or `false`.
    Word,
    /// A name that exists in the cluster or the kubeconfig.
    Name,
    /// A piece of text to begin with.
    Snippet,
}

/// One proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// What is shown.
    pub label: String,
    /// What it is.
    pub kind: CompletionKind,
    /// A few words beside it.
    pub detail: String,
    /// Markdown.
    pub doc: String,
    /// What takes the place of [`Completion::span`]; `$1` is where the cursor goes.
    pub insert: String,
    /// What is replaced.
    pub span: Span,
    /// Whether it has no effect.
    pub deprecated: bool,
}

/// Most names of the cluster that are proposed; of more, those that fit what is typed, and there may be others.
pub const MOST_NAMES: usize = 100;

/// Filters that people begin with.
const HEADERS: &[(&str, &str)] = &[
    ("x-user: ^NAME$", "requests of one user"),
    ("baggage: .*mirror=NAME", "requests with W3C baggage of yours"),
    ("cookie: (^|; )session=NAME", "requests with a cookie"),
];

/// All proposals at an offset, the best first.
pub fn complete(document: &Document, offset: usize, facts: &Facts) -> Vec<Completion> {
    let context = context::at(document, offset);
    match context.position {
        Position::Key => keys_at(document, &context, facts),
        Position::Value => {
            let mut found = values_at(document, &context, facts);
            // An element of a list of objects may begin with a key.
            if found.is_empty() && document.format != Format::Json {
                found = keys_at(document, &context, facts);
            }
            found
        }
    }
}

fn keys_at(document: &Document, context: &Context, facts: &Facts) -> Vec<Completion> {
    let present = node_at(&document.root, &context.path);
    let has = |name: &str| present.is_some_and(|node| node.get(name).is_some()) && context.typed != name;
    let key = |key: &&'static Key| Completion {
        label: key.name().to_owned(),
        kind: CompletionKind::Key,
        detail: key.shape.describe(),
        doc: key.doc(),
        insert: key_text(document.format, key.name(), Some(key), context),
        span: context.span,
        deprecated: !key.in_effect,
    };
    let mut found: Vec<Completion> =
        keys::allowed(&context.path).iter().filter(|row| !has(row.name())).map(key).collect();
    // Keys of a map are names: variables, for example.
    let is_map = keys::locate(&context.path).is_some_and(|key| matches!(key.shape, Shape::Map { .. }));
    if is_map {
        found.extend(facts.at(&context.path).iter().filter(|fact| !has(&fact.value)).map(|fact| Completion {
            insert: key_text(document.format, &fact.value, None, context),
            ..name(fact, &fact.value, context.span)
        }));
    }
    if context.path.is_empty() && document.format == Format::Json && !has("$schema") {
        found.retain(|completion| ignored::find(&completion.label).is_none());
    }
    found
}

/// A key with the beginning of its value.
fn key_text(format: Format, name: &str, key: Option<&Key>, context: &Context) -> String {
    let opens = key.is_some_and(|key| key.is_section() || key.shape.object_below().is_some());
    let is_list = key.is_some_and(|key| matches!(key.shape, Shape::List(_)));
    let quotes =
        key.is_none_or(|key| matches!(key.shape, Shape::Text(_) | Shape::OneOf(_) | Shape::Scalar(_) | Shape::Secret));
    // A key that has its value already is only renamed.
    let is_new = context.typed.is_empty() || context.span.end - context.span.start <= context.typed.len() + 2;
    let value = match (format, opens, is_list, quotes) {
        _ if !is_new => return format!("\"{name}\""),
        (Format::Json | Format::Toml, true, false, _) => "{ $1 }",
        (Format::Json | Format::Toml, _, true, _) => "[$1]",
        (Format::Json | Format::Toml, _, _, true) => "\"$1\"",
        (Format::Yaml, true, _, _) => "\n  $1",
        _ => "$1",
    };
    match format {
        Format::Json => format!("\"{name}\": {value}"),
        Format::Yaml => format!("{name}:{}{value}", if value.starts_with('\n') { "" } else { " " }),
        Format::Toml => format!("{name} = {value}"),
    }
}

fn values_at(document: &Document, context: &Context, facts: &Facts) -> Vec<Completion> {
    let Some(key) = keys::locate(&context.path) else { return Vec::new() };
    let in_list = context.path.ends_with("[]");
    let mut found = Vec::new();
    shape_values(&element(&key.shape, in_list), key, &mut |label, detail, doc, raw| {
        let insert = if raw { label.to_owned() } else { quote(document.format, label) };
        let kind = CompletionKind::Word;
        let (detail, label, deprecated) = (detail.to_owned(), label.to_owned(), false);
        found.push(Completion { label, kind, detail, doc, insert, span: context.span, deprecated });
    });
    let is_number = matches!(element(&key.shape, in_list), Shape::Integer { .. } | Shape::Pair(_));
    let is_pattern = key.path.starts_with("feature.fs.");
    for fact in some(facts.at(fact_path(key, &context.path)), &context.typed) {
        let text = if is_pattern {
            format!("^{}/", regex_lite_escape(fact.value.trim_end_matches('/')))
        } else {
            fact.value.clone()
        };
        let insert = if is_number { text.clone() } else { quote(document.format, &text) };
        found.push(Completion { insert, ..name(fact, &text, context.span) });
    }
    if let Some(kind) = KINDS.iter().find(|kind| key.path == format!("$target.{}", kind.key)) {
        for (target, fact) in facts.targets_of(kind.word) {
            found.push(Completion { insert: quote(document.format, target), ..name(fact, target, context.span) });
        }
    }
    if key.path.ends_with("header_filter") || key.path == "$filter.header" {
        found.extend(HEADERS.iter().map(|(text, detail)| Completion {
            label: (*text).to_owned(),
            kind: CompletionKind::Snippet,
            detail: (*detail).to_owned(),
            doc: String::new(),
            insert: quote(document.format, text),
            span: context.span,
            deprecated: false,
        }));
    }
    found
}

/// All names, or of many those in which all letters that are typed come one after the other, as editors choose them.
fn some<'a>(facts: &'a [Fact], typed: &str) -> impl Iterator<Item = &'a Fact> {
    let typed = if facts.len() > MOST_NAMES { typed } else { "" };
    let is_one = move |fact: &&Fact| {
        let mut letters = fact.value.bytes();
        typed.bytes().all(|wanted| letters.any(|letter| letter.eq_ignore_ascii_case(&wanted)))
    };
    facts.iter().filter(is_one).take(MOST_NAMES)
}

/// Where the names for a key are looked up: a record's key by its own path.
fn fact_path<'a>(key: &Key, path: &'a str) -> &'a str {
    if key.path == "$target.container" { "$target.container" } else { path }
}

/// The shape of an element, where the cursor is in a list.
fn element(shape: &Shape, in_list: bool) -> Shape {
    match shape {
        Shape::List(inner) if in_list => **inner,
        other => *other,
    }
}

/// Tells each word that a shape takes: label, detail, documentation, whether it stands without quotes.
fn shape_values(shape: &Shape, key: &Key, tell: &mut dyn FnMut(&str, &str, String, bool)) {
    let default = |word: &str| if key.default.trim_matches('"') == word { "default" } else { "" };
    match shape {
        Shape::Bool => ["true", "false"].iter().for_each(|word| tell(word, default(word), String::new(), true)),
        Shape::OneOf(choices) => {
            choices.iter().for_each(|choice| tell(choice.word, default(choice.word), choice.doc(), false));
        }
        Shape::List(inner) => shape_values(inner, key, tell),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| shape_values(shape, key, tell)),
        Shape::Section(shorts) => {
            for short in *shorts {
                match short {
                    keys::Short::Bool { .. } => {
                        ["true", "false"].iter().for_each(|word| tell(word, "", String::new(), true));
                    }
                    keys::Short::Child(name) => {
                        if let Some(child) = keys::child(key.path, name) {
                            shape_values(&child.shape, child, tell);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

fn name(fact: &Fact, label: &str, span: Span) -> Completion {
    Completion {
        label: label.to_owned(),
        kind: CompletionKind::Name,
        detail: fact.detail.clone(),
        doc: String::new(),
        insert: label.to_owned(),
        span,
        deprecated: false,
    }
}

/// A text as the format writes it.
fn quote(format: Format, text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_/.".contains(letter);
    let json = serde_json::Value::from(text).to_string();
    match format {
        Format::Yaml if text.chars().all(plain) && text.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
            text.to_owned()
        }
        _ => json.replace('$', "\\$"),
    }
}

fn regex_lite_escape(text: &str) -> String {
    regex_syntax::escape(text)
}

/// The node at a path, if the file has one there.
fn node_at<'a>(root: &'a Node, path: &str) -> Option<&'a Node> {
    let mut node = root;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let name = step.trim_end_matches("[]");
        node = node.get(name)?;
        if step.ends_with("[]") {
            node = node.elements().last()?;
        }
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let fact = |value: &str, detail: &str| Fact { value: value.to_owned(), detail: detail.to_owned() };
        Facts {
            targets: vec![fact("deployment/web", "1/1 ready"), fact("pod/web-1", "1/1 ready")],
            namespaces: vec![fact("shop", "")],
            variables: vec![fact("DB_URL", "secret db")],
            mounts: vec![fact("/etc/app.d", "config map app")],
            ports: vec![fact("8080", "http")],
            ..Facts::default()
        }
    }

    fn complete_at(format: Format, marked: &str) -> Vec<Completion> {
        let offset = marked.find("$0").expect("the test marks the cursor");
        complete(&Document::new("", marked.replace("$0", ""), format), offset, &facts())
    }

    fn labels(format: Format, marked: &str) -> Vec<String> {
        complete_at(format, marked).into_iter().map(|completion| completion.label).collect()
    }

    #[test]
    fn keys_are_those_of_the_table_that_are_not_there_yet() {
        let found = labels(Format::Json, r#"{"target": "pod/a", $0}"#);
        assert!(found.contains(&"feature".to_owned()) && !found.contains(&"target".to_owned()), "{found:?}");
        let found = complete_at(Format::Yaml, "agent:\n  tt$0");
        let ttl = found.iter().find(|completion| completion.label == "ttl").expect("ttl");
        assert_eq!(ttl.insert, "ttl: $1");
        let found = complete_at(Format::Toml, "[agent]\ntt$0");
        assert!(found.iter().any(|completion| completion.insert == "ttl = $1"));
    }

    #[test]
    fn words_are_offered_with_their_meaning() {
        let found = complete_at(Format::Json, r#"{"feature": {"network": {"incoming": {"mode": "$0"}}}}"#);
        let steal = found.iter().find(|completion| completion.label == "steal").expect("steal");
        assert_eq!(steal.insert, "\"steal\"");
        assert!(!steal.doc.is_empty());
        assert!(labels(Format::Json, r#"{"feature": {"network": {"incoming": $0}}}"#).contains(&"mirror".to_owned()));
        assert_eq!(labels(Format::Json, r#"{"feature": {"hostname": $0}}"#), ["true", "false"]);
    }

    #[test]
    fn of_very_many_names_those_are_offered_that_fit() {
        let fact = |number| Fact { value: format!("pod/web-{number:05}"), detail: String::new() };
        let facts = Facts { targets: (0..10_000).map(fact).collect(), ..Facts::default() };
        let offered = |typed: &str| {
            let text = format!(r#"{{"target": "{typed}"}}"#);
            let found = complete(&Document::new("", text, Format::Json), 12 + typed.len(), &facts);
            found.into_iter().map(|completion| completion.label).collect::<Vec<_>>()
        };
        assert_eq!(offered("").len(), MOST_NAMES);
        assert_eq!(offered("POD/w-09999"), ["pod/web-09999"]);
        assert_eq!(offered("w999").len(), 37);
        assert!(offered("x").is_empty());
    }

    #[test]
    fn names_of_the_cluster_are_offered() {
        for (format, marked, insert) in [
            (Format::Json, r#"{"target": "$0"}"#, "\"deployment/web\""),
            (Format::Json, r#"{"target": {"path": "$0"}}"#, "\"deployment/web\""),
            (Format::Json, r#"{"target": {"deployment": "$0"}}"#, "\"web\""),
            (Format::Json, r#"{"target": {"namespace": "$0"}}"#, "\"shop\""),
            (Format::Yaml, "target: $0", "deployment/web"),
            (Format::Toml, "target = $0", "\"deployment/web\""),
            (Format::Json, r#"{"feature": {"env": {"include": ["$0"]}}}"#, "\"DB_URL\""),
            (Format::Json, r#"{"feature": {"env": {"override": {$0}}}}"#, "\"DB_URL\": \"$1\""),
            (Format::Json, r#"{"feature": {"network": {"incoming": {"ports": [$0]}}}}"#, "8080"),
            (Format::Json, r#"{"feature": {"fs": {"read_only": ["$0"]}}}"#, "\"^/etc/app\\\\.d/\""),
        ] {
            let found = complete_at(format, marked);
            assert!(found.iter().any(|completion| completion.insert == insert), "{marked}: {found:?}");
        }
    }
}
