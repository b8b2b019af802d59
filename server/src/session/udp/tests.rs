//! Programs' sockets on one side, a stand-in for the agent on the other.

use super::association::MAX_PEERS;
use super::*;
use crate::session::testing::link_to_agent;
use link::{Incoming, Stream};
use protocol::agent::{AnyRequest, OpenUdp, RemoteError, UdpMessage, UdpOpened};
use rustix::net::sockopt::socket_cookie;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;

struct Session {
    udp: Arc<Udp>,
    agent: Incoming,
}

impl Session {
    async fn start(third: u8) -> Self {
        let (link, agent) = link_to_agent().await;
        let v4 = Ipv4Addr::new(127, 79, third, 1);
        Self {
            udp: Udp::new(v4, vec![pod_side().ip()], link, Arc::default(), Closings::start(), Arc::default()),
            agent,
        }
    }

    /// The agent gets a request for a socket and makes it.
    async fn opened(&mut self) -> (OpenUdp, Stream) {
        self.opened_at(pod_side()).await
    }

    async fn opened_at(&mut self, local: SocketAddr) -> (OpenUdp, Stream) {
        let call = self.agent.next().await.expect("a request");
        let AnyRequest::OpenUdp(request) = call.request.clone() else { panic!("another request") };
        let stream = call.reply::<OpenUdp>(&Ok(UdpOpened { local })).await.expect("replies");
        (request, stream)
    }

    /// Asks, with the agent making a socket meanwhile.
    async fn ask_and_open(&mut self, ask: Ask, passed: Option<&UdpSocket>) -> (SocketAddr, OpenUdp, Stream) {
        let (udp, descriptor) = (self.udp.clone(), passed.map(copy));
        let (reply, (request, stream)) = tokio::join!(udp.answer(&ask, descriptor), self.opened());
        (relay(reply), request, stream)
    }

    /// Asks where no further socket of the pod is needed.
    async fn ask(&self, ask: Ask) -> SocketAddr {
        relay(self.udp.answer(&ask, None).await)
    }
}

fn relay(reply: UdpReply) -> SocketAddr {
    let UdpReply::Relay(relay) = reply else { panic!("{reply:?}") };
    relay
}

fn copy(socket: &UdpSocket) -> OwnedFd {
    rustix::io::dup(socket).expect("a copy")
}

fn pod_side() -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], 4000))
}

fn far(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 53))
}

async fn program(address: &str) -> UdpSocket {
    UdpSocket::bind(address).await.expect("a socket")
}

fn ask(socket: &UdpSocket, peer: SocketAddr, connect: bool) -> Ask {
    let local = socket.local_addr().expect("bound");
    let over = if local.is_ipv4() { Over::V4 } else { Over::V6 };
    Ask { cookie: socket_cookie(socket).expect("a cookie"), peer, local, source_port: 0, over, connect }
}

async fn tell(stream: &mut Stream, message: UdpMessage) {
    link::write_message(stream, &message).await.expect("written");
}

async fn datagram(stream: &mut Stream, peer: SocketAddr, text: &[u8]) {
    tell(stream, UdpMessage::Datagram { peer, payload: text.to_vec() }).await;
}

async fn heard(stream: &mut Stream) -> (SocketAddr, Vec<u8>) {
    match link::read_message(stream).await.expect("a message") {
        UdpMessage::Datagram { peer, payload } => (peer, payload),
        other => panic!("{other:?}"),
    }
}

async fn received(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 70_000];
    let (length, from) = socket.recv_from(&mut buffer).await.expect("received");
    buffer.truncate(length);
    (buffer, from)
}

