//! Answers the layer: one task per request, so that no slow answer delays another.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use decide::programs::Skip;
use protocol::agent::ConnectTcp;
use protocol::codec;
use protocol::layer::{
    AttachReply, ConnectReply, MAX_REQUEST, Message, Request, Settings, Token, UdpPeerReply, UdpReply, UnixReply,
};
use rustix::io::Errno;
use serde::Serialize;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::names;
use super::pod_files::PodFiles;
use super::processes::Announce;
use super::relay::{Attempt, Outcome, PodSide, Relay};
use super::rules::Rules;
use super::startup::Links;

/// How long a local process may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What requests are answered from.
pub(super) struct Layers {
    pub(super) token: Token,
    pub(super) settings: Settings,
    /// The pod's host name, where the program is to see it.
    pub(super) host_name: Option<String>,
    pub(super) rules: Rules,
    pub(super) skip: Skip,
    /// Kept open for the layers.
    pub(super) _files: PodFiles,
    pub(super) connect_wait: Duration,
    pub(super) links: Links,
    pub(super) relay: Arc<Relay>,
    pub(super) announce: Announce,
    /// Set by the first process that loads the layer.
    pub(super) attached: AtomicBool,
}

/// Binds the abstract socket `name`.
pub(super) fn bind(name: &str) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves until the runtime ends.
pub(super) async fn serve(listener: UnixListener, layers: Arc<Layers>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let layers = layers.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &layers).await {
                        tracing::debug!(%error, "a request of a layer was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a request of a layer");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, layers: &Layers) -> io::Result<()> {
    let body = tokio::time::timeout(REQUEST_TIMEOUT, read(&mut stream)).await??;
    let message: Message<'_> = codec::decode(&body).map_err(io::Error::other)?;
    if message.token != layers.token {
        tracing::warn!(peer = ?stream.peer_cred().ok(), "refused a process without the session's token");
        return Ok(());
    }
    match message.request {
        Request::Attach { program, executable } => {
            let reply = attach(stream.peer_cred()?.pid(), layers, program, executable);
            write(&mut stream, &reply).await
        }
        Request::Connect { cookie, destination, nonblocking, .. } => {
            connect(stream, layers, cookie, destination, nonblocking).await
        }
        Request::Parked { .. } => write(&mut stream, &()).await,
        Request::Udp { .. } => write(&mut stream, &UdpReply::Local).await,
        Request::UdpPeer { .. } => write(&mut stream, &UdpPeerReply::Unknown).await,
        Request::Unix { .. } => write(&mut stream, &UnixReply::Local).await,
        Request::Names { cookie } => write(&mut stream, &layers.relay.names(cookie)).await,
        Request::Resolve { name, families } => {
            let reply = names::resolve(layers, name, families).await;
            write(&mut stream, &reply).await
        }
        Request::ReverseResolve { address } => {
            let reply = names::reverse(layers, address).await;
            write(&mut stream, &reply).await
        }
        Request::QueryDns(question) => {
            let reply = names::query(layers, question).await;
            write(&mut stream, &reply).await
        }
    }
}

fn attach<'a>(pid: Option<i32>, layers: &'a Layers, program: &[u8], executable: &[u8]) -> AttachReply<'a> {
    let skipped = layers.skip.takes(program, executable);
    tracing::info!(?pid, program = %String::from_utf8_lossy(program), skipped, "a process loaded the layer");
    if let Some(pid) = pid {
        layers.announce.attached(pid);
    }
    layers.attached.store(true, Ordering::Release);
    match skipped {
        true => AttachReply::Skipped,
        false => AttachReply::Member { settings: layers.settings, host_name: layers.host_name.as_deref() },
    }
}

async fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; codec::PREFIX];
    stream.read_exact(&mut prefix).await?;
    let length = codec::length(prefix).map_err(io::Error::other)?;
    if length > MAX_REQUEST {
        return Err(io::Error::other("request is longer than a layer sends"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn write<T: Serialize>(stream: &mut UnixStream, reply: &T) -> io::Result<()> {
    stream.write_all(&codec::encode(reply).map_err(io::Error::other)?).await
}

/// Makes the pod's connection. The layer gives up by closing its end; then so does the pod.
async fn connect(
    mut stream: UnixStream,
    layers: &Layers,
    cookie: u64,
    destination: SocketAddr,
    nonblocking: bool,
) -> io::Result<()> {
    let data = layers.links.data.clone();
    let mut attempt = Attempt::start(async move { open(&data, destination).await });
    let wait = if nonblocking { layers.connect_wait } else { Duration::MAX };
    let mut nothing = [0; 1];
    let finished = tokio::select! {
        outcome = attempt.outcome() => Some(outcome),
        () = sleep(wait) => None,
        _ = stream.read(&mut nothing) => return Ok(()),
    };
    let pod_side = match finished {
        Some(Err(errno)) => return write(&mut stream, &ConnectReply::Failed(errno)).await,
        Some(Ok((connected, pod))) => PodSide::Ready(connected, Box::new(pod)),
        None => PodSide::Pending(attempt),
    };
    let announcement = layers.relay.expect(cookie, destination, pod_side);
    let written = write(&mut stream, &ConnectReply::Relay).await;
    if written.is_err() {
        layers.relay.forget(cookie, announcement);
    }
    written
}

async fn sleep(duration: Duration) {
    match duration {
        Duration::MAX => std::future::pending().await,
        duration => tokio::time::sleep(duration).await,
    }
}

async fn open(data: &link::Link, destination: SocketAddr) -> Outcome {
    match data.open(ConnectTcp { destination, source_port: 0 }).await {
        Ok((Ok(connected), stream)) => Ok((connected, stream)),
        Ok((Err(error), _)) => {
            tracing::debug!(%destination, %error, "the pod could not connect");
            Err(error.errno)
        }
        Err(error) => {
            tracing::debug!(%destination, %error, "the agent was not asked to connect, or did not answer");
            Err(errno(&error).raw_os_error())
        }
    }
}

/// What `connect(2)` says when there is no answer of the pod's kernel.
fn errno(error: &link::LinkError) -> Errno {
    match error {
        link::LinkError::Ended(_) | link::LinkError::WrongChannel => Errno::NETUNREACH,
        // As when all local ports are in use: other connections live on, and later ones may work.
        link::LinkError::TooManyStreams => Errno::ADDRNOTAVAIL,
        link::LinkError::Message(_) => Errno::CONNABORTED,
    }
}
