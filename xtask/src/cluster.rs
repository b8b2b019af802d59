//! A real Kubernetes on this machine for the end-to-end tests: `cargo xtask cluster …`. The
//! control plane and every node are a set of kernel namespaces with ordinary processes in it.
//! Nothing is reachable from the machine's own network but the API server, on loopback.
//!
//! The tests know nothing of this code: they read `cluster.json` in the state folder (see
//! [`state::State`]), by default `/var/lib/mirror-cluster`.

mod build;
mod cache;
mod cgroups;
mod clock;
mod command;
mod component;
mod config;
mod curl;
mod delay;
mod down;
mod editor;
mod forward;
mod image;
mod kubeconfig;
mod kubectl;
mod layout;
mod libraries;
mod machine;
mod packages;
mod pki;
mod process;
mod progress;
mod routes;
mod state;
mod status;
mod store;
mod supervise;
mod up;
mod workloads;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

pub(crate) use editor::ensure as ensure_editor;
pub(crate) use layout::{API_PORT, CONTROL_ADDRESS, Layout, Machine};
pub(crate) use packages::ensure_for_tests;
pub(crate) use state::State;
pub(crate) use up::Up;

/// What can be done with the cluster.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Start the cluster, or repair it when parts of it are missing.
    Up(up::Up),
    /// End it and leave nothing behind but its logs.
    Down,
    /// Tell what runs and whether all is well.
    Status,
    /// Run kubectl as the administrator.
    Kubectl {
        /// What kubectl is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make a kubeconfig for a user, who may do only what access rules say.
    Kubeconfig(Mint),
    /// Start a slow way to the API server and print its kubeconfig.
    Delay(delay::Delay),
    /// End one part at once, as a crash would: `kube-apiserver`, `node2`, `node1/kubelet`, …
    Stop {
        /// Its name, as `status` shows it.
        part: String,
    },
    /// Start a part again.
    Start {
        /// Its name, as `status` shows it.
        part: String,
    },
    /// End a part and start it again.
    Restart {
        /// Its name, as `status` shows it.
        part: String,
    },
    /// Forward connections into the cluster: what `up` starts in the background.
    #[command(hide = true)]
    Forward(forward::Forward),
}

/// Whose kubeconfig, and where it goes.
#[derive(Args)]
pub(crate) struct Mint {
    /// The user's name.
    #[arg(long)]
    user: String,
    /// A group of the user's; may be given more than once.
    #[arg(long = "group")]
    groups: Vec<String>,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// When its certificate ends, from now: 90s, 30m, 1h, 7d.
    #[arg(long, value_parser = kubeconfig::parse_span)]
    expires: Option<Duration>,
    /// The namespace that commands work in.
    #[arg(long)]
    namespace: Option<String>,
}

/// Does what was asked for.
pub(crate) fn run(task: Task) -> Result<()> {
    if let Task::Forward(forward) = &task {
        return forward::run(forward);
    }
    let layout = Layout::from_environment()?;
    match task {
        Task::Up(up) => up::run_up(&layout, &up),
        Task::Down => down::run(&layout),
        Task::Status => status::run(&layout),
        Task::Kubectl { arguments } => {
            State::load(&layout)?.context("no cluster is here: `cargo xtask cluster up`")?;
            Err(kubectl::Kubectl::of(&layout).become_it(&arguments))
        }
        Task::Kubeconfig(mint) => make_kubeconfig(&layout, &mint),
        Task::Delay(delay) => delay::run(&layout, &delay),
        Task::Stop { part } => supervise::stop(&layout, &part),
        Task::Start { part } => supervise::start(&layout, &part),
        Task::Restart { part } => {
            supervise::stop(&layout, &part)?;
            supervise::start(&layout, &part)
        }
        Task::Forward(_) => Ok(()),
    }
}

fn make_kubeconfig(layout: &Layout, mint: &Mint) -> Result<()> {
    let groups: Vec<_> = mint.groups.iter().map(String::as_str).collect();
    let holder = kubeconfig::Holder {
        user: &mint.user,
        groups: &groups,
        expires: mint.expires,
        namespace: mint.namespace.as_deref(),
    };
    kubeconfig::mint(layout, &holder, &mint.out)
}
