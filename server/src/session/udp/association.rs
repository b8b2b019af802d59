//! All mappings of one socket of the user, with their streams to the agent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::agent::{MAX_DATAGRAM, OpenUdp, UdpMessage};
use protocol::layer::Over;
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::sync::mpsc;

use super::own::Passing;
use super::{Ask, MAX_MAPPINGS, Udp};
use crate::session::layers::errno;
use crate::session::readiness;
use crate::session::task::Task;

/// Mappings of one socket; beyond them the one that was used least recently is closed.
pub(super) const MAX_PEERS: usize = 4096;

/// Bytes of datagrams that wait for the agent, per association. More are dropped.
const QUEUE: usize = 1 << 20;

/// Where name servers listen, whose answers tell the names of addresses.
const DNS: u16 = 53;

/// What a datagram costs in the queue beyond its payload.
const OVERHEAD: usize = 128;

/// Datagrams that are taken from one mapping before others have their turn.
const BATCH: usize = 32;

/// More datagrams than a receive buffer holds.
const ALL: usize = 4096;

/// Receive buffer of a mapping as asked of the kernel, which gives what it permits.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How long a mapping refuses datagrams where the program's socket is not at hand to be told of a refusal: the
/// program then finds the error at the send after its next. There is no telling when that has happened, and
/// while the mapping refuses, nothing of the program reaches a peer that has come up meanwhile.
pub(super) const BARRED: Duration = Duration::from_secs(2);

thread_local! {
    /// Room for the longest datagram, once for all mappings of a thread.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_DATAGRAM]);
}

/// One socket of the user.
pub(super) struct Association {
    cookie: u64,
    udp: Arc<Udp>,
    /// Held while a stream is opened: two threads that send at once shall not open two.
    opening: tokio::sync::Mutex<()>,
    /// The port of its first socket in the pod, which the others ask for too; 0 before.
    port: AtomicU16,
    queued: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    mappings: HashMap<SocketAddr, Mapping>,
    upstreams: Vec<Upstream>,
    n_upstreams: u64,
}

/// A socket of ours that stands for a remote address.
struct Mapping {
    socket: Arc<AsyncFd<UdpSocket>>,
    relay: SocketAddr,
    /// Where the user's socket is.
    user: SocketAddr,
    /// Nobody's datagrams are taken: those of the user are refused by the kernel.
    barred: bool,
    used: Instant,
    _reader: Task,
    _registered: Registered,
}

/// A stream to the agent with its socket in the pod.
struct Upstream {
    id: u64,
    serves: Serves,
    /// How the user's socket is reached by who answers, for mappings that are made then.
    over: Over,
    user: SocketAddr,
    outbox: mpsc::UnboundedSender<UdpMessage>,
    _reader: Task,
}

/// Whose datagrams a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    /// The pod's socket is connected to this address.
    Connected(SocketAddr),
    /// All addresses of the family.
    Family { v4: bool },
}

impl Serves {
    fn of(ask: &Ask) -> Self {
        match ask.connect {
            true => Self::Connected(ask.peer),
            false => Self::Family { v4: ask.peer.is_ipv4() },
        }
    }

