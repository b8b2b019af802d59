//! `cluster delay`: a second way to the API server, as slow as one to a far cluster.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::cache;
use super::kubeconfig::{self, DEVELOPERS, Holder};
use super::layout::Layout;
use super::state::State;
use super::supervise;
use super::up::{free_port, lock};

/// How slow, and for whom.
#[derive(Args)]
pub(crate) struct Delay {
    /// Milliseconds that every byte takes, each way; 0 ends the slow way.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=10_000))]
    ms: u64,
    /// For the administrator rather than for the developer.
    #[arg(long)]
    admin: bool,
}

/// Starts the slow way and prints the kubeconfig that leads through it.
pub(crate) fn run(layout: &Layout, delay: &Delay) -> Result<()> {
    let _lock = lock(layout)?;
    let mut state = State::load(layout)?.context("no cluster is here: `cargo xtask cluster up`")?;
    if delay.ms == 0 {
        return end_all(layout, &mut state);
    }
    let port = match state.slow_ways.get(&delay.ms) {
        Some(port) => *port,
        None => free_port(0)?,
    };
    state.slow_ways.insert(delay.ms, port);
    ensure_all(layout, &mut state)?;
    let (user, group) = if delay.admin { ("admin", "system:masters") } else { ("dev", DEVELOPERS) };
    let holder = Holder { user, groups: &[group], expires: None, namespace: None };
    let out = kubeconfig_path(layout, delay.ms, user);
    kubeconfig::mint_for(layout, &holder, &format!("https://127.0.0.1:{port}"), &out)?;
    println!("{}", out.display());
    Ok(())
}

/// Makes sure that all slow ways run that were asked for.
pub(crate) fn ensure_all(layout: &Layout, state: &mut State) -> Result<()> {
    for (milliseconds, port) in state.slow_ways.clone() {
        supervise::ensure_forward(layout, state, &name(milliseconds), port, milliseconds)?;
    }
    state.save(layout)
}

fn end_all(layout: &Layout, state: &mut State) -> Result<()> {
    for milliseconds in std::mem::take(&mut state.slow_ways).into_keys() {
        if let Some(process) = state.processes.remove(&name(milliseconds)) {
            process.identity.kill()?;
        }
        for user in ["dev", "admin"] {
            cache::remove(&kubeconfig_path(layout, milliseconds, user))?;
        }
    }
    state.save(layout)
}

fn kubeconfig_path(layout: &Layout, milliseconds: u64, user: &str) -> PathBuf {
    layout.path(&format!("{}-{user}.kubeconfig", name(milliseconds)))
}

fn name(milliseconds: u64) -> String {
    format!("delay-{milliseconds}")
}
