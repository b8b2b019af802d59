//! JSON with comments and trailing commas, read to the end whatever is wrong with it.
//!
//! Called by `syntax::parse` for files and by the layering for variables. Our own parser, because the public ones
//! stop at the first mistake: here all mistakes are told at once, and a half-typed file still gives a tree that
//! completion can work on. It must not know any configuration key.

mod string;

use super::{MAX_DEPTH, Member, Node, Span, Value, clip, find_template, problem, template_problem};
use crate::diagnostic::Diagnostic;

/// Reads a whole document.
pub(crate) fn parse(text: &str) -> (Node, Vec<Diagnostic>) {
    let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut parser = Parser { text, at, depth: 0, problems: Vec::new() };
    let root = parser.value();
    parser.skip_blank();
    if parser.at < text.len() && root.value != Value::Missing {
        parser.report(parser.at, text.len(), "text after the end of the configuration: remove it");
    }
    (root, parser.problems)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    problems: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn report(&mut self, start: usize, end: usize, message: impl Into<String>) {
        self.problems.push(problem(start, end, message));
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Skips spaces, line ends and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let rest = &rest[blank..];
            if rest.starts_with("//") {
                self.at += blank + rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let start = self.at + blank;
                match rest.find("*/") {
                    Some(length) => self.at = start + length + 2,
                    None => {
                        self.at = self.text.len();
                        self.report(start, start + 2, "this comment is not closed: add `*/`");
                    }
                }
            } else {
                self.at += blank;
                return;
            }
        }
    }

    fn value(&mut self) -> Node {
        self.skip_blank();
        let start = self.at;
        let Some(byte) = self.peek() else {
            self.report(start, start, "a value is missing at the end of the text");
            return Node { span: Span::new(start, start), value: Value::Missing };
        };
        if self.template() {
            return Node { span: Span::new(start, self.at), value: Value::Missing };
        }
        let value = match byte {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' | b'\'' => Value::String(self.string()),
            b',' | b'}' | b']' | b':' => {
                self.report(start, start + 1, "a value is missing here");
                Value::Missing
            }
            _ => self.word(),
        };
        Node { span: Span::new(start, self.at), value }
    }

    /// Goes one level down, unless that is too deep: then the rest of the text is left unread.
    fn nested(&mut self, read: fn(&mut Self) -> Value) -> Value {
        if self.depth == MAX_DEPTH {
            self.report(self.at, self.at + 1, format!("more than {MAX_DEPTH} levels: the rest is not read"));
            self.at = self.text.len();
            return Value::Missing;
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    /// Steps over a template expression outside of text.
    fn template(&mut self) -> bool {
        if !(self.rest().starts_with("{{") || self.rest().starts_with("{%")) {
            return false;
        }
        let Some(found) = find_template(self.rest()) else {
            return false;
        };
        let span = Span::new(self.at, self.at + found.end);
        self.problems.push(template_problem(span));
        self.at = span.end;
        true
    }

    fn object(&mut self) -> Value {
        let open = self.at;
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                None => {
                    self.unclosed(open, "`{` is not closed: add `}`");
                    break;
                }
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                Some(b']') => {
                    self.report(self.at, self.at + 1, "`{` cannot be closed by `]`: write `}`");
                    self.at += 1;
                    break;
                }
                Some(b',') => {
                    self.report(self.at, self.at + 1, "a comma too many: remove it");
                    self.at += 1;
                }
                Some(b':' | b'[') => self.skip_character(),
                Some(b'{') if self.template() => self.skip_comma(),
                Some(b'{') => self.skip_character(),
                Some(_) => {
                    let member = self.member();
                    members.push(member);
                    self.separator(b'}');
                }
            }
        }
        Value::Object(members)
    }

    fn member(&mut self) -> Member {
        let start = self.at;
        let key = match self.peek() {
            Some(b'"' | b'\'') => self.string(),
            _ => {
                let word = self.take_word().to_owned();
                self.report(start, self.at, format!("keys need double quotes: write \"{}\"", clip(&word)));
                word
            }
        };
        let key_span = Span::new(start, self.at);
        self.skip_blank();
        let value = match self.peek() {
            Some(b':') => {
                self.at += 1;
                self.value()
            }
            Some(b'=') => {
                self.report(self.at, self.at + 1, "`:` belongs between a key and its value");
                self.at += 1;
                self.value()
            }
            _ => {
                self.report(key_span.end, key_span.end, "`:` and a value are missing after this key");
                Node { span: Span::new(key_span.end, key_span.end), value: Value::Missing }
            }
        };
        Member { key, key_span, value }
    }

    fn array(&mut self) -> Value {
        let open = self.at;
        self.at += 1;
        let mut elements = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                None => {
                    self.unclosed(open, "`[` is not closed: add `]`");
                    break;
                }
                Some(b']') => {
                    self.at += 1;
                    break;
                }
                Some(b'}') => {
                    self.report(open, open + 1, "`[` is not closed: add `]`");
                    break;
                }
                Some(b',') => {
                    self.report(self.at, self.at + 1, "a comma too many: remove it");
                    self.at += 1;
                }
                Some(b':') => self.skip_character(),
                Some(_) => {
                    let element = self.value();
                    elements.push(element);
                    self.separator(b']');
                }
            }
        }
        Value::Array(elements)
    }

    /// After an element: a comma, or the end (left for the caller), or a report that the comma is missing.
    fn separator(&mut self, close: u8) {
        let end = self.at;
        self.skip_blank();
        match self.peek() {
            Some(b',') => self.at += 1,
            None => {}
            Some(byte) if byte == close || byte == b'}' || byte == b']' => {}
            Some(_) => self.report(end, end, "a comma is missing here"),
        }
    }

    fn skip_comma(&mut self) {
        self.skip_blank();
        if self.peek() == Some(b',') {
            self.at += 1;
        }
    }

    fn skip_character(&mut self) {
        let length = self.rest().chars().next().map_or(1, char::len_utf8);
        let character = &self.text[self.at..self.at + length];
        self.report(self.at, self.at + length, format!("`{character}` has no place here: remove it"));
        self.at += length;
    }

    fn unclosed(&mut self, open: usize, message: &str) {
        let told = self.problems.iter().any(|known| known.message.contains("is not closed"));
        if !told {
            self.report(open, open + 1, message);
        }
    }

    /// Everything up to the next blank or punctuation; at least one character.
    fn take_word(&mut self) -> &str {
        let rest = self.rest();
        let stop = |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"' | '\'' | '=');
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let length = rest.find(stop).unwrap_or(rest.len()).max(first);
        let start = self.at;
        self.at += length;
        &self.text[start..start + length]
    }

    /// `true`, `false`, `null`, a number, or a text whose quotes are missing.
    fn word(&mut self) -> Value {
        let start = self.at;
        let word = self.take_word().to_owned();
        match word.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => match number(&word) {
                Some(number) => number,
                None => {
                    self.report(start, self.at, format!("text needs double quotes: write \"{}\"", clip(&word)));
                    Value::String(word)
                }
            },
        }
    }
}

