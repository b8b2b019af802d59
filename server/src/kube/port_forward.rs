//! A byte stream to a port of a pod, through the API server.
//!
//! `kube`'s own forwarder copies 4 KiB at a time in one loop for both directions; this one keeps the two
//! directions apart and sends frames of up to 64 KiB. Protocol: `v4`/`v5.channel.k8s.io` over WebSocket; a
//! message's first byte is its channel (0 data, 1 error), the first message of each channel is the port
//! number in two bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, Stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::core::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::client::{Cluster, Operation};
use crate::failure::Result;

/// Largest payload of one WebSocket message that we send.
const FRAME: usize = 64 * 1024;

const DATA: u8 = 0;
const ERROR: u8 = 1;

type Upgraded = hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>;

/// A connection to one port of a pod. An end of stream says nothing about the pod: it also comes when the
/// API server ends.
pub struct PortForward {
    socket: WebSocketStream<Upgraded>,
    unread: Bytes,
    /// First messages of channels still to be skipped, by channel.
    greeted: [bool; 2],
    failure: Option<String>,
}

impl PortForward {
    /// Opens a connection. The kubelet accepts before it connects to the port, so a port where nobody
    /// listens shows as an end of stream (see [`Self::failure`]), not as an error here.
    pub async fn open(cluster: &Cluster, namespace: &str, pod: &str, port: u16) -> Result<Self> {
        let request = Request::new(Pod::url_path(&(), Some(namespace)));
        let operation = Operation {
            verb: "create",
            group: "",
            resource: "pods/portforward",
            namespace: Some(namespace),
            name: Some(pod),
        };
        let connect = async {
            let request = request.portforward(pod, &[port]).map_err(kube::Error::BuildRequest)?;
            cluster.client.connect(request).await
        };
        let connection = cluster.ask(operation, connect).await?;
        Ok(Self { socket: connection.into_stream(), unread: Bytes::new(), greeted: [false; 2], failure: None })
    }

    /// What the kubelet said on the error channel, if anything.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Takes one message; true when it brought data.
    fn receive(&mut self, mut payload: Bytes) -> bool {
        let Some(channel @ (DATA | ERROR)) = payload.first().copied() else { return false };
        let _ = payload.split_to(1);
        let greeted = &mut self.greeted[usize::from(channel)];
        if !std::mem::replace(greeted, true) {
            return false;
        }
        if channel == ERROR {
            self.failure = Some(String::from_utf8_lossy(&payload).into_owned());
            return false;
        }
        self.unread = payload;
        !self.unread.is_empty()
    }
}

/// The kind of an error is kept: an end of stream is no more than that, however TLS words it.
fn broken(error: tokio_tungstenite::tungstenite::Error) -> std::io::Error {
    match error {
        tokio_tungstenite::tungstenite::Error::Io(error) => error,
        other => std::io::Error::new(std::io::ErrorKind::BrokenPipe, other),
    }
}

impl AsyncRead for PortForward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(payload))) => {
                    self.receive(payload);
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PortForward {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(broken)?;
        let length = bytes.len().min(FRAME);
        let mut payload = Vec::with_capacity(length + 1);
        payload.push(DATA);
        payload.extend_from_slice(&bytes[..length]);
        socket.start_send(Message::Binary(payload.into())).map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}
