//! The steps of `cargo xtask check`. Each returns what is wrong, one line for each problem.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

use crate::codegen;
use crate::extension;
use crate::tidy;

/// What a program printed, and whether it succeeded.
struct Printed {
    success: bool,
    out: Vec<String>,
    errors: Vec<String>,
}

/// Every file is formatted.
pub(super) fn format(fix: bool) -> Result<Vec<String>> {
    if fix {
        let printed = cargo(&["fmt", "--all"])?;
        return Ok(if printed.success { Vec::new() } else { printed.errors });
    }
    let printed = cargo(&["fmt", "--all", "--", "--check", "-l"])?;
    let root = format!("{}/", tidy::root().display());
    let mut files: Vec<_> = printed.out.iter().map(|line| line.trim_start_matches(&root).to_owned()).collect();
    files.sort();
    files.dedup();
    files.iter().for_each(|file| println!("{file}"));
    Ok(or_last_error(printed.success, files, &printed.errors))
}

/// The rules of `cargo xtask tidy` hold.
pub(super) fn tidy(_: bool) -> Result<Vec<String>> {
    tidy::problems()
}

/// Neither the compiler nor clippy has anything to say.
pub(super) fn clippy(_: bool) -> Result<Vec<String>> {
    let printed = cargo(&["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"])?;
    Ok(or_last_error(printed.success, diagnostics(&printed.errors), &printed.errors))
}

/// Generated files are what their tables give.
pub(super) fn codegen(fix: bool) -> Result<Vec<String>> {
    if fix {
        for file in codegen::write()? {
            println!("written: {file}");
        }
        return Ok(Vec::new());
    }
    Ok(codegen::stale()?.into_iter().map(|file| format!("{file} is not up to date: `cargo xtask codegen`")).collect())
}

/// The VS Code extension has no errors of types or style, and its unit tests pass.
pub(super) fn extension(_: bool) -> Result<Vec<String>> {
    extension::problems()
}

/// All tests pass but the end-to-end ones, which need a cluster.
pub(super) fn tests(_: bool) -> Result<Vec<String>> {
    // Not `--exclude tests`: another selection of packages is another one of features, and compiles the dependencies anew.
    let all_but_e2e = ["--lib", "--bin", "xtask", "--test", "[!e]*"];
    let printed = cargo(&[&["test", "--workspace", "--no-fail-fast"], &all_but_e2e[..]].concat())?;
    details(&printed.out).for_each(|line| println!("{line}"));
    let mut problems = failed_tests(&printed.out);
    problems.extend(failed_targets(&printed.errors));
    if problems.is_empty() {
        problems = diagnostics(&printed.errors);
    }
    let n_passed: usize = printed.out.iter().filter(|line| line.ends_with("... ok")).count();
    println!("{n_passed} tests passed");
    Ok(or_last_error(printed.success, problems, &printed.errors))
}

/// Stands in the lines by which the test harness tells of a test that may hang.
const SLOW: &str = "has been running for over";

/// Runs cargo: its errors and progress are shown as they come, its output is kept.
fn cargo(arguments: &[&str]) -> Result<Printed> {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(tidy::root()).env_remove("UPDATE");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run cargo")?;
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    let (out, errors) = thread::scope(|scope| {
        let errors = scope.spawn(|| lines(errors, |line| eprintln!("{line}")));
        (lines(out, tell_slow), errors.join().unwrap_or_default())
    });
    let success = child.wait().context("cannot wait for cargo")?.success();
    Ok(Printed { success, out, errors })
}

fn tell_slow(line: &str) {
    if line.contains(SLOW) {
        println!("{line}");
    }
}

fn lines(stream: Option<impl Read>, show: impl Fn(&str)) -> Vec<String> {
    let mut lines = Vec::new();
    for line in stream.into_iter().flat_map(|stream| BufReader::new(stream).split(b'\n')).map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        show(&line);
        lines.push(line);
    }
    lines
}

/// A failure always has something to show.
fn or_last_error(success: bool, problems: Vec<String>, errors: &[String]) -> Vec<String> {
    if success || !problems.is_empty() {
        return problems;
    }
    let last = errors.iter().rev().find(|line| line.starts_with("error"));
    vec![last.cloned().unwrap_or_else(|| "cargo failed without a word".to_owned())]
}

/// `place: message` of every error of the compiler. The same file may be compiled more than once.
fn diagnostics(errors: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut message = None;
    for line in errors {
        if line.starts_with("error") {
            message = line.split_once(": ").map(|(_, message)| message);
        } else if let Some((_, place)) = line.split_once("--> ")
            && let Some(message) = message.take()
        {
            found.push(format!("{place}: {message}"));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What failed tests printed.
fn details(out: &[String]) -> impl Iterator<Item = &String> {
    let mut shown = false;
    out.iter().filter(move |line| {
        shown = *line == "failures:" || shown && !line.starts_with("test result: ");
        shown
    })
}

/// Test programs that failed: one that crashed cannot name its tests.
fn failed_targets(errors: &[String]) -> impl Iterator<Item = String> {
    let name =
        |line: &String| line.trim().strip_prefix("`-p ")?.strip_suffix('`').map(|target| format!("in -p {target}"));
    errors.iter().filter_map(name)
}

fn failed_tests(out: &[String]) -> Vec<String> {
    let name = |line: &String| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
    out.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &str) -> Vec<String> {
        lines.lines().map(str::to_owned).collect()
    }

    #[test]
    fn errors_are_listed_with_their_places_once() {
        let errors = text(
            "\
    Checking link v0.1.0
error: unused variable: `x`
  --> link/src/mux.rs:1:5
   |
   = note: `-D unused-variables` implied
help: a lint
  --> link/src/mux.rs:9:9
error[E0308]: mismatched types
 --> link/src/b.rs:2:1
error: unused variable: `x`
  --> link/src/mux.rs:1:5
error: could not compile `link` (lib) due to 2 previous errors",
        );
        let expected = ["link/src/b.rs:2:1: mismatched types", "link/src/mux.rs:1:5: unused variable: `x`"];
        assert_eq!(diagnostics(&errors), expected);
    }

    #[test]
    fn failed_tests_are_listed() {
        let out = text(
            "\
running 2 tests
test a::b ... ok
test a::c ... FAILED

failures:

---- a::c stdout ----
left: 1

failures:
    a::c

test result: FAILED. 1 passed
running 0 tests",
        );
        assert_eq!(failed_tests(&out), ["a::c"]);
        let shown: Vec<_> = details(&out).filter(|line| !line.is_empty()).collect();
        assert_eq!(shown, ["failures:", "---- a::c stdout ----", "left: 1", "failures:", "    a::c"]);
        let errors = text("error: 1 target failed:\n    `-p layer --test it`\n");
        assert_eq!(failed_targets(&errors).collect::<Vec<_>>(), ["in -p layer --test it"]);
    }

    #[test]
    fn a_failure_without_a_list_shows_its_last_error() {
        let errors = text("warning: w\nerror: no such command\nnote");
        assert_eq!(or_last_error(false, Vec::new(), &errors), ["error: no such command"]);
        assert_eq!(or_last_error(true, Vec::new(), &errors), [""; 0]);
    }
}
