//! `cargo xtask test`: everything that must hold, from formatting to the end-to-end tests on the real cluster;
//! and `cargo xtask demo`: the main job once, for a newcomer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, check, cluster, extension};

/// End-to-end tests that run at the same time: each waits for the cluster most of its time.
const THREADS: &str = "5";

/// What to test.
#[derive(Args)]
pub(crate) struct Test {
    /// Only the end-to-end tests.
    #[arg(long)]
    e2e: bool,
    /// The long versions of tests, too: fifty kills instead of eight, and the like.
    #[arg(long)]
    long: bool,
    /// Only end-to-end tests whose name contains this.
    filter: Option<String>,
}

/// Runs the tests.
pub(crate) fn run(test: &Test) -> Result<()> {
    cluster::ensure_for_tests()?;
    if !test.e2e && test.filter.is_none() {
        check::run(&check::Check::default())?;
    }
    let mirror = prepare()?;
    let (vsix, editor) = (extension::pack(&mirror)?, cluster::ensure_editor()?);
    let began = Instant::now();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--workspace", "--test", "e2e", "--"]).args(&test.filter);
    cargo.arg(format!("--test-threads={THREADS}")).env("MIRROR_BIN", &mirror);
    cargo.env("MIRROR_VSIX", &vsix).env("MIRROR_EDITOR", &editor);
    if test.long {
        cargo.env("MIRROR_TEST_LONG", "1");
    }
    let status = cargo.status().context("cannot run cargo test")?;
    println!("end-to-end tests: {:.0} s", began.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { bail!("end-to-end tests: {status}") }
}

/// Shows the main job on the embedded cluster.
pub(crate) fn demo() -> Result<()> {
    cluster::ensure_for_tests()?;
    let mirror = prepare()?;
    println!("\n$ mirror exec -- curl http://echo-server/");
    let mut command = Command::new(mirror);
    command.args(["exec", "--", "curl", "--silent", "--show-error", "http://echo-server/"]);
    let status = command.env("KUBECONFIG", user_kubeconfig()).status().context("cannot run mirror")?;
    println!("\n\nyour own commands: KUBECONFIG={} mirror exec …", user_kubeconfig().display());
    if status.success() { Ok(()) } else { bail!("mirror exec: {status}") }
}

fn prepare() -> Result<PathBuf> {
    cluster::run(cluster::Task::Up(cluster::Up::default()))?;
    build::mirror("dev")
}

fn user_kubeconfig() -> PathBuf {
    let folder = std::env::var_os("MIRROR_CLUSTER_DIR").map(PathBuf::from);
    folder.as_deref().unwrap_or(Path::new("/var/lib/mirror-cluster")).join("user.kubeconfig")
}