    fn is_connected(self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

/// A mapping's address in the table of all.
struct Registered {
    udp: Arc<Udp>,
    relay: SocketAddr,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.udp.peers().remove(&self.relay);
    }
}

impl Association {
    pub(super) fn new(cookie: u64, udp: Arc<Udp>) -> Self {
        Self {
            cookie,
            udp,
            opening: tokio::sync::Mutex::default(),
            port: AtomicU16::new(0),
            queued: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// Sees to it that the pod has a socket for `ask`. Returns the pod-side name of one that was opened, or why there
    /// is none.
    pub(super) async fn open(self: &Arc<Self>, ask: &Ask) -> Result<Option<SocketAddr>, i32> {
        let _alone = self.opening.lock().await;
        if self.state().serves(Serves::of(ask)) {
            return Ok(None);
        }
        let source_port = match ask.source_port {
            0 => self.port.load(Ordering::Relaxed),
            port => port,
        };
        let request = OpenUdp { peer: ask.peer, connect: ask.connect, source_port };
        let (reply, stream) = self.udp.data.open(request).await.map_err(|error| {
            tracing::debug!(%error, "the agent was not asked for a socket, or did not answer");
            errno(&error).raw_os_error()
        })?;
        let opened = reply.map_err(|error| {
            tracing::debug!(%error, "the pod has no socket for datagrams");
            error.errno
        })?;
        self.port.store(opened.local.port(), Ordering::Relaxed);
        self.add_upstream(ask, opened.local.port(), stream)?;
        Ok(Some(opened.local))
    }

    fn add_upstream(self: &Arc<Self>, ask: &Ask, port: u16, stream: link::Stream) -> Result<(), i32> {
        let (from_agent, to_agent) = tokio::io::split(stream);
        let (outbox, waiting) = mpsc::unbounded_channel();
        let mut state = self.state();
        if state.closed {
            return Err(Errno::CONNABORTED.raw_os_error());
        }
        // A closed one is forgotten after this.
        self.udp.own.note(ask, port);
        state.n_upstreams += 1;
        let id = state.n_upstreams;
        // Ends by itself, after what was sent has left.
        tokio::spawn(write(to_agent, waiting, self.queued.clone()));
        let reader = Task::spawn(self.clone().read(id, from_agent));
        if ask.connect {
            self.disconnect(&mut state);
        }
        let serves = Serves::of(ask);
        state.upstreams.push(Upstream { id, serves, over: ask.over, user: ask.user(), outbox, _reader: reader });
        Ok(())
    }

    /// Lets go of the connected stream, once it has what was sent to its peer.
    fn disconnect(&self, state: &mut State) {
        let connected = state.upstreams.iter().find_map(|upstream| match upstream.serves {
            Serves::Connected(peer) => Some(peer),
            Serves::Family { .. } => None,
        });
        let Some(peer) = connected else { return };
        if let Some(socket) = state.mappings.get(&peer).map(|mapping| mapping.socket.clone()) {
            self.forward(state, peer, socket.get_ref(), ALL);
        }
        state.upstreams.retain(|upstream| !upstream.serves.is_connected());
    }

    /// The address that stands for the peer of `ask`.
    pub(super) fn relay(self: &Arc<Self>, ask: &Ask) -> io::Result<SocketAddr> {
        let mut state = self.state();
        let mapping = self.mapping(&mut state, ask.peer, ask.over, ask.user())?;
        mapping.used = Instant::now();
        mapping.open_to(ask.user())?;
        Ok(mapping.relay)
    }

    fn mapping<'s>(
        self: &Arc<Self>,
        state: &'s mut State,
        peer: SocketAddr,
        over: Over,
        user: SocketAddr,
    ) -> io::Result<&'s mut Mapping> {
        if !state.mappings.contains_key(&peer) {
            if state.closed {
                return Err(ErrorKind::NotConnected.into());
            }
            if state.mappings.len() >= MAX_PEERS {
                self.drop_oldest(state);
            }
            let mapping = self.map(peer, over, user)?;
            state.mappings.insert(peer, mapping);
        }
        state.mappings.get_mut(&peer).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn map(self: &Arc<Self>, peer: SocketAddr, over: Over, user: SocketAddr) -> io::Result<Mapping> {
        if self.udp.peers().len() >= MAX_MAPPINGS {
            return Err(io::Error::other("too many remote addresses"));
        }
        let socket = self.udp.addresses.bind(over)?;
        let relay = socket.local_addr()?;
        socket.connect(user)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER).ok();
        let socket = Arc::new(readiness::watch(socket, Interest::READABLE)?);
        self.udp.peers().insert(relay, peer);
        let registered = Registered { udp: self.udp.clone(), relay };
        let reader = Task::spawn(self.clone().take(peer, socket.clone()));
        let used = Instant::now();
        Ok(Mapping { socket, relay, user, barred: false, used, _reader: reader, _registered: registered })
    }

    fn drop_oldest(&self, state: &mut State) {
        let idle = state.mappings.iter().filter(|(peer, _)| !state.serves(Serves::Connected(**peer)));
        let oldest = idle.min_by_key(|(_, mapping)| mapping.used).map(|(peer, _)| *peer);
        if let Some(mapping) = oldest.and_then(|peer| state.mappings.remove(&peer)) {
            tracing::debug!(relay = %mapping.relay, "a socket has too many remote addresses");
        }
    }

