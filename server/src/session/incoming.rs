//! Traffic of the pod for the program: a port of the pod is open for as long as the program listens on it.
//!
//! Each connection of the pod becomes one to the program's own listener (`delivery`), made from an address of the
//! session's, by which the program finds out who the client really is (`clients`).

mod clients;

mod delivery;

mod observed;
mod opened;
mod requests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use decide::incoming::Rules;
use link::{Link, LinkError, Stream};
use protocol::agent::{Accept, Accepted, HttpFilter, OpenPort, PortMode, PortOpened, RemoteError};
use protocol::layer::NamesReply;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::board::{self, Board};
use super::closed::Watch;
use super::host;
use super::sock_diag;
use super::spec::{IncomingOptions, OnConcurrentSteal, OnPause};
use super::startup::Links;
use crate::kube::probes::{self, Probe, ProbeKind};
use crate::kube::services::ServicePort;
use crate::kube::target::PodTarget;
use crate::serve::rpc::{Outcome, Port};
use clients::Clients;
use delivery::NotDelivered;
use opened::Report;

/// How many connections the agent may hand over before the host has asked for the next: at a round trip of 20 ms
/// that is 3,200 connections a second.
const AHEAD: usize = 64;

/// Before the agent is asked again after a failure that is not the end of the link.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for the agent to close a port.
const CLOSE: Duration = Duration::from_secs(5);

/// How often the user is told of connections that the program did not take.
const TOLD: Duration = Duration::from_secs(10);

