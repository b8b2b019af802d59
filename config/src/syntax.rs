//! The spanned tree that all file formats are lowered into, and positions in text.
//!
//! Called by `check`, by the rules for places, and by the language server. It must not know any
//! configuration key.

pub mod cursor;
mod json;
mod line_index;
mod print;
mod toml;
mod yaml;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Origin};
pub use line_index::{LineIndex, Position};
pub(crate) use print::to_json;

/// Deepest nesting that is read. The product's own keys need ten levels.
pub const MAX_DEPTH: usize = 64;
/// Most values in one file, after YAML aliases are expanded.
pub const MAX_NODES: usize = 100_000;

/// The language that a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON with comments and trailing commas.
    Json,
    /// YAML 1.2.
    Yaml,
    /// TOML 1.
    Toml,
}

impl Format {
    /// The format of a file name extension (without the dot); JSON where there is none.
    pub fn of_extension(extension: Option<&str>) -> Option<Self> {
        match extension.map(str::to_ascii_lowercase).as_deref() {
            None | Some("json" | "jsonc") => Some(Self::Json),
            Some("yaml" | "yml") => Some(Self::Yaml),
            Some("toml") => Some(Self::Toml),
            Some(_) => None,
        }
    }
}

/// Byte offsets in the text, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// From `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Whether a cursor at this offset touches the span.
    pub fn touches(self, offset: usize) -> bool {
        self.start <= offset && offset <= self.end
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands, quotes and brackets included.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing is there although something should be (the parser said so already).
    Missing,
    /// `null`: as if the key were not set.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text, escapes resolved.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// Keys and values in the order of the file; a key may occur twice.
    Object(Vec<Member>),
}

/// One key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The key's text, escapes resolved.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// A value that stands nowhere (from a variable, an option, a default).
    pub fn nowhere(value: Value) -> Self {
        Self { span: Span::default(), value }
    }

    /// A text that stands nowhere.
    pub fn text(text: &str) -> Self {
        Self::nowhere(Value::String(text.to_owned()))
    }

    /// The same value at another place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members, if it is an object; else none.
    pub fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements, if it is a list; else none.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => &[],
        }
    }

    /// The value of the first member of this name.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.members().iter().find(|member| member.key == key).map(|member| &member.value)
    }

    /// What it is, in the words of a message.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Missing => "nothing",
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a number",
            Value::Float(_) => "a number with a fraction",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// Reads text into the tree. The root is an object in every case; problems of syntax come beside it.
///
/// A byte order mark at the start is skipped, CRLF is a line end, and an empty file is an empty configuration.
pub fn parse(text: &str, format: Format) -> (Node, Vec<Diagnostic>) {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return (Node { span: Span::new(0, text.len()), value: Value::Object(Vec::new()) }, Vec::new());
    }
    let (root, mut diagnostics) = match format {
        Format::Json => json::parse(text),
        Format::Yaml => yaml::parse(text),
        Format::Toml => toml::parse(text),
    };
    if format != Format::Json && !diagnostics.is_empty() {
        diagnostics = prefer_template_problem(text, diagnostics);
    }
    match root.value {
        Value::Object(_) => (root, diagnostics),
        _ => {
            if diagnostics.is_empty() {
                let message = format!("the configuration is {}: write an object with keys", root.kind());
                diagnostics.push(Diagnostic::error("wrong-type", Origin::File(root.span), message));
            }
            (Node { span: root.span, value: Value::Object(Vec::new()) }, diagnostics)
        }
    }
}

/// Reads one JSON value of any type: a variable, a default.
pub(crate) fn parse_value(text: &str) -> (Node, Vec<Diagnostic>) {
    json::parse(text)
}

/// A syntax problem.
fn problem(start: usize, end: usize, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("syntax", Origin::File(Span::new(start, end)), message)
}

/// A text of the user for a message: short and on one line.
pub(crate) fn clip(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut clipped: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        clipped.push('…');
    }
    clipped
}

/// The place of the first template expression in `text`.
pub(crate) fn find_template(text: &str) -> Option<Span> {
    let (open, close) = match (text.find("{{"), text.find("{%")) {
        (Some(expression), Some(statement)) if statement < expression => (statement, "%}"),
        (Some(expression), _) => (expression, "}}"),
        (None, Some(statement)) => (statement, "%}"),
        (None, None) => return None,
    };
    let length = text[open..].find(close)?;
    Some(Span::new(open, open + length + close.len()))
}

/// What to say about a template expression.
pub(crate) fn template_problem(span: Span) -> Diagnostic {
    Diagnostic::error(
        "template-not-supported",
        Origin::File(span),
        "templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable",
    )
}

/// Outside of text a template breaks the syntax of YAML and TOML; then it is the problem worth telling.
fn prefer_template_problem(text: &str, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    match find_template(text) {
        Some(span) => vec![template_problem(span)],
        None => diagnostics,
    }
}
