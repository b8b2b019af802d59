//! Byte offsets into lines and columns and back.
//!
//! Called by the renderer and by the language server. It must not know any file format.

use serde::{Deserialize, Serialize};

/// A place for people: both numbers count from 1, columns in Unicode scalar values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in Unicode scalar values.
    pub column: usize,
}

/// The line starts of one text.
#[derive(Debug, Clone)]
pub struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    /// Counts the lines of `text` (`\n` and `\r\n` end a line).
    pub fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The position of a byte offset in the same text. An offset inside a character counts as its start, one past
    /// the end as the end.
    pub fn position(&self, text: &str, offset: usize) -> Position {
        let offset = floor(text, offset);
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = &text[self.starts[line]..offset];
        Position { line: line + 1, column: before.trim_start_matches('\u{feff}').chars().count() + 1 }
    }

    /// The byte offset of a position; a column after the line's end gives the line's end.
    pub fn offset(&self, text: &str, position: Position) -> usize {
        let line = position.line.saturating_sub(1);
        let Some(&start) = self.starts.get(line) else {
            return text.len();
        };
        let content = self.line(text, position.line);
        let mark = content.len() - content.trim_start_matches('\u{feff}').len();
        let column = content[mark..].char_indices().nth(position.column.saturating_sub(1));
        start + column.map_or(content.len(), |(at, _)| mark + at)
    }

    /// The text of a line (counted from 1) without its end.
    pub fn line<'a>(&self, text: &'a str, line: usize) -> &'a str {
        let Some(&start) = self.starts.get(line.saturating_sub(1)) else {
            return "";
        };
        let end = self.starts.get(line).copied().unwrap_or(text.len());
        text[start..end].trim_end_matches(['\n', '\r'])
    }
}

/// The start of the character that `offset` lies in.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_crlf_is_one_end() {
        let text = "a\r\nöß€x\n";
        let index = LineIndex::new(text);
        let at = text.find('x').expect("in the text");
        assert_eq!(index.position(text, at), Position { line: 2, column: 4 });
        assert_eq!(index.position(text, text.len() + 9), Position { line: 3, column: 1 });
        assert_eq!(index.line(text, 1), "a");
        for offset in (0..=text.len()).filter(|at| text.is_char_boundary(*at) && *at != 2) {
            assert_eq!(index.offset(text, index.position(text, offset)), offset);
        }
    }
}