/// A number as JSON writes it.
pub(super) fn number(word: &str) -> Option<Value> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    let ends_well = digits.ends_with(|c: char| c.is_ascii_digit()) && !digits.contains("+-");
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || leading_zero || !ends_well {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = word.parse()
    {
        return Some(Value::Integer(number));
    }
    word.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::to_json;
    use super::*;

    fn check(text: &str, expected: Expect) {
        let (node, problems) = parse(text);
        let mut actual = format!("{}\n", to_json(&node));
        for problem in problems {
            let span = problem.span().expect("syntax problems have a place");
            actual.push_str(&format!("{}..{} {}\n", span.start, span.end, problem.message));
        }
        expected.assert_eq(&actual);
    }

    #[test]
    fn comments_and_trailing_commas_are_fine() {
        check(
            "\u{feff}{ // one\n \"a\": [1, -2.5e3, true, null,], /* two */ \"b\": \"\\u20ac\\ud83d\\ude00\\n\",\r\n}",
            expect![[r#"
                {"a": [1, -2500, true, null], "b": "€😀\n"}
            "#]],
        );
    }

    #[test]
    fn all_mistakes_are_told() {
        check(
            "{ a: 1 'b': x/y \"c\" \"d\": , \"e\" = 2,, \"f\": \"\\q\" } trailing",
            expect![[r#"
                {"a": 1, "b": "x/y", "c": null, "d": null, "e": 2, "f": "q"}
                2..3 keys need double quotes: write "a"
                6..6 a comma is missing here
                7..10 text needs double quotes, not single ones
                12..15 text needs double quotes: write "x/y"
                15..15 a comma is missing here
                19..19 `:` and a value are missing after this key
                20..20 a comma is missing here
                25..26 a value is missing here
                31..32 `:` belongs between a key and its value
                35..36 a comma too many: remove it
                43..45 `\q` is no escape: write `\\q` for a backslash
                49..57 text after the end of the configuration: remove it
            "#]],
        );
    }

    #[test]
    fn half_typed_files_give_a_tree() {
        check(
            "{\"feature\": {\"network\": {\"inco",
            expect![[r#"
                {"feature": {"network": {"inco": null}}}
                25..30 this text is not closed: add a double quote
                30..30 `:` and a value are missing after this key
            "#]],
        );
        check(
            "{\"target\": {{ get_env(name=\"T\") }}, \"agent\": {",
            expect![[r#"
                {"target": null, "agent": {}}
                11..34 templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable
                45..46 `{` is not closed: add `}`
            "#]],
        );
    }

    #[test]
    fn depth_is_bounded() {
        let (_, problems) = parse(&"[".repeat(1_000_000));
        assert_eq!(problems.len(), 2);
    }
}
