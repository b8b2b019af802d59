//! Listens for the session host, lets clients in, and ends the agent. Everything runs on one thread, which has
//! moved into the target's network (`namespaces`).

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, VerifyingKey};
use link::{Call, Ended, Incoming, LinkConfig, MessageError, Stream};
use protocol::agent::{AnyRequest, Event, Leaving, Subscribe};
use protocol::handshake::Channel;
use protocol::launch::Launch;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{sleep_until, timeout};
use tracing::{info, warn};

use crate::dispatch::{Pod, answer};
use crate::life::{Life, Reason};
use crate::namespaces::{self, EnterError};
use crate::target::{self, FindError};
use crate::vigil::{Change, Vigil};

/// How long a client may take to prove who it is.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Connections that may be in their handshake at a time; more are closed at once.
const MAX_HANDSHAKES: usize = 16;

/// How long the last events may take to leave before the agent goes anyway.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Open files below which users should know: each connection is one.
const FEW_DESCRIPTORS: u64 = 4096;

/// Why the agent could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("argument key is no ed25519 public key")]
    Key,
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    #[error("listen on 127.0.0.1:{port}")]
    Listen {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("take signals")]
    Signals(#[source] io::Error),
    #[error("find the target")]
    Find(#[from] FindError),
    #[error("enter the pod's network")]
    Network(#[from] EnterError),
}

/// Runs the agent until it leaves on purpose.
pub(crate) fn run(launch: &Launch) -> Result<Reason, RunError> {
    let key = VerifyingKey::from_bytes(&launch.key).map_err(|_| RunError::Key)?;
    let target = launch.container_id.as_deref().map(target::find).transpose()?;
    let mode = if target.is_some() { "targeted" } else { "targetless" };
    let container = launch.container_id.as_deref().unwrap_or_default();
    let pid = target.as_ref().map(|target| target.pid.as_raw_nonzero().get());
    let limit = raise_descriptor_limit();
    info!(version = protocol::VERSION, mode, container, pid, descriptors = limit, "agent starts");
    let pod = Rc::new(Pod::new(launch, target)?);
    let counters = Rc::clone(&pod.counters);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let reason = LocalSet::new().block_on(&runtime, async {
        let mut server = Server::bind(launch, key, Rc::clone(&pod)).await?;
        pod.with_target(namespaces::enter).transpose()?;
        if limit < FEW_DESCRIPTORS {
            let warning = format!("the agent may hold only {limit} connections at a time (open files limit)");
            server.warnings = Arc::new([warning]);
        }
        server.serve(launch).await
    })?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    info!(
        connections = count(&counters.connections),
        refused_by_peers = count(&counters.failed_connections),
        stolen = count(&counters.stolen),
        mirrored = count(&counters.mirrored),
        passed_on = count(&counters.passed),
        udp_sockets = count(&counters.udp_sockets),
        lookups = count(&counters.lookups),
        sent_datagrams = count(&counters.datagrams_sent),
        received_datagrams = count(&counters.datagrams_received),
        sent_bytes = count(&counters.sent),
        received_bytes = count(&counters.received),
        "served"
    );
    Ok(reason)
}

/// A client whose signature was right.
struct Admitted {
    channel: Channel,
    incoming: Incoming,
}

struct Server {
    v4: TcpListener,
    v6: Option<TcpListener>,
    key: VerifyingKey,
    handshakes: Arc<Semaphore>,
    admitted_tx: mpsc::Sender<Admitted>,
    admitted_rx: mpsc::Receiver<Admitted>,
    pod: Rc<Pod>,
    /// Dropping the sender ends the client of that channel.
    current: HashMap<Channel, oneshot::Sender<()>>,
    clients: JoinSet<(Channel, Ended)>,
    leaving: watch::Sender<Option<Leaving>>,
    /// How often the target's process has ended.
    ends: watch::Sender<usize>,
    /// Told to everyone who subscribes to events.
    warnings: Arc<[String]>,
}

impl Server {
    async fn bind(launch: &Launch, key: VerifyingKey, pod: Rc<Pod>) -> Result<Self, RunError> {
        let port = launch.port;
        let listen = |source| RunError::Listen { port, source };
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        // Where IPv6 is off there is no ::1; port-forwards try 127.0.0.1 as well.
        let bound = v4.local_addr().map_err(listen)?.port();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, bound)).await.ok();
        info!(port = bound, ipv6 = v6.is_some(), "agent listens");
        let (admitted_tx, admitted_rx) = mpsc::channel(1);
        Ok(Self {
            v4,
            v6,
            key,
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            admitted_tx,
            admitted_rx,
            pod,
            current: HashMap::new(),
            clients: JoinSet::new(),
            leaving: watch::Sender::new(None),
            ends: watch::Sender::new(0),
            warnings: Arc::new([]),
        })
    }

    async fn serve(mut self, launch: &Launch) -> Result<Reason, RunError> {
        let mut life = Life::new(launch, Instant::now());
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
        let mut vigil = Vigil::new(Rc::clone(&self.pod)).map_err(RunError::Runtime)?;
        loop {
            tokio::select! {
                accepted = accept(&self.v4, self.v6.as_ref()) => self.shake_hands(accepted),
                Some(admitted) = self.admitted_rx.recv() => {
                    life.came();
                    self.admit(admitted);
                }
                Some(ended) = self.clients.join_next() => {
                    // A client whose task panicked is one that was lost.
                    let ended = ended.map(|(channel, ended)| {
                        info!(?channel, %ended, "client gone");
                        // A port that is open without a way for its connections would hold them.
                        self.pod.incoming.close_all();
                        ended
                    });
                    let ended = ended.unwrap_or_else(|error| Ended::Cut(error.to_string()));
                    life.went(&ended, Instant::now());
                }
                reason = time_is_up(&life) => {
                    self.pod.incoming.drain().await;
                    return Ok(reason);
                }
                change = vigil.change() => match change {
                    Change::Ended => self.ends.send_modify(|ends| *ends += 1),
                    Change::Gone => {
                        self.leave(Leaving::TargetEnded).await;
                        return Ok(Reason::TargetEnded);
                    }
                },
                _ = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
                    self.leave(Leaving::Terminated).await;
                    self.pod.incoming.drain().await;
                    return Ok(Reason::Terminated);
                }
            }
        }
    }

    /// Starts the handshake of a new connection on a task of its own.
    fn shake_hands(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return warn!(%error, "accept a client"),
        };
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            return warn!(%peer, "client refused: too many handshakes at a time");
        };
        let (key, admitted) = (self.key, self.admitted_tx.clone());
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            let verify = |signed: &[u8], signature: &[u8]| is_signed(&key, signed, signature);
            match timeout(HANDSHAKE_TIME, link::accept(socket, verify, LinkConfig::AGENT)).await {
                Ok(Ok((channel, incoming))) => {
                    info!(?channel, %peer, "client let in");
                    let _ = admitted.send(Admitted { channel, incoming }).await;
                }
                Ok(Err(error)) => warn!(%peer, error = crate::with_causes(error), "client refused"),
                Err(_) => warn!(%peer, "client refused: its handshake took too long"),
            }
            drop(permit);
        });
    }

    /// Serves a client in place of the older one of its channel, whose connection can seem open long after
    /// it was cut.
    fn admit(&mut self, Admitted { channel, incoming }: Admitted) {
        let (current, replaced) = oneshot::channel();
        self.current.insert(channel, current);
        let client = Client {
            incoming,
            pod: Rc::clone(&self.pod),
            leaving: self.leaving.subscribe(),
            ends: self.ends.subscribe(),
            replaced,
            subscribers: Vec::new(),
            warnings: Arc::clone(&self.warnings),
            news: self.pod.incoming.news(),
        };
        self.clients.spawn_local(async move { (channel, client.serve().await) });
    }

    /// Tells every client why, and gives that a moment to leave.
    async fn leave(&mut self, leaving: Leaving) {
        self.leaving.send_replace(Some(leaving));
        let _ = timeout(2 * LAST_WORDS, async { while self.clients.join_next().await.is_some() {} }).await;
    }
}

