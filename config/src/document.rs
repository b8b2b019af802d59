//! One configuration text with everything that places in it need.
//!
//! Made by the caller from text, or by [`crate::load`] from a file; read by the layering, the renderer and the
//! language server.

use crate::diagnostic::Diagnostic;
use crate::syntax::{self, Format, LineIndex, Node, Position};

/// A parsed text.
#[derive(Debug, Clone)]
pub struct Document {
    /// What the text is called in messages: the path as the user knows it, or `<stdin>`.
    pub name: String,
    /// The text.
    pub text: String,
    /// Its language.
    pub format: Format,
    /// The tree; the root is always an object.
    pub root: Node,
    /// Problems of syntax.
    pub diagnostics: Vec<Diagnostic>,
    lines: LineIndex,
}

impl Document {
    /// Parses a text.
    pub fn new(name: impl Into<String>, text: impl Into<String>, format: Format) -> Self {
        let text = text.into();
        let (root, diagnostics) = syntax::parse(&text, format);
        let lines = LineIndex::new(&text);
        Self { name: name.into(), text, format, root, diagnostics, lines }
    }

    /// Line and column of a byte offset.
    pub fn position(&self, offset: usize) -> Position {
        self.lines.position(&self.text, offset)
    }

    /// Byte offset of a line and column.
    pub fn offset(&self, position: Position) -> usize {
        self.lines.offset(&self.text, position)
    }

    /// The text of a line, counted from 1.
    pub fn line(&self, line: usize) -> &str {
        self.lines.line(&self.text, line)
    }
}
