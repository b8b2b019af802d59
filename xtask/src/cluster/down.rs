//! `cluster down`: ends everything and leaves nothing behind, also after a crash that left no
//! record of what ran.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use super::process::{self, Identity};
use super::state::State;
use super::{cache, cgroups, command, routes, up};

/// Ends the cluster.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let _lock = up::lock(layout)?;
    // A record that cannot be read is no reason to leave things running: they are found below by
    // their namespaces.
    if let Ok(Some(state)) = State::load(layout) {
        // The machines first: each takes all that runs on it along at once.
        let (machines, rest): (Vec<_>, Vec<_>) = state.processes.iter().partition(|(name, _)| !name.contains('/'));
        for (_, process) in machines.into_iter().chain(rest) {
            process.identity.kill()?;
        }
    }
    for process in strays(layout)? {
        process.kill()?;
    }
    for netns in namespaces(layout)? {
        command::run("ip", &["netns", "delete", &netns])?;
    }
    routes::remove(layout)?;
    cgroups::remove(layout)?;
    // Only when empty: another cluster or another program may use it.
    let _ = fs::remove_dir("/var/lib/cni");
    remove_folder(layout)?;
    let left = leftovers(layout)?;
    if !left.is_empty() {
        bail!("left behind: {}", left.join(", "));
    }
    Ok(())
}

/// Everything of a cluster that is still there, in words.
pub(crate) fn leftovers(layout: &Layout) -> Result<Vec<String>> {
    let mut left = Vec::new();
    left.extend(strays(layout)?.iter().map(|process| format!("process {}", process.pid)));
    left.extend(namespaces(layout)?.iter().map(|name| format!("network namespace {name}")));
    left.extend(mounts(layout)?.iter().map(|place| format!("mount {place}")));
    left.extend(cgroups::present(layout)?.iter().map(|group| format!("group {}", group.display())));
    left.extend(routes::present(layout)?.iter().map(|route| format!("route {route}")));
    Ok(left)
}

/// Processes in the cluster's namespaces.
fn strays(layout: &Layout) -> Result<Vec<Identity>> {
    let mut inodes = Vec::new();
    for netns in namespaces(layout)? {
        let path = format!("/run/netns/{netns}");
        let file = fs::metadata(&path).with_context(|| format!("look at {path}"))?;
        inodes.push(file.ino());
    }
    process::inside(&inodes)
}

fn namespaces(layout: &Layout) -> Result<Vec<String>> {
    let folder = Path::new("/run/netns");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let prefix = format!("{}-", layout.name);
    let is_ours = |name: &str| {
        name.strip_prefix(&prefix)
            .is_some_and(|machine| machine == "control" || machine.strip_prefix("node").is_some_and(is_number))
    };
    let entries = fs::read_dir(folder).context("list the network namespaces")?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| is_ours(name)).collect())
}

fn is_number(text: &str) -> bool {
    text.parse::<u8>().is_ok()
}

/// Mounts inside the state folder, which would make its removal dangerous.
fn mounts(layout: &Layout) -> Result<Vec<String>> {
    let path = "/proc/self/mounts";
    let table = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(1));
    Ok(places.filter(|place| Path::new(place).starts_with(&layout.folder)).map(str::to_owned).collect())
}

/// Removes the state, but the logs, which tell why a test failed.
fn remove_folder(layout: &Layout) -> Result<()> {
    let mounts = mounts(layout)?;
    if !mounts.is_empty() {
        bail!("{} has mounts in it: {}", layout.folder.display(), mounts.join(", "));
    }
    if !layout.folder.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(&layout.folder).with_context(|| format!("list {}", layout.folder.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_state) {
            cache::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name in the state folder is one of ours: somebody may have pointed us at a folder
/// that has other things in it.
fn is_state(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    let names = ["admin", "bin", "ca", "cluster", "control", "kubectl", "libraries", "pki", "user"];
    names.contains(&stem) || stem.strip_prefix("node").is_some_and(is_number) || stem.starts_with("delay-")
}
