//! The table against its document and the C library's headers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::unhooked::{UNHOOKED, Unhooked};
use super::*;

/// `docs/hooks.md`, which another test compares with the symbols of the built library.
fn document() -> String {
    let mut text = String::from(
        "# Hooked symbols\n\nGenerated from `layer/src/table.rs` by its test: `UPDATE=1 cargo test -p layer` writes it.\n\n\
         | symbol | file in `layer/src/hooks` | what the hook does |\n|---|---|---|\n",
    );
    for Hook { symbol, family, purpose } in HOOKED {
        writeln!(text, "| `{symbol}` | `{family}.rs` | {purpose} |").expect("a string grows");
    }
    text.push_str("\n## Functions that take a path and have no hook\n\n");
    for Unhooked { symbols, why } in UNHOOKED {
        writeln!(text, "- `{}`: {why}", symbols.join("`, `")).expect("a string grows");
    }
    text
}

#[test]
fn the_document_lists_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hooks.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, document()).expect("writes");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, document(), "stale: UPDATE=1 cargo test -p layer");
}

#[test]
fn every_symbol_is_hooked_once() {
    let all = || HOOKED.iter().map(|hook| hook.symbol).chain(UNHOOKED.iter().flat_map(|row| row.symbols).copied());
    let symbols: BTreeSet<&str> = all().collect();
    assert_eq!(symbols.len(), all().count());
}

/// Headers with functions that take paths.
const HEADERS: &[&str] = &[
    "dirent.h",
    "dlfcn.h",
    "fcntl.h",
    "fnmatch.h",
    "fstab.h",
    "fts.h",
    "ftw.h",
    "glob.h",
    "libgen.h",
    "libintl.h",
    "mntent.h",
    "mqueue.h",
    "nl_types.h",
    "semaphore.h",
    "spawn.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "sys/acct.h",
    "sys/fanotify.h",
    "sys/inotify.h",
    "sys/ipc.h",
    "sys/mman.h",
    "sys/mount.h",
    "sys/quota.h",
    "sys/stat.h",
    "sys/statfs.h",
    "sys/statvfs.h",
    "sys/swap.h",
    "sys/time.h",
    "sys/xattr.h",
    "unistd.h",
    "utime.h",
    "utmp.h",
    "utmpx.h",
    "wordexp.h",
];

/// What the headers call a parameter that is a path.
const PARAMETERS: &[&str] = &[
    "dir",
    "dirname",
    "file",
    "filename",
    "from",
    "new",
    "newpath",
    "old",
    "oldpath",
    "path",
    "pathname",
    "special_file",
    "template",
    "to",
];

/// The functions of a preprocessed source that have such a parameter.
fn functions_with_paths(source: &str) -> BTreeSet<&str> {
    let function = |declaration: &str| -> Option<(usize, usize)> {
        let open = declaration.find(" (")?;
        let start = declaration.get(..open)?.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))? + 1;
        let list = declaration.get(open + 2..)?;
        let list = list.get(..list.find(')')?)?;
        let is_path = |parameter: &str| {
            let name = parameter.trim().rsplit([' ', '*']).next().unwrap_or_default();
            parameter.contains("char *") && PARAMETERS.contains(&name.trim_start_matches("__"))
        };
        list.split(',').any(is_path).then_some((start, open))
    };
    let declarations = source.split(';').filter_map(|text| text.find("extern ").and_then(|at| text.get(at..)));
    declarations.filter_map(|text| function(text).and_then(|(start, open)| text.get(start..open))).collect()
}

#[test]
fn every_function_with_a_path_is_hooked_or_has_a_reason() {
    let source: String = HEADERS.iter().map(|header| format!("#include <{header}>\n")).collect();
    let mut compiler = Command::new("cc");
    compiler.args(["-E", "-P", "-D_GNU_SOURCE", "-x", "c", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = compiler.spawn().expect("a C compiler");
    running.stdin.take().expect("a pipe").write_all(source.as_bytes()).expect("written");
    let output = running.wait_with_output().expect("ends");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let found = functions_with_paths(&text);
    assert!(["open", "rename", "symlinkat", "utimensat", "nftw"].iter().all(|name| found.contains(name)), "{found:?}");
    let known: BTreeSet<&str> =
        HOOKED.iter().map(|hook| hook.symbol).chain(UNHOOKED.iter().flat_map(|row| row.symbols).copied()).collect();
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(missing.is_empty(), "neither hooked nor with a reason: {missing:?}");
}
