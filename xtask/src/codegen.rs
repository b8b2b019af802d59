//! `cargo xtask codegen`: writes the files that are made from tables, or checks that they are up to date.
//!
//! The package that owns a table has a test that compares the committed file with what the table gives; with
//! `UPDATE=1` in its environment that test writes the file. So the generators need not be linked into this
//! program, `cargo test` alone finds a stale file, and here is only the list.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::tidy::root;

/// One generator.
struct Generated {
    /// What it writes, relative to the repository's folder.
    files: &'static [&'static str],
    package: &'static str,
    /// Which of the package's test programs, in cargo's words.
    target: &'static [&'static str],
    /// Full name of the test.
    test: &'static str,
}

const GENERATED: &[Generated] = &[
    Generated {
        files: &["schemas/config.schema.json", "docs/configuration.md"],
        package: "config",
        target: &["--test", "it"],
        test: "schema::generated_files_are_up_to_date",
    },
    Generated {
        files: &["docs/hooks.md"],
        package: "layer",
        target: &["--lib"],
        test: "table::tests::the_document_lists_the_table",
    },
    Generated {
        files: &["schemas/rpc.schema.json", "docs/rpc.md", "vscode-extension/src/rpc.ts"],
        package: "server",
        target: &["--lib"],
        test: "serve::rpc::generate::generated_files_are_up_to_date",
    },
];

/// What to do.
#[derive(Args)]
pub(crate) struct Codegen {
    /// Change nothing; fail if a file is not up to date.
    #[arg(long)]
    check: bool,
}

/// Every generated file.
pub(crate) fn files() -> impl Iterator<Item = &'static str> {
    GENERATED.iter().flat_map(|row| row.files).copied()
}

/// Does what was asked for.
pub(crate) fn run(codegen: &Codegen) -> Result<()> {
    let changed = if codegen.check { stale()? } else { write()? };
    for file in &changed {
        println!("{file}{}", if codegen.check { " is not up to date" } else { "" });
    }
    if codegen.check && !changed.is_empty() {
        bail!("generated files are not up to date: `cargo xtask codegen`");
    }
    Ok(())
}

/// Writes all files and returns those that have changed.
pub(crate) fn write() -> Result<Vec<String>> {
    let before = contents();
    for row in GENERATED {
        if !generate(row, true)? {
            bail!("the test {} of {} fails even with UPDATE=1", row.test, row.package);
        }
    }
    let after = contents();
    Ok(files().filter(|file| before[file] != after[file]).map(str::to_owned).collect())
}

/// The files that are not up to date. One of several of a generator makes all of them suspect.
pub(crate) fn stale() -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for row in GENERATED {
        if !generate(row, false)? {
            stale.extend(row.files.iter().map(|file| (*file).to_owned()));
        }
    }
    Ok(stale)
}

fn contents() -> BTreeMap<&'static str, Option<Vec<u8>>> {
    files().map(|file| (file, fs::read(root().join(file)).ok())).collect()
}

/// Runs one generator's test; whether it passed.
fn generate(row: &Generated, update: bool) -> Result<bool> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["test", "--quiet", "--workspace"]).args(row.target);
    command.args(["--", "--exact", row.test]).env_remove("UPDATE");
    if update {
        command.env("UPDATE", "1");
    }
    let output = command.output().context("cannot run cargo")?;
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match tests_run(&printed) {
        Some(1) => Ok(output.status.success()),
        Some(_) => bail!("package {} has no test {}: see the table in xtask/src/codegen.rs", row.package, row.test),
        None => bail!("the tests of {} cannot be run: {}", row.package, errors.trim()),
    }
}

/// How many tests ran, in the words of the test harness; none if it did not get that far.
fn tests_run(printed: &str) -> Option<usize> {
    let count = |line: &str| line.strip_prefix("running ")?.split(' ').next()?.parse::<usize>().ok();
    printed.lines().filter_map(count).reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_gone_is_noticed() {
        for (printed, expected) in [
            ("\nrunning 1 test\n.\ntest result: ok. 1 passed\n", Some(1)),
            ("\nrunning 0 tests\n\ntest result: ok. 0 passed\n", Some(0)),
            ("", None),
        ] {
            assert_eq!(tests_run(printed), expected, "{printed}");
        }
    }

    #[test]
    fn no_file_has_two_generators() {
        let mut all: Vec<_> = files().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), files().count());
    }
}
