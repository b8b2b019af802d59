//! Unix sockets of the pod: for each an abstract socket on this machine, under a name that nobody guesses.
//!
//! For a stream or a sequence of packets it takes one connection and is gone. For datagrams it stays, because
//! the kernel does not announce the end of a Unix socket: see [`datagrams`].
//!
//! Everybody can read the names of abstract sockets (`/proc/net/unix`), so everything that comes must be of the
//! user who has asked for it, whom the kernel tells.

mod connections;
mod datagrams;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::agent::{ConnectUnix, UnixAddress, UnixKind};
use protocol::layer::{UNIX_WORD, unix_relay_name};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::layers::errno;
use super::startup::random_name;
use datagrams::Relays;

/// Connections that a listener may hold until ours is among them.
const BACKLOG: i32 = 16;

/// The Unix sockets of a session.
pub(super) struct Unix {
    data: link::Link,
    datagrams: Mutex<Relays>,
}

impl Unix {
    /// Streams are opened on `data`.
    pub(super) fn new(data: link::Link) -> Arc<Self> {
        Arc::new(Self { data, datagrams: Mutex::default() })
    }

    /// The abstract name, without its leading NUL, behind which the pod's socket is for processes of `uid`; none
    /// if `address` cannot be one of the pod's. The pod has connected, or the errno says why not.
    pub(super) async fn answer(
        self: &Arc<Self>,
        address: &[u8],
        kind: UnixKind,
        uid: u32,
    ) -> Option<Result<Vec<u8>, i32>> {
        let told = address;
        let address = match address {
            [0, name @ ..] if !name.is_empty() => UnixAddress::Abstract(name.to_vec()),
            [b'/', ..] => UnixAddress::Path(address.to_vec()),
            _ => return None,
        };
        Some(self.relay(told, ConnectUnix { address, kind }, uid).await)
    }

    async fn relay(self: &Arc<Self>, told: &[u8], request: ConnectUnix, uid: u32) -> Result<Vec<u8>, i32> {
        let kind = request.kind;
        if kind == UnixKind::Datagram
            && let Some(name) = self.datagrams().find(&request.address, uid)
        {
            return Ok(name);
        }
        let stream = self.connect(&request).await?;
        let cannot = |error: std::io::Error| {
            tracing::warn!(%error, "cannot make a Unix socket");
            Errno::NOBUFS.raw_os_error()
        };
        let (name, socket) = bind(kind, told).map_err(cannot)?;
        match kind {
            UnixKind::Datagram => self.serve_datagrams(name.clone(), socket, request, uid, stream).map_err(cannot)?,
            UnixKind::Stream | UnixKind::SeqPacket => {
                // Connections have it from their beginning: `connections` tells ends from packets by it.
                let passes = rustix::net::sockopt::set_socket_passcred(&socket, kind == UnixKind::SeqPacket);
                passes.and_then(|()| rustix::net::listen(&socket, BACKLOG)).map_err(|error| cannot(error.into()))?;
                let serving = connections::serve(socket, kind, uid, stream);
                tokio::spawn(async move {
                    if let Err(error) = serving.await {
                        tracing::debug!(%error, "a connection to a Unix socket of the pod broke");
                    }
                });
            }
        }
        Ok(name)
    }

    /// Asks the pod for a connection.
    async fn connect(&self, request: &ConnectUnix) -> Result<link::Stream, i32> {
        let (reply, stream) = self.data.open(request.clone()).await.map_err(|error| {
            tracing::debug!(%error, "the agent was not asked for a Unix socket, or did not answer");
            errno(&error).raw_os_error()
        })?;
        reply.map_err(|error| {
            tracing::debug!(%error, "the pod could not connect to a Unix socket");
            error.errno
        })?;
        Ok(stream)
    }

    fn datagrams(&self) -> MutexGuard<'_, Relays> {
        self.datagrams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that stands for `address`, with a name of 130 random bits.
fn bind(kind: UnixKind, address: &[u8]) -> std::io::Result<(Vec<u8>, OwnedFd)> {
    let kind = match kind {
        UnixKind::Stream => SocketType::STREAM,
        UnixKind::SeqPacket => SocketType::SEQPACKET,
        UnixKind::Datagram => SocketType::DGRAM,
    };
    let name = unix_relay_name(&random_name(UNIX_WORD).map_err(std::io::Error::other)?, address);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(&name)?)?;
    Ok((name, socket))
}

/// Whether the stream has ended because the other side says no more.
fn is_end(error: &link::MessageError) -> bool {
    matches!(error, link::MessageError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests;
