//! How a file begins and what it is called.

use crate::tidy::Findings;
use crate::tidy::workspace::Workspace;

/// Names that say nothing: what is in such a file belongs to whoever uses it.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "misc", "util", "utils"];

/// A reader who opens any file learns first what it is for.
pub(in crate::tidy) fn purpose(workspace: &Workspace, findings: &mut Findings) {
    for (file, _) in workspace.rust() {
        if !file.text.starts_with("//! ") {
            findings.file(&file.path, "does not open with a `//!` line that says what it is for");
        }
    }
}

/// No drawer for everything.
pub(in crate::tidy) fn names(workspace: &Workspace, findings: &mut Findings) {
    for (file, _) in workspace.rust() {
        let without_end = file.path.trim_end_matches(".rs");
        if let Some(name) = without_end.split('/').find(|part| EMPTY_NAMES.contains(part)) {
            findings.file(&file.path, format!("is called {name}: name its subject"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::testing::{findings, workspace};

    #[test]
    fn a_rust_file_opens_with_its_purpose() {
        let workspace = workspace(&[
            ("a/src/good.rs", "//! Copies bytes.\n"),
            ("a/src/bad.rs", "#![forbid(unsafe_code)]\n//! Copies bytes.\n"),
            ("a/src/empty.rs", "//!\n"),
            ("a.py", "print()"),
        ]);
        let problem = "does not open with a `//!` line that says what it is for";
        let expected = [format!("a/src/bad.rs: {problem}"), format!("a/src/empty.rs: {problem}")];
        assert_eq!(findings("purpose", &workspace), expected);
    }

    #[test]
    fn a_file_has_a_subject() {
        let workspace = workspace(&[("a/src/pump.rs", ""), ("a/src/utils/copy.rs", ""), ("docs/common.md", "")]);
        assert_eq!(findings("names", &workspace), ["a/src/utils/copy.rs: is called utils: name its subject"]);
    }
}
