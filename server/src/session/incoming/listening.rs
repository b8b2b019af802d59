//! Which ports of the pod are open: those that the program's listeners stand for, as the configuration wants it now.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use link::Stream;
use protocol::agent::{ChangePort, OpenPort, PortMode, PortOpened};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::opened::Report;
use super::wishes::{Wanted, Wishes};
use super::{Incoming, OpenError, locked};
use crate::kube::probes::{self, ProbeKind};
use crate::serve::rpc::Port;
use crate::session::board;
use crate::session::closed::Watch;
use crate::session::host;
use crate::session::sock_diag;
use crate::session::spec::{IncomingOptions, OnConcurrentSteal};

/// Connections that the agent may hand over before the host has asked for the next: at a round trip of 20 ms that is
/// 3,200 connections a second.
const AHEAD: usize = 64;

/// Longest wait for the agent to close a port.
const CLOSE: Duration = Duration::from_secs(5);

/// What decides when another session steals the same port.
const CONCURRENT: &str = "feature.network.incoming.on_concurrent_steal";

/// An open port of the pod.
pub(super) struct Opened {
    now: Wanted,
    /// The agent gives the port back when it is shut down or dropped.
    stream: Stream,
}

/// One of the program's listeners.
pub(super) struct Listener {
    /// Where it really listens.
    bound: SocketAddr,
    /// The pod's port whose connections it gets.
    port: Option<u16>,
}

impl Incoming {
    /// Opens the port that a listener stands for, if it stands for one; returns once connections come. The user is
    /// told when they cannot: the program listens on this machine then, unless it is not to listen at all, for which
    /// the errno is returned.
    pub(in crate::session) async fn listen(self: &Arc<Self>, watch: Watch, bound: SocketAddr) -> i32 {
        // One at a time: a port is opened once, however many listeners it has.
        let mut ports = self.ports.lock().await;
        let wishes = self.wishes();
        let wanted = wishes.port(bound, &self.probes);
        let port = wanted.as_ref().map(|wanted| wanted.request.port);
        locked(&self.listeners).insert(watch.cookie(), Listener { bound, port });
        if let Some(wanted) = wanted
            && let Err(error) = self.open(&mut ports, wanted).await
        {
            tracing::warn!(%bound, %error, "connections of the pod cannot be had");
            let errno = self.tell_of_failure(&wishes, wishes.program_port(bound.port()), &error).await;
            if errno != 0 {
                locked(&self.listeners).remove(&watch.cookie());
                return errno;
            }
            // It may be had with another configuration.
            self.stands_for(watch.cookie(), None);
        }
        drop(ports);
        watch.listed();
        tokio::spawn(Arc::clone(self).close_with(watch));
        0
    }

    /// Another configuration: ports are closed, opened and changed as it wants.
    pub(in crate::session) async fn update(self: &Arc<Self>, options: IncomingOptions) {
        let mut ports = self.ports.lock().await;
        let wishes = Arc::new(Wishes::new(options));
        locked(&self.wishes).clone_from(&wishes);
        let mut wanted: BTreeMap<u16, (Wanted, Vec<u64>)> = BTreeMap::new();
        for (cookie, listener) in &mut *locked(&self.listeners) {
            let port = wishes.port(listener.bound, &self.probes);
            listener.port = port.as_ref().map(|wanted| wanted.request.port);
            if let Some(port) = port {
                wanted.entry(port.request.port).or_insert_with(|| (port, Vec::new())).1.push(*cookie);
            }
        }
        let unwanted: Vec<u16> = ports.keys().filter(|port| !wanted.contains_key(port)).copied().collect();
        for port in unwanted {
            self.close(&mut ports, port).await;
        }
        for (wanted, cookies) in wanted.into_values() {
            let own = wanted.own;
            let done = match ports.get_mut(&wanted.request.port) {
                Some(opened) => self.change(opened, wanted).await,
                None => self.open(&mut ports, wanted).await.inspect_err(|_| {
                    cookies.iter().for_each(|cookie| self.stands_for(*cookie, None));
                }),
            };
            if let Err(error) = done {
                tracing::warn!(own, %error, "another configuration does not hold for a port");
                self.tell_of_failure(&wishes, own, &error).await;
            }
        }
    }

    fn stands_for(&self, cookie: u64, port: Option<u16>) {
        if let Some(listener) = locked(&self.listeners).get_mut(&cookie) {
            listener.port = port;
        }
    }

    /// Tells why a port gets no traffic; returns the errno with which the program cannot listen, or 0.
    async fn tell_of_failure(&self, wishes: &Wishes, own: u16, error: &OpenError) -> i32 {
        let is_stolen = matches!(error, OpenError::Refused(error) if error.errno == Errno::BUSY.raw_os_error());
        if is_stolen && wishes.options.on_concurrent_steal == OnConcurrentSteal::Abort {
            let (key, values) = (CONCURRENT, "override (take it over) or continue (go without)");
            host::tell(format!("mirror: the program cannot listen on port {own}: {error}; set {key} to {values}"))
                .await;
            return Errno::ADDRINUSE.raw_os_error();
        }
        host::tell(format!("mirror: port {own} gets no traffic of the pod: {error}")).await;
        0
    }