/// What decides when another session steals the same port.
const CONCURRENT: &str = "feature.network.incoming.on_concurrent_steal";

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Refused(#[from] RemoteError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Everything that the session's programs listen on.
pub(super) struct Incoming {
    mode: Option<PortMode>,
    on_concurrent_steal: OnConcurrentSteal,
    on_pause: OnPause,
    hold: Duration,
    flush_connections: bool,
    rules: Rules,
    probes: Vec<Probe>,
    probes_are_wanted: bool,
    services: Vec<ServicePort>,
    /// The user is told of failures only.
    quiet: bool,
    filter: Option<HttpFilter>,
    filtered_ports: Option<Vec<u16>>,
    control: Link,
    data: Link,
    /// Where connections to the program's IPv4 listeners come from.
    from: Ipv4Addr,
    /// The open ports of the pod: the agent gives one back when its stream is shut down or dropped.
    ports: tokio::sync::Mutex<HashMap<u16, Stream>>,
    /// The program's listeners for each port of the pod, by `SO_COOKIE`.
    listeners: Mutex<HashMap<u16, HashMap<u64, SocketAddr>>>,
    clients: Arc<Clients>,
    accepting: AtomicBool,
    given_back: Mutex<GivenBack>,
    board: Arc<Board>,
}

/// Connections that the program did not take since the user was told.
#[derive(Debug, Default)]
struct GivenBack {
    count: u64,
    told: Option<Instant>,
}

impl Incoming {
    /// `relay` is the session's address on loopback, in whose /24 the connections begin.
    pub(super) fn new(
        options: IncomingOptions,
        target: Option<&PodTarget>,
        links: Links,
        relay: Ipv4Addr,
        quiet: bool,
        board: Arc<Board>,
    ) -> Arc<Self> {
        let IncomingOptions { ports, ignored_ports, mapping, listen_ports, ignore_localhost, .. } = options;
        let [a, b, c, _] = relay.octets();
        Arc::new(Self {
            mode: options.mode,
            on_concurrent_steal: options.on_concurrent_steal,
            on_pause: options.on_pause,
            hold: options.hold,
            flush_connections: options.flush_connections,
            rules: Rules { ports, ignored_ports, mapping, listen_ports, ignore_localhost },
            probes: target.map(|target| target.probes.clone()).unwrap_or_default(),
            probes_are_wanted: options.probes,
            services: target.map(|target| target.services.clone()).unwrap_or_default(),
            quiet,
            filter: options.filter,
            filtered_ports: options.filtered_ports,
            control: links.control,
            data: links.data,
            from: Ipv4Addr::new(a, b, c, 255),
            ports: tokio::sync::Mutex::default(),
            listeners: Mutex::default(),
            clients: Arc::default(),
            accepting: AtomicBool::new(false),
            given_back: Mutex::default(),
            board,
        })
    }

    /// Whether the program's listeners are to be told of.
    pub(super) fn is_on(&self) -> bool {
        self.mode.is_some()
    }

    /// Opens the port that a listener stands for, if it stands for one; returns once connections come. The user is
    /// told when they cannot: the program listens on this machine then, unless it is not to listen at all, for which
    /// the errno is returned.
    pub(super) async fn listen(self: &Arc<Self>, watch: Watch, bound: SocketAddr) -> i32 {
        let Err(error) = self.open(watch, bound).await else { return 0 };
        tracing::warn!(%bound, %error, "connections of the pod cannot be had");
        let port = self.program_port(bound.port());
        let is_stolen = matches!(&error, OpenError::Refused(error) if error.errno == Errno::BUSY.raw_os_error());
        if is_stolen && self.on_concurrent_steal == OnConcurrentSteal::Abort {
            let (key, values) = (CONCURRENT, "override (take it over) or continue (go without)");
            host::tell(format!("mirror: the program cannot listen on port {port}: {error}; set {key} to {values}"))
                .await;
            return Errno::ADDRINUSE.raw_os_error();
        }
        host::tell(format!("mirror: port {port} gets no traffic of the pod: {error}")).await;
        0
    }

    async fn open(self: &Arc<Self>, watch: Watch, bound: SocketAddr) -> Result<(), OpenError> {
        let (Some(mode), Some(port)) = (self.mode, self.rules.pod_port(bound)) else { return Ok(()) };
        let own = self.program_port(bound.port());
        let filter = self.filter_of(own, port);
        // Who takes some requests leaves the rest to the session before.
        let alone =
            filter.is_none() && mode == PortMode::Steal && self.on_concurrent_steal != OnConcurrentSteal::Override;
        // One at a time: a port is opened once, however many listeners it has.
        let mut ports = self.ports.lock().await;
        locked(&self.listeners).entry(port).or_default().insert(watch.cookie(), bound);
        let mut report = None;
        if let Entry::Vacant(entry) = ports.entry(port) {
            if !self.accepting.swap(true, Ordering::Relaxed) {
                (0..AHEAD).for_each(|_| drop(tokio::spawn(Arc::clone(self).accept())));
            }
            let flush = mode == PortMode::Steal && self.flush_connections;
            let probed = !self.probes_are_wanted && probes::are_on(&self.probes, port, ProbeKind::Http);
            let (hold, patience) = (self.hold, self.patience());
            let unavailable = self.on_pause == OnPause::Unavailable;
            let request = OpenPort { port, mode, alone, probed, flush, filter, hold, patience, unavailable };
            let is_filtered = request.filter.is_some();
            let opened = match self.ask_for(request).await {
                Ok((opened, stream)) => {
                    entry.insert(stream);
                    opened
                }
                Err(error) => {
                    locked(&self.listeners).remove(&port);
                    return Err(error);
                }
            };
            tracing::info!(port, %bound, ?mode, ?opened, "connections of the pod come to the program");
            self.board.port_opened(Port { port, local: own, mode: board::port_mode(mode), filtered: is_filtered });
            let services = &self.services;
            report = Some(Report { port, own, mode, is_filtered, opened, services });
        }
        drop(ports);
        if let Some(report) = report.filter(|_| !self.quiet) {
            host::tell(format!("mirror: {report}")).await;
        }
        if mode == PortMode::Steal {
            self.tell_of_probes(port).await;
        }
        watch.listed();
        tokio::spawn(Arc::clone(self).close_with(watch, port));
        Ok(())
    }

    /// What the program calls the port of this machine on which it really listens.
    fn program_port(&self, local: u16) -> u16 {
        decide::incoming::program_port(&self.rules.listen_ports, local)
    }

    /// Where the program really listens that listens on `port` in the pod.
    pub(super) fn local_port(&self, port: u16) -> u16 {
        decide::incoming::local_port(&self.rules.listen_ports, port)
    }

    fn filter_of(&self, own: u16, port: u16) -> Option<HttpFilter> {
        let ports = self.filtered_ports.as_ref();
        self.filter.clone().filter(|_| ports.is_none_or(|ports| ports.contains(&own) || ports.contains(&port)))
    }

    fn is_filtered(&self, port: u16) -> bool {
        let listeners = locked(&self.listeners);
        listeners
            .get(&port)
            .is_some_and(|all| all.values().any(|own| self.filter_of(self.program_port(own.port()), port).is_some()))
    }

    async fn ask_for(&self, request: OpenPort) -> Result<(PortOpened, Stream), OpenError> {
        let (reply, stream) = self.control.open(request).await?;
        Ok((reply?, stream))
    }

    /// Closes the port with the last of its listeners.
    async fn close_with(self: Arc<Self>, mut watch: Watch, port: u16) {
        // Another thread of the program may have closed it while the port was being opened, and unseen.
        if let Ok(Ok(existing)) = tokio::task::spawn_blocking(sock_diag::listening).await
            && existing.contains(&watch.cookie())
        {
            watch.closed().await;
        }
        self.close_without_listeners(port, |cookie| *cookie != watch.cookie()).await;
    }

    /// Nobody listens for `port`, as somebody has found out who wants to connect: if the end of the listener is not
    /// known here yet, it is now.
    pub(super) async fn has_ended(&self, port: u16) {
        let is_open = locked(&self.listeners).contains_key(&port);
        if is_open && let Ok(Ok(existing)) = tokio::task::spawn_blocking(sock_diag::listening).await {
            self.close_without_listeners(port, |cookie| existing.contains(cookie)).await;
        }
    }

    /// Returns once new connections go to the application, if no listener is left.
    async fn close_without_listeners(&self, port: u16, exists: impl Fn(&u64) -> bool) {
        let mut ports = self.ports.lock().await;
        let is_last = {
            let mut all = locked(&self.listeners);
            let Some(listeners) = all.get_mut(&port) else { return };
            listeners.retain(|cookie, _| exists(cookie));
            listeners.is_empty() && all.remove(&port).is_some()
        };
        if is_last && let Some(mut stream) = ports.remove(&port) {
            let closed = async {
                stream.shutdown().await?;
                stream.read(&mut [0]).await
            };
            tokio::time::timeout(CLOSE, closed).await.ok();
            self.board.port_closed(port);
            tracing::info!(port, "connections of the pod go to the application again");
        }
    }

    /// Takes connections, until the link ends.
    async fn accept(self: Arc<Self>) {
        loop {
            match self.data.open(Accept {}).await {
                Ok((accepted, stream)) => drop(tokio::spawn(Arc::clone(&self).serve(accepted, stream))),
                Err(LinkError::Ended(ended)) => return tracing::debug!(%ended, "no more connections"),
                Err(error) => {
                    tracing::warn!(%error, "connections of the pod cannot be asked for");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, accepted: Accepted, stream: Stream) {
        let port = accepted.local.port();
        let is_filtered = self.is_filtered(port);
        if self.mode == Some(PortMode::Mirror) && !is_filtered {
            self.board.request(board::seen(port, accepted.peer, Outcome::Copied));
            return self.deliver_copy(accepted, stream).await;
        }
        let Some(reason) = self.deliver(accepted, stream, is_filtered).await else { return };
        tracing::info!(peer = %accepted.peer, ?reason, "a connection was not taken");
        match reason {
            NotDelivered::Refused => self.has_ended(port).await,
            // The agent counts copies.
            NotDelivered::Paused if self.mode == Some(PortMode::Mirror) => {}
            NotDelivered::Paused => self.tell_of_pause(port).await,
        }
    }

    async fn tell_of_pause(&self, port: u16) {
        let count = {
            let mut given_back = locked(&self.given_back);
            given_back.count += 1;
            if given_back.told.is_some_and(|told| told.elapsed() < TOLD) {
                return;
            }
            given_back.told = Some(Instant::now());
            std::mem::take(&mut given_back.count)
        };
        let what = match self.on_pause {
            OnPause::Unavailable => "were answered with 503",
            OnPause::Hold | OnPause::Pass => "went to the target",
        };
        host::tell(format!("mirror: {count} connections to port {port} {what}: the program did not accept them")).await;
    }

    /// Probes that are not told from other connections.
    async fn tell_of_probes(&self, port: u16) {
        if probes::are_on(&self.probes, port, ProbeKind::Tcp) {
            host::tell(format!(
                "mirror: TCP probes of port {port} succeed while it is stolen, whatever the target does"
            ))
            .await;
        }
        if probes::are_on(&self.probes, port, ProbeKind::Encrypted) {
            let what = "HTTPS and gRPC probes";
            host::tell(format!(
                "mirror: {what} of port {port} reach the program: answer them, or the target is restarted"
            ))
            .await;
        }
    }

    fn destination(&self, used: SocketAddr) -> Option<SocketAddr> {
        let bound: Vec<SocketAddr> = locked(&self.listeners).get(&used.port())?.values().copied().collect();
        delivery::destination(&bound, used)
    }

    /// What a connection that comes from `source` is called in the pod.
    pub(super) fn names(&self, source: SocketAddr) -> NamesReply {
        match self.clients.get(decide::outgoing::unmapped(source)) {
            Some(Accepted { peer, local }) => NamesReply::Known { local, peer },
            None => NamesReply::Unknown,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
