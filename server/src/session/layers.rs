//! Answers the layer: one task per request, so that no slow answer delays another.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener as StdListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use decide::outgoing::is_loopback;
use decide::programs::Skip;
use protocol::agent::ConnectTcp;
use protocol::codec;
use protocol::files::Opening;
use protocol::layer::{
    AttachReply, ConnectReply, EnvironmentReply, Message, NamesReply, Over, PathChange, Purpose, Request, Settings,
    Token, UdpReply, UnixReply,
};
use rustix::io::Errno;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::closed::{Closings, Watch};
use super::environment::{Changes, is_of_the_launch};
use super::files::{Answer, ChangeAnswer, Files, Wish as FileWish};
use super::incoming::Incoming;
use super::lookup;
use super::names::{Local, Names};
use super::park::{Parking, Place};
use super::pod_files::PodFiles;
use super::processes::Announce;
use super::refusing::Refusing;
use super::relay::{Attempt, Outcome, PodSide, Relay};
use super::request::{Admission, Admitted, Received, receive};
use super::rules::{Rules, Transport};
use super::sock_diag;
use super::startup::Links;
use super::udp::{Ask, Udp};
use super::unix::Unix;

/// What requests are answered from.
pub(super) struct Layers {
    pub(super) token: Token,
    pub(super) joining: RwLock<Joining>,
    /// The pod's host name, where the program is to see it.
    pub(super) host_name: Option<String>,
    pub(super) rules: Arc<Rules>,
    /// Kept open for the layers.
    pub(super) files: PodFiles,
    /// Files of the pod, where the user's patterns name some.
    pub(super) shadow: Option<Files>,
    pub(super) connect_wait: Duration,
    pub(super) links: Links,
    /// The pod's own addresses.
    pub(super) pod_addresses: Vec<IpAddr>,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Arc<Incoming>,
    pub(super) announce: Announce,
    /// Set by the first process that loads the layer.
    pub(super) attached: AtomicBool,
}

impl Layers {
    /// How processes decide that join now.
    pub(super) fn settings(&self) -> Settings {
        self.joining.read().unwrap_or_else(PoisonError::into_inner).settings
    }

    fn environment(&self) -> EnvironmentReply {
        let Changes { mut set, unset, .. } =
            self.joining.read().unwrap_or_else(PoisonError::into_inner).environment.clone();
        set.retain(|(name, _)| !is_of_the_launch(name));
        EnvironmentReply { set, unset }
    }
}

/// What processes are told that join from now on.
pub(super) struct Joining {
    /// How they decide.
    pub(super) settings: Settings,
    /// Which of them are left alone.
    pub(super) skip: Skip,
    /// What those get that ask for it.
    pub(super) environment: Changes,
}

/// The user's sockets with their ends in the pod.
pub(super) struct Outgoing {
    pub(super) relay: Arc<Relay>,
    refusing: Refusing,
    closings: Arc<Closings>,
    names: Arc<Names>,
    parking: Arc<Parking>,
    udp: Arc<Udp>,
    unix: Arc<Unix>,
}

impl Outgoing {
    /// Opens the relay and whatever else is on loopback. `spread` chooses the address in 127/8; the pod's own addresses
    /// are `pod`.
    pub(super) fn start(spread: [u8; 2], data: &link::Link, rules: &Arc<Rules>, pod: &[IpAddr]) -> io::Result<Self> {
        let (closings, names) = (Closings::start(), Arc::new(Names::default()));
        let relay = Relay::start(spread, names.clone())?;
        Ok(Self {
            parking: Parking::new(names.clone()),
            udp: Udp::new(*relay.v4.ip(), pod.to_vec(), data.clone(), rules.clone(), closings.clone(), names.clone()),
            unix: Unix::new(data.clone()),
            refusing: Refusing::open(*relay.v4.ip()),
            relay,
            closings,
            names,
        })
    }
}

