//! Datagrams to Unix sockets of the pod.
//!
//! One socket of ours stands for one of the pod's and takes the datagrams of all programs, each of which may
//! have asked for it or found it before. A sender that has a name of its own may be answered, so it gets a
//! connection of its own to the pod's socket; all others share one.
//!
//! The kernel does not announce the end of a Unix socket. So a socket of ours is closed after an hour without a
//! datagram from a program, when it is the oldest of too many, or when the pod's is gone. A program that is
//! still connected to it then finds `ECONNREFUSED`, as it does when a receiver is started again.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::agent::{ConnectUnix, UnixAddress, UnixDatagram};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, recvmsg, sendto, sockopt,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::sync::{mpsc, oneshot};

use super::connections::MAX_PACKET;
use super::{Unix, is_end};
use crate::session::readiness;
use crate::session::task::Task;

/// Sockets of a session at a time; beyond them the one that was asked for least recently is closed.
const MAX_RELAYS: usize = 256;

/// How long a socket stays without a datagram from a program.
const IDLE: Duration = Duration::from_secs(3600);

/// Senders with a name of their own to one socket; beyond them the one that sent least recently is forgotten.
const MAX_SENDERS: usize = 64;

/// Datagrams of one sender that wait for the pod. More wait in the kernel, as they do for a slow receiver.
const QUEUE: usize = 8;

/// What a socket stands for, and the uid for which it does.
type Key = (UnixAddress, u32);

/// The sockets of a session. Addresses are not hashed: there are few.
#[derive(Default)]
pub(super) struct Relays(Vec<Relay>);

struct Relay {
    key: Key,
    name: Vec<u8>,
    asked: Instant,
    _task: Task,
}

impl Relays {
    /// The name of the socket that stands for `address`, if there is one.
    pub(super) fn find(&mut self, address: &UnixAddress, uid: u32) -> Option<Vec<u8>> {
        let relay = self.0.iter_mut().find(|relay| relay.key.0 == *address && relay.key.1 == uid)?;
        relay.asked = Instant::now();
        Some(relay.name.clone())
    }

    fn insert(&mut self, relay: Relay) {
        if self.0.len() >= MAX_RELAYS {
            let oldest = self.0.iter().enumerate().min_by_key(|(_, relay)| relay.asked).map(|(at, _)| at);
            oldest.map(|at| self.0.swap_remove(at));
        }
        self.0.push(relay);
    }

    #[cfg(test)]
    pub(super) fn n_relays(&self) -> usize {
        self.0.len()
    }

    fn remove(&mut self, name: &[u8]) {
        self.0.retain(|relay| relay.name != name);
    }
}

impl Unix {
    /// Serves datagrams of processes of `uid`; `stream` is the first connection to the pod's socket.
    pub(super) fn serve_datagrams(
        self: &Arc<Self>,
        name: Vec<u8>,
        socket: OwnedFd,
        request: ConnectUnix,
        uid: u32,
        stream: link::Stream,
    ) -> io::Result<()> {
        sockopt::set_socket_passcred(&socket, true)?;
        let socket = Arc::new(readiness::watch(socket, readiness::BOTH)?);
        let (unix, own_name, key) = (self.clone(), name.clone(), (request.address.clone(), uid));
        // Locked until the entry is there: the task removes it at its end.
        let mut relays = self.datagrams();
        let task = Task::spawn(async move {
            let mut exchange = Exchange { unix: unix.clone(), request, socket, senders: HashMap::new() };
            exchange.add(None, Some(stream));
            if let Err(error) = exchange.run(uid).await {
                tracing::debug!(%error, "a Unix socket for datagrams is closed");
            }
            unix.datagrams().remove(&own_name);
        });
        relays.insert(Relay { key, name, asked: Instant::now(), _task: task });
        Ok(())
    }
}

/// One of our sockets with its senders. None is for all that have no name.
struct Exchange {
    unix: Arc<Unix>,
    request: ConnectUnix,
    socket: Arc<AsyncFd<OwnedFd>>,
    senders: HashMap<Option<SocketAddrUnix>, Sender>,
}

struct Sender {
    outbox: mpsc::Sender<Vec<u8>>,
    /// Tells how its connection ended.
    ended: oneshot::Receiver<()>,
    used: Instant,
    _task: Task,
}

