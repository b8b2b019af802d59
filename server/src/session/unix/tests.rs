//! Programs' sockets on one side, a stand-in for the agent on the other.

use super::*;
use crate::session::testing::link_to_agent;
use link::{Incoming, Stream};
use protocol::agent::{AnyRequest, RemoteError, UnixDatagram};
use protocol::layer::behind_unix_relay;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram as StdDatagram};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixDatagram as DatagramSocket, UnixStream};

struct Session {
    unix: Arc<Unix>,
    agent: Incoming,
    uid: u32,
}

impl Session {
    async fn start() -> Self {
        let (link, agent) = link_to_agent().await;
        Self { unix: Unix::new(link), agent, uid: rustix::process::geteuid().as_raw() }
    }

    /// The agent is asked for a connection, and has it.
    async fn connected(&mut self) -> (ConnectUnix, Stream) {
        let call = self.agent.next().await.expect("a request");
        let AnyRequest::ConnectUnix(request) = call.request.clone() else { panic!("another request") };
        (request, call.reply::<ConnectUnix>(&Ok(())).await.expect("replies"))
    }

    async fn ask(&mut self, address: &[u8], kind: UnixKind, uid: u32) -> (Vec<u8>, ConnectUnix, Stream) {
        let unix = self.unix.clone();
        let (name, (request, stream)) = tokio::join!(unix.answer(address, kind, uid), self.connected());
        (name.expect("an address of the pod").expect("connected"), request, stream)
    }
}

fn abstract_name(name: &[u8]) -> UnixAddr {
    UnixAddr::from_abstract_name(name).expect("a name")
}

fn connect(name: &[u8], kind: SocketType) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).expect("a socket");
    let address = SocketAddrUnix::new_abstract_name(name).expect("a name");
    rustix::net::connect(&socket, &address).expect("connects");
    socket
}

async fn message(stream: &mut Stream) -> Vec<u8> {
    link::read_message::<UnixDatagram>(stream).await.expect("a message").0
}

async fn tell(stream: &mut Stream, text: &[u8]) {
    link::write_message(stream, &UnixDatagram(text.to_vec())).await.expect("written");
}

#[tokio::test]
async fn a_stream_is_bytes_with_two_ends() {
    let mut session = Session::start().await;
    let (name, request, mut pod) = session.ask(b"/run/server.sock", UnixKind::Stream, session.uid).await;
    assert_eq!(request.address, UnixAddress::Path(b"/run/server.sock".to_vec()));
    assert_eq!(behind_unix_relay(&name), Some(&b"/run/server.sock"[..]));
    let socket = connect(&name, SocketType::STREAM);
    let std = std::os::unix::net::UnixStream::from(socket);
    std.set_nonblocking(true).expect("set");
    let mut program = UnixStream::from_std(std).expect("registered");
    program.write_all(b"question").await.expect("written");
    program.shutdown().await.expect("ends its half");
    let mut text = String::new();
    pod.read_to_string(&mut text).await.expect("read");
    pod.write_all(b"answer").await.expect("written");
    pod.shutdown().await.expect("ends");
    program.read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "questionanswer");
    let again = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    let address = SocketAddrUnix::new_abstract_name(&name).expect("a name");
    assert_eq!(rustix::net::connect(&again, &address), Err(Errno::CONNREFUSED), "one connection only");
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_keep_their_bounds_and_their_end() {
    let mut session = Session::start().await;
    let (name, request, mut pod) = session.ask(b"\0server", UnixKind::SeqPacket, session.uid).await;
    assert_eq!(request.address, UnixAddress::Abstract(b"server".to_vec()));
    let program = connect(&name, SocketType::SEQPACKET);
    let long = vec![5; 150_000];
    for packet in [b"one".as_slice(), b"", b"three", &long] {
        rustix::net::send(&program, packet, SendFlags::empty()).expect("sent");
        assert_eq!(message(&mut pod).await, packet);
    }
    for packet in [b"four".as_slice(), &long, b"six"] {
        tell(&mut pod, packet).await;
        let mut buffer = vec![0; 200_000];
        let (_, length) = rustix::net::recv(&program, &mut buffer[..], RecvFlags::empty()).expect("received");
        assert_eq!(&buffer[..length], packet);
    }
    for packet in [b"last".as_slice(), b""] {
        rustix::net::send(&program, packet, SendFlags::empty()).expect("sent");
    }
    rustix::net::shutdown(&program, Shutdown::Write).expect("ends its half");
    for packet in [b"last".as_slice(), b""] {
        assert_eq!(message(&mut pod).await, packet);
    }
    let error = link::read_message::<UnixDatagram>(&mut pod).await.expect_err("the end");
    assert!(is_end(&error), "{error}");
    tell(&mut pod, b"still").await;
    pod.shutdown().await.expect("ends");
    for packet in [b"still".as_slice(), b""] {
        let mut buffer = [0; 16];
        let (_, length) = rustix::net::recv(&program, &mut buffer[..], RecvFlags::empty()).expect("received");
        assert_eq!(&buffer[..length], packet);
    }
}

