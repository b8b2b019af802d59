//! Where unsafe code may stand.
//!
//! The compiler enforces most of this by `forbid(unsafe_code)`; this list is the whole picture in one place,
//! and it also holds for what macros write.

use crate::tidy::Findings;
use crate::tidy::source::{line_of, places};
use crate::tidy::workspace::Workspace;

/// A file or a folder with unsafe code, and why it cannot do without.
const PLACES: &[(&str, &str)] = &[
    ("layer/src/interpose.rs", "calls the symbols behind ours"),
    ("layer/src/table.rs", "defines symbols of the C library"),
    ("layer/src/hooks/", "takes C's pointers"),
    ("layer/src/sys.rs", "makes system calls that must not allocate"),
    ("layer/src/sys/", "makes system calls that must not allocate"),
    ("layer/tests/", "calls C functions as programs do"),
    ("agent/src/sys.rs", "hands a descriptor to the runtime"),
    ("agent/src/sys/bpf.rs", "calls bpf(2), which no crate wraps without parsing the kernel's types"),
    ("agent/loader/src/main.rs", "makes system calls without a C library"),
    ("agent/loader/src/bare.rs", "is the program's entry and its memory, without a C library"),
];

/// How many lines of code may stand between the reason and what it is for: a statement that ends in an
/// unsafe block has its reason above it.
const REACH: usize = 4;

/// Unsafe code is where it is expected, and each block says why it is sound.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    for (file, source) in workspace.rust() {
        let (code, comments) = (source.code.as_str(), source.comments.as_str());
        if !PLACES.iter().any(|(place, _)| file.path.starts_with(place)) {
            if let Some(at) = places(code, "unsafe").next() {
                let problem = "unsafe code is not expected here (tidy/rules/unsafe_code.rs)";
                findings.line(&file.path, line_of(code, at), problem);
            }
            continue;
        }
        for at in places(code, "unsafe") {
            let line = line_of(code, at);
            let rest = code[at + "unsafe".len()..].trim_start();
            if (rest.starts_with('{') || rest.starts_with("impl")) && !is_explained(code, comments, line) {
                findings.line(&file.path, line, "an unsafe block without `// SAFETY:` above it");
            }
        }
    }
}

fn is_explained(code: &str, comments: &str, line: usize) -> bool {
    let lines: Vec<_> = code.lines().zip(comments.lines()).take(line).collect();
    let mut reach = REACH;
    for (code, comment) in lines.into_iter().rev() {
        if comment.contains("SAFETY:") {
            return true;
        }
        // The block's own line is not in between.
        if !code.trim().is_empty() {
            if reach == 0 {
                return false;
            }
            reach -= 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::root;
    use crate::tidy::testing::{findings, workspace};

    #[test]
    fn every_listed_place_is_there() {
        for (place, reason) in PLACES {
            assert!(root().join(place).exists(), "{place} ({reason})");
        }
    }

    #[test]
    fn unsafe_code_stands_where_it_is_expected() {
        let block = "// SAFETY: 1\nlet x = unsafe { f() };\n";
        let workspace = workspace(&[
            ("layer/src/hooks/socket.rs", block),
            ("layer/src/ops/names.rs", block),
            ("server/src/lib.rs", "#![forbid(unsafe_code)]\n// unsafe\nlet x = \"unsafe\";\n"),
        ]);
        let expected = ["layer/src/ops/names.rs:2: unsafe code is not expected here (tidy/rules/unsafe_code.rs)"];
        assert_eq!(findings("unsafe", &workspace), expected);
    }

    #[test]
    fn an_unsafe_block_gives_its_reason() {
        let text = "\
// SAFETY: on
// two lines
let x = list
    .map(|x| unsafe { f(x) });
unsafe fn declared() {}
type F = unsafe extern \"C\" fn();

fn g() {
    let y = h();
    unsafe { f(y) };
}
";
        let workspace = workspace(&[("layer/src/sys.rs", text)]);
        let expected = ["layer/src/sys.rs:10: an unsafe block without `// SAFETY:` above it"];
        assert_eq!(findings("unsafe", &workspace), expected);
    }
}
