//! Byte offsets as LSP counts: lines from 0, columns in units of UTF-16.

use config::Span;
use tower_lsp::lsp_types::{Position, Range};

/// The starts of a text's lines.
pub(in crate::serve) struct Lines(Vec<usize>);

impl Lines {
    pub(in crate::serve) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(ends).collect())
    }

    pub(in crate::serve) fn position(&self, text: &str, offset: usize) -> Position {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.0.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.0.get(line).copied().unwrap_or(0);
        let units: usize = text[start..offset].chars().map(char::len_utf16).sum();
        Position::new(line as u32, units as u32)
    }

    pub(in crate::serve) fn offset(&self, text: &str, position: Position) -> usize {
        let Some(&start) = self.0.get(position.line as usize) else { return text.len() };
        let end = self.0.get(position.line as usize + 1).copied().unwrap_or(text.len());
        let line = text[start..end].trim_end_matches(['\n', '\r']);
        let mut left = position.character as usize;
        for (at, letter) in line.char_indices() {
            if left < letter.len_utf16() {
                return start + at;
            }
            left -= letter.len_utf16();
        }
        start + line.len()
    }

    pub(in crate::serve) fn range(&self, text: &str, span: Span) -> Range {
        Range::new(self.position(text, span.start), self.position(text, span.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_utf_16() {
        let text = "ä𝄞x\r\nend";
        let lines = Lines::new(text);
        for (offset, line, character) in [(0, 0, 0), (2, 0, 1), (6, 0, 3), (7, 0, 4), (9, 1, 0), (12, 1, 3)] {
            assert_eq!(lines.position(text, offset), Position::new(line, character), "{offset}");
            assert_eq!(lines.offset(text, Position::new(line, character)), offset, "{offset}");
        }
        assert_eq!(lines.offset(text, Position::new(0, 99)), 7);
        assert_eq!(lines.offset(text, Position::new(9, 0)), text.len());
    }
}
