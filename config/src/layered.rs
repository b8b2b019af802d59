//! Options over variables over the file over defaults.
//!
//! Called by whoever starts a session or shows the effective configuration. It reads no environment itself: the
//! caller hands a function in.

use serde::Serialize;

use crate::check::{Checker, From, from_text};
use crate::diagnostic::{Diagnostic, Origin, finish, has_errors};
use crate::document::Document;
use crate::keys::{self, Key, Shape};
use crate::model::Config;
use crate::rules;
use crate::settings::Settings;
use crate::syntax::{Node, Value, to_json};
use crate::units;

/// One command line option that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue {
    /// Path of the key, such as `target.path`.
    pub key: String,
    /// The value as it was typed; the same forms as in a variable.
    pub value: String,
    /// The option's name for messages, such as `--target`.
    pub option: String,
}

/// A configuration with all layers applied.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The effective values. Where a value was wrong, the default stands in its place.
    pub config: Config,
    /// All problems, in the order of the file, then of variables and options.
    pub diagnostics: Vec<Diagnostic>,
    settings: Settings,
}

/// One line of the effective configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Path of the key.
    pub key: &'static str,
    /// The value as JSON, times and sizes with their unit; `"***"` for each value that may be a secret.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

/// Puts the layers together. An empty variable counts as not set.
pub fn resolve(
    document: Option<&Document>,
    variables: &dyn Fn(&str) -> Option<String>,
    options: &[OptionValue],
) -> Resolved {
    let mut settings = Settings::default();
    let mut diagnostics = Vec::new();
    if let Some(document) = document {
        diagnostics.extend(document.diagnostics.iter().cloned());
        let mut checker = Checker { from: From::File, settings: &mut settings, diagnostics: &mut diagnostics };
        checker.root(&document.root);
    }
    for key in keys::all() {
        let Some(name) = key.variable() else { continue };
        let Some(text) = variables(&name).filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        apply(key, &text, Origin::Variable(name), &mut settings, &mut diagnostics);
    }
    for option in options {
        let origin = Origin::Option(option.option.clone());
        match keys::in_file().find(|key| key.path == option.key) {
            Some(key) => apply(key, &option.value, origin, &mut settings, &mut diagnostics),
            None => {
                let message = format!("unknown key `{}`", option.key);
                diagnostics.push(Diagnostic::error("unknown-key", origin, message).key(&option.key));
            }
        }
    }
    let config = Config::read(&settings);
    rules::check(&config, &settings, &mut diagnostics);
    finish(&mut diagnostics);
    Resolved { config, diagnostics, settings }
}

fn apply(key: &'static Key, text: &str, origin: Origin, settings: &mut Settings, diagnostics: &mut Vec<Diagnostic>) {
    let node = from_text(&key.shape, text, &origin, diagnostics);
    Checker { from: From::Named(origin), settings, diagnostics }.key(key, &node);
}

impl Resolved {
    /// Whether the configuration must not be used.
    pub fn has_errors(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    /// The problems that whoever starts a session should know: not those of a file that is for others, too.
    pub fn of_session(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|problem| !rules::file::CODES.contains(&problem.code.as_str()))
    }

    /// Who set a key.
    pub fn origin(&self, path: &str) -> Origin {
        self.settings.find(path).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Every key with its effective value, in the order of the documents.
    pub fn effective(&self) -> Vec<Effective> {
        keys::in_file()
            .filter(|key| !key.is_section())
            .map(|key| {
                let node = self.settings.node(key);
                let node = readable(key, node);
                let node = if key.shape.is_secret() { mask(node) } else { node };
                Effective { key: key.path, value: to_json(&node), origin: self.origin(key.path) }
            })
            .collect()
    }
}

/// Times and sizes as text with a unit, a form that the key takes too.
fn readable(key: &Key, node: Node) -> Node {
    let Value::Integer(number) = node.value else {
        return node;
    };
    let number = number.unsigned_abs();
    match key.shape {
        Shape::Duration { .. } => Node::text(&units::show_duration(number)),
        Shape::Size => Node::text(&units::show_size(number)),
        _ => node,
    }
}

/// Every text in a value as `***`.
fn mask(node: Node) -> Node {
    let value = match node.value {
        Value::Object(mut members) => {
            for member in &mut members {
                member.value = Node::text("***");
            }
            Value::Object(members)
        }
        Value::Null => Value::Null,
        _ => Value::String("***".to_owned()),
    };
    Node { span: node.span, value }
}
