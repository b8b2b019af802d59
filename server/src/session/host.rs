//! The session host: the process that holds one session from the first request to the last goodbye.
//!
//! It starts the agent for whoever spawned it, then serves the layer in the user's processes, and ends
//! after the last of them. What it must tell a user after the start goes once to the terminal's stderr.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use decide::programs::Skip;
use protocol::agent::{Event, Leaving, Subscribe};
use protocol::layer::{MAX_LISTEN_PORTS, SESSION_VARIABLE, Session, Settings, Token, session_value};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::environment;
use super::files::Files;
use super::incoming::Incoming;
use super::layers::{self, Layers, Outgoing};
use super::message::{self, HostMessage, Ready, Start};
use super::pod_files::PodFiles;
use super::processes::{self, Processes};
use super::restart::Restarts;
use super::rules::Rules;
use super::spec::{IncomingOptions, SessionSpec};
use super::startup::{self, Reporter, Started, Starter};
use super::{spawn, startup::random};
use crate::failure::{Class, Failure, Result};

/// A program that has not loaded the layer after this long is reported.
const HOOKED_WITHIN: Duration = Duration::from_secs(5);

/// How long the agent's reason may arrive after the end of a connection.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Longest time that the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Descriptors that a host may have open: each connection needs one or two, and a usual limit of 1024 is soon
/// reached. No more than this, because some credential plugins close every number up to the limit.
const DESCRIPTORS: u64 = 65_536;

/// Longest time that a line to the terminal may take before it is left to itself.
const TELL: Duration = Duration::from_secs(1);

/// What a host has before it begins.
struct Equipment {
    session: String,
    log: String,
    spec: SessionSpec,
    program: OwnedFd,
    runtime: Runtime,
}

/// Runs the host: reads its task from standard input, returns when the session is over.
pub fn run() -> Result<()> {
    let lost = |error: io::Error| Failure::system("cannot use the starter's socket", error);
    let mut socket = take_socket().map_err(lost)?;
    let Some(start) = message::receive::<Start, _>(&mut socket).map_err(lost)? else { return Ok(()) };
    let Equipment { session, log, spec, program, runtime } = match equip(&start) {
        Ok(equipment) => equipment,
        Err(failure) => {
            message::send(&mut socket, &HostMessage::Failed(failure.clone())).ok();
            return Err(failure);
        }
    };
    let ended = runtime.block_on(async {
        socket.set_nonblocking(true).map_err(lost)?;
        let socket = UnixStream::from_std(socket).map_err(lost)?;
        hold(socket, start, spec, program, &session, log).await
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

/// The starter's socket is standard input, which credential plugins would inherit: they get nothing to read.
fn take_socket() -> io::Result<std::os::unix::net::UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(socket.into())
}

fn equip(start: &Start) -> Result<Equipment> {
    let session = startup::random_name(10)?;
    let log = init_log(&session);
    raise_descriptor_limit();
    let spec = serde_json::from_str(&start.spec)
        .map_err(|error| Failure::new(Class::Internal, format!("the session's spec cannot be read: {error}")))?;
    let program = processes::open(start.pid)
        .map_err(|error| Failure::system(format!("cannot watch process {} (pidfd_open)", start.pid), error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the session host", error))?;
    Ok(Equipment { session, log, spec, program, runtime })
}

/// Opens the log and returns its path, or why there is none.
fn init_log(session: &str) -> String {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIRROR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    match spawn::open_log(session) {
        Ok((file, path)) => {
            // A full disk is no reason to write to the user's terminal.
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
            subscriber.with_ansi(false).with_writer(file).try_init().ok();
            std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a defect of mirror")));
            path.display().to_string()
        }
        Err(reason) => format!("none: {} cannot be used: {reason}", spawn::log_folder().display()),
    }
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).ok();
    }
}

/// Starts the session, answers the starter, serves, and ends.
async fn hold(
    socket: UnixStream,
    start: Start,
    spec: SessionSpec,
    program: OwnedFd,
    session: &str,
    log: String,
) -> Result<()> {
    let (from_starter, to_starter) = socket.into_split();
    let (messages, outbox) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_messages(to_starter, outbox));
    let reporter = Reporter(messages.clone());
    let mut asked_to_end = asked_to_end()?;
    let (gone_tx, gone) = watch::channel(false);
    tokio::spawn(async move {
        end_of_stream(from_starter).await;
        gone_tx.send(true).ok();
    });
    let starter = Starter(gone);
    let started = match startup::start(&spec, &reporter, &starter).await {
        Ok(started) => started,
        Err(failure) => {
            tracing::error!(class = ?failure.class, %failure, "the session did not start");
            messages.send(HostMessage::Failed(failure)).ok();
            drop((messages, reporter));
            writer.await.ok();
            return Ok(());
        }
    };
    let served = prepare(&spec, &started, session, log, program, &start);
    let (ready, mut processes, layers) = match served {
        Ok(served) => served,
        Err(failure) => {
            messages.send(HostMessage::Failed(failure)).ok();
            farewell(&started).await;
            drop((messages, reporter));
            writer.await.ok();
            return Ok(());
        }
    };
    messages.send(HostMessage::Ready(ready)).ok();
    drop((messages, reporter));
    writer.await.ok();
    starter.gone().await;
    tokio::select! {
        () = serve(&started, &start, &mut processes, &layers) => {}
        _ = asked_to_end.recv() => {
            tell("mirror: the session is over: its host was asked to end (SIGTERM)".to_owned()).await;
            tracing::info!("ended by SIGTERM");
        }
    }
    silence();
    if let Some(files) = &layers.shadow {
        files.finish().await;
    }
    farewell(&started).await;
    tracing::info!("the session is over");
    Ok(())
}

async fn end_of_stream(mut from_starter: OwnedReadHalf) {
    let mut nothing = [0; 1];
    while from_starter.read(&mut nothing).await.is_ok_and(|length| length > 0) {}
}

/// SIGTERM (somebody's `kill`, the end of the machine) ends the session with a goodbye; while it starts it is
/// kept until then.
fn asked_to_end() -> Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| Failure::system("cannot watch for SIGTERM", error))
}

