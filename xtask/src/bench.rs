//! `cargo xtask bench …`: figures, each paired with a baseline in the same run.
//!
//! Machines are shared and noisy, so the ratio of the pairs is what counts; benches are not tests.

mod children;
mod figures;
mod files;
mod incoming;
mod load;
mod many;
mod outgoing;
mod serve;
mod start;
mod taken;
mod ways;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// From `mirror exec` to the program's first instruction, next to `kubectl run --rm`.
    Start(start::Start),
    /// Connections, requests and bulk, next to `kubectl port-forward` to the same pod.
    Outgoing(outgoing::Outgoing),
    /// The pod's own traffic while a session takes it, or leaves it, next to a port that no session takes.
    Incoming(incoming::Incoming),
    /// Small files, a tree and a large file of a pod, next to `kubectl exec tar`.
    Files(files::Files),
    /// A keystroke in a configuration, and the picker with ten thousand pods.
    Serve(serve::Serve),
}

/// Runs a measurement.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Start(start) => start::run(start),
        Bench::Outgoing(outgoing) => outgoing::run(outgoing),
        Bench::Incoming(incoming) => incoming::run(incoming),
        Bench::Files(files) => files::run(files),
        Bench::Serve(serve) => serve::run(serve),
    }
}

fn state_folder() -> PathBuf {
    std::env::var_os("MIRROR_CLUSTER_DIR").map_or_else(|| PathBuf::from("/var/lib/mirror-cluster"), PathBuf::from)
}