#[tokio::test]
async fn datagrams_of_many_share_a_socket_and_answers_find_their_sender() {
    let mut session = Session::start().await;
    let (name, _, mut shared) = session.ask(b"/dev/log", UnixKind::Datagram, session.uid).await;
    let again = session.unix.answer(b"/dev/log", UnixKind::Datagram, session.uid).await;
    assert_eq!(again, Some(Ok(name.clone())));
    for text in [b"one".as_slice(), b""] {
        let unnamed = StdDatagram::unbound().expect("a socket");
        unnamed.send_to_addr(text, &abstract_name(&name)).expect("sent");
        assert_eq!(message(&mut shared).await, text);
    }
    let own_name = format!("mirror-test-{}", random_name(20).expect("random"));
    let named = StdDatagram::bind_addr(&abstract_name(own_name.as_bytes())).expect("a socket");
    named.connect_addr(&abstract_name(&name)).expect("connects");
    named.send(b"question").expect("sent");
    named.set_nonblocking(true).expect("set");
    let named = DatagramSocket::from_std(named).expect("registered");
    let (request, mut pod) = session.connected().await;
    assert_eq!(request.kind, UnixKind::Datagram);
    assert_eq!(message(&mut pod).await, b"question");
    tell(&mut pod, b"answer").await;
    let mut buffer = [0; 16];
    let length = named.recv(&mut buffer).await.expect("received");
    assert_eq!(&buffer[..length], b"answer");
    drop(shared);
    let gone = SocketAddrUnix::new_abstract_name(&name).expect("a name");
    let probe = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket");
    while rustix::net::sendto(&probe, b"", SendFlags::empty(), &gone) != Err(Errno::CONNREFUSED) {
        tokio::task::yield_now().await;
    }
    while session.unix.datagrams().n_relays() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn other_users_are_turned_away() {
    let mut session = Session::start().await;
    // As if another user had asked: then this process is the stranger.
    let other = session.uid + 1;
    let (name, _, _pod) = session.ask(b"/run/server.sock", UnixKind::Stream, other).await;
    let std = std::os::unix::net::UnixStream::from(connect(&name, SocketType::STREAM));
    std.set_nonblocking(true).expect("set");
    let mut program = UnixStream::from_std(std).expect("registered");
    assert_eq!(program.read(&mut [0; 1]).await.ok(), Some(0));
    let (name, socket) = bind(UnixKind::Datagram, b"/dev/log").expect("a socket");
    rustix::net::sockopt::set_socket_passcred(&socket, true).expect("set");
    for (uid, expected) in [(other, None), (session.uid, Some((None, b"text".to_vec())))] {
        StdDatagram::unbound().expect("a socket").send_to_addr(b"text", &abstract_name(&name)).expect("sent");
        assert_eq!(datagrams::receive(&socket, uid).expect("received"), expected);
    }
}

#[tokio::test]
async fn what_the_pod_cannot_reach_fails_and_what_is_not_the_pod_s_is_local() {
    let mut session = Session::start().await;
    let unix = session.unix.clone();
    let missing = async {
        let call = session.agent.next().await.expect("a request");
        let errno = Errno::NOENT.raw_os_error();
        let failure = RemoteError { errno, context: "connect".to_owned() };
        let mut stream = call.reply::<ConnectUnix>(&Err(failure)).await.expect("replies");
        stream.shutdown().await.expect("ends");
    };
    let (reply, ()) = tokio::join!(unix.answer(b"/missing", UnixKind::Stream, session.uid), missing);
    assert_eq!(reply, Some(Err(Errno::NOENT.raw_os_error())));
    for address in [b"".as_slice(), b"\0", b"relative"] {
        assert_eq!(unix.answer(address, UnixKind::Stream, session.uid).await, None);
    }
}
