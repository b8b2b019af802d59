//! What stands at an offset of the tree: which key, or which value, under which path.
//!
//! Called by the language server for completion, hover and links. Pure; it must not know what the keys mean.

use super::{Node, Span, Value};

/// What the cursor touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The text of a key: the last step of the path is that key.
    Key,
    /// A value that is no object and no list, or nothing yet after the colon.
    Value,
    /// Inside an object or a list, between its parts.
    Inside,
}

/// An answer to "where am I".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Dotted path from the root; a list element is the step `[]` without a dot, as in `a.b[].c`.
    pub path: String,
    /// What is touched.
    pub place: Place,
    /// The text that a completion would replace.
    pub span: Span,
}

/// Finds the innermost thing that `offset` touches.
pub fn at(root: &Node, offset: usize) -> Cursor {
    let mut cursor = Cursor { path: String::new(), place: Place::Inside, span: Span::new(offset, offset) };
    let mut node = root;
    loop {
        match &node.value {
            Value::Object(members) => {
                let hit = members.iter().find(|member| member.key_span.touches(offset));
                if let Some(member) = hit {
                    push(&mut cursor.path, &member.key);
                    return Cursor { place: Place::Key, span: member.key_span, ..cursor };
                }
                // A value that is missing begins right after its key, and ends where the next thing begins.
                let hit = members.iter().rev().find(|member| member.key_span.end < offset);
                let Some(member) = hit.filter(|member| holds(&member.value, offset)) else {
                    return cursor;
                };
                push(&mut cursor.path, &member.key);
                node = &member.value;
            }
            Value::Array(elements) => {
                let hit = elements.iter().find(|element| element.span.touches(offset));
                cursor.path.push_str("[]");
                let Some(element) = hit else { return cursor };
                node = element;
            }
            Value::Missing => {
                return Cursor { place: Place::Value, ..cursor };
            }
            _ => {
                return Cursor { place: Place::Value, span: node.span, ..cursor };
            }
        }
    }
}

fn holds(value: &Node, offset: usize) -> bool {
    value.value == Value::Missing || value.span.touches(offset)
}

fn push(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::super::{Format, parse};
    use super::*;

    fn check(marked: &str, path: &str, place: Place, touched: &str) {
        let offset = marked.find("$0").expect("the test marks the cursor");
        let text = marked.replace("$0", "");
        let (root, _) = parse(&text, Format::Json);
        let cursor = at(&root, offset);
        let span = cursor.span;
        assert_eq!((cursor.path.as_str(), cursor.place, &text[span.start..span.end]), (path, place, touched));
    }

    #[test]
    fn keys_values_and_the_space_between() {
        check(r#"{"agent": {"tt$0l": 1}}"#, "agent.ttl", Place::Key, "\"ttl\"");
        check(r#"{"agent": {"ttl": 1$0}}"#, "agent.ttl", Place::Value, "1");
        check(r#"{"agent": {$0 "ttl": 1}}"#, "agent", Place::Inside, "");
        check(r#"{"target": $0}"#, "target", Place::Value, "");
        check(r#"{"a": [{"b": "x$0"}]}"#, "a[].b", Place::Value, "\"x\"");
        check(r#"{"a": {}, $0}"#, "", Place::Inside, "");
        check("{\"feature\": {\"net$0", "feature.net", Place::Key, "\"net");
    }
}
