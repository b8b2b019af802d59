//! `cargo xtask build`: one file that carries everything.
//!
//! Builds the layer, the agent and its loader, and puts them as sections into a copy of the `mirror`
//! executable. The agent is always built for size; the rest follows the chosen profile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

/// The platform of agent and layer: static programs need the target to be named.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Static and at a fixed address: the smallest form. The agent unwinds, so that a panic ends one request; the
/// loader aborts, and so needs no C library.
const AGENT_FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Largest agent in compressed form, in bytes: it travels at every start.
const AGENT_LIMIT: usize = 1_500_000;

/// What to build.
#[derive(Args)]
pub(crate) struct Build {
    /// Optimise, as for a release.
    #[arg(long)]
    release: bool,
}

/// Builds and tells where the result is.
pub(crate) fn run(build: &Build) -> Result<()> {
    let mirror = mirror(if build.release { "release" } else { "dev" })?;
    println!("{}", mirror.display());
    Ok(())
}

/// Builds `mirror` with everything inside and returns its path.
pub(crate) fn mirror(profile: &str) -> Result<PathBuf> {
    let target = target_folder()?;
    let folder = if profile == "dev" { "debug" } else { profile };
    // What tests use is built as they are, with the features of all packages: so dependencies are compiled once.
    let packages: &[&str] =
        if profile == "dev" { &["--workspace"] } else { &["--package", "server", "--package", "layer"] };
    let targets = ["--quiet", "--lib", "--bin", "mirror", "--profile", profile];
    cargo(&[&["build"], packages, &targets[..]].concat(), &[])?;
    for (package, more) in [("agent", ""), ("loader", " -C panic=abort")] {
        let flags = format!("{AGENT_FLAGS}{more}");
        let arguments = ["build", "--quiet", "--package", package, "--profile", "agent", "--target", TARGET];
        cargo(&arguments, &[("RUSTFLAGS", flags.as_str())])?;
    }
    let built = target.join(folder);
    let agent_folder = target.join(TARGET).join("agent");
    let parts = target.join("bundle").join(folder);
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let layer = write(&parts, "layer", &zstd::encode_all(read(&built.join("libmirror_layer.so"))?.as_slice(), 19)?)?;
    let loader = write(&parts, "loader", &read(&agent_folder.join("loader"))?)?;
    let agent = pack(&parts, &read(&agent_folder.join("agent"))?)?;
    let mirror = parts.join("mirror");
    let mut objcopy = Command::new("objcopy");
    for (name, file) in [("layer", &layer), ("loader", &loader), ("agent", &agent)] {
        objcopy.arg(format!("--add-section=.mirror.{name}={}", file.display()));
    }
    objcopy.arg(built.join("mirror")).arg(&mirror);
    let status = objcopy.status().context("cannot run objcopy (package binutils)")?;
    if !status.success() {
        bail!("objcopy: {status}");
    }
    Ok(mirror)
}

/// Where cargo builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")?;
    Ok(root.join(named.unwrap_or_else(|| PathBuf::from("target"))))
}

fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(cargo).args(arguments).envs(variables.iter().copied()).status().context("cannot run cargo")?;
    if status.success() { Ok(()) } else { bail!("cargo {}: {status}", arguments.join(" ")) }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Compresses the agent, which takes seconds: only when it is another than the last time.
fn pack(folder: &Path, agent: &[u8]) -> Result<PathBuf> {
    let (packed, original) = (folder.join("agent"), folder.join("agent.original"));
    if packed.is_file() && fs::read(&original).is_ok_and(|last| last == agent) {
        return Ok(packed);
    }
    let bytes = loader::pack(agent)?;
    if bytes.len() > AGENT_LIMIT {
        bail!("the compressed agent has {} bytes, more than the {AGENT_LIMIT} allowed", bytes.len());
    }
    write(folder, "agent", &bytes)?;
    write(folder, "agent.original", agent)?;
    Ok(packed)
}
