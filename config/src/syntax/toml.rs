//! TOML into the tree, by the `toml` crate's recovering parser.
//!
//! Called by `syntax::parse` only. It must not know any configuration key.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Member, Node, Span, Value, problem};
use crate::diagnostic::Diagnostic;

/// Reads a whole document.
pub(crate) fn parse(text: &str) -> (Node, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = errors.iter().map(|error| syntax_problem(text, error)).collect();
    let value = object(table.get_ref(), &mut problems);
    (Node { span: Span::new(0, text.len()), value }, problems)
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().trim().replace('\n', ", ");
    problem(span.start.min(text.len()), span.end.min(text.len()), format!("this is not TOML: {message}"))
}

fn object(table: &DeTable<'_>, problems: &mut Vec<Diagnostic>) -> Value {
    let mut members: Vec<_> = table
        .iter()
        .map(|(key, value)| Member {
            key: key.get_ref().to_string(),
            key_span: Span::new(key.span().start, key.span().end),
            value: node(value, problems),
        })
        .collect();
    members.sort_by_key(|member| member.key_span);
    Value::Object(members)
}

fn node(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Node {
    let span = Span::new(value.span().start, value.span().end);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => integer(number.as_str(), number.radix()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => {
            problems.push(problem(span.start, span.end, "no key takes a date: write it as text, in quotes"));
            Value::Missing
        }
        DeValue::Array(elements) => Value::Array(elements.iter().map(|element| node(element, problems)).collect()),
        DeValue::Table(table) => object(table, problems),
    };
    Node { span, value }
}

fn integer(text: &str, radix: u32) -> Value {
    match i64::from_str_radix(text, radix) {
        Ok(number) => Value::Integer(number),
        Err(_) => Value::Float(text.parse().unwrap_or(f64::MAX)),
    }
}