async fn write_messages(mut to_starter: OwnedWriteHalf, mut outbox: mpsc::UnboundedReceiver<HostMessage>) {
    while let Some(message) = outbox.recv().await {
        let message = protocol::codec::encode(&message).or_else(|error| {
            let failure = Failure::new(Class::Internal, format!("cannot tell the starter: {error}"));
            protocol::codec::encode(&HostMessage::Failed(failure))
        });
        let Ok(bytes) = message else { continue };
        if to_starter.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn prepare(
    spec: &SessionSpec,
    started: &Started,
    session: &str,
    log: String,
    program: OwnedFd,
    start: &Start,
) -> Result<(Ready, Processes, Arc<Layers>)> {
    let mut bytes = [0; 18];
    random(&mut bytes)?;
    let [spread0, spread1, token @ ..] = bytes;
    let token = Token(token);
    let socket_name = format!("mirror-{session}");
    let uid = rustix::process::getuid().as_raw();
    let value = session_value(&Session { name: socket_name.as_bytes(), uid, token });
    let cannot = |error: io::Error| Failure::system("cannot open the session's sockets", error);
    let listener = layers::bind(&socket_name).map_err(cannot)?;
    let rules = Arc::new(Rules::new(&spec.network)?);
    let outgoing = Outgoing::start([spread0, spread1], &started.links.data, &rules, &started.description.addresses)
        .map_err(cannot)?;
    let incoming = take_connections(spec, started, *outgoing.relay.v4.ip(), start.quiet);
    let mark = [SESSION_VARIABLE.as_bytes(), b"=", &value].concat();
    let (processes, announce) = Processes::new(program, start.pid, mark);
    let network = &spec.network;
    let files = PodFiles::make(&started.description, |path| spec.has_file(path))
        .map_err(|error| Failure::system("cannot keep the pod's files", error))?;
    let shadow = Files::start(session, &spec.files, &started.links)?;
    let layers = Arc::new(Layers {
        token,
        settings: Settings {
            relay_v4: outgoing.relay.v4,
            relay_v6: outgoing.relay.v6,
            pod: first_v4(&started.description.addresses),
            outgoing_tcp: network.outgoing_tcp,
            outgoing_udp: network.outgoing_udp,
            unix: !network.unix_streams.is_empty(),
            incoming: incoming.is_on(),
            listen_ports: listen_ports(&spec.incoming),
            ignore_localhost: network.ignore_localhost,
            dns: network.dns,
            ipv6: network.ipv6,
            files: files.places,
            host: std::process::id(),
        },
        host_name: spec.has_host_name().then(|| started.description.host_name.clone()),
        rules,
        skip: Skip {
            named: spec.skip.named.clone(),
            build_tools: spec.skip.build_tools,
            more_build_tools: spec.skip.more_build_tools.clone(),
        },
        files,
        shadow,
        connect_wait: network.connect_wait,
        links: started.links.clone(),
        pod_addresses: started.description.addresses.clone(),
        outgoing,
        incoming,
        announce,
        attached: AtomicBool::new(false),
    });
    tokio::spawn(layers::serve(listener, layers.clone()));
    let changes = environment::changes(started.pod_environment.clone(), &spec.environment)?;
    let mut set = changes.set;
    set.push((SESSION_VARIABLE.as_bytes().to_vec(), value));
    let (unset, from_pod, takes_connections) = (changes.unset, changes.from_pod, started.takes_connections);
    let ready = Ready { set, unset, from_pod, takes_connections, session: session.to_owned(), log };
    Ok((ready, processes, layers))
}

fn first_v4(addresses: &[IpAddr]) -> Option<Ipv4Addr> {
    addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
}

/// Where the program says that it listens, and where it really does; the configuration has no more of them than fit.
fn listen_ports(incoming: &IncomingOptions) -> [(u16, u16); MAX_LISTEN_PORTS] {
    let mut ports = [(0, 0); MAX_LISTEN_PORTS];
    ports.iter_mut().zip(&incoming.listen_ports).for_each(|(place, pair)| *place = *pair);
    ports
}

fn take_connections(spec: &SessionSpec, started: &Started, relay: Ipv4Addr, quiet: bool) -> Arc<Incoming> {
    let mode = spec.incoming.mode.filter(|_| started.takes_connections);
    let options = IncomingOptions { mode, ..spec.incoming.clone() };
    Incoming::new(options, started.target.as_ref(), started.links.clone(), relay, quiet)
}

/// Serves until the last process of the user has ended.
async fn serve(started: &Started, start: &Start, processes: &mut Processes, layers: &Layers) {
    let watch_links = async {
        let cause = lost(started).await;
        tracing::error!(%cause, "the session is lost");
        let and = "the program goes on, but what it asks of the pod fails";
        tell(format!("mirror: the session is lost: {cause}; {and}")).await;
        std::future::pending::<()>().await;
    };
    let watch_hooks = async {
        tokio::time::sleep(HOOKED_WITHIN).await;
        if !layers.attached.load(Ordering::Acquire) {
            tell(format!(
                "mirror: {} was started, but not hooked: it runs as an ordinary local program",
                start.program
            ))
            .await;
        }
        std::future::pending::<()>().await;
    };
    let release_terminal = async {
        processes::end_of(start.pid).await;
        silence();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = processes.all_ended() => {}
        () = watch_links => {}
        () = watch_hooks => {}
        () = release_terminal => {}
    }
}

/// Returns the cause when the agent can no longer be reached.
async fn lost(started: &Started) -> String {
    let links = &started.links;
    let ended = async {
        tokio::select! {
            ended = links.control.ended() => ended,
            ended = links.data.ended() => ended,
        }
    };
    cause(told(started), ended).await
}

/// The agent tells its reason before it hangs up, but on another connection than the one that may end first.
async fn cause(told: impl Future<Output = Option<String>>, ended: impl Future<Output = link::Ended>) -> String {
    let told = async {
        match told.await {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    };
    let mut told = std::pin::pin!(told);
    tokio::select! {
        cause = &mut told => cause,
        ended = ended => tokio::time::timeout(LAST_WORDS, told).await.unwrap_or_else(|_| ended.to_string()),
    }
}

/// The reason that the agent itself gives for leaving; none when it leaves without a word.
async fn told(started: &Started) -> Option<String> {
    let control = &started.links.control;
    let restarts = |target| Restarts::new(started.cluster.clone(), control.clone(), target);
    let restarts = started.target.clone().map(restarts);
    let ((), mut events) = control.open(Subscribe {}).await.ok()?;
    loop {
        match link::read_message::<Event>(&mut events).await.ok()? {
            Event::Warning(text) => tell(format!("mirror: {text}")).await,
            Event::TargetEnded => {
                restarts.clone().map(|restarts| tokio::spawn(restarts.follow()));
            }
            Event::Leaving(Leaving::TargetEnded) => return Some("the target container ended".to_owned()),
            Event::Leaving(Leaving::Terminated) => return Some("the agent was ended from outside".to_owned()),
        }
    }
}

/// One line to the user's terminal, which is this process's stderr: the only way to tell a user anything after
/// the start. The terminal may be gone, and a pipe's reader may have stopped reading: neither holds up the host.
pub(super) async fn tell(line: String) {
    let write = tokio::task::spawn_blocking(move || io::stderr().write_all(format!("{line}\n").as_bytes()).ok());
    tokio::time::timeout(TELL, write).await.ok();
}

/// Lets go of the terminal: whoever waits for the end of the program's stderr must not wait for us.
fn silence() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        rustix::stdio::dup2_stderr(null).ok();
    }
}

/// Ends the agent and removes what can be removed of it.
async fn farewell(started: &Started) {
    let goodbye = async {
        tokio::join!(started.links.control.goodbye(), started.links.data.goodbye());
    };
    let (cluster, agent) = (started.cluster.clone(), started.agent.clone());
    // A task of its own: credentials may have to be renewed by a plugin, which blocks its thread.
    let removal = tokio::spawn(async move { agent.remove(&cluster).await });
    let both = async {
        let ((), removed) = tokio::join!(goodbye, removal);
        if let Ok(Err(failure)) = removed {
            tracing::warn!(%failure, "cannot delete the agent's job; it ends by itself");
        }
    };
    if tokio::time::timeout(FAREWELL, both).await.is_err() {
        tracing::warn!("the cluster does not answer; the agent ends by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_agents_own_reason_wins_and_a_cut_without_one_is_told() {
        let ended = || async { link::Ended::Silent };
        let late = async {
            tokio::time::sleep(LAST_WORDS / 2).await;
            Some("the target container ended".to_owned())
        };
        assert_eq!(cause(late, ended()).await, "the target container ended");
        // Which of the two is seen first is chance.
        for _ in 0..20 {
            assert_eq!(cause(async { None }, ended()).await, link::Ended::Silent.to_string());
        }
        let never = std::future::pending::<link::Ended>();
        assert_eq!(cause(async { Some("terminated".to_owned()) }, never).await, "terminated");
    }
}
