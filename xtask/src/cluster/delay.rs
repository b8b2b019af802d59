//! `cluster delay`: a second way to the API server, as slow as one to a far cluster.

use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::kubeconfig::{self, DEVELOPERS, Holder};
use super::layout::Layout;
use super::state::State;
use super::supervise;

/// How slow, and for whom.
#[derive(Args)]
pub(crate) struct Delay {
    /// Milliseconds that every byte takes, each way; 0 ends the slow way.
    #[arg(long)]
    ms: u64,
    /// For the administrator rather than for the developer.
    #[arg(long)]
    admin: bool,
}

/// Starts the slow way and prints the kubeconfig that leads through it.
pub(crate) fn run(layout: &Layout, delay: &Delay) -> Result<()> {
    let mut state = State::load(layout)?.context("no cluster is here: `cargo xtask cluster up`")?;
    let ways: Vec<_> =
        state.processes.keys().filter(|name| name.starts_with("delay-")).cloned().collect();
    if delay.ms == 0 {
        for name in ways {
            if let Some(process) = state.processes.remove(&name) {
                process.identity.kill()?;
            }
        }
        return state.save(layout);
    }
    if delay.ms > 10_000 {
        bail!("a delay of {} ms is more than any network has", delay.ms);
    }
    let name = format!("delay-{}", delay.ms);
    let url_file = layout.path(&format!("{name}.url"));
    let port = match std::fs::read_to_string(&url_file) {
        Ok(port) if state.runs(&name) => port.parse().context("read the slow way's port")?,
        _ => TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .context("find a free port")?
            .port(),
    };
    supervise::ensure_forward(layout, &mut state, &name, port, delay.ms)?;
    std::fs::write(&url_file, port.to_string()).context("write down the slow way's port")?;
    let user = if delay.admin { "admin" } else { "dev" };
    let groups = if delay.admin { ["system:masters"] } else { [DEVELOPERS] };
    let holder = Holder { user, groups: &groups, expires: None, namespace: None };
    let out = layout.path(&format!("{name}-{user}.kubeconfig"));
    kubeconfig::mint_for(layout, &holder, &format!("https://127.0.0.1:{port}"), &out)?;
    println!("{}", out.display());
    Ok(())
}