impl Exchange {
    /// Until the pod's socket is gone or nobody has sent for long.
    async fn run(&mut self, uid: u32) -> io::Result<()> {
        loop {
            let receive = self.socket.async_io(Interest::READABLE, |socket| receive(socket, uid));
            let unnamed = self.senders.get_mut(&None).map(|sender| &mut sender.ended);
            let Some(unnamed) = unnamed else { return Ok(()) };
            let received = tokio::select! {
                received = receive => received?,
                _ = unnamed => return Ok(()),
                () = tokio::time::sleep(IDLE) => return Ok(()),
            };
            let Some((sender, packet)) = received else { continue };
            if self.senders.get(&sender).is_none_or(|known| known.outbox.is_closed()) {
                self.add(sender.clone(), None);
            }
            if let Some(known) = self.senders.get_mut(&sender) {
                known.used = Instant::now();
                known.outbox.send(packet).await.ok();
            }
        }
    }

    /// Begins to carry the datagrams of a sender, over `stream` or a connection of its own.
    fn add(&mut self, name: Option<SocketAddrUnix>, stream: Option<link::Stream>) {
        if self.senders.len() > MAX_SENDERS {
            let named = self.senders.iter().filter(|(name, _)| name.is_some());
            let oldest = named.min_by_key(|(_, sender)| sender.used).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.senders.remove(&name));
        }
        let (outbox, packets) = mpsc::channel(QUEUE);
        let (alive, ended) = oneshot::channel();
        let (unix, request, socket, sender) =
            (self.unix.clone(), self.request.clone(), self.socket.clone(), name.clone());
        let task = Task::spawn(async move {
            let _alive: oneshot::Sender<()> = alive;
            let stream = match stream {
                Some(stream) => stream,
                None => match unix.connect(&request).await {
                    Ok(stream) => stream,
                    Err(_) => return,
                },
            };
            let (from_pod, to_pod) = tokio::io::split(stream);
            tokio::select! {
                () = up(packets, to_pod) => {}
                () = down(from_pod, &socket, sender.as_ref()) => {}
            }
        });
        self.senders.insert(name, Sender { outbox, ended, used: Instant::now(), _task: task });
    }
}

async fn up(mut packets: mpsc::Receiver<Vec<u8>>, mut to_pod: impl tokio::io::AsyncWrite + Unpin) {
    while let Some(packet) = packets.recv().await {
        if link::write_message(&mut to_pod, &UnixDatagram(packet)).await.is_err() {
            return;
        }
    }
    to_pod.shutdown().await.ok();
}

/// Carries answers. Those for nobody in particular go nowhere, as they would in the pod.
async fn down(
    mut from_pod: impl tokio::io::AsyncRead + Unpin,
    socket: &AsyncFd<OwnedFd>,
    receiver: Option<&SocketAddrUnix>,
) {
    loop {
        let packet = match link::read_message::<UnixDatagram>(&mut from_pod).await {
            Ok(UnixDatagram(packet)) => packet,
            Err(error) => {
                if !is_end(&error) {
                    tracing::debug!(%error, "a Unix socket of the pod is gone");
                }
                return;
            }
        };
        let Some(receiver) = receiver else { continue };
        let send = |socket: &OwnedFd| Ok(sendto(socket, &packet, SendFlags::NOSIGNAL, receiver).map(drop)?);
        if let Err(error) = socket.async_io(Interest::WRITABLE, send).await {
            tracing::debug!(%error, "an answer to a datagram found nobody");
        }
    }
}

/// Receives one datagram of whatever length with its sender's name; none if it is not of a process of `uid`.
pub(super) fn receive(socket: &OwnedFd, uid: u32) -> io::Result<Option<(Option<SocketAddrUnix>, Vec<u8>)>> {
    let (_, length) = rustix::net::recv(socket, &mut [0; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    let mut packet = vec![0; length.min(MAX_PACKET)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut packet)], &mut control, flags)?;
    let is_ours = control
        .drain()
        .any(|message| matches!(message, RecvAncillaryMessage::ScmCredentials(sender) if sender.uid.as_raw() == uid));
    if !is_ours || length > MAX_PACKET {
        tracing::warn!("dropped a datagram that is not of the session's user, or too long");
        return Ok(None);
    }
    packet.truncate(received.bytes);
    let sender = received.address.and_then(|address| SocketAddrUnix::try_from(address).ok());
    Ok(Some((sender.filter(|sender| !sender.is_unnamed()), packet)))
}