#[tokio::test]
async fn one_socket_talks_to_several_peers_and_hears_from_others() {
    let mut session = Session::start(1).await;
    for address in ["0.0.0.0:0", "[::]:0"] {
        let socket = program(address).await;
        let (first, request, mut pod) = session.ask_and_open(ask(&socket, far(1), false), None).await;
        assert_eq!(request, OpenUdp { peer: far(1), connect: false, source_port: 0 });
        let second = session.ask(ask(&socket, far(2), false)).await;
        assert_ne!(first, second);
        assert_eq!(session.ask(ask(&socket, far(1), false)).await, first, "the same pair has the same address");
        assert_eq!(session.udp.peer(second), UdpPeerReply::Known(far(2)));
        socket.send_to(b"one", first).await.expect("sent");
        assert_eq!(heard(&mut pod).await, (far(1), b"one".to_vec()));
        let longest = vec![7; 65_507];
        socket.send_to(&longest, second).await.expect("sent");
        assert_eq!(heard(&mut pod).await, (far(2), longest.clone()));
        datagram(&mut pod, far(2), &longest).await;
        assert_eq!(received(&socket).await, (longest, second));
        datagram(&mut pod, far(1), b"").await;
        assert_eq!(received(&socket).await, (Vec::new(), first));
        datagram(&mut pod, far(3), b"from another port").await;
        let (text, third) = received(&socket).await;
        assert_eq!(text, b"from another port");
        assert_eq!(session.udp.peer(third), UdpPeerReply::Known(far(3)));
        socket.send_to(b"back", third).await.expect("sent");
        assert_eq!(heard(&mut pod).await, (far(3), b"back".to_vec()));
        let stranger = program(if first.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).await;
        stranger.send_to(b"let me in", first).await.expect("sent");
        socket.send_to(b"two", first).await.expect("sent");
        assert_eq!(heard(&mut pod).await, (far(1), b"two".to_vec()), "nothing of a stranger");
    }
    assert_eq!(session.udp.peer(SocketAddr::from(([127, 0, 0, 1], 53))), UdpPeerReply::Unknown);
}

#[tokio::test]
async fn the_user_s_own_sockets_reach_each_other_by_the_pod_s_address() {
    let mut session = Session::start(11).await;
    let (server, client) = (program("0.0.0.0:0").await, program("0.0.0.0:0").await);
    let port = server.local_addr().expect("bound").port();
    let at_pod = |port| SocketAddr::new(pod_side().ip(), port);
    let (to_server, _, mut pod) = session.ask_and_open(ask(&client, at_pod(port), false), None).await;
    client.send_to(b"question", to_server).await.expect("sent");
    let (text, from) = received(&server).await;
    assert_eq!((text, session.udp.peer(from)), (b"question".to_vec(), UdpPeerReply::Known(pod_side())));
    let (udp, bound) = (session.udp.clone(), Ask { source_port: port, ..ask(&server, pod_side(), false) });
    // The port is taken in the pod.
    let (reply, _kept) = tokio::join!(udp.answer(&bound, None), session.opened_at(at_pod(4001)));
    assert_eq!(relay(reply), from);
    server.send_to(b"answer", from).await.expect("sent");
    assert_eq!(received(&client).await, (b"answer".to_vec(), to_server));
    let to_pod = session.ask(ask(&client, at_pod(9), false)).await;
    client.send_to(b"to the pod", to_pod).await.expect("sent");
    assert_eq!(heard(&mut pod).await, (at_pod(9), b"to the pod".to_vec()), "none of the user's is there");
}

#[tokio::test]
async fn a_dual_stack_socket_reaches_ipv4_by_ipv4() {
    let mut session = Session::start(2).await;
    let socket = program("[::]:0").await;
    let over_v4 = Ask { over: Over::V4, ..ask(&socket, far(1), false) };
    let (relay, _, mut pod) = session.ask_and_open(over_v4, None).await;
    let SocketAddr::V4(relay) = relay else { panic!("{relay}") };
    socket.send_to(b"text", (relay.ip().to_ipv6_mapped(), relay.port())).await.expect("sent");
    assert_eq!(heard(&mut pod).await, (far(1), b"text".to_vec()));
    datagram(&mut pod, far(1), b"back").await;
    assert_eq!(received(&socket).await.0, b"back");
    let v6 = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 53));
    let (_, request, _pod) = session.ask_and_open(ask(&socket, v6, false), None).await;
    assert_eq!(request, OpenUdp { peer: v6, connect: false, source_port: pod_side().port() });
}

