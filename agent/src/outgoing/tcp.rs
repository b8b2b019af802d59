//! Answers [`protocol::agent::ConnectTcp`].

use std::io;
use std::net::SocketAddr;

use link::{Arrivals, Call, MessageError, Stream, pump};
use protocol::agent::{ConnectTcp, Connected};
use tokio::io::Interest;
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tracing::debug;

use super::{refusal, source};
use crate::dispatch::{Counters, reply};

/// Connects, replies, and then carries bytes until both directions have ended or one has failed. How long
/// a connection attempt may take is the pod's kernel's matter (`tcp_syn_retries`).
pub(crate) async fn serve(counters: &Counters, mut call: Call, request: ConnectTcp) -> Result<(), MessageError> {
    let connected = tokio::select! {
        connected = connect(&request) => connected,
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
            let refusal = refusal(&error, format!("connect to {}", request.destination));
            reply::<ConnectTcp>(call, &Err(refusal)).await
        }
    }
}

async fn connect(request: &ConnectTcp) -> io::Result<(TcpStream, Connected)> {
    let destination = request.destination;
    let attempt = async |port| {
        if port == 0 {
            return TcpStream::connect(destination).await;
        }
        let socket = match destination {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A port whose last connection has just ended may be used for another destination (`ip(7)`).
        socket.set_reuseaddr(true)?;
        socket.bind(source::any_address(destination, port))?;
        socket.connect(destination).await
    };
    let socket = source::with_port(request.source_port, attempt).await?;
    // The user's own socket decides about delays; here bytes have waited already.
    socket.set_nodelay(true)?;
    let connected = Connected { local: socket.local_addr()?, peer: socket.peer_addr()? };
    Ok((socket, connected))
}

/// Both directions, each with its own end. A failure of either resets both ends.
async fn carry(counters: &Counters, mut socket: TcpStream, stream: Stream) {
    let (stream_reader, stream_writer) = tokio::io::split(stream);
    let (socket_reader, socket_writer) = socket.split();
    let up_ended = Notify::new();
    let up = async {
        pump(stream_reader, socket_writer, |count| Counters::add(&counters.sent, count as u64)).await?;
        up_ended.notify_one();
        Ok(())
    };
    let down = async {
        pump(Arrivals(socket_reader.as_ref()), stream_writer, |count| Counters::add(&counters.received, count as u64))
            .await?;
        // A peer that has closed altogether resets what still comes: nobody reads that any more.
        tokio::select! {
            () = up_ended.notified() => Ok(()),
            error = failure(&socket_reader) => Err(error),
        }
    };
    let result = tokio::try_join!(up, down);
    if let Err(error) = result {
        debug!(%error, "connection aborted");
        abort(&socket);
    }
}

/// Waits for the error of a socket that nobody reads.
pub(crate) async fn failure(reader: &ReadHalf<'_>) -> io::Error {
    let failed = reader.ready(Interest::ERROR).await;
    failed.err().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// Makes the coming close a reset (`SO_LINGER` of zero).
pub(crate) fn abort(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}
