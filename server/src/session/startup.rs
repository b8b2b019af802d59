//! From a spec to a session that stands: cluster, target, agent, first contact, environment.

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use link::{ConnectError, Link, LinkConfig};
use protocol::agent::{Describe, Description, Environment, GetEnvironment, PortMode, RemoteError};
use protocol::handshake::Channel;
use protocol::launch::Launch;
use tokio::sync::{mpsc, watch};

use super::files::FileRules;
use super::message::{HostMessage, Step};
use super::spec::SessionSpec;
use crate::bundle;
use crate::failure::{Class, Failure, Result};
use crate::kube::agent::{Agent, AgentPlan};
use crate::kube::agent_start;
use crate::kube::client::Cluster;
use crate::kube::port_forward::PortForward;
use crate::kube::target::{self, PodTarget};

/// Where an agent in a pod of its own listens, on its loopback.
const AGENT_PORT: u16 = 61616;

/// Where one in the target's pod does: anywhere above the ports that kernels choose, so that several find room.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_535;

/// For tests: the agent behaves as on a kernel that cannot steer connections.
const WITHOUT_SK_LOOKUP: &str = "MIRROR_TEST_WITHOUT_SK_LOOKUP";

/// How long the agent stays after the client's connection ended without a goodbye.
const LINGER: Duration = Duration::from_secs(10);

/// Before this no container is up. Asking sooner only keeps the API server from telling its node authorizer of the pod,
/// and a kubelet that is refused the pod's ConfigMap waits a second before it asks again.
const HEAD_START: Duration = Duration::from_millis(150);

/// Longest time of one attempt to reach the agent.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Pause between attempts to reach a starting agent: short while agents usually come up, then calmer, since every
/// attempt costs the API server and the node a connection.
const EAGER: Duration = Duration::from_millis(20);
const CALM: Duration = Duration::from_millis(250);
const EAGER_FOR: Duration = Duration::from_secs(2);

/// Pause between attempts to take the Job's deadline away.
const KEEP_AGAIN: Duration = Duration::from_secs(2);

/// The two connections to the agent.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) control: Link,
    pub(super) data: Link,
}

/// A session that stands.
pub(super) struct Started {
    pub(super) cluster: Cluster,
    pub(super) agent: Agent,
    pub(super) links: Links,
    pub(super) pod_environment: Environment,
    pub(super) description: Description,
    /// Whether connections of the target may be asked for.
    pub(super) takes_connections: bool,
    /// Whose place the program takes.
    pub(super) target: Option<PodTarget>,
    /// Whose files are whose.
    pub(super) file_rules: Option<FileRules>,
}

/// Tells the starter how far things are.
pub(super) struct Reporter(pub(super) mpsc::UnboundedSender<HostMessage>);

impl Reporter {
    fn tell(&self, message: HostMessage) {
        self.0.send(message).ok();
    }

    /// What of the pod cannot be had.
    fn tell_of_rights(&self, spec: &SessionSpec, agent: &Agent) {
        let disabled = ["SETUID", "SETGID"].into_iter().find(|name| spec.agent.is_without(name));
        if let (Some(name), true, None) = (disabled, spec.files.reads_the_pod(), agent.without_rights()) {
            self.tell(HostMessage::Warning(format!(
                "files of the pod can be read only if the target runs as root: agent.disabled_capabilities has {name}"
            )));
        }
        let Some(mode) = spec.incoming.mode else { return };
        let flushes = mode == PortMode::Steal && spec.incoming.flush_connections;
        if let Some(reason) = agent.without_rights() {
            self.tell(HostMessage::Warning(format!(
                "the agent has no capabilities ({reason}), so no connections are taken; environment, outgoing \
                 connections and names are the pod's"
            )));
        } else if flushes && spec.agent.is_without("NET_ADMIN") {
            self.tell(HostMessage::Warning(
                "connections that stand when a port is stolen stay with the target: agent.disabled_capabilities has \
                 NET_ADMIN"
                    .to_owned(),
            ));
        }
    }

