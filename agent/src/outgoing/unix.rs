//! Answers [`protocol::agent::ConnectUnix`]: paths below the container's root, and abstract names, which
//! belong to the network that this thread is in.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net;
use std::time::Duration;

use link::{Call, MessageError, Stream, pump, read_message, write_message};
use protocol::agent::{ConnectUnix, UnixAddress, UnixDatagram as Message, UnixKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncWriteExt, Interest, ReadHalf, WriteHalf};
use tokio::net::{UnixDatagram, UnixStream};
use tokio::time::sleep;
use tracing::debug;

use super::refusal;
use crate::dispatch::{Counters, reply};
use crate::files::Root;
use crate::scratch;

/// Longest message that is carried, in bytes; sockets have 208 KiB for all that is on its way unless
/// asked for more (`unix(7)`, `net.core.wmem_default`).
const MAX_MESSAGE: usize = 4 << 20;

/// Shortest and longest pause before another try at a listener whose queue is full.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Connects, replies, and then carries bytes or messages.
pub(crate) async fn serve(
    counters: &Counters,
    root: &Root,
    mut call: Call,
    request: ConnectUnix,
) -> Result<(), MessageError> {
    let connected = tokio::select! {
        connected = connect(root, &request) => connected,
        () = call.stream.aborted() => return Ok(()),
    };
    match connected {
        Ok(socket) => {
            Counters::add(&counters.connections, 1);
            let stream = call.reply::<ConnectUnix>(&Ok(())).await?;
            match socket {
                Socket::Stream(socket) => carry_bytes(counters, socket, stream).await,
                Socket::Messages(socket) => carry_messages(counters, &socket, request.kind, stream).await,
            }
        }
        Err(error) => {
            Counters::add(&counters.failed_connections, 1);
            let refusal = refusal(&error, format!("connect to {}", describe(&request.address)));
            reply::<ConnectUnix>(call, &Err(refusal)).await
        }
    }
}

fn describe(address: &UnixAddress) -> String {
    match address {
        UnixAddress::Path(path) => path.escape_ascii().to_string(),
        UnixAddress::Abstract(name) => format!("@{}", name.escape_ascii()),
    }
}

enum Socket {
    Stream(UnixStream),
    /// The runtime's type for datagrams does for `SOCK_SEQPACKET` too: it only waits and calls.
    Messages(UnixDatagram),
}

async fn connect(root: &Root, request: &ConnectUnix) -> io::Result<Socket> {
    let kind = match request.kind {
        UnixKind::Stream => SocketType::STREAM,
        UnixKind::Datagram => SocketType::DGRAM,
        UnixKind::SeqPacket => SocketType::SEQPACKET,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    if request.kind == UnixKind::Datagram {
        // A name that the kernel chooses, without which the peer could not answer.
        rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
    }
    // The file stays open until its socket is connected: the address names it.
    let file;
    let address = match &request.address {
        UnixAddress::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        UnixAddress::Path(path) => {
            file = root.open_path(path)?;
            SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?
        }
    };
    let (mut pause, longest) = PAUSES;
    loop {
        match rustix::net::connect(&socket, &address) {
            // A full queue; nobody is told when it has room again (`connect(2)`).
            Err(Errno::AGAIN) => sleep(pause).await,
            result => break result?,
        }
        pause = longest.min(2 * pause);
    }
    wrap(request.kind, socket)
}

fn wrap(kind: UnixKind, socket: OwnedFd) -> io::Result<Socket> {
    Ok(match kind {
        UnixKind::Stream => Socket::Stream(UnixStream::from_std(net::UnixStream::from(socket))?),
        UnixKind::Datagram | UnixKind::SeqPacket => {
            Socket::Messages(UnixDatagram::from_std(net::UnixDatagram::from(socket))?)
        }
    })
}

/// Both directions, each with its own end. A failure of either ends both, which is a reset for the host.
async fn carry_bytes(counters: &Counters, mut socket: UnixStream, stream: Stream) -> Result<(), MessageError> {
    let (stream_reader, stream_writer) = tokio::io::split(stream);
    let (socket_reader, socket_writer) = socket.split();
    let carried = tokio::try_join!(
        pump(stream_reader, socket_writer, |count| Counters::add(&counters.sent, count as u64)),
        pump(socket_reader, stream_writer, |count| Counters::add(&counters.received, count as u64)),
    );
    carried.map(drop).map_err(MessageError::Io)
}

/// Both directions. A datagram socket ends with the host's direction, since it has no end of its own.
async fn carry_messages(
    counters: &Counters,
    socket: &UnixDatagram,
    kind: UnixKind,
    stream: Stream,
) -> Result<(), MessageError> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        send_all(counters, socket, &mut reader).await?;
        match kind {
            UnixKind::SeqPacket => socket.shutdown(Shutdown::Write).map_err(MessageError::Io),
            UnixKind::Stream | UnixKind::Datagram => Ok(()),
        }
    };
    let receive = receive_all(counters, socket, &mut writer);
    if kind == UnixKind::SeqPacket {
        tokio::try_join!(send, receive)?;
    } else {
        tokio::select! {
            sent = send => sent?,
            received = receive => received?,
        }
        writer.shutdown().await.map_err(MessageError::Io)?;
    }
    Ok(())
}

async fn send_all(
    counters: &Counters,
    socket: &UnixDatagram,
    reader: &mut ReadHalf<Stream>,
) -> Result<(), MessageError> {
    loop {
        let Message(payload) = match read_message(reader).await {
            Err(MessageError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            message => message?,
        };
        let send = || Ok(rustix::net::send(socket, &payload, SendFlags::NOSIGNAL)?);
        let sent = socket.async_io(Interest::WRITABLE, send).await;
        let count = sent.inspect_err(|error| debug!(%error, "send a message")).map_err(MessageError::Io)?;
        Counters::add(&counters.datagrams_sent, 1);
        Counters::add(&counters.sent, count as u64);
    }
}

/// Hands messages on until the peer has ended its direction, and then ends this one.
async fn receive_all(
    counters: &Counters,
    socket: &UnixDatagram,
    writer: &mut WriteHalf<Stream>,
) -> Result<(), MessageError> {
    loop {
        let received = socket.async_io(scratch::ARRIVAL, || receive(socket)).await;
        let payload = received.inspect_err(|error| debug!(%error, "receive a message")).map_err(MessageError::Io)?;
        if payload.is_empty() && has_ended(socket).map_err(MessageError::Io)? {
            return writer.shutdown().await.map_err(MessageError::Io);
        }
        Counters::add(&counters.datagrams_received, 1);
        Counters::add(&counters.received, payload.len() as u64);
        write_message(writer, &Message(payload)).await?;
    }
}

/// One message. Its length is asked first: only the peer's kernel bounds it.
fn receive(socket: &UnixDatagram) -> io::Result<Vec<u8>> {
    let (_, length) = rustix::net::recv(socket, &mut [0; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    if length > MAX_MESSAGE {
        return Err(Errno::MSGSIZE.into());
    }
    let mut payload = vec![0; length];
    let (received, _) = rustix::net::recv(socket, &mut payload[..], RecvFlags::empty())?;
    payload.truncate(received);
    Ok(payload)
}

/// Whether the peer has ended its direction; both an end and an empty message read as no bytes.
fn has_ended(socket: &UnixDatagram) -> io::Result<bool> {
    let mut socket = [PollFd::new(socket, PollFlags::RDHUP)];
    rustix::event::poll(&mut socket, Some(&Timespec::default()))?;
    Ok(socket[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP))
}
