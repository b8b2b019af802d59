//! The RPC as TypeScript types.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{GENERATED, Method, NOTIFICATIONS, REQUESTS, doc, fields};

/// The whole file.
pub(super) fn typescript(definitions: &Map<String, Value>) -> String {
    let mut out = format!("// {GENERATED}\n");
    for (name, schema) in definitions {
        out.push('\n');
        comment(&mut out, "", schema);
        let choices = choices(schema);
        if schema["type"] == "object" && schema.get("properties").is_some() {
            interface(&mut out, name, schema);
        } else if schema["type"] == "object" {
            let _ = writeln!(out, "export type {name} = Record<string, never>;");
        } else if choices.is_empty() {
            let _ = writeln!(out, "export type {name} = {};", ty(schema));
        } else {
            let _ = writeln!(out, "export type {name} =");
            for (index, choice) in choices.iter().enumerate() {
                comment(&mut out, "  ", choice);
                let end = if index + 1 == choices.len() { ";" } else { "" };
                let _ = writeln!(out, "  | {}{end}", ty(choice));
            }
        }
    }
    methods(&mut out, "Requests", "Requests to the server.", REQUESTS);
    methods(&mut out, "Notifications", "Notifications from the server.", NOTIFICATIONS);
    out
}

fn interface(out: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(out, "export interface {name} {{");
    for field in fields(schema) {
        comment(out, "  ", field.schema);
        let _ = writeln!(out, "  {}{}: {};", field.name, if field.required { "" } else { "?" }, ty(field.schema));
    }
    out.push_str("}\n");
}

fn methods(out: &mut String, name: &str, about: &str, methods: &[Method]) {
    let _ = writeln!(out, "\n/** {about} */\nexport interface {name} {{");
    for method in methods {
        let _ = writeln!(out, "  /** {} */", doc(method));
        let _ = match method.result {
            "" => writeln!(out, "  \"{}\": {};", method.name, method.params),
            result => writeln!(out, "  \"{}\": {{ params: {}; result: {result} }};", method.name, method.params),
        };
    }
    out.push_str("}\n");
}

fn comment(out: &mut String, indent: &str, schema: &Value) {
    if let Some(text) = schema["description"].as_str() {
        let _ = writeln!(out, "{indent}/** {text} */");
    }
}

/// The words of an enum that explains each of them.
fn choices(schema: &Value) -> &[Value] {
    schema["oneOf"].as_array().map_or(&[], Vec::as_slice)
}

/// The type of a value. What may be null is left out instead.
pub(super) fn ty(schema: &Value) -> String {
    let union = |schemas: &[Value]| {
        let parts = schemas.iter().filter(|schema| schema["type"] != "null").map(ty);
        parts.collect::<Vec<_>>().join(" | ")
    };
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        if let Some(schemas) = schema[several].as_array() {
            return union(schemas);
        }
    }
    if let Some(word) = schema.get("const") {
        return word.to_string();
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    let name = match &schema["type"] {
        Value::Array(names) => names.iter().find(|name| **name != "null"),
        name => Some(name),
    };
    match name.and_then(Value::as_str) {
        Some("string") => "string".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("boolean") => "boolean".to_owned(),
        Some("array") => format!("{}[]", ty(&schema["items"])),
        Some("object") => match &schema["additionalProperties"] {
            value if value.is_object() => format!("Record<string, {}>", ty(value)),
            _ => "Record<string, unknown>".to_owned(),
        },
        _ => "unknown".to_owned(),
    }
}