#[tokio::test]
async fn a_connected_socket_has_names_and_may_be_connected_elsewhere() {
    let mut session = Session::start(3).await;
    let socket = program("127.0.0.1:0").await;
    let first = Ask { source_port: 7, ..ask(&socket, far(1), true) };
    let (first_relay, request, mut old) = session.ask_and_open(first, None).await;
    assert_eq!(request, OpenUdp { peer: far(1), connect: true, source_port: 7 });
    let names = NamesReply::Known { local: pod_side(), peer: far(1) };
    assert_eq!(session.udp.names.get(first.cookie), names);
    assert_eq!(session.ask(first).await, first_relay, "nothing changes");
    socket.connect(first_relay).await.expect("connects");
    socket.send(b"last words").await.expect("sent");
    let (relay, _, mut new) = session.ask_and_open(ask(&socket, far(2), true), None).await;
    socket.connect(relay).await.expect("connects");
    assert_eq!(heard(&mut old).await, (far(1), b"last words".to_vec()));
    assert!(link::read_message::<UdpMessage>(&mut old).await.is_err(), "the first stream ends");
    socket.send(b"text").await.expect("sent");
    assert_eq!(heard(&mut new).await, (far(2), b"text".to_vec()));
    // The layer knows this address and does not ask again.
    socket.send_to(b"once more", first_relay).await.expect("sent");
    let (request, mut unconnected) = session.opened().await;
    assert_eq!(request, OpenUdp { peer: far(1), connect: false, source_port: pod_side().port() });
    assert_eq!(heard(&mut unconnected).await, (far(1), b"once more".to_vec()));
    assert_eq!(session.udp.names.get(first.cookie), NamesReply::Known { local: pod_side(), peer: far(2) });
}

#[tokio::test]
async fn what_the_pod_cannot_do_fails_with_its_error() {
    let mut session = Session::start(4).await;
    let socket = program("127.0.0.1:0").await;
    let udp = session.udp.clone();
    let unreachable = async {
        let call = session.agent.next().await.expect("a request");
        let errno = Errno::NETUNREACH.raw_os_error();
        let failure = RemoteError { errno, context: "connect".to_owned() };
        let mut stream = call.reply::<OpenUdp>(&Err(failure)).await.expect("replies");
        stream.shutdown().await.expect("ends");
    };
    let to_unreachable = ask(&socket, far(1), true);
    let (reply, ()) = tokio::join!(udp.answer(&to_unreachable, None), unreachable);
    assert_eq!(reply, UdpReply::Failed(Errno::NETUNREACH.raw_os_error()));
    session.agent.goodbye().await;
    let reply = udp.answer(&to_unreachable, None).await;
    assert_eq!(reply, UdpReply::Failed(Errno::NETUNREACH.raw_os_error()), "the session is lost");
}

