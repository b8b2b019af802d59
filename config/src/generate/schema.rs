//! `schemas/config.schema.json`: JSON Schema draft 7, the newest that VS Code supports in full.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::ignored;
use crate::keys::{self, Key, Shape, Short};

/// The schema as JSON text with a line end.
pub fn schema() -> String {
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("mirror configuration"));
    root.insert("allowComments".to_owned(), json!(true));
    root.insert("allowTrailingCommas".to_owned(), json!(true));
    if let Value::Object(object) = object_of("") {
        root.extend(object);
    }
    if let Some(Value::Object(properties)) = root.get_mut("properties") {
        properties.insert("$schema".to_owned(), json!({ "type": "string" }));
    }
    let names: BTreeSet<_> = keys::all().filter_map(|key| key.path.strip_prefix('$')?.split('.').next()).collect();
    let definitions = names.into_iter().map(|name| (name.to_owned(), object_of(&format!("${name}")))).collect();
    root.insert("definitions".to_owned(), Value::Object(definitions));
    let text = serde_json::to_string_pretty(&Value::Object(root)).unwrap_or_default();
    text + "\n"
}

/// An object with the rows below `parent` as its properties.
fn object_of(parent: &str) -> Value {
    let mut properties = Map::new();
    for key in keys::children(parent) {
        properties.insert(key.name().to_owned(), property(key));
    }
    for row in ignored::children(parent) {
        let name = row.path.rsplit('.').next().unwrap_or(row.path);
        let text = format!("Not supported: {}.", row.why);
        properties.insert(name.to_owned(), json!({ "deprecationMessage": text, "doNotSuggest": true }));
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    let mut doc = key.doc();
    if !key.in_effect {
        doc.push_str("\n\n*Accepted, not in effect yet.*");
    }
    if let Some(variable) = key.variable() {
        doc.push_str(&format!("\n\nVariable: `{variable}`"));
    }
    let mut property = Map::new();
    property.insert("description".to_owned(), json!(doc.replace('\n', " ").replace("  ", " ")));
    property.insert("markdownDescription".to_owned(), json!(doc));
    if let (false, Ok(default)) = (key.default == "null", serde_json::from_str::<Value>(key.default)) {
        property.insert("default".to_owned(), default);
    }
    // Leaving a key out and writing null is the same.
    let mut shapes = alternatives(&key.shape, key);
    if !key.path.starts_with('$') {
        shapes.push(json!({ "type": "null" }));
    }
    match (shapes.len(), shapes.pop()) {
        (1, Some(Value::Object(only))) => property.extend(only),
        (_, last) => {
            shapes.extend(last);
            property.insert("anyOf".to_owned(), Value::Array(shapes));
        }
    }
    Value::Object(property)
}

/// What a value may be, as schemas of which one must hold.
fn alternatives(shape: &Shape, key: &Key) -> Vec<Value> {
    match shape {
        Shape::Bool => vec![json!({ "type": "boolean" })],
        Shape::Integer { min, max: i64::MAX } => vec![json!({ "type": "integer", "minimum": min })],
        Shape::Integer { min, max } => {
            vec![json!({ "type": "integer", "minimum": min, "maximum": max })]
        }
        Shape::Duration { unit, min, max } => {
            let length = unit.milliseconds();
            vec![
                json!({ "type": "integer", "minimum": min.div_ceil(length), "maximum": max / length }),
                json!({ "type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|min|h)$" }),
            ]
        }
        Shape::Size => vec![
            json!({ "type": "integer", "minimum": 0 }),
            json!({ "type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([KMG]iB?|kB|MB|GB|B)$" }),
        ],
        Shape::Text(_) => vec![json!({ "type": "string" })],
        Shape::OneOf(choices) => {
            let words: Vec<_> = choices.iter().map(|choice| choice.word).collect();
            let docs: Vec<_> = choices.iter().map(|choice| choice.doc().replace('\n', " ")).collect();
            vec![json!({ "enum": words, "markdownEnumDescriptions": docs })]
        }
        Shape::Scalar(_) | Shape::Secret => {
            vec![json!({ "type": ["string", "number", "boolean"] })]
        }
        Shape::List(element) => {
            let mut all = vec![json!({ "type": "array", "items": any_of(alternatives(element, key)) })];
            if takes_one(element) {
                all.extend(alternatives(element, key));
            }
            all
        }
        Shape::Map { value, .. } => {
            vec![json!({ "type": "object", "additionalProperties": any_of(alternatives(value, key)) })]
        }
        Shape::Pair(element) => {
            let items = any_of(alternatives(element, key));
            vec![json!({ "type": "array", "items": items, "minItems": 2, "maxItems": 2 })]
        }
        Shape::Record(name) => vec![json!({ "$ref": format!("#/definitions/{}", &name[1..]) })],
        Shape::Either(shapes) => shapes.iter().flat_map(|shape| alternatives(shape, key)).collect(),
        Shape::Section(shorts) => section(shorts, key),
    }
}

fn section(shorts: &[Short], key: &Key) -> Vec<Value> {
    let mut all = vec![object_of(key.path)];
    for short in shorts {
        match short {
            Short::Bool { .. } => all.push(json!({ "type": "boolean" })),
            Short::Child(name) => {
                let child = keys::child(key.path, name);
                all.extend(child.map(|child| alternatives(&child.shape, child)).into_iter().flatten());
            }
        }
    }
    all
}

/// Whether one element may stand for the list.
fn takes_one(element: &Shape) -> bool {
    !matches!(element, Shape::List(_) | Shape::Pair(_))
}

fn any_of(mut shapes: Vec<Value>) -> Value {
    match (shapes.len(), shapes.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            shapes.extend(last);
            json!({ "anyOf": shapes })
        }
    }
}
