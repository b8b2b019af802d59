//! The session host: the process that holds one session from the first request to the last goodbye.
//!
//! It starts the agent for whoever spawned it, then serves the layer in the user's processes, and ends
//! after the last of them. What it must tell a user after the start goes once to the terminal's stderr.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::agent::{Event, Leaving, Subscribe};
use protocol::layer::{SESSION_VARIABLE, Session, Settings, Token, session_value};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::environment;
use super::layers::{self, Layers};
use super::message::{self, HostMessage, Ready, Start};
use super::processes::{self, Processes};
use super::relay::Relay;
use super::spec::SessionSpec;
use super::startup::{self, Links, Reporter, Started};
use super::{spawn, startup::random};
use crate::failure::{Class, Failure, Result};
use crate::kube::agent_job;

/// A program that has not loaded the layer after this long is reported.
const HOOKED_WITHIN: Duration = Duration::from_secs(5);

/// How long the agent's reason may arrive after the end of a connection.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Longest time that the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs the host: reads its task from standard input, returns when the session is over.
pub fn run() -> Result<()> {
    let lost = |error: io::Error| Failure::system("cannot use the starter's socket", error);
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(lost)?;
    let mut socket = std::os::unix::net::UnixStream::from(socket);
    let Some(start) = message::receive::<Start, _>(&mut socket).map_err(lost)? else { return Ok(()) };
    let session = startup::random_name(10)?;
    let log = spawn::log_folder().join(format!("{session}.log"));
    init_log(&log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the session host", error))?;
    let ended = runtime.block_on(async {
        socket.set_nonblocking(true).map_err(lost)?;
        let socket = UnixStream::from_std(socket).map_err(lost)?;
        hold(socket, start, &session, log.display().to_string()).await
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

fn init_log(path: &std::path::Path) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIRROR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    if let Ok(file) = spawn::open_log(path) {
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(file);
        subscriber.try_init().ok();
    }
}

/// Starts the session, answers the starter, serves, and ends.
async fn hold(socket: UnixStream, start: Start, session: &str, log: String) -> Result<()> {
    let Some(program) = processes::open(start.pid) else { return Ok(()) };
    let spec: SessionSpec = serde_json::from_str(&start.spec)
        .map_err(|error| Failure::new(Class::Internal, format!("the session's spec cannot be read: {error}")))?;
    let (mut from_starter, to_starter) = socket.into_split();
    let (messages, mut outbox) = mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        let mut to_starter = to_starter;
        while let Some(message) = outbox.recv().await {
            let Ok(bytes) = protocol::codec::encode(&message) else { continue };
            if tokio::io::AsyncWriteExt::write_all(&mut to_starter, &bytes).await.is_err() {
                return;
            }
        }
    });
    let reporter = Reporter(messages.clone());
    // A starter that goes away before the session is ready was interrupted. What has begun is finished, so
    // that its traces are known and can be removed.
    let gone = async move {
        let mut nothing = [0; 1];
        while from_starter.read(&mut nothing).await.is_ok_and(|length| length > 0) {}
    };
    let mut gone = std::pin::pin!(gone);
    let mut interrupted = false;
    let started = {
        let mut starting = std::pin::pin!(startup::start(&spec, &reporter));
        tokio::select! {
            started = &mut starting => started,
            () = &mut gone => {
                interrupted = true;
                starting.await
            }
        }
    };
    let started = match started {
        Ok(started) => started,
        Err(failure) => {
            tracing::error!(class = ?failure.class, %failure, "the session did not start");
            messages.send(HostMessage::Failed(failure)).ok();
            drop((messages, reporter));
            writer.await.ok();
            return Ok(());
        }
    };
    if interrupted {
        tracing::info!("interrupted before the program started");
        farewell(&started).await;
        return Ok(());
    }
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
    gone.await;
    serve(&started, &start, &mut processes, &layers).await;
    silence();
    farewell(&started).await;
    tracing::info!("the session is over");
    Ok(())
}

fn prepare(
    spec: &SessionSpec,
    started: &Started,
    session: &str,
    log: String,
    program: std::os::fd::OwnedFd,
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
    let relay = Relay::start([spread0, spread1]).map_err(cannot)?;
    let mark = [SESSION_VARIABLE.as_bytes(), b"=", &value].concat();
    let (processes, announce) = Processes::new(program, start.pid, mark);
    let network = &spec.network;
    let layers = Arc::new(Layers {
        token,
        settings: Settings {
            relay_v4: relay.v4,
            relay_v6: relay.v6,
            outgoing_tcp: network.outgoing_tcp,
            ignore_localhost: network.ignore_localhost,
            dns: network.dns,
            ipv6: network.ipv6,
        },
        connect_wait: network.connect_wait,
        links: started.links.clone(),
        relay,
        announce,
        attached: AtomicBool::new(false),
    });
    tokio::spawn(layers::serve(listener, layers.clone()));
    let changes = environment::changes(started.pod_environment.clone(), &spec.environment)?;
    let mut set = changes.set;
    set.push((SESSION_VARIABLE.as_bytes().to_vec(), value));
    let ready = Ready { set, unset: changes.unset, from_pod: changes.from_pod, session: session.to_owned(), log };
    Ok((ready, processes, layers))
}

/// Serves until the last process of the user has ended.
async fn serve(started: &Started, start: &Start, processes: &mut Processes, layers: &Layers) {
    let watch_links = async {
        let cause = lost(&started.links).await;
        tell(&format!("mirror: the session is lost: {cause}; the program goes on, but what it asks of the pod fails"));
        tracing::error!(%cause, "the session is lost");
        std::future::pending::<()>().await;
    };
    let watch_hooks = async {
        tokio::time::sleep(HOOKED_WITHIN).await;
        if !layers.attached.load(Ordering::Acquire) {
            tell(&format!(
                "mirror: {} was started, but not hooked: it runs as an ordinary local program",
                start.program
            ));
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
async fn lost(links: &Links) -> String {
    let mut told = std::pin::pin!(told(&links.control));
    let ended = async {
        tokio::select! {
            ended = links.control.ended() => ended,
            ended = links.data.ended() => ended,
        }
    };
    tokio::select! {
        Some(cause) = &mut told => cause,
        // The agent tells its reason before it hangs up, but on another connection than the one that may end first.
        ended = ended => match tokio::time::timeout(LAST_WORDS, told).await {
            Ok(Some(cause)) => cause,
            _ => ended.to_string(),
        },
    }
}

/// The reason that the agent itself gives for leaving; none when it leaves without a word.
async fn told(control: &link::Link) -> Option<String> {
    let ((), mut events) = control.open(Subscribe {}).await.ok()?;
    loop {
        match link::read_message::<Event>(&mut events).await.ok()? {
            Event::Warning(text) => tell(&format!("mirror: {text}")),
            Event::Leaving(Leaving::TargetEnded) => return Some("the target container ended".to_owned()),
            Event::Leaving(Leaving::Terminated) => return Some("the agent was ended from outside".to_owned()),
        }
    }
}

/// One line to the user's terminal, which is this process's stderr.
#[expect(clippy::print_stderr, reason = "the only way to tell a user of the terminal after the start")]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// Lets go of the terminal: whoever waits for the end of the program's stderr must not wait for us.
fn silence() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        rustix::stdio::dup2_stderr(null).ok();
    }
}

/// Ends the agent and removes its Job.
async fn farewell(started: &Started) {
    let goodbye = async {
        tokio::join!(started.links.control.goodbye(), started.links.data.goodbye());
    };
    let removal = agent_job::delete(&started.cluster, &started.job);
    let both = async {
        let (removed, ()) = tokio::join!(removal, goodbye);
        if let Err(failure) = removed {
            tracing::warn!(%failure, "cannot delete the agent's job; it ends by itself");
        }
    };
    if tokio::time::timeout(FAREWELL, both).await.is_err() {
        tracing::warn!("the cluster does not answer; the agent ends by itself");
    }
}
