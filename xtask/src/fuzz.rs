//! `cargo xtask fuzz`: looks with libFuzzer for bytes for which something does not hold that must hold for all.
//!
//! The targets stand in `fuzz/`, in the layout of `cargo fuzz`. Nothing but safe code is looked at, so coverage is
//! enough: the compiler's sanitizers, which only a nightly one offers, are left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{build, tidy};

/// What to look for, and for how long.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// One target [default: all, one after the other]
    target: Option<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 300)]
    seconds: u32,
}

/// As `cargo fuzz` builds without a sanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The platform must be named, or build scripts would be instrumented, too.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Longest input: two of the longest heads that are looked at would be no other case than one.
const LONGEST: &str = "-max_len=8192";

/// Runs the targets; the first exception that is found ends the run, and stays in a file.
pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    let folder = tidy::root().join("fuzz");
    let targets: Vec<String> =
        targets(&folder)?.into_iter().filter(|name| fuzz.target.as_ref().is_none_or(|wanted| name == wanted)).collect();
    ensure!(!targets.is_empty(), "no such target: fuzz/targets has the list");
    let built = build::target_folder()?.join("fuzz");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--target", PLATFORM, "--bins", "--target-dir"]).arg(&built);
    let status = cargo.current_dir(&folder).env("RUSTFLAGS", FLAGS).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    for target in targets {
        println!("== {target}: {} s", fuzz.seconds);
        look(&folder, &built, &target, fuzz.seconds)?;
    }
    Ok(())
}

/// The names of the files in `fuzz/targets`.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder.join("targets")).context("list the targets")?;
    let names = entries.flatten().filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// What is found on the way is kept beside the build, so that the next run goes on from there.
fn look(folder: &Path, built: &Path, target: &str, seconds: u32) -> Result<()> {
    let corpus = made(built.join("corpus").join(target))?;
    let found = made(built.join("found"))?.join(format!("{target}-"));
    let mut command = Command::new(built.join(PLATFORM).join("release").join(target));
    command.arg(&corpus).arg(folder.join("seeds").join(target)).args([LONGEST, "-timeout=10", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}", found.display()));
    let status = command.status().with_context(|| format!("cannot run {target}"))?;
    if status.success() { Ok(()) } else { bail!("{target}: {status}: what it found is in {}…", found.display()) }
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
