//! Reads one request of the layer, with the descriptor that may come along, and says who may take how long.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use protocol::codec;
use protocol::layer::MAX_REQUEST;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a local process may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of other users that may be without a request at a time. A process of root's session may have
/// changed its uid and still hold the token, so there they are not refused; but whoever has no token shall not hold
/// many of our descriptors by saying nothing. Who is not root cannot have become another user with the layer: the
/// loader leaves it out where that may happen (`ld.so(8)`, secure execution).
const STRANGERS: usize = 64;

/// Who may connect to the control socket.
pub(super) struct Admission {
    uid: u32,
    strangers: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    fn of(uid: u32) -> Self {
        let strangers = if uid == 0 { STRANGERS } else { 0 };
        Self { uid, strangers: Arc::new(Semaphore::new(strangers)) }
    }

    /// A place for a connection until its request is there; none where it is to be dropped.
    pub(super) fn admit(&self, stream: &UnixStream) -> Option<Admitted> {
        self.admit_uid(stream.peer_cred().ok()?.uid())
    }

    fn admit_uid(&self, uid: u32) -> Option<Admitted> {
        if uid == self.uid || uid == 0 {
            return Some(Admitted { _stranger: None });
        }
        let permit = self.strangers.clone().try_acquire_owned().ok()?;
        Some(Admitted { _stranger: Some(permit) })
    }
}

/// A connection's place.
pub(super) struct Admitted {
    _stranger: Option<OwnedSemaphorePermit>,
}

/// A request as it came.
pub(super) struct Received {
    /// The encoded message.
    pub(super) body: Vec<u8>,
    pub(super) descriptor: Option<OwnedFd>,
}

/// Reads a request.
pub(super) async fn receive(stream: &UnixStream) -> io::Result<Received> {
    tokio::time::timeout(REQUEST_TIMEOUT, receive_slowly(stream)).await?
}

async fn receive_slowly(stream: &UnixStream) -> io::Result<Received> {
    let (mut body, mut descriptor) = (vec![0; codec::PREFIX], None);
    fill(stream, &mut body, &mut descriptor).await?;
    let prefix = body.as_slice().try_into().map_err(io::Error::other)?;
    let length = codec::length(prefix).map_err(io::Error::other)?;
    if length > MAX_REQUEST {
        return Err(io::Error::other("request is longer than a layer sends"));
    }
    body.resize(length, 0);
    fill(stream, &mut body, &mut descriptor).await?;
    Ok(Received { body, descriptor })
}

async fn fill(stream: &UnixStream, mut buffer: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<()> {
    while !buffer.is_empty() {
        let length = stream.async_io(Interest::READABLE, || read(stream, buffer, descriptor)).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[length..];
    }
    Ok(())
}

/// One read. The first descriptor is kept, others are closed.
fn read(stream: &UnixStream, buffer: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for one in descriptors {
                descriptor.get_or_insert(one);
            }
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_request_arrives_in_pieces_and_with_its_descriptor() {
        let (mut layer, host) = UnixStream::pair().expect("a pair");
        let bytes = codec::encode(&"a request").expect("encodes");
        let passed = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let cookie = rustix::net::sockopt::socket_cookie(&passed).expect("a cookie");
        let fds = [passed.as_fd(), layer.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let sent = sendmsg(&layer, &[IoSlice::new(&bytes[..6])], &mut control, SendFlags::empty());
        assert_eq!(sent, Ok(6));
        let (received, written) = tokio::join!(receive(&host), async { layer.write_all(&bytes[6..]).await });
        written.expect("written");
        let received = received.expect("received");
        assert_eq!(codec::decode::<&str>(&received.body), Ok("a request"));
        let descriptor = received.descriptor.expect("a descriptor");
        assert_eq!(rustix::net::sockopt::socket_cookie(&descriptor), Ok(cookie), "the second one is closed");
    }

    #[tokio::test]
    async fn too_long_a_request_and_half_of_one_are_errors() {
        for bytes in [u32::MAX.to_le_bytes().to_vec(), (MAX_REQUEST as u32 + 1).to_le_bytes().to_vec(), vec![9, 0]] {
            let (mut layer, host) = UnixStream::pair().expect("a pair");
            layer.write_all(&bytes).await.expect("written");
            drop(layer);
            assert!(receive(&host).await.is_err());
        }
    }

    #[test]
    fn silent_strangers_of_root_s_session_are_few() {
        let admission = Admission::of(0);
        let held: Vec<_> = (0..STRANGERS).map(|_| admission.admit_uid(33).expect("a place")).collect();
        assert!(admission.admit_uid(33).is_none());
        assert!(admission.admit_uid(0).is_some());
        drop(held);
        assert!(admission.admit_uid(33).is_some());
    }

    #[test]
    fn another_user_s_session_has_no_strangers_but_root() {
        let admission = Admission::of(1000);
        assert!(admission.admit_uid(33).is_none());
        assert!(admission.admit_uid(1000).is_some());
        assert!(admission.admit_uid(0).is_some());
    }
}
