//! What is wrong with a configuration, as data.
//!
//! Every stage of the crate produces these, the command line renders them ([`crate::render`]), the language server
//! publishes them. Nothing here knows how they are shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::syntax::Span;

/// Most problems kept of one configuration; what comes after helps nobody.
pub const MAX_DIAGNOSTICS: usize = 200;

/// Most characters of a message: texts of the user are quoted in them.
const MAX_MESSAGE: usize = 500;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing has to be done.
    Hint,
    /// The configuration works, but probably not as meant.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Where a value, or a problem with it, comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nobody set it: the default of the key table.
    Default,
    /// The configuration file, at these byte offsets.
    File(Span),
    /// The environment variable of this name.
    Variable(String),
    /// The command line option of this name, such as `--target`.
    Option(String),
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable name of the kind of problem, in kebab-case, such as `unknown-key`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do next: lower case, no period.
    pub message: String,
    /// Where.
    pub origin: Origin,
    /// Dotted path of the key concerned, where there is one.
    pub key: Option<String>,
    /// The nearest valid text for the marked place (a code action can put it there).
    pub nearest: Option<String>,
    /// A second place that belongs to the problem, with what is there.
    pub related: Option<(Origin, String)>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &str, origin: Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, origin, message)
    }

    /// A warning.
    pub fn warning(code: &str, origin: Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, origin, message)
    }

    /// A hint.
    pub fn hint(code: &str, origin: Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Hint, code, origin, message)
    }

    /// A problem of a severity that is decided elsewhere.
    pub fn new(severity: Severity, code: &str, origin: Origin, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            message: message.into(),
            origin,
            key: None,
            nearest: None,
            related: None,
        }
    }

    /// Names the key concerned.
    #[must_use]
    pub fn key(mut self, path: &str) -> Self {
        self.key = Some(path.to_owned());
        self
    }

    /// Adds the nearest valid text, if there is one, to the message and as data.
    #[must_use]
    pub fn nearest(mut self, nearest: Option<&str>) -> Self {
        if let Some(nearest) = nearest {
            self.message.push_str(&format!("; did you mean `{nearest}`"));
            self.nearest = Some(nearest.to_owned());
        }
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn related(mut self, origin: Origin, label: &str) -> Self {
        self.related = Some((origin, label.to_owned()));
        self
    }

    /// The byte offsets in the file, unless the problem lies elsewhere.
    pub fn span(&self) -> Option<Span> {
        match self.origin {
            Origin::File(span) => Some(span),
            _ => None,
        }
    }
}

/// Whether one of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Sorts by place (file first, then variables and options), and cuts at [`MAX_DIAGNOSTICS`] with a last entry that
/// says so.
pub(crate) fn finish(diagnostics: &mut Vec<Diagnostic>) {
    for diagnostic in diagnostics.iter_mut() {
        if let Some((cut, _)) = diagnostic.message.char_indices().nth(MAX_MESSAGE) {
            diagnostic.message.truncate(cut);
            diagnostic.message.push('…');
        }
    }
    diagnostics.sort_by_key(|diagnostic| match &diagnostic.origin {
        Origin::File(span) => (0, span.start, String::new()),
        Origin::Variable(name) => (1, 0, name.clone()),
        Origin::Option(name) => (2, 0, name.clone()),
        Origin::Default => (3, 0, String::new()),
    });
    diagnostics.dedup();
    if diagnostics.len() <= MAX_DIAGNOSTICS {
        return;
    }
    let rest = diagnostics.split_off(MAX_DIAGNOSTICS);
    let severity = rest.iter().map(|diagnostic| diagnostic.severity).max().unwrap_or(Severity::Hint);
    let message = format!("{} more problems are not shown: repair these first", rest.len());
    diagnostics.push(Diagnostic::new(severity, "too-many-problems", rest[0].origin.clone(), message));
}
