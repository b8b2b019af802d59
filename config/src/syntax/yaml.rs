//! YAML into the tree, from the events of `saphyr-parser`.
//!
//! Called by `syntax::parse` only. Aliases are expanded within [`MAX_NODES`]. It must not know any configuration
//! key.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{MAX_DEPTH, MAX_NODES, Member, Node, Span, Value, json, problem};
use crate::diagnostic::Diagnostic;

/// Reads the first document of the text.
pub(crate) fn parse(text: &str) -> (Node, Vec<Diagnostic>) {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let content = &text[mark..];
    let offsets: Vec<usize> =
        content.char_indices().map(|(at, _)| mark + at).chain(std::iter::once(text.len())).collect();
    let mut builder = Builder::new(text, &offsets);
    for event in Parser::new_from_str(content) {
        match event {
            Ok((event, span)) => {
                let span = builder.span(span.start.index(), span.end.index());
                if builder.event(event, span).is_none() {
                    break;
                }
            }
            Err(error) => {
                let at = builder.offset(error.marker().index());
                builder.problems.push(problem(at, at, format!("this is not YAML: {}", error.info())));
                break;
            }
        }
    }
    builder.finish(Span::new(0, text.len()))
}

/// A list or mapping that is not at its end yet.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Mapping { members: Vec<Member>, key: Option<(Option<String>, Span)> },
}

struct Builder<'a> {
    text: &'a str,
    offsets: &'a [usize],
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    n_nodes: usize,
    root: Option<Node>,
    problems: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, offsets: &'a [usize]) -> Self {
        Self { text, offsets, stack: Vec::new(), anchors: HashMap::new(), n_nodes: 0, root: None, problems: Vec::new() }
    }

    /// The byte offset of a character's number.
    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).or(self.offsets.last()).copied().unwrap_or(0)
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.offset(start), self.offset(end))
    }

    /// Takes one event; nothing when the rest is not to be read.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, _tag) => self.add(Node { span, value: scalar(&text, style) }, anchor, 1),
            Event::SequenceStart(anchor, _) => self.open(span, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(span, anchor, Content::Mapping { members: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => {
                let (node, size) = self.anchors.get(&anchor).cloned().unwrap_or((Node::nowhere(Value::Null), 1));
                self.add(node.at(span), 0, size)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                self.problems.push(problem(span.start, span.end, "a second document: one file is one configuration"));
                None
            }
            _ => Some(()),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content) -> Option<()> {
        if self.stack.len() == MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} levels: the rest is not read");
            self.problems.push(problem(span.start, span.end, message));
            return None;
        }
        self.stack.push(Open { start: span.start, anchor, content });
        Some(())
    }

    fn close(&mut self, span: Span) -> Option<()> {
        let open = self.stack.pop()?;
        let (value, last) = match open.content {
            Content::List(elements) => {
                let last = elements.last().map(|element| element.span.end);
                (Value::Array(elements), last)
            }
            Content::Mapping { members, .. } => {
                let last = members.last().map(|member| member.value.span.end);
                (Value::Object(members), last)
            }
        };
        // The end event of a block stands at the next token, that of a flow collection at its bracket and the blanks
        // after it.
        let end = if span.end > span.start { span.end } else { last.unwrap_or(span.end) };
        let end = self.text[..end].trim_end().len().max(open.start);
        let node = Node { span: Span::new(open.start, end), value };
        let size = 1;
        self.add(node, open.anchor, size)
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Option<()> {
        self.n_nodes += size;
        if self.n_nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, aliases counted: the rest is not read");
            self.problems.push(problem(node.span.start, node.span.end, message));
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), count(&node)));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match &mut open.content {
            Content::List(elements) => elements.push(node),
            Content::Mapping { members, key } => match key.take() {
                Some((Some(key), key_span)) => members.push(Member { key, key_span, value: node }),
                // Told already; its value belongs to nothing.
                Some((None, _)) => {}
                None => {
                    let text = key_text(&node);
                    if text.is_none() {
                        self.problems.push(problem(node.span.start, node.span.end, "a key must be text"));
                    }
                    *key = Some((text, node.span));
                }
            },
        }
        Some(())
    }

    /// Closes what a syntax error left open, so that the part before it is still a tree.
    fn finish(mut self, whole: Span) -> (Node, Vec<Diagnostic>) {
        while let Some(open) = self.stack.last_mut() {
            if let Content::Mapping { members, key } = &mut open.content
                && let Some((Some(key), key_span)) = key.take()
            {
                let value = Node { span: Span::new(key_span.end, key_span.end), value: Value::Missing };
                members.push(Member { key, key_span, value });
            }
            if self.close(Span::new(whole.end, whole.end)).is_none() {
                break;
            }
        }
        let root = self.root.unwrap_or(Node { span: whole, value: Value::Null });
        let root = match root.value {
            Value::Null | Value::Missing => Node { span: whole, value: Value::Object(Vec::new()) },
            _ => root,
        };
        (root, self.problems)
    }
}

/// Number of values in a tree, itself counted.
fn count(node: &Node) -> usize {
    let below: usize = match &node.value {
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(members) => members.iter().map(|member| count(&member.value)).sum(),
        _ => 0,
    };
    below + 1
}

/// Keys that look like numbers or booleans are text too.
fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Integer(value) => Some(value.to_string()),
        Value::Null => Some(String::new()),
        _ => None,
    }
}

/// The core schema of YAML 1.2: `yes`, `on`, `off` are text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => json::number(text.strip_prefix('+').unwrap_or(text)).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}
