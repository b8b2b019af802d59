//! Strings of JSON with their escapes.
//!
//! A part of the parser beside it: every mistake is told and reading goes on.

use super::Parser;

impl Parser<'_> {
    /// A string in double quotes; single quotes are read as well, with a report.
    pub(super) fn string(&mut self) -> String {
        let start = self.at;
        let quote = if self.peek() == Some(b'\'') { '\'' } else { '"' };
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(character) = self.rest().chars().next() else {
                self.report(start, self.at, "this text is not closed: add a double quote");
                return text;
            };
            let at = self.at;
            self.at += character.len_utf8();
            match character {
                '\n' => {
                    self.at = at;
                    self.report(start, at, "this text is not closed on its line: add a double quote, or write \\n");
                    return text;
                }
                '\\' => self.escape(at, &mut text),
                '\r' if self.peek() == Some(b'\n') => {}
                _ if character == quote => break,
                '\t' => text.push('\t'),
                _ if character.is_control() => {
                    self.report(at, self.at, "a control character in text: write it as \\u and four digits");
                }
                _ => text.push(character),
            }
        }
        if quote == '\'' {
            self.report(start, self.at, "text needs double quotes, not single ones");
        }
        text
    }

    fn escape(&mut self, at: usize, text: &mut String) {
        let Some(character) = self.rest().chars().next() else {
            return;
        };
        if character == '\n' {
            return;
        }
        self.at += character.len_utf8();
        match character {
            '"' | '\\' | '/' | '\'' => text.push(character),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => match self.unicode() {
                Some(character) => text.push(character),
                None => self.report(at, self.at, "`\\u` needs four hexadecimal digits of a character"),
            },
            _ => {
                text.push(character);
                self.report(
                    at,
                    self.at,
                    format!("`\\{character}` is no escape: write `\\\\{character}` for a backslash"),
                );
            }
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if !self.rest().starts_with("\\u") {
            return None;
        }
        self.at += 2;
        let second = self.four_digits().filter(|second| (0xdc00..0xe000).contains(second))?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let number = u32::from_str_radix(digits, 16).ok()?;
        self.at += 4;
        Some(number)
    }
}
