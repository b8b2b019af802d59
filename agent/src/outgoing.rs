//! Answers [`protocol::agent::ConnectTcp`]: connections that are made from the pod.

use std::io;
use std::net::SocketAddr;

use link::{Call, MessageError, Stream, pump};
use protocol::agent::{ConnectTcp, Connected, RemoteError};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tracing::debug;

use crate::dispatch::Counters;

/// Connects, replies, and then carries bytes until both directions have ended or one has failed. How long
/// a connection attempt may take is the pod's kernel's matter (`tcp_syn_retries`).
pub(crate) async fn serve_tcp(counters: &Counters, mut call: Call, request: ConnectTcp) -> Result<(), MessageError> {
    let connected = tokio::select! {
        connected = connect(request.destination) => connected,
        () = call.stream.aborted() => return Ok(()),
    };
    match connected {
        Ok((socket, connected)) => {
            Counters::add(&counters.connections, 1);
            let stream = match call.reply::<ConnectTcp>(&Ok(connected)).await {
                Ok(stream) => stream,
                Err(error) => {
                    abort(&socket);
                    return Err(error);
                }
            };
            carry(counters, socket, stream).await;
            Ok(())
        }
        Err(error) => {
            Counters::add(&counters.failed_connections, 1);
            let destination = request.destination;
            debug!(%destination, %error, "connect");
            let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            let refusal = RemoteError { errno, context: format!("connect to {destination}") };
            let mut stream = call.reply::<ConnectTcp>(&Err(refusal)).await?;
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await.map_err(MessageError::Io)
        }
    }
}

async fn connect(destination: SocketAddr) -> io::Result<(TcpStream, Connected)> {
    let socket = TcpStream::connect(destination).await?;
    // The user's own socket decides about delays; here bytes have waited already.
    socket.set_nodelay(true)?;
    let connected = Connected { local: socket.local_addr()?, peer: socket.peer_addr()? };
    Ok((socket, connected))
}

/// Both directions, each with its own end. A failure of either resets both ends.
async fn carry(counters: &Counters, mut socket: TcpStream, stream: Stream) {
    let (stream_reader, stream_writer) = tokio::io::split(stream);
    let (socket_reader, socket_writer) = socket.split();
    let result = tokio::try_join!(
        pump(stream_reader, socket_writer, |count| Counters::add(&counters.sent, count as u64)),
        pump(socket_reader, stream_writer, |count| Counters::add(&counters.received, count as u64)),
    );
    if let Err(error) = result {
        debug!(%error, "connection aborted");
        abort(&socket);
    }
}

/// Makes the coming close a reset (`SO_LINGER` of zero).
fn abort(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}
