//! Licences of what we use: such that anybody may use, change and pass on the whole.

use crate::tidy::Findings;
use crate::tidy::workspace::Workspace;

/// Licences that ask for no more than their text beside the program.
const ALLOWED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages with another licence, and why that is fine.
const EXCEPTIONS: &[(&str, &str)] = &[
    // MPL-2.0 is about changes to its own files only; we make none.
    ("option-ext", "MPL-2.0"),
    // About data, and asks for no more than its text: the public authorities, in a client that tests run.
    ("webpki-roots", "CDLA-Permissive-2.0"),
];

/// Each package may be used under an allowed licence.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    for (name, licence) in &workspace.licences {
        let excepted = EXCEPTIONS.contains(&(name.as_str(), licence.as_str()));
        if !excepted && !permits(licence) {
            let shown = if licence.is_empty() { "none" } else { licence };
            findings.file("Cargo.lock", format!("{name} has the licence {shown}, which is not on the list"));
        }
    }
}

/// Whether an SPDX expression can be met with allowed licences. `AND` binds closer than `OR`.
fn permits(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    split(&expression, " OR ").iter().any(|choice| {
        split(choice, " AND ").iter().all(|licence| {
            match licence.strip_prefix('(').and_then(|it| it.strip_suffix(')')) {
                Some(inner) => permits(inner),
                None => ALLOWED.contains(licence),
            }
        })
    })
}

/// Splits at `word` outside parentheses.
fn split<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(word) {
        let inner = &text[start..at];
        if inner.matches('(').count() == inner.matches(')').count() {
            parts.push(inner.trim());
            start = at + word.len();
        }
    }
    parts.push(text[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing;

    #[test]
    fn expressions_are_understood() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-2.0 OR MIT", true),
            ("GPL-2.0 AND MIT", false),
            ("(MIT OR GPL-2.0) AND Unicode-3.0", true),
            ("(GPL-2.0 OR LGPL-2.1) AND MIT", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("GPL-3.0", false),
            ("", false),
        ] {
            assert_eq!(permits(expression), expected, "{expression}");
        }
    }

    #[test]
    fn other_licences_are_found() {
        let licences = [("a", "MIT"), ("b", "GPL-3.0"), ("c", ""), ("option-ext", "MPL-2.0")];
        let workspace = Workspace {
            licences: licences.map(|(name, licence)| (name.to_owned(), licence.to_owned())).into(),
            ..Workspace::default()
        };
        assert_eq!(
            testing::findings("licences", &workspace),
            [
                "Cargo.lock: b has the licence GPL-3.0, which is not on the list",
                "Cargo.lock: c has the licence none, which is not on the list",
            ]
        );
    }
}
