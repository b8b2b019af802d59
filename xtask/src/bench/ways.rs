//! The ways from this machine to the echo server's pod that are compared: a session, a port-forward, and the
//! delayed link by itself. Each has a load program of its own, and all can be far away.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;

use super::children::{Helper, bound};
use super::load::{Answer, Load};
use crate::cluster::{API_PORT, Layout, Machine, State};

const ECHO: u16 = 7000;
const HTTP: u16 = 80;
const GREETER: u16 = 7002;

/// How long a helper may take to listen, and a session to be gone.
const START: Duration = Duration::from_secs(20);

/// The cluster as the bench uses it.
pub(super) struct Cluster {
    layout: Layout,
    state: State,
}

/// One way, with its load program.
pub(super) struct Way {
    /// What the table calls it.
    pub(super) name: &'static str,
    pub(super) load: Load,
    host: String,
    ports: Ports,
    _helpers: Vec<Helper>,
}

/// Where a way reaches the servers of the pod.
#[derive(Clone, Copy)]
struct Ports {
    echo: u16,
    http: u16,
    greeter: u16,
}

/// The pod's own.
const PORTS: Ports = Ports { echo: ECHO, http: HTTP, greeter: GREETER };

/// What lies between the developer and the cluster.
#[derive(Clone, Copy)]
pub(super) struct Distance {
    /// How late every byte is, each way.
    pub(super) delay: Duration,
    /// MiB in a second, each way; 0 is without limit.
    pub(super) rate: u32,
}

impl Distance {
    /// Nothing.
    pub(super) const NONE: Self = Self { delay: Duration::ZERO, rate: 0 };
}

/// A way to the API server: a kubeconfig and what it leads through.
pub(super) struct Access {
    /// Path that children of this program can read.
    pub(super) kubeconfig: String,
    distance: Distance,
    _file: Option<File>,
    _forward: Option<Helper>,
}

impl Cluster {
    /// The cluster that runs.
    pub(super) fn find() -> Result<Self> {
        let layout = Layout::from_environment()?;
        let state = State::load(&layout)?.context("no cluster is here: `cargo xtask cluster up`")?;
        Ok(Self { layout, state })
    }

    /// What `kubectl` answers, with the administrator's rights.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.state.kubectl).args(arguments).output().context("cannot run kubectl")?;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `kubectl` as people use it, whose words are still to be given.
    pub(super) fn kubectl_command(&self) -> Command {
        Command::new(&self.state.kubectl)
    }

    /// Makes an object.
    pub(super) fn apply(&self, object: &Value) -> Result<()> {
        let mut command = Command::new(&self.state.kubectl);
        let mut child = command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let written = child.stdin.take().map(|mut input| input.write_all(object.to_string().as_bytes()));
        ensure!(child.wait()?.success() && written.is_some_and(|written| written.is_ok()), "kubectl apply");
        Ok(())
    }

    /// The file of a node's network namespace.
    pub(super) fn node_netns(&self, name: &str) -> Result<String> {
        let node = self.state.nodes.iter().find(|node| node.name == name);
        Ok(node.with_context(|| format!("no node {name}"))?.netns.clone())
    }

    /// The file of the control plane's network namespace.
    pub(super) fn control_netns(&self) -> String {
        self.layout.netns_path(Machine::Control)
    }

    fn pod_address(&self) -> Result<String> {
        let address =
            self.kubectl(&["get", "pods", "--selector=app=echo-server", "--output=jsonpath={.items[0].status.podIP}"])?;
        ensure!(!address.is_empty(), "the echo server has no pod");
        Ok(address)
    }