#[tokio::test]
async fn a_refusal_reaches_the_program_by_its_own_descriptor() {
    let mut session = Session::start(5).await;
    let refused = Errno::CONNREFUSED.raw_os_error();
    let socket = program("127.0.0.1:0").await;
    let (relay, _, mut pod) = session.ask_and_open(ask(&socket, far(1), true), Some(&socket)).await;
    socket.connect(relay).await.expect("connects");
    socket.send(b"anybody?").await.expect("sent");
    assert_eq!(heard(&mut pod).await.1, b"anybody?");
    tell(&mut pod, UdpMessage::Failed { errno: refused }).await;
    let error = socket.recv(&mut [0; 8]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // The way is open: nothing of this is lost.
    socket.send(b"and now?").await.expect("sent");
    assert_eq!(heard(&mut pod).await.1, b"and now?");
    datagram(&mut pod, far(1), b"yes").await;
    assert_eq!(received(&socket).await.0, b"yes");
}

#[tokio::test]
async fn without_the_descriptor_a_refusal_is_found_at_the_send_after() {
    let mut session = Session::start(6).await;
    let socket = program("127.0.0.1:0").await;
    let (relay, _, mut pod) = session.ask_and_open(ask(&socket, far(1), true), None).await;
    socket.connect(relay).await.expect("connects");
    tell(&mut pod, UdpMessage::Failed { errno: Errno::CONNREFUSED.raw_os_error() }).await;
    let error = loop {
        match socket.send(b"anybody?").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    datagram(&mut pod, far(1), b"here I am").await;
    assert_eq!(received(&socket).await.0, b"here I am");
    loop {
        // Opened by what has come from there.
        socket.send(b"good").await.expect("sent");
        if heard(&mut pod).await.1 == b"good" {
            break;
        }
    }
}

#[tokio::test]
async fn everything_ends_with_the_program_s_socket_and_what_it_sent_leaves() {
    let mut session = Session::start(7).await;
    let socket = program("127.0.0.1:0").await;
    let (relay, _, mut pod) = session.ask_and_open(ask(&socket, far(1), false), None).await;
    let (connected, _, mut other) = session.ask_and_open(ask(&socket, far(2), true), Some(&socket)).await;
    let n_datagrams = 20;
    for _ in 0..n_datagrams {
        socket.send_to(b"parting", relay).await.expect("sent");
    }
    // The program's copy that we hold goes with the first answer.
    datagram(&mut other, far(2), b"answer").await;
    socket.connect(connected).await.expect("connects");
    while session.udp.descriptors.is_held(socket_cookie(&socket).expect("a cookie")) {
        tokio::task::yield_now().await;
    }
    drop(socket);
    for _ in 0..n_datagrams {
        assert_eq!(heard(&mut pod).await.1, b"parting");
    }
    for stream in [&mut pod, &mut other] {
        let error = link::read_message::<UdpMessage>(stream).await.expect_err("the end");
        assert!(matches!(error, link::MessageError::Io(error) if error.kind() == ErrorKind::UnexpectedEof));
    }
    while !(session.udp.associations().is_empty() && session.udp.peers().is_empty()) {
        tokio::task::yield_now().await;
    }
    // Nothing of ours is bound there.
    std::net::UdpSocket::bind(relay).expect("the address is free");
}

#[tokio::test]
async fn a_flood_is_dropped_and_holds_up_nobody() {
    let mut session = Session::start(8).await;
    let flooding = program("127.0.0.1:0").await;
    let (relay, _, _stalled) = session.ask_and_open(ask(&flooding, far(1), false), None).await;
    for _ in 0..200 {
        flooding.send_to(&[0; 60_000], relay).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let association = session.udp.associations().values().next().cloned().expect("an association");
    assert!(association.n_queued() <= 1 << 20);
    let other = program("127.0.0.1:0").await;
    let (relay, _, mut pod) = session.ask_and_open(ask(&other, far(1), false), None).await;
    other.send_to(b"text", relay).await.expect("sent");
    let text = tokio::time::timeout(Duration::from_secs(5), heard(&mut pod)).await.expect("not held up").1;
    assert_eq!(text, b"text");
}

#[tokio::test]
async fn the_least_used_peer_of_too_many_is_let_go() {
    let mut session = Session::start(9).await;
    let socket = program("127.0.0.1:0").await;
    let (_, _, mut pod) = session.ask_and_open(ask(&socket, far(1), false), None).await;
    let peer = |n: u32| SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 99));
    let mut relays = Vec::new();
    for n in 0..MAX_PEERS as u32 + 50 {
        relays.push(session.ask(ask(&socket, peer(n), false)).await);
    }
    assert_eq!(session.udp.peers().len(), MAX_PEERS);
    assert_eq!(session.udp.peer(relays[0]), UdpPeerReply::Unknown);
    let again = session.ask(ask(&socket, peer(0), false)).await;
    assert!(!relays.contains(&again), "the old address stands for nobody else");
    socket.send_to(b"text", again).await.expect("sent");
    assert_eq!(heard(&mut pod).await, (peer(0), b"text".to_vec()));
}
