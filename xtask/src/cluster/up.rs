//! `cluster up`: brings whatever is there, nothing or the half of a cluster, to a whole one.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::fs::{FlockOperation, flock};

use super::build::{self, Programs};
use super::command::run;
use super::component;
use super::kubectl::{self, Kubectl};
use super::layout::{Layout, Machine, pod_range};
use super::pki::Authority;
use super::progress::step;
use super::state::{Node, State};
use super::{
    cache, config, curl, delay, image, kubeconfig, libraries, machine, packages, routes, store, supervise, workloads,
};

const PROGRAMS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// What `up` can be told.
#[derive(Args, Default)]
pub(crate) struct Up {
    /// How many nodes; as many as there are, or else one, when not said.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Option<u8>,
    /// Leave out the image mirror.test/debian:1 and its workload, which take 1 to 2 min the
    /// first time.
    #[arg(long)]
    no_debian: bool,
}

/// Brings the cluster up or repairs it.
pub(crate) fn run_up(layout: &Layout, up: &Up) -> Result<()> {
    let begin = Instant::now();
    let _lock = lock(layout)?;
    let parts = step("packages, programs and images", || prepare(!up.no_debian))?;
    let mut state = match State::load(layout)? {
        Some(state) => state,
        None => State::new(layout)?,
    };
    let present = u8::try_from(state.nodes.len()).context("count the nodes")?;
    let nodes = up.nodes.unwrap_or(present.max(1));
    step("folders, certificates and configuration", || write_files(layout, &mut state, &parts, nodes))?;
    step("namespaces and machines", || start_machines(layout, &mut state, &parts, nodes))?;
    let has_new_images = step("images", || bring_images(layout, &mut state, &parts))?;
    step("API server", || start_control_plane(layout, &mut state, nodes))?;
    step("controllers and nodes", || {
        drop_surplus_nodes(layout, &mut state, nodes)?;
        for component in component::second(layout, nodes) {
            supervise::ensure(layout, &mut state, &component)?;
        }
        Ok(())
    })?;
    let kubectl = Kubectl::of(layout);
    if has_new_images {
        step("end pods with old images", || workloads::end_pods(&kubectl))?;
    }
    step("objects", || workloads::apply(layout, &kubectl, &mut state))?;
    state.save(layout)?;
    step("workloads ready", || workloads::wait(&kubectl, &state, Duration::from_secs(180)))?;
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("  {seconds:6.1} s  in all: Kubernetes {} is up", state.version);
    println!("export KUBECONFIG={}", state.user_kubeconfig);
    Ok(())
}

/// Two at once would start everything twice. The lock is outside the folder that `down` removes.
pub(crate) fn lock(layout: &Layout) -> Result<File> {
    let path = format!("/run/{}-cluster.lock", layout.name);
    let file = File::create(&path).with_context(|| format!("make {path} (this needs root)"))?;
    flock(&file, FlockOperation::LockExclusive).with_context(|| format!("lock {path}"))?;
    Ok(file)
}

/// What the cache has for a cluster.
struct Parts {
    programs: Programs,
    images: Vec<PathBuf>,
    store: PathBuf,
    libraries: PathBuf,
    curl: PathBuf,
    debian: bool,
}

fn prepare(debian: bool) -> Result<Parts> {
    packages::ensure()?;
    let _lock = cache::lock()?;
    let programs = build::programs()?;
    let images = image::all(&programs, debian)?;
    let store = store::ensure(&images)?;
    let libraries = libraries::ensure()?;
    let curl = curl::ensure()?;
    Ok(Parts { programs, images, store, libraries, curl, debian })
}

