//! One value against its shape, and texts of variables as values.
//!
//! Normalises on the way: times to milliseconds, sizes to bytes, a lone element to a list, scalars to text.

use super::{Checker, shown};
use crate::diagnostic::{Diagnostic, Origin, Severity};
use crate::keys::{self, Shape, Short};
use crate::model;
use crate::nearest::nearest;
use crate::syntax::{Member, Node, Span, Value, clip, find_template, parse_value, template_problem};
use crate::target::{Target, TargetError};
use crate::text::{REGEX, TextKind};
use crate::units;

impl Checker<'_> {
    /// The normalised value, or nothing and a problem.
    pub(super) fn value(&mut self, shape: &Shape, path: &str, node: &Node) -> Option<Node> {
        if matches!(node.value, Value::Missing | Value::Null) {
            return None;
        }
        match shape {
            Shape::Bool if matches!(node.value, Value::Bool(_)) => Some(node.clone()),
            Shape::Integer { min, max } => self.integer(shape, (*min, *max), path, node),
            Shape::Duration { unit, min, max } => {
                let length = match &node.value {
                    Value::Integer(number) => {
                        u64::try_from(*number).ok().and_then(|n| n.checked_mul(unit.milliseconds()))
                    }
                    Value::String(text) => units::duration(text),
                    _ => None,
                };
                self.bounded(shape, length, (*min, *max), path, node)
            }
            Shape::Size => {
                let bytes = match &node.value {
                    Value::Integer(number) => u64::try_from(*number).ok(),
                    Value::String(text) => units::size(text),
                    _ => None,
                };
                self.bounded(shape, bytes, (0, i64::MAX as u64), path, node)
            }
            Shape::Text(kind) => match &node.value {
                Value::String(text) => self.text(kind, path, text, node),
                _ => self.refuse(path, shape, node),
            },
            Shape::Scalar(kind) => {
                let text = self.scalar(path, shape, node)?;
                self.text(kind, path, &text, &Node { span: node.span, value: Value::String(text.clone()) })
            }
            Shape::Secret => {
                let text = self.scalar(path, shape, node)?;
                self.template(path, &text, node, true);
                Some(Node { span: node.span, value: Value::String(text) })
            }
            Shape::OneOf(choices) => {
                let words = choices.iter().map(|choice| choice.word);
                self.choice(shape, words, path, node)
            }
            Shape::List(element) => self.list(shape, element, path, node),
            Shape::Map { key, value } => self.map(shape, key, value, path, node),
            Shape::Pair(element) => match &node.value {
                Value::Array(elements) if elements.len() == 2 => self.elements(element, path, elements, node.span),
                _ => self.refuse(path, shape, node),
            },
            Shape::Record(name) => self.record(shape, name, path, node),
            Shape::Either(shapes) => match shapes.iter().find(|shape| fits_type(shape, node)) {
                Some(shape) => self.value(shape, path, node),
                None => self.refuse(path, shape, node),
            },
            Shape::Bool | Shape::Section(_) => self.refuse(path, shape, node),
        }
    }

    fn refuse(&mut self, path: &str, shape: &Shape, node: &Node) -> Option<Node> {
        self.wrong_type(path, shape, node);
        None
    }

    /// A scalar as its text.
    fn scalar(&mut self, path: &str, shape: &Shape, node: &Node) -> Option<String> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Some(crate::syntax::to_json(node)),
            _ => {
                self.wrong_type(path, shape, node);
                None
            }
        }
    }

    fn integer(&mut self, shape: &Shape, (min, max): (i64, i64), path: &str, node: &Node) -> Option<Node> {
        match node.value {
            Value::Integer(number) if (min..=max).contains(&number) => Some(node.clone()),
            Value::Integer(number) => {
                let message = format!("`{}` is {number}: it must be {}", shown(path), shape.describe());
                self.push("out-of-range", path, node, message)
            }
            _ => self.refuse(path, shape, node),
        }
    }

    /// A time or a size, read already; nothing if it could not be.
    fn bounded(
        &mut self,
        shape: &Shape,
        read: Option<u64>,
        bounds: (u64, u64),
        path: &str,
        node: &Node,
    ) -> Option<Node> {
        let Some(amount) = read else {
            let (Value::String(_) | Value::Integer(_)) = node.value else {
                return self.refuse(path, shape, node);
            };
            let code = if matches!(shape, Shape::Size) { "invalid-size" } else { "invalid-duration" };
            let given = clip(&crate::syntax::to_json(node));
            let message = format!("`{}` is {given}: it must be {}", shown(path), shape.describe());
            return self.push(code, path, node, message);
        };
        if (bounds.0..=bounds.1).contains(&amount) {
            return Some(Node { span: node.span, value: Value::Integer(i64::try_from(amount).ok()?) });
        }
        let show = if matches!(shape, Shape::Size) { units::show_size } else { units::show_duration };
        let (min, max) = (show(bounds.0), show(bounds.1));
        let message = format!("`{}` is {}: it must be from {min} to {max}", shown(path), show(amount));
        self.push("out-of-range", path, node, message)
    }

    fn text(&mut self, kind: &TextKind, path: &str, text: &str, node: &Node) -> Option<Node> {
        let is_free = kind.name == "text";
        if self.template(path, text, node, is_free) && !is_free {
            return None;
        }
        let Err(reason) = (kind.check)(text) else {
            return Some(node.clone());
        };
        let code = format!("invalid-{}", kind.name.to_ascii_lowercase().replace(' ', "-"));
        if kind.name != crate::text::TARGET.name {
            return self.push(&code, path, node, format!("`{}` {reason}", clip(text)));
        }
        let nearest = text.parse::<Target>().err().as_ref().and_then(TargetError::nearest);
        let repaired = nearest.and_then(|word| Some(format!("{word}/{}", text.split_once('/')?.1)));
        let diagnostic = Diagnostic::error(&code, self.origin(node.span), reason).key(path);
        self.diagnostics.push(diagnostic.nearest(repaired.as_deref()));
        None
    }

    /// Tells about a template expression in text: a warning where the text may be meant for somebody else.
    fn template(&mut self, path: &str, text: &str, node: &Node, is_free: bool) -> bool {
        if find_template(text).is_none() {
            return false;
        }
        let mut diagnostic = template_problem(node.span).key(path);
        diagnostic.origin = self.origin(node.span);
        if is_free {
            diagnostic.severity = Severity::Warning;
        }
        self.diagnostics.push(diagnostic);
        true
    }

    fn choice<'w>(
        &mut self,
        shape: &Shape,
        words: impl Iterator<Item = &'w str> + Clone,
        path: &str,
        node: &Node,
    ) -> Option<Node> {
        let text = match &node.value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            _ => return self.refuse(path, shape, node),
        };
        if words.clone().any(|word| word == text) {
            return Some(Node { span: node.span, value: Value::String(text) });
        }
        if self.template(path, &text, node, false) {
            return None;
        }
        let message = format!("`{}` is \"{}\": it must be {}", shown(path), clip(&text), shape.describe());
        let diagnostic = Diagnostic::error("unknown-value", self.origin(node.span), message).key(path);
        self.diagnostics.push(diagnostic.nearest(nearest(&text, words)));
        None
    }

    fn list(&mut self, shape: &Shape, element: &Shape, path: &str, node: &Node) -> Option<Node> {
        match &node.value {
            Value::Array(elements) => self.elements(element, path, elements, node.span),
            // As in variables; a regular expression may contain the separator.
            Value::String(text)
                if text.contains(';') && !matches!(element, Shape::Text(kind) if kind.name == REGEX.name) =>
            {
                let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
                let parts: Vec<_> = parts.map(|part| Node::text(part).at(node.span)).collect();
                self.elements(element, path, &parts, node.span)
            }
            _ if fits_type(element, node) => self.elements(element, path, std::slice::from_ref(node), node.span),
            _ => self.refuse(path, shape, node),
        }
    }

    /// All elements are checked, also after a wrong one.
    fn elements(&mut self, element: &Shape, path: &str, nodes: &[Node], span: Span) -> Option<Node> {
        let mut n_wrong = 0;
        let mut elements = Vec::with_capacity(nodes.len());
        for node in nodes {
            if node.value == Value::Null {
                self.wrong_type(path, element, node);
            }
            match self.value(element, path, node) {
                Some(node) => elements.push(node),
                None => n_wrong += 1,
            }
        }
        (n_wrong == 0).then_some(Node { span, value: Value::Array(elements) })
    }

    fn map(&mut self, shape: &Shape, key: &TextKind, value: &Shape, path: &str, node: &Node) -> Option<Node> {
        let Value::Object(members) = &node.value else {
            return self.refuse(path, shape, node);
        };
        let n_before = self.diagnostics.len();
        self.duplicates(path, members);
        let mut checked = Vec::with_capacity(members.len());
        for member in members {
            let name = Node { span: member.key_span, value: Value::String(member.key.clone()) };
            let name_is_good = self.text(key, path, &member.key, &name).is_some();
            if let Some(value) = self.value(value, path, &member.value)
                && name_is_good
            {
                checked.push(Member { value, ..member.clone() });
            }
        }
        let is_wrong = self.diagnostics[n_before..].iter().any(|new| new.severity == Severity::Error);
        (!is_wrong).then_some(Node { span: node.span, value: Value::Object(checked) })
    }

    fn record(&mut self, shape: &Shape, name: &str, path: &str, node: &Node) -> Option<Node> {
        let Value::Object(members) = &node.value else {
            return self.refuse(path, shape, node);
        };
        let n_before = self.diagnostics.len();
        self.duplicates(path, members);
        let mut checked = Vec::with_capacity(members.len());
        for member in members {
            let Some(key) = keys::child(name, &member.key) else {
                self.unknown(name, member);
                continue;
            };
            if let Some(value) = self.value(&key.shape, key.path, &member.value) {
                checked.push(Member { value, ..member.clone() });
            }
        }
        if self.diagnostics[n_before..].iter().any(|new| new.severity == Severity::Error) {
            return None;
        }
        let node = Node { span: node.span, value: Value::Object(checked) };
        match model::verify(name, &node) {
            Ok(()) => Some(node),
            Err(message) => self.push("invalid-object", path, &node, format!("`{}`: {message}", shown(path))),
        }
    }

    fn push(&mut self, code: &str, path: &str, node: &Node, message: String) -> Option<Node> {
        self.diagnostics.push(Diagnostic::error(code, self.origin(node.span), message).key(path));
        None
    }
}

