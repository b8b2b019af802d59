//! The session host: the process that holds one session from the first request to the last goodbye.
//!
//! It starts the agent for whoever spawned it, then serves the layer in the user's processes (`life`), and ends after
//! the last of them. Editors find it by its control socket (`control`).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use protocol::agent::POD_FILES;
use protocol::layer::{MAX_LISTEN_PORTS, PodFile, SESSION_VARIABLE, Session, Settings, Token, session_value};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::board::{self, Board};
use super::control::Control;
use super::environment::Changes;
use super::files::Files;
use super::incoming::Incoming;
use super::layers::{self, Joining, Layers, Outgoing};
pub(super) use super::life::tell;
use super::life::{self, farewell, silence};
use super::message::{self, HostMessage, Keeper, Ready, Start};
use super::pod_files::PodFiles;
use super::processes::{self, Processes};
use super::rules::Rules;
use super::spec::{IncomingOptions, SessionSpec};
use super::startup::{self, Reporter, Started, Starter};
use super::update::{self, Updates};
use super::{spawn, startup::random};
use crate::failure::{Class, Failure, Result};
use crate::kube::contexts::looks_like_production;
use crate::serve::rpc::{Origin, SessionInfo, SessionState};

/// Descriptors that a host may have open: each connection needs one or two, and a usual limit of 1024 is soon
/// reached. No more than this, because some credential plugins close every number up to the limit.
const DESCRIPTORS: u64 = 65_536;

