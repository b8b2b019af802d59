//! `cargo xtask extension`: the VS Code extension as one file with `mirror` inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, tidy};

/// The platform that the package is for, in the words of VS Code.
const PLATFORM: &str = "linux-x64";

/// What to build.
#[derive(Args)]
pub(crate) struct Extension {
    /// Optimise what is inside, as for a release.
    #[arg(long)]
    release: bool,
}

/// Builds and tells where the result is.
pub(crate) fn run(extension: &Extension) -> Result<()> {
    let mirror = build::mirror(if extension.release { "release" } else { "dev" })?;
    println!("{}", pack(&mirror)?.display());
    Ok(())
}

/// Packs the extension with this `mirror` inside and returns the path of the `.vsix`.
pub(crate) fn pack(mirror: &Path) -> Result<PathBuf> {
    install()?;
    node(&["scripts/build.mjs"])?;
    let folder = build::target_folder()?.join("extension");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let (vsix, small) = (folder.join(format!("mirror-{PLATFORM}.vsix")), folder.join("mirror"));
    // What is for debuggers only would be most of the package.
    let status = Command::new("objcopy").arg("--strip-debug").args([mirror, &small]).status();
    if !status.context("cannot run objcopy (package binutils)")?.success() {
        bail!("objcopy cannot read {}", mirror.display());
    }
    node(&["scripts/package.mjs", &small.display().to_string(), &vsix.display().to_string()])?;
    Ok(vsix)
}

/// Types, lints and unit tests of the extension; what is wrong, line by line.
pub(crate) fn problems() -> Result<Vec<String>> {
    install()?;
    let mut problems = Vec::new();
    for script in ["check", "test"] {
        let output = Command::new("npm").args(["run", "--silent", script]).current_dir(folder()).output();
        let output = output.context("cannot run npm")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            problems.extend(String::from_utf8_lossy(&said).lines().filter(|line| tells(line)).map(str::to_owned));
            problems.push(format!("`npm run {script}` in vscode-extension: {}", output.status));
        }
    }
    problems.iter().for_each(|problem| println!("{problem}"));
    Ok(problems)
}

/// Whether a line says what is wrong: the runner of tests lists those that pass, too.
fn tells(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line.starts_with("ok ") || line.starts_with('#') || line.starts_with("duration_ms"))
}

/// Installs what the lock file names, if it is not there.
fn install() -> Result<()> {
    let (lock, installed) = (folder().join("package-lock.json"), folder().join("node_modules/.installed"));
    let wanted = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if fs::read(&installed).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    eprintln!("        …   modules of vscode-extension (takes about 30 s)");
    let arguments = ["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"];
    let status = Command::new("npm").args(arguments).current_dir(folder()).status().context("cannot run npm")?;
    if !status.success() {
        bail!("npm ci in vscode-extension: {status}");
    }
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}

fn node(arguments: &[&str]) -> Result<()> {
    let output = Command::new("node").args(arguments).current_dir(folder()).output().context("cannot run node")?;
    if !output.status.success() {
        bail!("node {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn folder() -> PathBuf {
    tidy::root().join("vscode-extension")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_told() {
        let said =
            "# Subtest: a\nok 1 - a\n\n  duration_ms: 3\nnot ok 2 - b\n  error: 'c'\nsrc/a.ts(1,2): error TS1: d";
        let told: Vec<_> = said.lines().filter(|line| tells(line)).collect();
        assert_eq!(told, ["not ok 2 - b", "  error: 'c'", "src/a.ts(1,2): error TS1: d"]);
    }
}
