//! From a spec to a session that stands: cluster, target, Job, first contact, environment.

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use link::{ConnectError, Link, LinkConfig};
use protocol::agent::{Describe, Description, Environment, GetEnvironment, RemoteError};
use protocol::handshake::Channel;
use protocol::launch::Launch;
use tokio::sync::{mpsc, watch};

use super::message::{HostMessage, Step};
use super::spec::SessionSpec;
use crate::bundle;
use crate::failure::{Class, Failure, Result};
use crate::kube::agent_job::{self, AgentJob, AgentPlan};
use crate::kube::agent_start;
use crate::kube::client::Cluster;
use crate::kube::port_forward::PortForward;
use crate::kube::target::{self, PodTarget};

/// Where the agent listens, on its pod's own loopback.
const AGENT_PORT: u16 = 61616;

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
    pub(super) job: AgentJob,
    pub(super) links: Links,
    pub(super) pod_environment: Environment,
    pub(super) description: Description,
    /// Whether connections of the target may be asked for.
    pub(super) takes_connections: bool,
    /// Whose place the program takes.
    pub(super) target: Option<PodTarget>,
}

/// Tells the starter how far things are.
pub(super) struct Reporter(pub(super) mpsc::UnboundedSender<HostMessage>);

impl Reporter {
    fn tell(&self, message: HostMessage) {
        self.0.send(message).ok();
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

/// Starts the session. On failure nothing is left in the cluster.
pub(super) async fn start(spec: &SessionSpec, reporter: &Reporter, starter: &Starter) -> Result<Started> {
    let (cluster, target) = starter.unless_gone(find(spec, reporter)).await?;
    let mut seed = [0; 32];
    random(&mut seed)?;
    let key = SigningKey::from_bytes(&seed);
    // Not to be dropped: a Job whose making was begun must be known, so that it can be removed.
    let job = reporter
        .step(Step::AgentCreated, async {
            let job = create_agent(&cluster, spec, target.as_ref(), &key).await?;
            let text = format!("job {} in namespace {}", job.name, job.namespace);
            Ok((job, text))
        })
        .await?;
    let ready = reporter.step(Step::AgentReady, async {
        let contact = contact(&cluster, &job, &key, spec.agent.startup_timeout);
        let (links, node) = contact.await?;
        let environment = async {
            match &target {
                Some(_) if spec.environment.enabled => environment(&links).await,
                _ => Ok(Environment::default()),
            }
        };
        let (pod_environment, description) = tokio::try_join!(environment, describe(&links))?;
        Ok(((links, pod_environment, description), node))
    });
    match starter.unless_gone(ready).await {
        Ok((links, pod_environment, description)) => {
            let (kept, control) = (keep(cluster.clone(), job.clone()), links.control.clone());
            tokio::spawn(async move {
                tokio::select! { () = kept => {}, _ = control.ended() => {} }
            });
            let takes_connections = takes_connections(spec, target.as_ref());
            Ok(Started { cluster, job, links, pod_environment, description, takes_connections, target })
        }
        Err(failure) => {
            agent_job::delete(&cluster, &job).await.ok();
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
async fn keep(cluster: Cluster, job: AgentJob) {
    while let Err(failure) = agent_job::keep(&cluster, &job).await {
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
            "pod {} has several containers; taking {}: choose another with --container",
            found.pod, found.container
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

async fn create_agent(
    cluster: &Cluster,
    spec: &SessionSpec,
    target: Option<&PodTarget>,
    key: &SigningKey,
) -> Result<AgentJob> {
    let options = &spec.agent;
    let files = if options.image.is_none() { Some(bundle::agent_files()?) } else { None };
    let namespace = options.namespace.clone().or_else(|| target.map(|target| target.namespace.clone()));
    let plan = AgentPlan {
        name: format!("mirror-agent-{}", random_name(10)?),
        target,
        incoming: takes_connections(spec, target),
        options,
        launch: Launch {
            port: AGENT_PORT,
            key: key.verifying_key().to_bytes(),
            container_id: target.map(|target| target.container_id.clone()),
            first_contact: options.first_contact,
            linger: LINGER,
            grace: options.grace,
            log: options.log_level.clone(),
        },
        owner: owner(),
        namespace: namespace.unwrap_or_else(|| cluster.namespace.clone()),
        files: files.as_ref(),
    };
    agent_job::create(cluster, &plan).await
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
async fn contact(cluster: &Cluster, job: &AgentJob, key: &SigningKey, limit: Duration) -> Result<(Links, String)> {
    let (scheduled_tx, scheduled) = watch::channel(None);
    let connect = async {
        let control = reach(cluster, job, key, Channel::Control, scheduled.clone()).await?;
        let data = reach(cluster, job, key, Channel::Data, scheduled.clone()).await?;
        let pod = scheduled.borrow().clone().unwrap_or_default();
        Ok((Links { control, data }, format!("pod {pod}")))
    };
    tokio::select! {
        connected = connect => connected,
        failure = agent_start::watch_pod(cluster, job, &scheduled_tx) => Err(failure),
        () = tokio::time::sleep(limit) => Err(Failure::new(
            Class::Agent,
            format!("the agent did not come up within {} s", limit.as_secs()),
        ).next("raise agent.startup_timeout, or see `kubectl get events` for what keeps pods from starting")),
    }
}

/// Tries until the agent answers on one channel.
async fn reach(
    cluster: &Cluster,
    job: &AgentJob,
    key: &SigningKey,
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
        let attempt = tokio::time::timeout(ATTEMPT, try_reach(cluster, job, &pod, key, channel));
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

async fn try_reach(
    cluster: &Cluster,
    job: &AgentJob,
    pod: &str,
    key: &SigningKey,
    channel: Channel,
) -> Result<Link, Attempt> {
    let stream = match PortForward::open(cluster, &job.namespace, pod, AGENT_PORT).await {
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
