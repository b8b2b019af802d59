//! Tidies a text without changing what it says. Comments stay where they are.
//!
//! JSON is laid out anew: what the author has broken into lines stays broken, the rest stays on its line. Of YAML and TOML,
//! whose layout is the author's, only ends of lines are tidied.

use crate::syntax::Format;

const INDENT: &str = "  ";

/// The tidied text; none if it is tidy, or cannot be read to its end.
pub fn format(text: &str, format: Format) -> Option<String> {
    let tidied = match format {
        Format::Json => json(text)?,
        Format::Yaml | Format::Toml => trimmed(text),
    };
    (tidied != text).then_some(tidied)
}

fn trimmed(text: &str) -> String {
    let mut out: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// A piece of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Open(&'a str),
    Close(&'a str),
    Comma,
    Colon,
    /// A text, a number or a word.
    Plain(&'a str),
    LineComment(&'a str),
    BlockComment(&'a str),
    /// Line ends, at most two.
    Break(usize),
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(first) = rest.chars().next() {
        let (length, token) = match first {
            '{' | '[' => (1, Some(Token::Open(&rest[..1]))),
            '}' | ']' => (1, Some(Token::Close(&rest[..1]))),
            ',' => (1, Some(Token::Comma)),
            ':' => (1, Some(Token::Colon)),
            '"' => {
                let length = string_end(rest)?;
                (length, Some(Token::Plain(&rest[..length])))
            }
            '/' if rest.starts_with("//") => {
                let length = rest.find('\n').unwrap_or(rest.len());
                (length, Some(Token::LineComment(rest[..length].trim_end())))
            }
            '/' if rest.starts_with("/*") => {
                let length = rest.find("*/")? + 2;
                (length, Some(Token::BlockComment(&rest[..length])))
            }
            space if space.is_whitespace() => {
                let length = rest.find(|letter: char| !letter.is_whitespace()).unwrap_or(rest.len());
                let breaks = rest[..length].matches('\n').count().min(2);
                (length, (breaks > 0).then_some(Token::Break(breaks)))
            }
            _ => {
                let is_end = |letter: char| letter.is_whitespace() || "{}[],:\"/".contains(letter);
                let length = rest.find(is_end).unwrap_or(rest.len());
                if length == 0 {
                    return None;
                }
                (length, Some(Token::Plain(&rest[..length])))
            }
        };
        found.extend(token);
        rest = &rest[length..];
    }
    Some(found)
}

fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            b'\n' => return None,
            _ => {}
        }
    }
    None
}

/// For each opening bracket, whether its parts stand on lines of their own; none if brackets do not match.
fn broken(tokens: &[Token<'_>]) -> Option<Vec<bool>> {
    let mut broken = vec![false; tokens.len()];
    let mut open: Vec<usize> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open(_) => open.push(at),
            Token::Close(close) => {
                let began = open.pop()?;
                let fits = matches!((tokens[began], *close), (Token::Open("{"), "}") | (Token::Open("["), "]"));
                if !fits {
                    return None;
                }
            }
            Token::Break(_) | Token::LineComment(_) => open.iter().for_each(|began| broken[*began] = true),
            _ => {}
        }
    }
    open.is_empty().then_some(broken)
}

struct Out {
    text: String,
    /// For each open bracket, whether it is broken into lines.
    open: Vec<bool>,
    /// Line ends that come before the next token.
    breaks: usize,
    /// A space comes before the next token, unless a line end does.
    space: bool,
}

impl Out {
    fn push(&mut self, token: &str) {
        if self.breaks > 0 && !self.text.is_empty() {
            self.text.extend(std::iter::repeat_n('\n', self.breaks));
            self.text.push_str(&INDENT.repeat(self.open.len()));
        } else if self.space {
            self.text.push(' ');
        }
        (self.breaks, self.space) = (0, false);
        self.text.push_str(token);
    }
}

fn json(text: &str) -> Option<String> {
    let tokens = tokens(text)?;
    let broken = broken(&tokens)?;
    let mut out = Out { text: String::with_capacity(text.len()), open: Vec::new(), breaks: 0, space: false };
    for (at, token) in tokens.iter().enumerate() {
        let in_lines = out.open.last().is_none_or(|broken| *broken);
        match token {
            Token::Open(bracket) => {
                out.push(bracket);
                out.open.push(broken[at]);
                let is_empty = matches!(tokens.get(at + 1), Some(Token::Close(_)));
                (out.breaks, out.space) = (usize::from(broken[at]), *bracket == "{" && !is_empty && !broken[at]);
            }
            Token::Close(bracket) => {
                let was_broken = out.open.pop().unwrap_or(false);
                out.breaks = usize::from(was_broken);
                out.space = *bracket == "}" && !matches!(at.checked_sub(1).map(|at| tokens[at]), Some(Token::Open(_)));
                out.push(bracket);
            }
            Token::Comma => {
                // It belongs to what is before it.
                (out.breaks, out.space) = (0, false);
                out.push(",");
                (out.breaks, out.space) = (usize::from(in_lines && !out.open.is_empty()), true);
            }
            Token::Colon => {
                (out.breaks, out.space) = (0, false);
                out.push(":");
                out.space = true;
            }
            Token::Plain(text) => out.push(text),
            Token::LineComment(comment) => {
                let is_behind = at > 0 && !matches!(tokens[at - 1], Token::Break(_));
                if is_behind {
                    (out.breaks, out.space) = (0, true);
                }
                out.push(comment);
                out.breaks = 1;
            }
            Token::BlockComment(comment) => {
                out.space |= at > 0;
                out.push(comment);
                out.space = true;
            }
            // An empty line stays, unless it is the first or last of its object.
            Token::Break(count) => {
                let follows_open = at > 0 && matches!(tokens[at - 1], Token::Open(_));
                let is_after_comma =
                    at > 0 && matches!(tokens[at - 1], Token::Comma | Token::LineComment(_) | Token::BlockComment(_));
                if (is_after_comma || out.open.is_empty()) && !follows_open {
                    out.breaks = out.breaks.max(*count);
                }
            }
        }
    }
    let mut text = out.text.trim_end().to_owned();
    text.push('\n');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn json_is_laid_out_and_comments_stay() {
        let text = "// first\n{\n\"target\":\"pod/a\", // whose\n\n\n    /* more */ \"agent\":{\"ttl\":1,\"labels\":{}},\n  \"feature\":{\n\"env\":{\"include\":[\"A\",\"B\"]}}}";
        let expected = "// first\n{\n  \"target\": \"pod/a\", // whose\n\n  /* more */ \"agent\": { \"ttl\": 1, \"labels\": {} },\n  \"feature\": {\n    \"env\": { \"include\": [\"A\", \"B\"] }\n  }\n}\n";
        let tidied = format(text, Format::Json).expect("changed");
        assert_eq!(tidied, expected);
        assert_eq!(format(&tidied, Format::Json), None, "tidy is tidy");
        let same = |text: &str| Document::new("", text, Format::Json).root.members().len();
        assert_eq!(same(text), same(&tidied));
    }

    #[test]
    fn what_cannot_be_read_is_left_alone() {
        for text in ["{", "{]", "{\"a", "{\"a\": /* }", "}"] {
            assert_eq!(format(text, Format::Json), None, "{text}");
        }
    }

    #[test]
    fn other_formats_keep_their_layout() {
        assert_eq!(format("a: 1  \n# b\t\n\n\n", Format::Yaml).as_deref(), Some("a: 1\n# b\n"));
        assert_eq!(format("a = 1\n", Format::Toml), None);
    }
}
