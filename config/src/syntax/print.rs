//! The tree as JSON text on one line.
//!
//! Called for defaults, effective values and messages. It must not know any configuration key.

use super::{Node, Value};

/// `node` as JSON, with a space after commas and colons.
pub(crate) fn to_json(node: &Node) -> String {
    match &node.value {
        Value::Missing | Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::String(text) => quote(text),
        Value::Array(elements) => format!("[{}]", elements.iter().map(to_json).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|member| format!("{}: {}", quote(&member.key), to_json(&member.value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
