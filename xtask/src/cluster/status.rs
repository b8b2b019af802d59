//! `cluster status`: what runs and whether it is well.

use anyhow::{Result, bail};

use super::down;
use super::kubectl::Kubectl;
use super::layout::Layout;
use super::state::State;
use super::workloads;

/// Prints the state of the cluster; fails when it is neither whole nor gone.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let Some(state) = State::load(layout)? else {
        return not_there(layout);
    };
    println!("folder      {}", layout.folder.display());
    println!("kubernetes  {} at {}", state.version, state.api_url);
    println!("developer   export KUBECONFIG={}", state.user_kubeconfig);
    println!("admin       {}", state.admin_kubeconfig);
    println!("debian      {}", if state.debian { "yes" } else { "no" });
    let mut ended = Vec::new();
    for (name, process) in &state.processes {
        let is_alive = process.identity.is_alive();
        let word = if is_alive { "runs" } else { "ENDED" };
        println!("{word:<11} {name} (process {})", process.identity.pid);
        if !is_alive {
            ended.push(name.as_str());
        }
    }
    if state.processes.is_empty() {
        bail!("nothing runs, as after a reboot: `cargo xtask cluster up` starts it again");
    }
    if !ended.is_empty() {
        bail!("ended: {}; `cargo xtask cluster up` repairs it", ended.join(", "));
    }
    let unready = workloads::unready(&Kubectl::of(layout), &workloads::starts(&state)?)?;
    if !unready.is_empty() {
        bail!("not ready: {}", unready.join(", "));
    }
    println!("ready       {} nodes and all workloads", state.nodes.len());
    Ok(())
}

fn not_there(layout: &Layout) -> Result<()> {
    let left = down::leftovers(layout)?;
    if left.is_empty() {
        println!("no cluster in {}, and nothing left of one", layout.folder.display());
        return Ok(());
    }
    for part in &left {
        println!("left over   {part}");
    }
    bail!("no cluster, but parts of one: `cargo xtask cluster down` removes them")
}