/// Binds the abstract socket `name`.
pub(super) fn bind(name: &str) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves until the runtime ends.
pub(super) async fn serve(listener: UnixListener, layers: Arc<Layers>) {
    let admission = Admission::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(admitted) = admission.admit(&stream) else { continue };
                let layers = layers.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, admitted, &layers).await {
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

async fn answer(mut stream: UnixStream, admitted: Admitted, layers: &Layers) -> io::Result<()> {
    let Received { body, descriptor } = receive(&stream).await?;
    drop(admitted);
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
        Request::Environment => write(&mut stream, &layers.environment()).await,
        Request::Connect { cookie, destination, source_port, from_loopback, over, nonblocking } => {
            let wish = Wish { destination, source_port, from_loopback, over, nonblocking };
            connect(stream, layers, layers.outgoing.closings.watch(cookie), wish).await
        }
        Request::Parked { cookie, local } => {
            layers.outgoing.parking.arrived(cookie, local);
            write(&mut stream, &()).await
        }
        Request::Failure { cookie } => write(&mut stream, &layers.outgoing.parking.failure(cookie)).await,
        Request::Udp { cookie, peer, local, source_port, from_loopback, over, connect } => {
            let ask = Ask { cookie, peer, local, source_port, over, connect };
            let reply = match layers.rules.is_remote(Transport::Udp, peer) {
                true if from_loopback && !is_pod_itself(layers, peer) => UdpReply::Failed(Errno::INVAL.raw_os_error()),
                true => layers.outgoing.udp.answer(&ask, descriptor).await,
                false => UdpReply::Local,
            };
            write(&mut stream, &reply).await
        }
        Request::UdpPeer { relay } => write(&mut stream, &layers.outgoing.udp.peer(relay)).await,
        Request::Unix { address, kind } => {
            let uid = stream.peer_cred()?.uid();
            let found = match layers.rules.is_remote_unix(address) {
                true => layers.outgoing.unix.answer(address, kind, uid).await,
                false => None,
            };
            write(&mut stream, &unix_reply(found.as_ref())).await
        }
        Request::Listen { cookie, bound } => {
            let errno = layers.incoming.listen(layers.outgoing.closings.watch(cookie), bound).await;
            write(&mut stream, &errno).await
        }
        Request::File { .. } | Request::ChangeFile { .. } | Request::Settle { .. } => {
            answer_file(stream, layers, message.request).await
        }
        Request::Names { cookie, peer } => {
            let reply = match (layers.outgoing.names.get(cookie), peer) {
                (NamesReply::Unknown, Some(peer)) => layers.incoming.names(peer),
                (reply, _) => reply,
            };
            write(&mut stream, &reply).await
        }
        Request::Resolve { name, families } => {
            let reply = lookup::resolve(layers, name, families).await;
            write(&mut stream, &reply).await
        }
        Request::ReverseResolve { address } => {
            let reply = lookup::reverse(layers, address).await;
            write(&mut stream, &reply).await
        }
        Request::QueryDns(question) => {
            let reply = lookup::query(layers, question).await;
            write(&mut stream, &reply).await
        }
    }
}

fn attach<'a>(pid: Option<i32>, layers: &'a Layers, program: &[u8], executable: &[u8]) -> AttachReply<'a> {
    let joining = layers.joining.read().unwrap_or_else(PoisonError::into_inner);
    let skipped = joining.skip.takes(program, executable);
    tracing::info!(?pid, program = %String::from_utf8_lossy(program), skipped, "a process loaded the layer");
    if let Some(pid) = pid {
        layers.announce.attached(pid, skipped);
    }
    layers.attached.store(true, Ordering::Release);
    match skipped {
        true => AttachReply::Skipped,
        false => AttachReply::Member {
            settings: joining.settings,
            host_name: layers.host_name.as_deref(),
            files: layers.shadow.as_ref().map(Files::rules),
        },
    }
}

fn unix_reply(found: Option<&Result<Vec<u8>, i32>>) -> UnixReply<'_> {
    match found {
        Some(Ok(name)) => UnixReply::Relay(name),
        Some(Err(errno)) => UnixReply::Failed(*errno),
        None => UnixReply::Local,
    }
}

/// Answers what is asked about files.
async fn answer_file(mut stream: UnixStream, layers: &Layers, request: Request<'_>) -> io::Result<()> {
    match request {
        Request::File { path, follow, purpose } => {
            let purpose = masked_purpose(purpose, || mask_of(&stream));
            let answer = file(layers, FileWish { path: path.to_vec(), follow, purpose }).await;
            write(&mut stream, &answer.reply()).await
        }
        Request::ChangeFile { path, change } => {
            let change = match change {
                PathChange::MakeDirectory(mode) => PathChange::MakeDirectory(mode & !mask_of(&stream)),
                other => other,
            };
            let answer = match &layers.shadow {
                Some(files) => files.change(path, change).await,
                None => ChangeAnswer::Failed(Errno::NOENT),
            };
            write(&mut stream, &answer.reply()).await
        }
        Request::Settle { inode, durable } => {
            let settled = match &layers.shadow {
                Some(files) => files.settle(inode, durable).await,
                None => Ok(()),
            };
            write(&mut stream, &settled.map_or_else(|errno| errno.raw_os_error(), |()| 0)).await
        }
        _ => Ok(()),
    }
}

/// The mask of modes (`umask(2)`) of the process that asks; the usual one where it cannot be seen.
fn mask_of(stream: &UnixStream) -> u32 {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let mask = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("Umask:")));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

/// A purpose whose mode has lost what the process's mask takes away.
fn masked_purpose(purpose: Purpose, mask: impl Fn() -> u32) -> Purpose {
    match purpose {
        Purpose::Write(how) => Purpose::Write(Opening { create: how.create.map(|mode| mode & !mask()), ..how }),
        other => other,
    }
}

async fn file(layers: &Layers, wish: FileWish) -> Answer {
    match &layers.shadow {
        Some(files) => files.answer(wish).await,
        None => Answer::Failed(Errno::NOENT),
    }
}

