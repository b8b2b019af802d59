//! How long files and functions may be. Long ones are not forbidden: they stand in [`EXCEPTIONS`].

use crate::tidy::Findings;
use crate::tidy::workspace::Workspace;

/// Lines of a Rust file, with its tests.
const FILE_LIMIT: usize = 500;

/// Lines of code of a function: comments and blank lines are free.
const FUNCTION_LIMIT: usize = 70;

/// A file (`path`) or a function (`path::name`) that is longer, and the reason.
struct Exception {
    place: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[];

/// Files and functions are short, and the list of exceptions is true.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    check_with(workspace, EXCEPTIONS, findings);
}

fn check_with(workspace: &Workspace, exceptions: &[Exception], findings: &mut Findings) {
    let mut long = Vec::new();
    for (file, source) in workspace.rust() {
        let n_lines = file.text.lines().count();
        if n_lines > FILE_LIMIT {
            long.push((file.path.clone(), file, None, format!("has {n_lines} lines, more than {FILE_LIMIT}")));
        }
        for function in source.functions() {
            if function.n_lines > FUNCTION_LIMIT {
                let problem =
                    format!("fn {} has {} lines of code, more than {FUNCTION_LIMIT}", function.name, function.n_lines);
                long.push((format!("{}::{}", file.path, function.name), file, Some(function.line), problem));
            }
        }
    }
    for exception in exceptions {
        if !long.iter().any(|(place, ..)| place == exception.place) {
            let problem = format!("is listed as long ({}) but is not: take it off the list", exception.reason);
            findings.file(exception.place, problem);
        }
    }
    for (place, file, line, problem) in long {
        match line {
            _ if exceptions.iter().any(|exception| exception.place == place) => {}
            Some(line) => findings.line(&file.path, line, problem),
            None => findings.file(&file.path, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::{findings, workspace};

    #[test]
    fn long_files_and_functions_are_found() {
        let function = |n_lines: usize| format!("fn f() {{\n{}}}\n", "a();\n\n// why\n".repeat(n_lines - 2));
        let workspace = workspace(&[
            ("good.rs", &"//\n".repeat(500)),
            ("long.rs", &"//\n".repeat(501)),
            ("function.rs", &(function(70) + &function(71))),
        ]);
        assert_eq!(
            findings("sizes", &workspace),
            ["long.rs: has 501 lines, more than 500", "function.rs:207: fn f has 71 lines of code, more than 70",]
        );
    }

    #[test]
    fn exceptions_count_and_must_be_needed() {
        let workspace = workspace(&[("table.rs", &"//\n".repeat(501)), ("short.rs", "//\n")]);
        let exceptions =
            [Exception { place: "table.rs", reason: "a table" }, Exception { place: "short.rs", reason: "a table" }];
        let mut findings = Findings::default();
        check_with(&workspace, &exceptions, &mut findings);
        let found: Vec<_> = findings.0.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["short.rs: is listed as long (a table) but is not: take it off the list"]);
    }
}