/// One connection of the session host.
struct Client {
    incoming: Incoming,
    pod: Rc<Pod>,
    leaving: watch::Receiver<Option<Leaving>>,
    ends: watch::Receiver<usize>,
    replaced: oneshot::Receiver<()>,
    subscribers: Vec<Stream>,
    warnings: Arc<[String]>,
    news: broadcast::Receiver<Event>,
}

impl Client {
    async fn serve(mut self) -> Ended {
        loop {
            tokio::select! {
                call = self.incoming.next() => match call {
                    Some(call) if matches!(call.request, AnyRequest::Subscribe(_)) => {
                        self.subscribers.extend(self.subscribe(call).await.ok());
                    }
                    Some(call) => drop(spawn_local(answer(Rc::clone(&self.pod), call))),
                    None => return self.incoming.ended().await,
                },
                Ok(leaving) = wait_for_leaving(&mut self.leaving) => {
                    let _ = timeout(LAST_WORDS, self.say_last_words(leaving)).await;
                    let _ = timeout(LAST_WORDS, self.incoming.goodbye()).await;
                    return Ended::Closed;
                }
                Ok(()) = self.ends.changed() => self.tell(&Event::TargetEnded).await,
                Ok(event) = self.news.recv() => self.tell(&event).await,
                _ = &mut self.replaced => return Ended::Closed,
            }
        }
    }

    /// Tells everyone who listens. One who does not read loses it.
    async fn tell(&mut self, event: &Event) {
        for stream in &mut self.subscribers {
            let _ = timeout(LAST_WORDS, link::write_message(stream, event)).await;
        }
    }

    async fn subscribe(&self, call: Call) -> Result<Stream, MessageError> {
        let mut stream = call.reply::<Subscribe>(&()).await?;
        for warning in &*self.warnings {
            link::write_message(&mut stream, &Event::Warning(warning.clone())).await?;
        }
        Ok(stream)
    }

    async fn say_last_words(&mut self, leaving: Leaving) {
        for stream in &mut self.subscribers {
            let _ = link::write_message(stream, &Event::Leaving(leaving)).await;
            let _ = stream.shutdown().await;
        }
    }
}

async fn wait_for_leaving(leaving: &mut watch::Receiver<Option<Leaving>>) -> Result<Leaving, watch::error::RecvError> {
    loop {
        if let Some(leaving) = *leaving.borrow_and_update() {
            return Ok(leaving);
        }
        leaving.changed().await?;
    }
}

async fn accept(v4: &TcpListener, v6: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match v6 {
        None => v4.accept().await,
        Some(v6) => tokio::select! {
            accepted = v4.accept() => accepted,
            accepted = v6.accept() => accepted,
        },
    }
}

async fn time_is_up(life: &Life) -> Reason {
    match life.deadline() {
        Some((at, reason)) => {
            sleep_until(at.into()).await;
            reason
        }
        None => std::future::pending().await,
    }
}

/// Takes as many descriptors as it may; container runtimes give few at first. Returns how many there are.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

fn is_signed(key: &VerifyingKey, signed: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok())
}