async fn write<T: Serialize>(stream: &mut UnixStream, reply: &T) -> io::Result<()> {
    stream.write_all(&codec::encode(reply).map_err(io::Error::other)?).await
}

/// A connection as a program wants it.
#[derive(Clone, Copy)]
struct Wish {
    destination: SocketAddr,
    source_port: u16,
    from_loopback: bool,
    over: Over,
    nonblocking: bool,
}

/// Makes the pod's connection. The layer gives up by closing its end, the program by closing its socket; then so
/// does the pod.
async fn connect(mut stream: UnixStream, layers: &Layers, mut watch: Watch, wish: Wish) -> io::Result<()> {
    let Wish { destination, .. } = wish;
    if !layers.rules.is_remote(Transport::Tcp, destination) {
        return write(&mut stream, &ConnectReply::Local).await;
    }
    if let Some(to) = own_listener(layers, &wish) {
        layers.outgoing.names.set(watch, Local::Redirected { address: destination.ip(), to }, destination);
        return write(&mut stream, &ConnectReply::Redirect(to)).await;
    }
    if wish.from_loopback && !is_pod_itself(layers, destination) {
        return write(&mut stream, &ConnectReply::Failed(Errno::INVAL.raw_os_error())).await;
    }
    if layers.pod_addresses.contains(&destination.ip()) {
        layers.incoming.has_ended(destination.port()).await;
    }
    let data = layers.links.data.clone();
    let mut attempt = Attempt::start(async move { open(&data, wish).await });
    let wait = if wish.nonblocking { layers.connect_wait } else { Duration::MAX };
    let mut nothing = [0; 1];
    let finished = tokio::select! {
        outcome = attempt.outcome() => Some(outcome),
        () = sleep(wait) => None,
        () = watch.closed() => return Ok(()),
        _ = stream.read(&mut nothing) => return Ok(()),
    };
    let pod_side = match finished {
        Some(Err(errno)) => return write(&mut stream, &failed(layers, wish.over, errno)).await,
        Some(Ok((connected, pod))) => PodSide::Ready(connected, Box::new(pod)),
        None => match Place::open(wish.over, *layers.outgoing.relay.v4.ip()).await {
            Ok(place) => {
                let reply = ConnectReply::Park(place.address);
                layers.outgoing.parking.park(place, attempt, watch, destination);
                return write(&mut stream, &reply).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot park a socket: it is told of success before the pod has connected");
                PodSide::Pending(attempt)
            }
        },
    };
    let relay = &layers.outgoing.relay;
    let (place, _listening) = relay.place(wish.over, wish.source_port != 0);
    let announced = relay.expect(&watch, destination, pod_side);
    let written = write(&mut stream, &ConnectReply::Relay(place)).await;
    drop(stream);
    match written {
        Ok(()) => relay.await_arrival(announced).await,
        Err(_) => relay.forget(&announced),
    }
    written
}

/// Whether the pod reaches `destination` without leaving itself, thus from its loopback, too.
fn is_pod_itself(layers: &Layers, destination: SocketAddr) -> bool {
    is_loopback(destination.ip()) || layers.pod_addresses.contains(&destination.ip())
}

/// How a program is told of the pod's error.
fn failed(layers: &Layers, over: Over, errno: i32) -> ConnectReply {
    let refusing = layers.outgoing.refusing.address(over).filter(|_| errno == Errno::CONNREFUSED.raw_os_error());
    refusing.map_or(ConnectReply::Failed(errno), ConnectReply::Refused)
}

/// The listener of the session's user on this machine that the pod's own address means; the pod's own listeners
/// stay out of reach as long as there is one.
fn own_listener(layers: &Layers, wish: &Wish) -> Option<SocketAddr> {
    if !layers.pod_addresses.contains(&wish.destination.ip()) {
        return None;
    }
    let uid = rustix::process::geteuid().as_raw();
    let relay = *layers.outgoing.relay.v4.ip();
    let port = layers.incoming.local_port(wish.destination.port());
    let found = sock_diag::listener_on_loopback(wish.over == Over::V4, port, uid, relay);
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for the program's own listener");
        None
    })
}

async fn sleep(duration: Duration) {
    match duration {
        Duration::MAX => std::future::pending().await,
        duration => tokio::time::sleep(duration).await,
    }
}

async fn open(data: &link::Link, wish: Wish) -> Outcome {
    let Wish { destination, source_port, .. } = wish;
    match data.open(ConnectTcp { destination, source_port }).await {
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

/// What a call on a socket says when there is no answer of the pod's kernel.
pub(super) fn errno(error: &link::LinkError) -> Errno {
    match error {
        link::LinkError::Ended(_) | link::LinkError::WrongChannel => Errno::NETUNREACH,
        // As when all local ports are in use: other connections live on, and later ones may work.
        link::LinkError::TooManyStreams => Errno::ADDRNOTAVAIL,
        link::LinkError::Message(_) => Errno::CONNABORTED,
    }
}
