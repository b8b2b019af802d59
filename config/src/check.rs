//! A tree against the key table: unknown keys, wrong types, wrong values; what is right becomes settings.
//!
//! Called once per layer ([`crate::layered`]). All problems are told; a wrong value leaves its key unset. It must
//! not know any single key: what differs between keys is in the table.

mod value;

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Origin, Severity};
use crate::ignored;
use crate::keys::{self, Key, Shape, Short};
use crate::nearest::nearest;
use crate::settings::{Settings, asks_for_nothing};
use crate::syntax::{Member, Node, Span, Value, clip};

pub(crate) use value::from_text;

/// Where the nodes being checked come from.
#[derive(Clone)]
pub(crate) enum From {
    /// A file: each node has its place.
    File,
    /// All nodes come from one place: a variable or an option.
    Named(Origin),
}

/// Checks nodes and collects settings and problems.
pub(crate) struct Checker<'a> {
    pub(crate) from: From,
    pub(crate) settings: &'a mut Settings,
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

/// The normalised default of a key.
pub(crate) fn default_node(key: &'static Key) -> Node {
    let (node, _) = crate::syntax::parse_value(key.default);
    let mut settings = Settings::default();
    let mut diagnostics = Vec::new();
    let from = From::Named(Origin::Default);
    let mut checker = Checker { from, settings: &mut settings, diagnostics: &mut diagnostics };
    checker.value(&key.shape, key.path, &node).unwrap_or(Node::nowhere(Value::Null))
}