    async fn step<T>(&self, step: Step, work: impl Future<Output = Result<(T, String)>>) -> Result<T> {
        self.tell(HostMessage::Began(step));
        let began = Instant::now();
        let (value, text) = work.await?;
        self.tell(HostMessage::Done { step, text, took: began.elapsed() });
        Ok(value)
    }
}

/// Random lower-case letters and digits, as names of Kubernetes objects allow them.
pub(super) fn random_name(length: usize) -> Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0; length];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| ALPHABET[usize::from(byte % 32)] as char).collect())
}

/// Fills `bytes` from the kernel's generator.
pub(super) fn random(bytes: &mut [u8]) -> Result<()> {
    let got = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::system("cannot get random bytes", error))?;
    if got == bytes.len() { Ok(()) } else { Err(Failure::new(Class::System, "the kernel gave too few random bytes")) }
}

/// Whether the process that wants the session still waits for it.
#[derive(Clone)]
pub(super) struct Starter(pub(super) watch::Receiver<bool>);

impl Starter {
    /// Returns when it is gone, or has become the program.
    pub(super) async fn gone(&self) {
        self.0.clone().wait_for(|gone| *gone).await.map(drop).ok();
    }

    /// Drops the work when nobody waits for it any more (Ctrl-C).
    async fn unless_gone<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.gone() => Err(Failure::new(Class::Interrupted, "interrupted before the program started")),
        }
    }
}

/// An agent that was made, and how to reach it.
struct Created {
    agent: Agent,
    port: u16,
    key: SigningKey,
}

/// Starts the session. On failure nothing is left in the cluster.
pub(super) async fn start(spec: &SessionSpec, reporter: &Reporter, starter: &Starter) -> Result<Started> {
    let (cluster, target) = starter.unless_gone(find(spec, reporter)).await?;
    // Takes some ten milliseconds, while the agent starts.
    let volumes = target.as_ref().map(|target| target.volumes.clone()).unwrap_or_default();
    let files = spec.files.clone();
    let file_rules = tokio::task::spawn_blocking(move || FileRules::new(&files, &volumes));
    // Not to be dropped: an agent whose making was begun must be known, so that it can be removed.
    let created = reporter
        .step(Step::AgentCreated, async {
            let created = create_agent(&cluster, spec, target.as_ref()).await?;
            let text = created.agent.to_string();
            Ok((created, text))
        })
        .await?;
    let takes_connections = takes_connections(spec, target.as_ref()) && created.agent.without_rights().is_none();
    reporter.tell_of_rights(spec, &created.agent);
    let ready = reporter.step(Step::AgentReady, async {
        let (links, node) = contact(&cluster, &created, spec.agent.startup_timeout).await?;
        let environment = async {
            match &target {
                Some(_) if spec.environment.enabled => environment(&links).await,
                _ => Ok(Environment::default()),
            }
        };
        let (pod_environment, description) = tokio::try_join!(environment, describe(&links))?;
        let internal = |error| Failure::new(Class::Internal, format!("the rules about files: {error}"));
        let file_rules = file_rules.await.map_err(internal)??;
        Ok(((links, pod_environment, description, file_rules), node))
    });
    match starter.unless_gone(ready).await {
        Ok((links, pod_environment, description, file_rules)) => {
            let agent = created.agent;
            let (kept, control) = (keep(cluster.clone(), agent.clone()), links.control.clone());
            tokio::spawn(async move {
                tokio::select! { () = kept => {}, _ = control.ended() => {} }
            });
            Ok(Started { cluster, agent, links, pod_environment, description, takes_connections, target, file_rules })
        }
        Err(failure) => {
            created.agent.remove(&cluster).await.ok();
            Err(failure)
        }
    }
}