/// Whether a value has the type of a shape, whatever else may be wrong with it.
fn fits_type(shape: &Shape, node: &Node) -> bool {
    match (shape, &node.value) {
        (Shape::Either(shapes), _) => shapes.iter().any(|shape| fits_type(shape, node)),
        (Shape::Text(_) | Shape::OneOf(_), Value::String(_)) => true,
        (Shape::Integer { .. }, Value::Integer(_)) => true,
        (Shape::Record(_) | Shape::Map { .. }, Value::Object(_)) => true,
        _ => false,
    }
}

/// The text of a variable or an option as a value of the shape. JSON where it begins like it and the shape has an
/// object or a list; else `;` separates elements, `key=value` pairs and `a:b` pairs. What does not fit stays text,
/// and the check says so.
pub(crate) fn from_text(shape: &Shape, text: &str, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Node {
    let trimmed = text.trim();
    let is_json =
        trimmed.starts_with('{') || (trimmed.starts_with('[') && matches!(shape, Shape::List(_) | Shape::Pair(_)));
    let takes_json = match shape {
        Shape::Either(shapes) => shapes.iter().any(|shape| matches!(shape, Shape::Record(_))),
        shape => {
            matches!(shape, Shape::List(_) | Shape::Map { .. } | Shape::Pair(_) | Shape::Record(_) | Shape::Section(_))
        }
    };
    if is_json && takes_json {
        let (node, problems) = parse_value(trimmed);
        diagnostics.extend(problems.into_iter().map(|problem| Diagnostic { origin: origin.clone(), ..problem }));
        return node;
    }
    let mut below = |shape: &Shape, text: &str| from_text(shape, text, origin, diagnostics);
    let parts =
        |text: &str| text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    match shape {
        // `off` is a mode where a section has one.
        Shape::Section(shorts) if shorts.iter().any(|short| matches!(short, Short::Child(_))) && trimmed == "off" => {
            Node::text(trimmed)
        }
        Shape::Bool | Shape::Section(_) => boolean(trimmed),
        Shape::Integer { .. } | Shape::Duration { .. } | Shape::Size => number(trimmed),
        Shape::List(element) => {
            let parts: Vec<String> = parts(text);
            Node::nowhere(Value::Array(parts.iter().map(|part| below(element, part)).collect()))
        }
        Shape::Pair(element) if text.contains(':') => {
            Node::nowhere(Value::Array(text.split(':').map(|part| below(element, part)).collect()))
        }
        Shape::Map { value, .. } if text.contains('=') => {
            let parts: Vec<String> = parts(text);
            let member = |part: &String| {
                let (key, text) = part.split_once('=').unwrap_or((part, ""));
                let key_span = Span::default();
                Member { key: key.trim().to_owned(), key_span, value: below(value, text) }
            };
            Node::nowhere(Value::Object(parts.iter().map(member).collect()))
        }
        _ => Node::text(text),
    }
}

fn boolean(text: &str) -> Node {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Node::nowhere(Value::Bool(true)),
        "false" | "0" | "no" | "off" => Node::nowhere(Value::Bool(false)),
        _ => Node::text(text),
    }
}

fn number(text: &str) -> Node {
    text.parse().map_or_else(|_| Node::text(text), |number| Node::nowhere(Value::Integer(number)))
}