impl Checker<'_> {
    /// Checks a whole file.
    pub(crate) fn root(&mut self, root: &Node) {
        self.members("", root.members());
    }

    /// Checks the value of one key and, if it is good, keeps it.
    pub(crate) fn key(&mut self, key: &'static Key, node: &Node) {
        if matches!(node.value, Value::Null | Value::Missing) {
            return;
        }
        if let Shape::Section(shorts) = key.shape {
            return self.section(key, shorts, node);
        }
        let Some(value) = self.value(&key.shape, key.path, node) else {
            return;
        };
        if !key.in_effect && !asks_for_nothing(&value) {
            self.not_in_effect(key, node.span);
        }
        let origin = self.origin(node.span);
        self.settings.set(key, value, origin);
    }

    fn section(&mut self, key: &'static Key, shorts: &'static [Short], node: &Node) {
        let child_of = |short: &Short| match short {
            Short::Child(name) => keys::child(key.path, name),
            Short::Bool { .. } => None,
        };
        let child = shorts.iter().find_map(child_of);
        match &node.value {
            Value::Object(members) => match child.filter(|child| is_record_of(child, key.path, members)) {
                Some(child) => self.key(child, node),
                None => self.members(key.path, members),
            },
            Value::Bool(value) => {
                let pairs = shorts.iter().find_map(|short| match short {
                    Short::Bool { on, off } => Some(if *value { on } else { off }),
                    Short::Child(_) => None,
                });
                match pairs {
                    Some(pairs) => self.short(key, pairs, node.span),
                    None => self.wrong_type(key.path, &key.shape, node),
                }
            }
            Value::String(_) if child.is_some() => {
                if let Some(child) = child {
                    self.key(child, node);
                }
            }
            _ => self.wrong_type(key.path, &key.shape, node),
        }
    }

    /// Applies what a boolean short form stands for.
    fn short(&mut self, section: &'static Key, pairs: &[(&str, &str)], span: Span) {
        for (path, json) in pairs {
            let (node, _) = crate::syntax::parse_value(json);
            if let Some(key) = keys::find(&format!("{}.{path}", section.path)) {
                self.key(key, &spread(node, span));
            }
        }
    }

    fn members(&mut self, parent: &str, members: &[Member]) {
        self.duplicates(parent, members);
        for member in members {
            match keys::child(parent, &member.key) {
                Some(key) => self.key(key, &member.value),
                None => self.unknown(parent, member),
            }
        }
    }

    fn duplicates(&mut self, parent: &str, members: &[Member]) {
        let mut seen = HashMap::new();
        for member in members {
            let first = *seen.entry(member.key.as_str()).or_insert(member.key_span);
            if first == member.key_span {
                continue;
            }
            let path = join(parent, &member.key);
            let message = format!("`{}` is written twice: keep one of them", shown(&path));
            let diagnostic = Diagnostic::error("duplicate-key", self.origin(member.key_span), message)
                .key(&path)
                .related(self.origin(first), "first written here");
            self.diagnostics.push(diagnostic);
        }
    }

    /// A key that the table does not have: one of mirrord's, a misspelling, or one from elsewhere.
    fn unknown(&mut self, parent: &str, member: &Member) {
        if parent.is_empty() && member.key == "$schema" {
            return;
        }
        let path = join(parent, &member.key);
        let origin = self.origin(member.key_span);
        if let Some(row) = ignored::find(&path) {
            // An empty filter of an unsupported kind is still one.
            let is_unset = matches!(member.value.value, Value::Null | Value::Missing);
            if is_unset || (row.severity != Severity::Error && asks_for_nothing(&member.value)) {
                return;
            }
            let verb = if row.severity == Severity::Error { "is not supported" } else { "is ignored" };
            let code = if row.severity == Severity::Error { "unsupported-key" } else { "ignored-key" };
            let message = format!("`{}` {verb}: {}", shown(&path), row.why);
            self.diagnostics.push(Diagnostic::new(row.severity, code, origin, message).key(&path));
            return;
        }
        let place = if parent.is_empty() { String::new() } else { format!(" in `{}`", shown(parent)) };
        let message = format!("unknown key `{}`{place}", clip(&member.key));
        let diagnostic = Diagnostic::error("unknown-key", origin, message).key(&path);
        let near = nearest(&member.key, keys::children(parent).map(Key::name));
        let elsewhere = keys::in_file().filter(|key| key.name() == member.key);
        let diagnostic = match (near, elsewhere.map(|key| key.path).collect::<Vec<_>>().as_slice()) {
            (None, [one]) => {
                let mut diagnostic = diagnostic;
                diagnostic.message.push_str(&format!("; it belongs at `{one}`"));
                diagnostic
            }
            (near, _) => diagnostic.nearest(near),
        };
        self.diagnostics.push(diagnostic);
    }

    fn not_in_effect(&mut self, key: &Key, span: Span) {
        let message = format!("`{}` is accepted but not in effect yet", key.path);
        self.diagnostics.push(Diagnostic::warning("not-in-effect", self.origin(span), message).key(key.path));
    }

    fn wrong_type(&mut self, path: &str, shape: &Shape, node: &Node) {
        let mut message = format!("`{}` must be {}, not {}", shown(path), shape.describe(), node.kind());
        let unquoted = node.as_str().filter(|text| match shape {
            Shape::Bool | Shape::Section(_) => matches!(*text, "true" | "false"),
            Shape::Integer { .. } => text.parse::<i64>().is_ok(),
            _ => false,
        });
        if let Some(text) = unquoted {
            message.push_str(&format!(": write {text} without quotes"));
        }
        self.diagnostics.push(Diagnostic::error("wrong-type", self.origin(node.span), message).key(path));
    }

    fn origin(&self, span: Span) -> Origin {
        match &self.from {
            From::File => Origin::File(span),
            From::Named(origin) => origin.clone(),
        }
    }
}

/// Whether an object that stands for a section is really the object form of its short child, as in
/// `"target": {"deployment": "web"}`.
fn is_record_of(child: &Key, section: &str, members: &[Member]) -> bool {
    let Shape::Either(shapes) = child.shape else {
        return false;
    };
    let record = shapes.iter().find_map(|shape| match shape {
        Shape::Record(name) => Some(*name),
        _ => None,
    });
    let is = |parent: &str| members.iter().any(|member| keys::child(parent, &member.key).is_some());
    record.is_some_and(is) && !is(section)
}

/// Gives every part of a value that a short form stands for the place of the short form.
fn spread(mut node: Node, span: Span) -> Node {
    node.span = span;
    if let Value::Array(elements) = node.value {
        node.value = Value::Array(elements.into_iter().map(|element| spread(element, span)).collect());
    }
    node
}

fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// A path as people see it: records without their sign.
fn shown(path: &str) -> String {
    clip(path.strip_prefix('$').unwrap_or(path))
}