    /// Opens a port, unless it is open.
    async fn open(self: &Arc<Self>, ports: &mut HashMap<u16, Opened>, wanted: Wanted) -> Result<(), OpenError> {
        let port = wanted.request.port;
        let Entry::Vacant(entry) = ports.entry(port) else { return Ok(()) };
        if !self.accepting.swap(true, Ordering::Relaxed) {
            (0..AHEAD).for_each(|_| drop(tokio::spawn(Arc::clone(self).accept())));
        }
        let (opened, stream) = self.ask_for(wanted.request.clone()).await?;
        tracing::info!(port, ?wanted, ?opened, "connections of the pod come to the program");
        entry.insert(Opened { now: wanted.clone(), stream });
        self.tell_board(&wanted);
        if !self.quiet {
            let Wanted { own, request: OpenPort { mode, filter, .. } } = &wanted;
            let (own, mode, is_filtered) = (*own, *mode, filter.is_some());
            let report = Report { port, own, mode, is_filtered, opened, services: &self.services };
            host::tell(format!("mirror: {report}")).await;
        }
        if wanted.request.mode == PortMode::Steal {
            self.tell_of_probes(port).await;
        }
        Ok(())
    }

    /// Makes something else of an open port, where that is needed.
    async fn change(&self, opened: &mut Opened, wanted: Wanted) -> Result<(), OpenError> {
        if let Some(request) = wanted.instead_of(&opened.now) {
            self.control.call(ChangePort(request)).await??;
            tracing::info!(?wanted, "another configuration holds for a port");
        }
        self.tell_board(&wanted);
        opened.now = wanted;
        Ok(())
    }

    fn tell_board(&self, wanted: &Wanted) {
        let Wanted { own, request: OpenPort { port, mode, filter, .. } } = wanted;
        let (mode, filtered) = (board::port_mode(*mode), filter.is_some());
        self.board.port_opened(Port { port: *port, local: *own, mode, filtered });
    }

    async fn ask_for(&self, request: OpenPort) -> Result<(PortOpened, Stream), OpenError> {
        let (reply, stream) = self.control.open(request).await?;
        Ok((reply?, stream))
    }

    /// Closes the listener's port with the last of its listeners.
    async fn close_with(self: Arc<Self>, mut watch: Watch) {
        // Another thread of the program may have closed it while the port was being opened, and unseen.
        if let Ok(Ok(existing)) = tokio::task::spawn_blocking(sock_diag::listening).await
            && existing.contains(&watch.cookie())
        {
            watch.closed().await;
        }
        self.close_without_listeners(|cookie| *cookie != watch.cookie()).await;
    }

    /// Nobody listens for `port`, as somebody has found out who wants to connect: if the end of the listener is not
    /// known here yet, it is now. Returns once new connections go to the application.
    pub(in crate::session) async fn has_ended(&self, port: u16) {
        // A listener whose end is known is forgotten before the agent has closed its port.
        let is_open = self.ports.lock().await.contains_key(&port);
        if is_open && let Ok(Ok(existing)) = tokio::task::spawn_blocking(sock_diag::listening).await {
            let ended: Vec<u64> = {
                let listeners = locked(&self.listeners);
                let of_port = listeners.iter().filter(|(_, listener)| listener.port == Some(port));
                of_port.map(|(cookie, _)| *cookie).filter(|cookie| !existing.contains(cookie)).collect()
            };
            self.close_without_listeners(|cookie| !ended.contains(cookie)).await;
        }
    }

    /// Forgets listeners that exist no more. Returns once new connections to ports without any go to the application.
    async fn close_without_listeners(&self, exists: impl Fn(&u64) -> bool) {
        let mut ports = self.ports.lock().await;
        let ended: Vec<u16> = {
            let mut listeners = locked(&self.listeners);
            let gone = listeners.extract_if(|cookie, _| !exists(cookie)).filter_map(|(_, listener)| listener.port);
            let gone: Vec<u16> = gone.collect();
            let is_left = |port: &u16| listeners.values().any(|listener| listener.port == Some(*port));
            gone.into_iter().filter(|port| !is_left(port)).collect()
        };
        for port in ended {
            self.close(&mut ports, port).await;
        }
    }

    async fn close(&self, ports: &mut HashMap<u16, Opened>, port: u16) {
        let Some(Opened { mut stream, .. }) = ports.remove(&port) else { return };
        let closed = async {
            stream.shutdown().await?;
            stream.read(&mut [0]).await
        };
        tokio::time::timeout(CLOSE, closed).await.ok();
        self.board.port_closed(port);
        tracing::info!(port, "connections of the pod go to the application again");
    }

    /// The addresses of the listeners for a port of the pod.
    pub(super) fn bound_for(&self, port: u16) -> Vec<SocketAddr> {
        let listeners = locked(&self.listeners);
        listeners.values().filter(|listener| listener.port == Some(port)).map(|listener| listener.bound).collect()
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
}