/// The cluster, and the target in it.
async fn find(spec: &SessionSpec, reporter: &Reporter) -> Result<(Cluster, Option<PodTarget>)> {
    let cluster = reporter
        .step(Step::Cluster, async {
            let cluster = Cluster::open(&spec.cluster).await?;
            let text = format!("{} (context {}, namespace {})", cluster.server, cluster.context, cluster.namespace);
            Ok((cluster, text))
        })
        .await?;
    let target = reporter.step(Step::Target, find_target(&cluster, spec, reporter)).await?;
    Ok((cluster, target))
}

/// Takes the Job's deadline away, if need be after an API server's bad moment: it would end a session that stands.
async fn keep(cluster: Cluster, agent: Agent) {
    while let Err(failure) = agent.keep(&cluster).await {
        tracing::warn!(%failure, "cannot take the deadline of the agent's job away yet");
        tokio::time::sleep(KEEP_AGAIN).await;
    }
}

async fn find_target(
    cluster: &Cluster,
    spec: &SessionSpec,
    reporter: &Reporter,
) -> Result<(Option<PodTarget>, String)> {
    let Some(found) = target::resolve(cluster, &spec.target).await? else { return Ok((None, "targetless".to_owned())) };
    if found.guessed {
        reporter.tell(HostMessage::Warning(format!(
            "pod {} has several containers; taking {}: choose another by {}/container/NAME (--container)",
            found.pod, found.container, spec.target
        )));
    }
    if found.host_network && spec.incoming.mode.is_some() {
        reporter.tell(HostMessage::Warning(format!(
            "pod {} uses its node's network, where ports belong to everything on the node: no connections are taken",
            found.pod
        )));
    }
    let others = if found.others > 0 { format!(", 1 of {} ready pods", found.others + 1) } else { String::new() };
    let text = format!("pod {}, container {} on node {}{others}", found.pod, found.container, found.node);
    Ok((Some(found), text))
}

async fn create_agent(cluster: &Cluster, spec: &SessionSpec, target: Option<&PodTarget>) -> Result<Created> {
    let options = &spec.agent;
    let mut seed = [0; 32];
    random(&mut seed)?;
    let key = SigningKey::from_bytes(&seed);
    let port = if options.ephemeral { any_port()? } else { AGENT_PORT };
    let files = if options.image.is_none() { Some(bundle::agent_files()?) } else { None };
    let namespace = options.namespace.clone().or_else(|| target.map(|target| target.namespace.clone()));
    let plan = AgentPlan {
        name: format!("mirror-agent-{}", random_name(10)?),
        target,
        incoming: takes_connections(spec, target),
        traffic: match spec.incoming.mode.filter(|_| takes_connections(spec, target)) {
            None => "off",
            Some(PortMode::Mirror) => "mirror",
            Some(PortMode::Steal) => "steal",
        },
        files_of_target: spec.files.reads_the_pod(),
        options,
        launch: Launch {
            port,
            key: key.verifying_key().to_bytes(),
            container_id: target.map(|target| target.container_id.clone()),
            first_contact: options.first_contact,
            linger: LINGER,
            grace: options.grace,
            log: options.log_level.clone(),
            without_sk_lookup: std::env::var_os(WITHOUT_SK_LOOKUP).is_some(),
        },
        owner: owner(),
        namespace: namespace.unwrap_or_else(|| cluster.namespace.clone()),
        files: files.as_ref(),
    };
    Ok(Created { agent: Agent::create(cluster, &plan).await?, port, key })
}

/// A port for an agent that shares its network with others.
fn any_port() -> Result<u16> {
    let mut bytes = [0; 2];
    random(&mut bytes)?;
    let count = EPHEMERAL_PORTS.end() - EPHEMERAL_PORTS.start() + 1;
    Ok(EPHEMERAL_PORTS.start() + u16::from_ne_bytes(bytes) % count)
}

/// Whether connections of the target are asked for. Ports of a pod without a network of its own are its node's.
fn takes_connections(spec: &SessionSpec, target: Option<&PodTarget>) -> bool {
    spec.incoming.mode.is_some() && target.is_some_and(|target| !target.host_network)
}

