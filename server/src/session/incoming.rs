//! Traffic of the pod for the program: a port of the pod is open for as long as the program listens on it (`listening`).
//!
//! Each connection of the pod becomes one to the program's own listener (`delivery`), made from an address of the
//! session's, by which the program finds out who the client really is (`clients`).

mod clients;

mod delivery;

mod listening;

mod observed;
mod opened;
mod requests;

mod wishes;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use link::{Link, LinkError, Stream};
use protocol::agent::{Accept, Accepted, Arrival, PortMode, RemoteError};
use protocol::layer::NamesReply;

use super::board::{self, Board};
use super::host;
use super::spec::{IncomingOptions, OnPause};
use super::startup::Links;
use crate::kube::probes::Probe;
use crate::kube::services::ServicePort;
use crate::kube::target::PodTarget;
use crate::serve::rpc::Outcome;
use clients::Clients;
use delivery::NotDelivered;
use listening::{Listener, Opened};
use wishes::Wishes;

/// Before the agent is asked again after a failure that is not the end of the link.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the user is told of connections that the program did not take.
const TOLD: Duration = Duration::from_secs(10);

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
    /// What is wanted now.
    wishes: Mutex<Arc<Wishes>>,
    probes: Vec<Probe>,
    services: Vec<ServicePort>,
    /// The user is told of failures only.
    quiet: bool,
    control: Link,
    data: Link,
    /// Where connections to the program's IPv4 listeners come from.
    from: Ipv4Addr,
    /// The open ports of the pod.
    ports: tokio::sync::Mutex<HashMap<u16, Opened>>,
    /// The program's listeners, by `SO_COOKIE`.
    listeners: Mutex<HashMap<u64, Listener>>,
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
        let [a, b, c, _] = relay.octets();
        Arc::new(Self {
            wishes: Mutex::new(Arc::new(Wishes::new(options))),
            probes: target.map(|target| target.probes.clone()).unwrap_or_default(),
            services: target.map(|target| target.services.clone()).unwrap_or_default(),
            quiet,
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

    fn wishes(&self) -> Arc<Wishes> {
        locked(&self.wishes).clone()
    }

    /// Whether the program's listeners are to be told of.
    pub(super) fn is_on(&self) -> bool {
        self.wishes().options.mode.is_some()
    }

    /// Where the program really listens that listens on `port` in the pod.
    pub(super) fn local_port(&self, port: u16) -> u16 {
        self.wishes().local_port(port)
    }

    /// Takes connections, until the link ends.
    async fn accept(self: Arc<Self>) {
        loop {
            match self.data.open(Accept {}).await {
                Ok((arrival, stream)) => drop(tokio::spawn(Arc::clone(&self).serve(arrival, stream))),
                Err(LinkError::Ended(ended)) => return tracing::debug!(%ended, "no more connections"),
                Err(error) => {
                    tracing::warn!(%error, "connections of the pod cannot be asked for");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, arrival: Arrival, stream: Stream) {
        let Arrival { accepted, mode, filtered } = arrival;
        let port = accepted.local.port();
        if mode == PortMode::Mirror && !filtered {
            self.board.request(board::seen(port, accepted.peer, Outcome::Copied));
            return self.deliver_copy(accepted, stream).await;
        }
        let Some(reason) = self.deliver(arrival, stream).await else { return };
        tracing::info!(peer = %accepted.peer, ?reason, "a connection was not taken");
        match reason {
            NotDelivered::Refused => self.has_ended(port).await,
            // The agent counts copies.
            NotDelivered::Paused if mode == PortMode::Mirror => {}
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
        let what = match self.wishes().options.on_pause {
            OnPause::Unavailable => "were answered with 503",
            OnPause::Hold | OnPause::Pass => "went to the target",
        };
        host::tell(format!("mirror: {count} connections to port {port} {what}: the program did not accept them")).await;
    }

    fn destination(&self, used: SocketAddr) -> Option<SocketAddr> {
        delivery::destination(&self.bound_for(used.port()), used)
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