/// What a host has before it begins.
struct Equipment {
    session: String,
    log: String,
    spec: SessionSpec,
    program: Option<(OwnedFd, i32)>,
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
    let open = |pid| match processes::open(pid) {
        Ok(fd) => Ok((fd, pid)),
        Err(error) => Err(Failure::system(format!("cannot watch process {pid} (pidfd_open)"), error)),
    };
    let program = match start.keeper {
        Keeper::Program(pid) => Some(open(pid)?),
        Keeper::Editor { .. } => None,
    };
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
    program: Option<(OwnedFd, i32)>,
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
    let mut started = match startup::start(&spec, &reporter, &starter).await {
        Ok(started) => started,
        Err(failure) => {
            tracing::error!(class = ?failure.class, %failure, "the session did not start");
            messages.send(HostMessage::Failed(failure)).ok();
            drop((messages, reporter));
            writer.await.ok();
            return Ok(());
        }
    };
    let served = prepare(&spec, &mut started, session, log, program, &start);
    let Prepared { ready, mut processes, layers, control } = match served {
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
    if matches!(start.keeper, Keeper::Program(_)) {
        starter.gone().await;
    }
    let cause = tokio::select! {
        cause = life::serve(&started, start.keeper, &start.about.name, &mut processes, &layers, &control) => cause,
        _ = asked_to_end.recv() => {
            tell("mirror: the session is over: its host was asked to end (SIGTERM)".to_owned()).await;
            "its host was asked to end (SIGTERM)".to_owned()
        }
    };
    control.board.ended(cause);
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

/// A session that can be served.
struct Prepared {
    ready: Ready,
    processes: Processes,
    layers: Arc<Layers>,
    control: Arc<Control>,
}

fn prepare(
    spec: &SessionSpec,
    started: &mut Started,
    session: &str,
    log: String,
    program: Option<(OwnedFd, i32)>,
    start: &Start,
) -> Result<Prepared> {
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
    let board = Board::new(info(spec, started, session, &log, start));
    board.take_warnings();
    if let Some(reason) = spec.incoming.mode.and(started.agent.without_rights()) {
        board.degraded(Some(format!("no connections are taken: the agent has no capabilities ({reason})")));
    }
    let incoming = take_connections(spec, started, *outgoing.relay.v4.ip(), start.quiet, &board);
    let mark = [SESSION_VARIABLE.as_bytes(), b"=", &value].concat();
    let (processes, announce) = Processes::new(program, mark, board.clone());
    let network = &spec.network;
    let files = PodFiles::make(&started.description, |path| spec.has_file(path))
        .map_err(|error| Failure::system("cannot keep the pod's files", error))?;
    let (file_rules, links) = (started.file_rules.take(), &started.links);
    let shadow = file_rules.map(|rules| Files::start(session, rules, spec.files.max_size, links)).transpose()?;
    let layers = Arc::new(Layers {
        token,
        joining: RwLock::new(Joining {
            settings: layer_settings(spec, started, &outgoing, incoming.is_on(), files.places),
            skip: update::skip(&spec.skip),
            environment: Changes::default(),
        }),
        host_name: spec.has_host_name().then(|| started.description.host_name.clone()),
        rules,
        files,
        shadow,
        connect_wait: network.connect_wait,
        links: links.clone(),
        pod_addresses: started.description.addresses.clone(),
        outgoing,
        incoming,
        announce,
        attached: AtomicBool::new(false),
    });
    tokio::spawn(layers::serve(listener, layers.clone()));
    let ready = Ready {
        set: vec![(SESSION_VARIABLE.as_bytes().to_vec(), value)],
        unset: Vec::new(),
        from_pod: 0,
        takes_connections: started.takes_connections,
        session: session.to_owned(),
        log,
    };
    let updates = Updates::new(spec, ready, started, &start.about, &layers, &board)?;
    let ready = updates.plan().ready;
    let control = Control::start(session, board, updates)?;
    Ok(Prepared { ready, processes, layers, control })
}

/// What the layer is told when it attaches.
fn layer_settings(
    spec: &SessionSpec,
    started: &Started,
    outgoing: &Outgoing,
    incoming: bool,
    files: [PodFile; POD_FILES.len()],
) -> Settings {
    let network = &spec.network;
    Settings {
        relay_v4: outgoing.relay.v4,
        relay_v6: outgoing.relay.v6,
        pod: first_v4(&started.description.addresses),
        outgoing_tcp: network.outgoing_tcp,
        outgoing_udp: network.outgoing_udp,
        unix: !network.unix_streams.is_empty(),
        incoming,
        listen_ports: listen_ports(&spec.incoming),
        ignore_localhost: network.ignore_localhost,
        dns: network.dns,
        ipv6: network.ipv6,
        files,
        host: std::process::id(),
    }
}

/// What others may know of the session when it begins.
fn info(spec: &SessionSpec, started: &Started, session: &str, log: &str, start: &Start) -> SessionInfo {
    let (origin, grace) = match start.keeper {
        Keeper::Program(_) => (Origin::Terminal, 0),
        Keeper::Editor { grace, .. } => (Origin::Editor, grace.as_secs()),
    };
    let target = started.target.as_ref();
    let (about, cluster) = (&start.about, &started.cluster);
    let namespace = target.map_or(&cluster.namespace, |target| &target.namespace);
    SessionInfo {
        session: session.to_owned(),
        version: protocol::VERSION.to_owned(),
        origin,
        state: SessionState::WaitingForProgram,
        cause: Some("no program has been started in it yet".to_owned()),
        started: board::now(),
        folder: about.folder.clone(),
        config: about.config.clone(),
        name: about.name.clone(),
        debugger: about.debugger.clone(),
        context: cluster.context.clone(),
        server: cluster.server.clone(),
        namespace: namespace.clone(),
        production: cluster.production || looks_like_production(namespace),
        target: spec.target.to_string(),
        pod: target.map(|target| target.pod.clone()),
        container: target.map(|target| target.container.clone()),
        traffic: board::traffic(spec.incoming.mode.filter(|_| started.takes_connections)),
        filtered: spec.incoming.filter.is_some(),
        processes: Vec::new(),
        ports: Vec::new(),
        log: log.starts_with('/').then(|| log.to_owned()),
        grace,
    }
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

fn take_connections(
    spec: &SessionSpec,
    started: &Started,
    relay: Ipv4Addr,
    quiet: bool,
    board: &Arc<Board>,
) -> Arc<Incoming> {
    let mode = spec.incoming.mode.filter(|_| started.takes_connections);
    let options = IncomingOptions { mode, ..spec.incoming.clone() };
    Incoming::new(options, started.target.as_ref(), started.links.clone(), relay, quiet, board.clone())
}
