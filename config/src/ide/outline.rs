//! The outline of a file, what can be folded, and what leads elsewhere.

use crate::document::Document;
use crate::keys::{self, Shape};
use crate::syntax::{Node, Span, Value};

/// What a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// Has parts.
    Object,
    /// A list.
    List,
    /// A text.
    Text,
    /// A number.
    Number,
    /// `true`, `false` or nothing.
    Truth,
}

/// One key with its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The key.
    pub name: String,
    /// What its value is.
    pub kind: SymbolKind,
    /// Key and value.
    pub span: Span,
    /// The key.
    pub key: Span,
    /// Keys inside.
    pub children: Vec<Symbol>,
}

/// The outline.
pub fn symbols(document: &Document) -> Vec<Symbol> {
    of_node(&document.root)
}

fn of_node(node: &Node) -> Vec<Symbol> {
    let members = node.members().iter().map(|member| Symbol {
        name: member.key.clone(),
        kind: match member.value.value {
            Value::Object(_) => SymbolKind::Object,
            Value::Array(_) => SymbolKind::List,
            Value::String(_) => SymbolKind::Text,
            Value::Integer(_) | Value::Float(_) => SymbolKind::Number,
            Value::Bool(_) | Value::Null | Value::Missing => SymbolKind::Truth,
        },
        span: Span::new(member.key_span.start, member.key_span.end.max(member.value.span.end)),
        key: member.key_span,
        children: of_node(&member.value),
    });
    let elements = node.elements().iter().flat_map(of_node);
    members.chain(elements).collect()
}

/// The objects and lists, as byte offsets; which of them have several lines is for the caller to see.
pub fn folds(document: &Document) -> Vec<Span> {
    let mut found = Vec::new();
    collect_folds(&document.root, &mut found);
    found
}

fn collect_folds(node: &Node, found: &mut Vec<Span>) {
    if matches!(node.value, Value::Object(_) | Value::Array(_)) {
        found.push(node.span);
    }
    node.members().iter().for_each(|member| collect_folds(&member.value, found));
    node.elements().iter().for_each(|element| collect_folds(element, found));
}

/// A text that leads to a file or page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it stands.
    pub span: Span,
    /// A path as the file has it, or an address with `://`.
    pub to: String,
}

/// The links: values that are paths, and `$schema`.
pub fn links(document: &Document) -> Vec<Link> {
    let mut found = Vec::new();
    collect_links(&document.root, "", &mut found);
    found
}

fn collect_links(node: &Node, path: &str, found: &mut Vec<Link>) {
    for member in node.members() {
        let place = if path.is_empty() { member.key.clone() } else { format!("{path}.{}", member.key) };
        let is_path =
            keys::locate(&place).is_some_and(|key| matches!(key.shape, Shape::Text(kind) if kind.name == "path"));
        if let Some(text) = member.value.as_str().filter(|text| (is_path || place == "$schema") && !text.is_empty()) {
            found.push(Link { span: member.value.span, to: text.to_owned() });
        }
        collect_links(&member.value, &place, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Format;

    const TEXT: &str = r#"{"$schema": "https://example.org/s", "agent": {"ttl": 1, "labels": {}}, "feature": {"env": {"env_file": ".env"}}}"#;

    #[test]
    fn the_outline_has_keys_inside_keys() {
        let document = Document::new("", TEXT, Format::Json);
        let found = symbols(&document);
        assert_eq!(
            found.iter().map(|symbol| symbol.name.as_str()).collect::<Vec<_>>(),
            ["$schema", "agent", "feature"]
        );
        assert_eq!(found[1].children.len(), 2);
        assert_eq!(folds(&document).len(), 5);
    }

    #[test]
    fn paths_and_the_schema_are_links() {
        let found = links(&Document::new("", TEXT, Format::Json));
        let to: Vec<_> = found.iter().map(|link| link.to.as_str()).collect();
        assert_eq!(to, ["https://example.org/s", ".env"]);
    }
}