/// user@host, for people who look at the Job.
fn owner() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| format!("uid-{}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// Reaches the starting agent on both channels, or says why it never will be.
async fn contact(cluster: &Cluster, created: &Created, limit: Duration) -> Result<(Links, String)> {
    let (scheduled_tx, scheduled) = watch::channel(None);
    let connect = async {
        let control = reach(cluster, created, Channel::Control, scheduled.clone()).await?;
        let data = reach(cluster, created, Channel::Data, scheduled.clone()).await?;
        let pod = scheduled.borrow().clone().unwrap_or_default();
        Ok((Links { control, data }, format!("pod {pod}")))
    };
    tokio::select! {
        connected = connect => connected,
        failure = agent_start::watch_pod(cluster, &created.agent, &scheduled_tx) => Err(failure),
        () = tokio::time::sleep(limit) => Err(Failure::new(
            Class::Agent,
            format!("the agent did not come up within {} s", limit.as_secs()),
        ).next("raise agent.startup_timeout, or see `kubectl get events` for what keeps pods from starting")),
    }
}

/// Tries until the agent answers on one channel.
async fn reach(
    cluster: &Cluster,
    created: &Created,
    channel: Channel,
    mut scheduled: watch::Receiver<Option<String>>,
) -> Result<Link> {
    let pod = match scheduled.wait_for(Option::is_some).await {
        Ok(pod) => pod.clone().unwrap_or_default(),
        Err(_) => std::future::pending().await,
    };
    let began = Instant::now();
    if channel == Channel::Control {
        tokio::time::sleep(HEAD_START).await;
    }
    loop {
        // A connection that falls silent must not keep the next from being tried.
        let attempt = tokio::time::timeout(ATTEMPT, try_reach(cluster, created, &pod, channel));
        let silent = |_| Err(Attempt::NotYet("no answer".to_owned()));
        match attempt.await.unwrap_or_else(silent) {
            Ok(link) => return Ok(link),
            Err(Attempt::Hopeless(failure)) => return Err(failure),
            Err(Attempt::NotYet(reason)) => tracing::debug!(?channel, %reason, "the agent does not answer yet"),
        }
        tokio::time::sleep(if began.elapsed() < EAGER_FOR { EAGER } else { CALM }).await;
    }
}

enum Attempt {
    NotYet(String),
    Hopeless(Failure),
}

async fn try_reach(cluster: &Cluster, created: &Created, pod: &str, channel: Channel) -> Result<Link, Attempt> {
    let Created { agent, port, key } = created;
    let stream = match PortForward::open(cluster, agent.namespace(), pod, *port).await {
        Ok(stream) => stream,
        Err(failure) if failure.class == Class::Permission => return Err(Attempt::Hopeless(failure)),
        Err(failure) => return Err(Attempt::NotYet(failure.message)),
    };
    let sign = |bytes: &[u8]| key.sign(bytes).to_bytes().to_vec();
    match link::connect(stream, channel, sign, LinkConfig::HOST).await {
        Ok(link) => Ok(link),
        Err(ConnectError::Refused(refusal)) => {
            Err(Attempt::Hopeless(Failure::new(Class::Agent, format!("the agent refused this client: {refusal:?}"))))
        }
        Err(error) => Err(Attempt::NotYet(error.to_string())),
    }
}

async fn environment(links: &Links) -> Result<Environment> {
    read("the container's environment", links.control.call(GetEnvironment {}).await)
}

async fn describe(links: &Links) -> Result<Description> {
    read("the container's host name and files", links.control.call(Describe {}).await)
}

fn read<T>(what: &str, answer: std::result::Result<std::result::Result<T, RemoteError>, link::LinkError>) -> Result<T> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new(Class::Agent, format!("the agent cannot read {what}: {error}"))
            .next("the container may have just restarted: try again")),
        Err(error) => Err(Failure::new(Class::Agent, format!("the agent was lost while starting: {error}"))),
    }
}
