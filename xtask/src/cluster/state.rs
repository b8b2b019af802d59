//! `cluster.json`: what a running cluster consists of. Tests find everything through this file;
//! `up`, `down` and `status` compare it with what is really there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::clock;
use super::layout::Layout;
use super::process::Identity;

const FILE: &str = "cluster.json";

/// The content of `cluster.json`. Fields that an older file lacks are empty.
#[derive(Serialize, Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub(crate) struct State {
    /// Prefix of the cluster's names in the kernel.
    pub(crate) name: String,
    /// The boot of the machine that the process ids below belong to.
    pub(crate) boot: String,
    /// The version of Kubernetes.
    pub(crate) version: String,
    /// The address of the API server as the machine's own programs reach it.
    pub(crate) api_url: String,
    /// The port in `api_url`.
    pub(crate) port: u16,
    /// A kubeconfig that may do everything; for root only.
    pub(crate) admin_kubeconfig: String,
    /// The kubeconfig of the ordinary developer `dev`.
    pub(crate) user_kubeconfig: String,
    /// A kubectl that uses the admin kubeconfig unless told otherwise.
    pub(crate) kubectl: String,
    /// This program, for `cluster kubeconfig`, `cluster stop` and the like.
    pub(crate) xtask: String,
    /// The certificate of the authority that signed the workload's, for everybody to read.
    pub(crate) ca_certificate: String,
    /// Libraries of the client programs that tests run: `python` for `PYTHONPATH`, `node_modules`.
    pub(crate) libraries: String,
    /// Whether the image `mirror.test/debian:1` and its workload are there.
    pub(crate) debian: bool,
    /// Digest of the manifests that were applied.
    pub(crate) manifests: String,
    /// The image files that the nodes have the contents of.
    pub(crate) images: Vec<PathBuf>,
    /// The slow ways to the API server: for each delay in milliseconds, its port on loopback.
    pub(crate) slow_ways: BTreeMap<u64, u16>,
    /// How to run a command in the network and the processes of the control plane.
    pub(crate) control_enter: Vec<String>,
    /// The nodes, in order.
    pub(crate) nodes: Vec<Node>,
    /// All processes that were started, by name.
    pub(crate) processes: BTreeMap<String, Process>,
}

/// A node as the tests see it.
#[derive(Serialize, Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub(crate) struct Node {
    /// Its name in Kubernetes.
    pub(crate) name: String,
    /// Its address between the machines.
    pub(crate) address: String,
    /// The addresses of its pods.
    pub(crate) pod_range: String,
    /// Its network namespace.
    pub(crate) netns: String,
    /// Its first process: killing it ends the node.
    pub(crate) pid: i32,
    /// The socket of its containerd.
    pub(crate) containerd_socket: String,
    /// Put before the arguments of `ctr`.
    pub(crate) ctr: Vec<String>,
    /// Put before a command that is to run in the node's namespaces.
    pub(crate) enter: Vec<String>,
}

/// A process that `up` started.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Process {
    /// The process itself.
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// When it was started, as Kubernetes writes times.
    #[serde(default)]
    pub(crate) since: String,
    /// Digest of its command line and configuration: another one means a restart is due.
    pub(crate) fingerprint: String,
    /// Its log file.
    pub(crate) log: String,
}

impl Process {
    /// A process that was started just now.
    pub(crate) fn new(pid: i32, fingerprint: String, log: &Path) -> Result<Process> {
        Ok(Process {
            identity: Identity::of(pid)?,
            since: clock::rfc3339(clock::now()?),
            fingerprint,
            log: log.display().to_string(),
        })
    }
}

impl State {
    /// Reads the state of a cluster; nothing when there is none. Processes from before a reboot
    /// are dropped, since their numbers mean nothing any more.
    pub(crate) fn load(layout: &Layout) -> Result<Option<State>> {
        let path = layout.path(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let mut state: State = serde_json::from_str(&text)
            .with_context(|| format!("understand {}; `cargo xtask cluster down` removes it", path.display()))?;
        let boot = current_boot()?;
        if state.boot != boot {
            state.processes.clear();
            state.boot = boot;
        }
        Ok(Some(state))
    }

    /// An empty state for a new cluster.
    pub(crate) fn new(layout: &Layout) -> Result<State> {
        Ok(State { name: layout.name.clone(), boot: current_boot()?, ..State::default() })
    }

    /// Writes the state so that a reader sees either the old or the new one.
    pub(crate) fn save(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the state as JSON")?;
        write_whole(&layout.path(FILE), &(text + "\n"))
    }

    /// Whether the process of that name runs.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.processes.get(name).is_some_and(|process| process.identity.is_alive())
    }
}

/// Replaces a file in one step.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("replace {}", path.display()))
}

fn current_boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("read {path}"))?.trim().to_owned())
}