    /// The developer's way to the API server.
    pub(super) fn access(&self, distance: Distance) -> Result<Access> {
        let near = self.state.user_kubeconfig.clone();
        if distance.delay.is_zero() {
            return Ok(Access { kubeconfig: near, distance, _file: None, _forward: None });
        }
        let (forward, listen) = forward(&format!("127.0.0.1:{API_PORT}"), &self.control_netns(), distance)?;
        let text = fs::read_to_string(&near).with_context(|| format!("read {near}"))?;
        let far = text.replace(&self.state.api_url, &format!("https://127.0.0.1:{listen}"));
        // In memory: it holds a key, and nothing of it stays when the bench is killed.
        let mut file = File::from(memfd_create("kubeconfig", MemfdFlags::CLOEXEC).context("memfd_create")?);
        file.write_all(far.as_bytes()).context("write the kubeconfig")?;
        let kubeconfig = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Access { kubeconfig, distance, _file: Some(file), _forward: Some(forward) })
    }

    /// A session whose target is the echo server. Its agent's pod has the label `mirror.test/bench=LABEL`.
    pub(super) fn session(&self, program: &Path, mirror: &Path, access: &Access, label: &str) -> Result<Way> {
        let load = Load::in_session(program, mirror, &access.kubeconfig, label)?;
        Ok(Way { name: "mirror", load, host: self.pod_address()?, ports: PORTS, _helpers: Vec::new() })
    }

    /// Waits until nothing of a session is left: the way to the API server must not end before.
    pub(super) fn await_end(&self, label: &str) -> Result<()> {
        let selector = format!("--selector=mirror.test/bench={label}");
        let began = Instant::now();
        while !self.kubectl(&["get", "jobs", &selector, "--output=name"])?.is_empty() {
            ensure!(began.elapsed() < START, "the session's job is still there");
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// `kubectl port-forward` as people use it.
    pub(super) fn port_forward(&self, program: &Path, access: &Access) -> Result<Way> {
        let mut command = bound(&self.state.kubectl);
        command.args(["port-forward", "deployment/echo-server"]);
        command.args([ECHO, HTTP, GREETER].map(|port| format!(":{port}")));
        // Its stderr names every connection that the other side has closed first.
        let mut helper = Helper::start(command.env("KUBECONFIG", &access.kubeconfig).stderr(Stdio::null()))?;
        let mut local_ports = HashMap::new();
        while local_ports.len() < 3 {
            // Forwarding from 127.0.0.1:45077 -> 7000
            let line = helper.line()?;
            let Some((local, remote)) = line.split_once(" -> ") else { bail!("kubectl port-forward: {line}") };
            let Some((_, local)) = local.rsplit_once("127.0.0.1:") else { continue };
            let parse = |port: &str| port.parse::<u16>().with_context(|| format!("kubectl port-forward: {line}"));
            local_ports.insert(parse(remote)?, parse(local)?);
        }
        helper.ignore_output();
        let local = |port| local_ports.get(&port).copied().with_context(|| format!("port {port} is not forwarded"));
        let ports = Ports { echo: local(ECHO)?, http: local(HTTP)?, greeter: local(GREETER)? };
        let load = Load::native(program)?;
        Ok(Way { name: "kubectl", load, host: "127.0.0.1".to_owned(), ports, _helpers: vec![helper] })
    }

    /// Plain TCP to the pod through the proxy that delays, without Kubernetes: what the link itself carries.
    pub(super) fn link(&self, program: &Path, access: &Access) -> Result<Way> {
        let (pod, netns) = (self.pod_address()?, self.control_netns());
        let (echo_forward, echo) = forward(&format!("{pod}:{ECHO}"), &netns, access.distance)?;
        let (http_forward, http) = forward(&format!("{pod}:{HTTP}"), &netns, access.distance)?;
        let (greeter_forward, greeter) = forward(&format!("{pod}:{GREETER}"), &netns, access.distance)?;
        let helpers = vec![echo_forward, http_forward, greeter_forward];
        let (load, ports) = (Load::native(program)?, Ports { echo, http, greeter });
        Ok(Way { name: "link", load, host: "127.0.0.1".to_owned(), ports, _helpers: helpers })
    }
}

impl Way {
    /// Has a command carried out in which `HOST`, `ECHO`, `HTTP` and `GREETER` stand for this way's own.
    pub(super) fn ask(&mut self, command: &str) -> Result<Answer> {
        let Ports { echo, http, greeter } = self.ports;
        let mut command = command.replace("HOST", &self.host);
        for (name, port) in [("ECHO", echo), ("HTTP", http), ("GREETER", greeter)] {
            command = command.replace(name, &port.to_string());
        }
        let answer = self.load.ask(&command).with_context(|| format!("{} was asked: {command}", self.name))?;
        Ok(answer.map_err(|reason| format!("{}: {reason}", self.name)))
    }
}

/// This program as `cluster forward`, and the port where it listens.
fn forward(connect: &str, netns: &str, distance: Distance) -> Result<(Helper, u16)> {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("a free port")?.port();
    let own: PathBuf = std::env::current_exe().context("this program's path")?;
    let mut command = bound(own);
    command.args(["cluster", "forward", "--connect", connect, "--netns", netns]);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--delay", &distance.delay.as_millis().to_string()]);
    command.args(["--rate", &distance.rate.to_string()]);
    let helper = Helper::start(&mut command)?;
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(began.elapsed() < START, "nothing listens on port {port}: {command:?}");
        sleep(Duration::from_millis(10));
    }
    Ok((helper, port))
}
