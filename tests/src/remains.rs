//! What an agent may not leave in the network of a pod: BPF programs that choose connections, and the sockets by which
//! agents know each other.
//!
//! Agents of other tests have such things at the same time, so each must belong to a network in which an agent runs.

use std::collections::BTreeSet;
use std::os::linux::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::AGENT;
use crate::processes;

/// How long the kernel may take to free what a process had that has ended: nothing announces it.
const FREED_WITHIN: Duration = Duration::from_secs(30);

/// A network, by its inode, and what is there.
type Thing = (u64, String);

/// Waits until no network has anything of an agent that does not run.
pub(crate) fn wait_none() {
    let began = Instant::now();
    loop {
        // What is there before and after a look at the agents was there meanwhile.
        let before = things();
        let agents = networks(|pid| processes::has(&processes::read(pid, "cmdline"), AGENT));
        let lost: Vec<Thing> = before.into_iter().filter(|(network, _)| !agents.contains(network)).collect();
        if lost.is_empty() || things().intersection(&lost.iter().cloned().collect()).next().is_none() {
            return;
        }
        assert!(began.elapsed() < FREED_WITHIN, "left in the networks of pods: {lost:?}");
    }
}

fn things() -> BTreeSet<Thing> {
    links().into_iter().chain(sockets()).collect()
}

/// Links of programs that choose the sockets of new connections. Nobody on this machine has any but us.
fn links() -> Vec<Thing> {
    let output = Command::new("bpftool").args(["-j", "link"]).output().expect("bpftool runs");
    assert!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    let links: Value = serde_json::from_slice(&output.stdout).expect("bpftool prints JSON");
    let of_ours = links.as_array().into_iter().flatten().filter(|link| link["attach_type"] == "sk_lookup");
    let thing = |link: &Value| (link["netns_ino"].as_u64().unwrap_or_default(), format!("link {}", link["id"]));
    of_ours.map(thing).collect()
}

/// Abstract sockets with the names that agents take.
fn sockets() -> Vec<Thing> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for pid in processes::find(|_| true) {
        let Some(network) = network(pid).filter(|network| seen.insert(*network)) else { continue };
        let sockets = String::from_utf8_lossy(&processes::read(pid, "net/unix")).into_owned();
        let names = sockets.lines().filter(|line| line.contains("@mirror-agent"));
        found.extend(names.map(|line| (network, line.to_owned())));
    }
    found
}

fn networks(of: impl Fn(i32) -> bool) -> BTreeSet<u64> {
    processes::find(of).into_iter().filter_map(network).collect()
}

fn network(pid: i32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|network| network.st_ino())
}
