//! The RPC as a document.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::typescript::ty;
use super::{GENERATED, Method, NOTIFICATIONS, REQUESTS, doc, fields};

const INTRODUCTION: &str = "
# The RPC of `mirror serve`

`mirror serve` is a language server for the configuration and more: it lists targets, holds sessions and says how a
program is launched in one. It speaks JSON-RPC 2.0 over standard input and output with the base protocol of LSP. It
leaves when its input ends, or when the process ends that `initialize` names as `processId`.

The methods below stand beside those of LSP. Requests can be cancelled (`$/cancelRequest`); `mirror/session/start` tells
its progress by `$/progress` for the `workDoneToken` of its parameters. A failure is a JSON-RPC error whose `data` is a
`Problem`. Fields that are marked `?` may be left out; clients ignore fields that they do not know.
The same as a JSON Schema: [rpc.schema.json](../schemas/rpc.schema.json).
";

/// The whole document.
pub(super) fn document(definitions: &Map<String, Value>) -> String {
    let mut out = format!("<!-- {GENERATED} -->\n{INTRODUCTION}");
    methods(&mut out, "Requests", REQUESTS);
    methods(&mut out, "Notifications of the server", NOTIFICATIONS);
    out.push_str("\n## Types\n");
    for (name, schema) in definitions {
        let about = schema["description"].as_str().unwrap_or_default();
        let _ = writeln!(out, "\n### {name}\n\n{about}");
        if let Some(choices) = schema["oneOf"].as_array() {
            out.push_str("\n| word | meaning |\n|---|---|\n");
            for choice in choices {
                let _ = writeln!(out, "| `{}` | {} |", ty(choice).trim_matches('"'), cell(choice));
            }
        } else if fields(schema).next().is_some() {
            out.push_str("\n| field | type | meaning |\n|---|---|---|\n");
            for field in fields(schema) {
                let mark = if field.required { "" } else { "?" };
                let ty = ty(field.schema).replace('|', "\\|");
                let _ = writeln!(out, "| `{}{mark}` | `{ty}` | {} |", field.name, cell(field.schema));
            }
        }
    }
    out
}

fn methods(out: &mut String, title: &str, methods: &[Method]) {
    let has_results = methods.iter().any(|method| !method.result.is_empty());
    let (head, line) = if has_results { ("parameters → result", "---") } else { ("parameters", "---") };
    let _ = writeln!(out, "\n## {title}\n\n| method | {head} | what it does |\n|---|{line}|---|");
    for method in methods {
        let link = |name: &str| format!("[{name}](#{})", name.to_lowercase());
        let types = match method.result {
            "" => link(method.params),
            result => format!("{} → {}", link(method.params), link(result)),
        };
        let _ = writeln!(out, "| `{}` | {types} | {} |", method.name, doc(method));
    }
}

fn cell(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('|', "\\|")
}