    /// Carries what the user sends to `peer`.
    async fn take(self: Arc<Self>, peer: SocketAddr, socket: Arc<AsyncFd<UdpSocket>>) {
        while let Ok(mut ready) = socket.readable().await {
            self.reopen(peer).await;
            let emptied = self.forward(&mut self.state(), peer, socket.get_ref(), BATCH);
            if emptied {
                ready.clear_ready();
            } else {
                drop(ready);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Sees to it that there is a stream for `peer`: the one that served it may have gone when the program has
    /// connected its socket elsewhere. What was sent waits in the kernel meanwhile, or is dropped without one.
    async fn reopen(self: &Arc<Self>, peer: SocketAddr) {
        let ask = {
            let state = self.state();
            let Some(mapping) = state.mappings.get(&peer).filter(|_| state.upstream_for(peer).is_none()) else {
                return;
            };
            let over = if mapping.relay.is_ipv4() { Over::V4 } else { Over::V6 };
            Ask { cookie: self.cookie, peer, local: mapping.user, source_port: 0, over, connect: false }
        };
        self.open(&ask).await.ok();
    }

    /// Hands up to `count` datagrams of a mapping on; whether those are all. The state is locked, so that a close
    /// finds each of them either here or there.
    fn forward(&self, state: &mut State, peer: SocketAddr, socket: &UdpSocket, count: usize) -> bool {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..count {
                match socket.recv(scratch) {
                    Ok(length) => self.queue(state, peer, &scratch[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    // The user's socket does not take answers, for the moment or for good.
                    Err(_) => {}
                }
            }
            false
        })
    }

    fn queue(&self, state: &mut State, peer: SocketAddr, payload: &[u8]) {
        if self.udp.own.pass(self.cookie, peer, payload) {
            return;
        }
        let Some(upstream) = state.upstream_for(peer) else { return };
        let cost = payload.len() + OVERHEAD;
        if self.queued.fetch_add(cost, Ordering::Relaxed) + cost > QUEUE {
            self.queued.fetch_sub(cost, Ordering::Relaxed);
            tracing::debug!(%peer, "dropped a datagram: the agent takes them too slowly");
            return;
        }
        if upstream.outbox.send(UdpMessage::Datagram { peer, payload: payload.to_vec() }).is_err() {
            self.queued.fetch_sub(cost, Ordering::Relaxed);
        }
        if let Some(mapping) = state.mappings.get_mut(&peer) {
            mapping.used = Instant::now();
        }
    }

    /// Carries what the agent sends on stream `id`.
    async fn read(self: Arc<Self>, id: u64, mut from_agent: impl tokio::io::AsyncRead + Unpin) {
        loop {
            match link::read_message(&mut from_agent).await {
                Ok(UdpMessage::Datagram { peer, payload }) => {
                    if peer.port() == DNS {
                        self.udp.rules.learn_message(&payload);
                    }
                    self.deliver(id, peer, &payload);
                }
                Ok(UdpMessage::Failed { errno }) => self.refuse(id, errno),
                Err(error) => {
                    tracing::debug!(%error, "a stream of datagrams has ended");
                    return self.end(id);
                }
            }
        }
    }

    /// Hands a datagram to the user's socket; one from an unknown address makes a mapping for it.
    fn deliver(self: &Arc<Self>, id: u64, peer: SocketAddr, payload: &[u8]) {
        let mut state = self.state();
        let Some(upstream) = state.upstreams.iter().find(|upstream| upstream.id == id) else { return };
        let (over, user, is_connected) = (upstream.over, upstream.user, upstream.serves.is_connected());
        let delivered = self.mapping(&mut state, peer, over, user).and_then(|mapping| mapping.say(payload));
        drop(state);
        if let Err(error) = delivered {
            tracing::debug!(%peer, %error, "dropped a datagram for a program");
        }
        if is_connected {
            self.udp.descriptors.release(self.cookie);
        }
    }

    /// Hands a datagram of another socket of the user's to this one.
    pub(super) fn hear(self: &Arc<Self>, datagram: &Passing) {
        let Passing { to, from, payload, .. } = datagram;
        let heard = self.mapping(&mut self.state(), *from, to.over, to.user).and_then(|mapping| mapping.say(payload));
        if let Err(error) = heard {
            tracing::debug!(%from, %error, "dropped a datagram between two of the user's sockets");
        }
    }

    /// Lets the program know that the pod's kernel has reported an error on the connected stream `id`. Of all
    /// errors there is only `ECONNREFUSED` to tell.
    fn refuse(self: &Arc<Self>, id: u64, errno: i32) {
        let mut state = self.state();
        let Some(Serves::Connected(peer)) = state.upstreams.iter().find(|upstream| upstream.id == id).map(|u| u.serves)
        else {
            return;
        };
        let Some(mapping) = state.mappings.get_mut(&peer) else { return };
        tracing::debug!(%peer, errno, "datagrams are refused");
        mapping.bar();
        if self.udp.descriptors.refuse(self.cookie, mapping.relay) {
            mapping.open_to(mapping.user).ok();
            return;
        }
        let association = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BARRED).await;
            let mut state = association.state();
            if state.serves(Serves::Connected(peer))
                && let Some(mapping) = state.mappings.get_mut(&peer)
            {
                mapping.open_to(mapping.user).ok();
            }
        });
    }

