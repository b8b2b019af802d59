//! One connection of a program to a Unix socket of the pod.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use link::pump;
use protocol::agent::{UnixDatagram, UnixKind};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags, Shutdown, SocketFlags, recvmsg};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::is_end;
use crate::session::readiness;
use crate::session::relay::{ARRIVAL, both_ways};

/// Longest packet in bytes. A sender that has not raised its send buffer reaches about 200 KiB.
pub(super) const MAX_PACKET: usize = 4 << 20;

/// Waits for the program's connection and serves it until both directions have ended or one has failed. A program
/// that does not come is waited for as one that goes to the relay, and no longer than the pod's side lasts.
pub(super) async fn serve(listener: OwnedFd, kind: UnixKind, uid: u32, mut pod: link::Stream) -> io::Result<()> {
    let listener = readiness::watch(listener, Interest::READABLE)?;
    let program = tokio::select! {
        program = accept(&listener, uid) => program?,
        () = pod.aborted() => return Ok(()),
        () = tokio::time::sleep(ARRIVAL) => return Ok(()),
    };
    drop(listener);
    let (from_pod, to_pod) = tokio::io::split(pod);
    match kind {
        UnixKind::Stream => {
            let (from_program, to_program) = program.into_split();
            both_ways(pump(from_program, to_pod, |_| ()), pump(from_pod, to_program, |_| ())).await
        }
        UnixKind::SeqPacket | UnixKind::Datagram => {
            let program = readiness::watch(OwnedFd::from(program.into_std()?), readiness::BOTH)?;
            both_ways(packets_up(&program, to_pod), packets_down(from_pod, &program)).await
        }
    }
}

/// The first connection of a process of `uid`; others are closed.
async fn accept(listener: &AsyncFd<OwnedFd>, uid: u32) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    loop {
        let accept = |listener: &OwnedFd| Ok(rustix::net::accept_with(listener, flags)?);
        let accepted = listener.async_io(Interest::READABLE, accept).await?;
        // The type knows of streams only, but what is asked of it here holds for packets as well.
        let program = UnixStream::from_std(StdStream::from(accepted))?;
        if program.peer_cred()?.uid() == uid {
            return Ok(program);
        }
        tracing::warn!("closed a connection of another user to a Unix socket of the session");
    }
}

async fn packets_up(program: &AsyncFd<OwnedFd>, mut to_pod: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(packet) = program.async_io(Interest::READABLE, receive).await? {
        link::write_message(&mut to_pod, &UnixDatagram(packet)).await.map_err(io::Error::other)?;
    }
    to_pod.shutdown().await
}

/// Receives one packet of whatever length; none at the end.
fn receive(socket: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let (_, length) = rustix::net::recv(socket, &mut [0; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    if length > MAX_PACKET {
        return Err(Errno::MSGSIZE.into());
    }
    let mut packet = vec![0; length];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut packet)], &mut control, RecvFlags::empty())?;
    packet.truncate(received.bytes);
    // An end is as empty as an empty packet, but says nothing of a sender (`SO_PASSCRED`, unix(7)).
    let is_end = packet.is_empty() && control.drain().next().is_none();
    Ok((!is_end).then_some(packet))
}

async fn packets_down(mut from_pod: impl AsyncRead + Unpin, program: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let packet = match link::read_message::<UnixDatagram>(&mut from_pod).await {
            Ok(UnixDatagram(packet)) => packet,
            Err(error) if is_end(&error) => return Ok(rustix::net::shutdown(program, Shutdown::Write)?),
            Err(error) => return Err(io::Error::other(error)),
        };
        let send = |socket: &OwnedFd| Ok(rustix::net::send(socket, &packet, SendFlags::NOSIGNAL).map(drop)?);
        program.async_io(Interest::WRITABLE, send).await?;
    }
}
