//! Starts what is missing and what was started differently, and ends single parts.

use std::fs;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::command::detach;
use super::component::{self, Component};
use super::layout::{Layout, Machine, sha256_hex};
use super::machine;
use super::process::{Identity, only_child};
use super::state::{Process, State};
use super::up::{lock, wait_for_api};

/// The name of the forwarder without delay.
pub(crate) const FORWARD: &str = "forward";
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes sure that a component runs with the wanted arguments; says whether it had to be started.
pub(crate) fn ensure(layout: &Layout, state: &mut State, component: &Component) -> Result<bool> {
    let fingerprint = fingerprint(&component.arguments, &component.files)?;
    if let Some(process) = state.processes.get(&component.name)
        && process.identity.is_alive()
    {
        if process.fingerprint == fingerprint {
            return Ok(false);
        }
        process.identity.kill()?;
    }
    let mut command = machine::enter(state, component.machine)?;
    command.extend(component.arguments.iter().cloned());
    let log = layout.log(&component.name);
    let parent = detach(&command, &log).with_context(|| format!("start {}", component.name))?;
    let parent = i32::try_from(parent.id()).context("read the process number")?;
    let pid = only_child(parent).with_context(|| format!("{} ended at once: see {}", component.name, log.display()))?;
    state.processes.insert(component.name.clone(), Process::new(pid, fingerprint, &log)?);
    state.save(layout)?;
    Ok(true)
}

/// Makes sure that a forwarder runs.
pub(crate) fn ensure_forward(layout: &Layout, state: &mut State, name: &str, port: u16, delay: u64) -> Result<bool> {
    let arguments = component::forward_arguments(layout, state, port, delay);
    let control = state.processes.get(&Machine::Control.name());
    // A forwarder of an older namespace leads nowhere, even if its arguments are right.
    let namespace = fs::metadata(layout.netns_path(Machine::Control))
        .map(|file| std::os::unix::fs::MetadataExt::ino(&file))
        .context("look at the control plane's namespace")?;
    let fingerprint = sha256_hex(format!("{arguments:?} {namespace}").as_bytes());
    if control.is_none() {
        bail!("the control plane does not run");
    }
    if let Some(process) = state.processes.get(name)
        && process.identity.is_alive()
    {
        if process.fingerprint == fingerprint {
            return Ok(false);
        }
        process.identity.kill()?;
    }
    let log = layout.log(name);
    let child = detach(&arguments, &log)?;
    let pid = i32::try_from(child.id()).context("read the process number")?;
    let process = Process::new(pid, fingerprint, &log)?;
    wait_for_listener(port, process.identity).with_context(|| format!("start {name}: see {}", log.display()))?;
    state.processes.insert(name.to_owned(), process);
    state.save(layout)?;
    Ok(true)
}

fn wait_for_listener(port: u16, process: Identity) -> Result<()> {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if !process.is_alive() || begin.elapsed() > PATIENCE {
            bail!("nothing listens on port {port}");
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Ends one part of the cluster: a component, a forwarder or a whole machine.
pub(crate) fn stop(layout: &Layout, name: &str) -> Result<()> {
    let state = State::load(layout)?.context("no cluster is here")?;
    let Some(process) = state.processes.get(name) else {
        let known: Vec<_> = state.processes.keys().map(String::as_str).collect();
        bail!("{name} is no part of the cluster; its parts are {}", known.join(", "));
    };
    // Hard, as a crash would: a test that wants the kind way has `kubectl` for it.
    process.identity.kill()
}

/// Starts one component again that was stopped, and waits for the API server if it needs that one.
pub(crate) fn start(layout: &Layout, name: &str) -> Result<()> {
    let _lock = lock(layout)?;
    let mut state = State::load(layout)?.context("no cluster is here")?;
    let nodes = u8::try_from(state.nodes.len()).context("count the nodes")?;
    if name == FORWARD {
        let port = state.port;
        return ensure_forward(layout, &mut state, name, port, 0).map(drop);
    }
    let components = component::all(layout, nodes);
    let Some(component) = components.iter().find(|component| component.name == name) else {
        bail!("{name} cannot be started alone: `cargo xtask cluster up` repairs the whole");
    };
    ensure(layout, &mut state, component)?;
    if component::first(layout).iter().any(|first| first.name == name) { wait_for_api(layout, &state) } else { Ok(()) }
}

/// A digest of a command line, the program behind it and its configuration files.
fn fingerprint(arguments: &[String], files: &[String]) -> Result<String> {
    let mut text = format!("{arguments:?}");
    // The programs are links into the cache, where names hold digests of the sources.
    if let Ok(program) = fs::read_link(&arguments[0]) {
        text += &program.display().to_string();
    }
    for file in files {
        text += &fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    }
    Ok(sha256_hex(text.as_bytes()))
}