    /// Stream `id` is over by the agent's doing: what it carried is refused from now on.
    fn end(&self, id: u64) {
        let mut state = self.state();
        state.upstreams.retain(|upstream| upstream.id != id);
        let State { mappings, upstreams, .. } = &mut *state;
        for (peer, mapping) in mappings {
            if upstream_for(upstreams, *peer).is_none() {
                mapping.bar();
            }
        }
    }

    /// The user's socket is closed: what it has sent leaves, and then everything ends.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let sockets: Vec<_> = state.mappings.iter().map(|(peer, mapping)| (*peer, mapping.socket.clone())).collect();
        for (peer, socket) in sockets {
            self.forward(&mut state, peer, socket.get_ref(), ALL);
        }
        let ended = std::mem::replace(&mut *state, State { closed: true, ..State::default() });
        drop(state);
        drop(ended);
    }

    #[cfg(test)]
    pub(super) fn n_queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn serves(&self, serves: Serves) -> bool {
        self.upstreams.iter().any(|upstream| upstream.serves == serves)
    }

    fn upstream_for(&self, peer: SocketAddr) -> Option<&Upstream> {
        upstream_for(&self.upstreams, peer)
    }
}

/// The connected stream for its own peer, the family's for everybody else.
fn upstream_for(upstreams: &[Upstream], peer: SocketAddr) -> Option<&Upstream> {
    let serving = |serves| upstreams.iter().find(|upstream| upstream.serves == serves);
    serving(Serves::Connected(peer)).or_else(|| serving(Serves::Family { v4: peer.is_ipv4() }))
}

impl Mapping {
    /// Takes and gives datagrams of the socket at `user`, and of nobody else.
    fn open_to(&mut self, user: SocketAddr) -> io::Result<()> {
        if self.barred || self.user != user {
            self.socket.get_ref().connect(user)?;
            (self.user, self.barred) = (user, false);
        }
        Ok(())
    }

    /// Sends a datagram to the user's socket.
    fn say(&mut self, payload: &[u8]) -> io::Result<()> {
        self.used = Instant::now();
        self.open_to(self.user)?;
        let say = || rustix::net::send(self.socket.get_ref(), payload, SendFlags::DONTWAIT);
        // An error that an earlier datagram has met is told by the next send, which does not send.
        say().or_else(|error| if error == Errno::CONNREFUSED { say() } else { Err(error) })?;
        Ok(())
    }

    /// Connected to itself, it hears nobody: the kernel refuses what the user sends.
    fn bar(&mut self) {
        self.barred = true;
        if let Err(error) = self.socket.get_ref().connect(self.relay) {
            tracing::debug!(%error, "cannot refuse datagrams");
        }
    }
}

/// Writes what waits, until there is nobody who could add to it; then says that this was all.
async fn write(
    mut to_agent: impl tokio::io::AsyncWrite + Unpin,
    mut waiting: mpsc::UnboundedReceiver<UdpMessage>,
    queued: Arc<AtomicUsize>,
) {
    while let Some(message) = waiting.recv().await {
        let written = link::write_message(&mut to_agent, &message).await;
        if let UdpMessage::Datagram { payload, .. } = message {
            queued.fetch_sub(payload.len() + OVERHEAD, Ordering::Relaxed);
        }
        if written.is_err() {
            return;
        }
    }
    to_agent.shutdown().await.ok();
}