fn write_files(layout: &Layout, state: &mut State, parts: &Parts, nodes: u8) -> Result<()> {
    for folder in ["bin", "logs", "control", "pki"] {
        let folder = layout.path(folder);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    for program in PROGRAMS {
        link(&parts.programs.kube, &layout.path("bin").join(program))?;
    }
    // No symbolic link: other users may not see into the cache.
    copy(&parts.programs.kubectl, &layout.path("bin/kubectl"))?;
    copy(&parts.curl, &layout.path("bin/curl-with-c-ares"))?;
    link(&parts.programs.echo_server, &layout.path("bin/outside"))?;
    link(&parts.programs.pause, &layout.path("bin/pause"))?;
    copy_self(&layout.path("bin/xtask"))?;
    if state.port == 0 {
        state.port = free_port(layout.usual_port())?;
    }
    state.version = build::KUBERNETES_VERSION.to_owned();
    state.api_url = format!("https://127.0.0.1:{}", state.port);
    state.admin_kubeconfig = layout.text("admin.kubeconfig");
    state.user_kubeconfig = layout.text("user.kubeconfig");
    state.kubectl = layout.text("kubectl");
    state.xtask = layout.text("bin/xtask");
    let authority = Authority::ensure(layout, nodes)?;
    // The authority's own folder is closed.
    copy(&authority.path("ca.crt"), &layout.path("ca.crt"))?;
    state.ca_certificate = layout.text("ca.crt");
    state.libraries = libraries::publish(layout, &parts.libraries)?;
    kubeconfig::write_all(layout, &authority, nodes, &state.api_url)?;
    for number in 1..=nodes {
        config::write(layout, number)?;
    }
    kubectl::write_script(layout)?;
    state.save(layout)
}

fn start_machines(layout: &Layout, state: &mut State, parts: &Parts, nodes: u8) -> Result<()> {
    routes::ensure(layout)?;
    for machine in Machine::all(nodes) {
        machine::ensure(layout, state, machine)?;
    }
    state.control_enter = machine::enter(state, Machine::Control)?;
    state.nodes.truncate(usize::from(nodes));
    for number in 1..=nodes {
        let root = layout.path(&format!("node{number}/containerd"));
        if !root.exists() {
            store::copy_for_node(&parts.store, &root)?;
        }
    }
    for component in component::containerds(layout, nodes) {
        supervise::ensure(layout, state, &component)?;
    }
    state.nodes = (1..=nodes).map(|number| describe(layout, state, number)).collect::<Result<_>>()?;
    state.debian = parts.debian || state.debian;
    state.save(layout)
}

/// Gives nodes that were there before the images that they lack, and says whether any did.
fn bring_images(layout: &Layout, state: &mut State, parts: &Parts) -> Result<bool> {
    let is_new = |image: &&PathBuf| !state.images.contains(image);
    let missing: Vec<_> = parts.images.iter().filter(is_new).cloned().collect();
    let has_changed = !state.images.is_empty() && !missing.is_empty();
    if has_changed {
        for node in &state.nodes {
            wait_for_file(Path::new(&node.containerd_socket))?;
            store::import(&node.ctr, &missing)?;
        }
    }
    state.images.clone_from(&parts.images);
    state.save(layout)?;
    Ok(has_changed)
}

fn describe(layout: &Layout, state: &State, number: u8) -> Result<Node> {
    let machine = Machine::Node(number);
    let enter = machine::enter(state, machine)?;
    let socket = layout.containerd_socket(number);
    let mut ctr = enter.clone();
    ctr.extend(["ctr", "--address", &socket, "--namespace", "k8s.io"].map(str::to_owned));
    let pid = state.processes.get(&machine.name()).map_or(0, |process| process.identity.pid);
    Ok(Node {
        name: machine.name(),
        address: machine.address(),
        pod_range: pod_range(number),
        netns: layout.netns_path(machine),
        pid,
        containerd_socket: socket,
        ctr,
        enter,
    })
}

fn start_control_plane(layout: &Layout, state: &mut State, nodes: u8) -> Result<()> {
    for component in component::first(layout) {
        supervise::ensure(layout, state, &component)?;
    }
    let port = state.port;
    supervise::ensure_forward(layout, state, supervise::FORWARD, port, 0)?;
    delay::ensure_all(layout, state)?;
    wait_for_api(layout, state).with_context(|| format!("start the control plane of {nodes} nodes"))
}

/// Waits until the API server says that it is ready.
pub(crate) fn wait_for_api(layout: &Layout, state: &State) -> Result<()> {
    let begin = Instant::now();
    let kubectl = Kubectl::of(layout);
    while kubectl.run(&["get", "--raw=/readyz"]).is_err() {
        for part in ["etcd", "kube-apiserver", supervise::FORWARD] {
            if !state.runs(part) {
                bail!("{part} ended: see {}", layout.log(part).display());
            }
        }
        if begin.elapsed() > Duration::from_secs(60) {
            let log = layout.log("kube-apiserver");
            bail!("the API server is not ready after 60 s: see {}", log.display());
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Ends nodes beyond the wanted number.
fn drop_surplus_nodes(layout: &Layout, state: &mut State, nodes: u8) -> Result<()> {
    let kept: Vec<_> = Machine::all(nodes).into_iter().map(Machine::name).collect();
    let is_kept = |name: &str| kept.iter().any(|kept| name == kept);
    let is_of_surplus = |name: &str| {
        let machine = name.split('/').next().unwrap_or(name);
        machine.starts_with("node") && !is_kept(machine)
    };
    let surplus: Vec<_> = state.processes.keys().filter(|name| is_of_surplus(name)).cloned().collect();
    for name in surplus {
        if let Some(process) = state.processes.remove(&name) {
            process.identity.kill()?;
        }
        if !name.contains('/') {
            run("ip", &["netns", "delete", &format!("{}-{name}", layout.name)])?;
            let kubectl = Kubectl::of(layout);
            kubectl.run(&["delete", "node", &name, "--ignore-not-found"])?;
            // Nobody on the node is left to confirm that they ended.
            let on_node = format!("--field-selector=spec.nodeName={name}");
            kubectl.run(&["delete", "pods", "--all-namespaces", &on_node, "--force", "--grace-period=0"])?;
            cache::remove(&layout.path(&name))?;
        }
    }
    state.save(layout)
}

fn wait_for_file(path: &Path) -> Result<()> {
    let begin = Instant::now();
    while !path.exists() {
        if begin.elapsed() > Duration::from_secs(20) {
            bail!("{} is not there after 20 s", path.display());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn link(to: &Path, from: &Path) -> Result<()> {
    if fs::read_link(from).is_ok_and(|present| present == to) {
        return Ok(());
    }
    cache::remove(from)?;
    symlink(to, from).with_context(|| format!("link {} to {}", from.display(), to.display()))
}

/// The forwarder runs from a copy, since the build replaces the original, which may have happened by now.
fn copy_self(to: &Path) -> Result<()> {
    let own = std::env::current_exe().context("find this program's own file")?;
    if own == to { Ok(()) } else { copy(Path::new("/proc/self/exe"), to) }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension("new");
    cache::remove(&unfinished)?;
    fs::copy(from, &unfinished).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("name {}", to.display()))
}

/// The usual port, or another one when somebody else has it.
pub(crate) fn free_port(usual: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", usual))
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
