//! Datagrams, Unix sockets and source ports through the real program, and who it says the pod is.

mod support;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use link::{Link, Stream, read_message, write_message};
use protocol::agent::{
    ConnectTcp, ConnectUnix, Describe, OpenUdp, POD_FILES, QueryDns, ResolveError, UdpMessage, UdpOpened, UnixAddress,
    UnixDatagram, UnixKind,
};
use protocol::handshake::Channel;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use support::Agent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixListener};

const LONG: Duration = Duration::from_secs(60);

/// Largest datagram of IPv4.
const LARGEST: usize = 65_507;

async fn agent() -> (Agent, Link) {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Data).await;
    (agent, link)
}

async fn udp_server() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

async fn open(link: &Link, peer: SocketAddr, connect: bool, source_port: u16) -> (UdpOpened, Stream) {
    let (opened, stream) = link.open(OpenUdp { peer, connect, source_port }).await.expect("answers");
    (opened.expect("opens"), stream)
}

async fn send(stream: &mut Stream, peer: SocketAddr, payload: &[u8]) {
    write_message(stream, &UdpMessage::Datagram { peer, payload: payload.to_vec() }).await.expect("writes");
}

async fn receive(stream: &mut Stream) -> (SocketAddr, Vec<u8>) {
    match read_message(stream).await.expect("reads") {
        UdpMessage::Datagram { peer, payload } => (peer, payload),
        UdpMessage::Failed { errno } => panic!("failed with {errno}"),
    }
}

#[tokio::test]
async fn datagrams_of_every_size_travel_both_ways() {
    let (_agent, link) = agent().await;
    let (server, address) = udp_server().await;
    for connect in [false, true] {
        let (opened, mut stream) = open(&link, address, connect, 0).await;
        assert_eq!(opened.local.ip().is_unspecified(), !connect);
        assert_ne!(opened.local.port(), 0);
        for size in [0, 1, 1472, 1473, LARGEST] {
            let sent: Vec<u8> = (0..size).map(|number| number as u8).collect();
            send(&mut stream, address, &sent).await;
            let mut buffer = vec![0; LARGEST + 1];
            let (length, from) = server.recv_from(&mut buffer).await.expect("receives");
            assert_eq!(from.port(), opened.local.port());
            assert!(buffer[..length] == sent[..], "{size}");
            server.send_to(&sent, from).await.expect("sends");
            assert!(receive(&mut stream).await == (address, sent), "{size}");
        }
    }
}

#[tokio::test]
async fn anybody_may_answer_an_unconnected_socket_and_one_peer_a_connected_one() {
    let (_agent, link) = agent().await;
    let (server, address) = udp_server().await;
    let (other, other_address) = udp_server().await;
    let (opened, mut free) = open(&link, address, false, 0).await;
    let (connected, mut bound) = open(&link, address, true, 0).await;
    let at = |opened: UdpOpened| SocketAddr::from(([127, 0, 0, 1], opened.local.port()));
    for opened in [opened, connected] {
        other.send_to(b"other", at(opened)).await.expect("sends");
        server.send_to(b"server", at(opened)).await.expect("sends");
    }
    assert_eq!(receive(&mut free).await, (other_address, b"other".to_vec()));
    assert_eq!(receive(&mut free).await, (address, b"server".to_vec()));
    assert_eq!(receive(&mut bound).await, (address, b"server".to_vec()));
    // A connected socket may send elsewhere, and an unconnected one to many.
    for (stream, opened) in [(&mut free, opened), (&mut bound, connected)] {
        send(stream, other_address, b"elsewhere").await;
        let mut buffer = [0; 16];
        let (length, from) = other.recv_from(&mut buffer).await.expect("receives");
        assert_eq!((&buffer[..length], from), (&b"elsewhere"[..], at(opened)));
    }
}

#[tokio::test]
async fn refusals_are_told_and_the_socket_lives_on() {
    let (_agent, link) = agent().await;
    let (server, address) = udp_server().await;
    let (_, mut stream) = open(&link, address, true, 0).await;
    drop(server);
    for _ in 0..3 {
        send(&mut stream, address, b"anybody?").await;
        let refused = UdpMessage::Failed { errno: Errno::CONNREFUSED.raw_os_error() };
        assert_eq!(read_message::<UdpMessage>(&mut stream).await.expect("reads"), refused);
    }
    let server = UdpSocket::bind(address).await.expect("binds");
    send(&mut stream, address, b"there").await;
    let mut buffer = [0; 8];
    let (length, from) = server.recv_from(&mut buffer).await.expect("receives");
    assert_eq!(&buffer[..length], b"there");
    server.send_to(b"yes", from).await.expect("sends");
    assert_eq!(receive(&mut stream).await.1, b"yes");

    // Where there is no way, the reply says so; nothing is told of datagrams of an unconnected socket.
    let nowhere = SocketAddr::from(([255, 255, 255, 255], 0));
    let (_, mut stream) = open(&link, address, false, 0).await;
    send(&mut stream, nowhere, b"port 0").await;
    send(&mut stream, address, &[0; LARGEST + 1]).await;
    send(&mut stream, address, b"next").await;
    let (length, _) = server.recv_from(&mut buffer).await.expect("receives");
    assert_eq!(&buffer[..length], b"next");
}

#[tokio::test]
async fn a_socket_ends_with_the_hosts_direction_and_sends_what_came_before() {
    let (_agent, link) = agent().await;
    let (server, address) = udp_server().await;
    let (opened, mut stream) = open(&link, address, false, 0).await;
    send(&mut stream, address, b"last").await;
    stream.shutdown().await.expect("shuts down");
    let mut buffer = [0; 8];
    server.recv_from(&mut buffer).await.expect("receives");
    assert_eq!(stream.read(&mut buffer).await.expect("a clean end"), 0);
    UdpSocket::bind(("0.0.0.0", opened.local.port())).await.expect("the port is free again");
}

#[tokio::test]
async fn a_flood_that_nobody_reads_keeps_little_and_ends() {
    let (agent, link) = agent().await;
    let (server, address) = udp_server().await;
    let (opened, mut flooded) = open(&link, address, false, 0).await;
    let to = SocketAddr::from(([127, 0, 0, 1], opened.local.port()));
    let before = agent.resident();
    let mut payload = vec![0; 32 * 1024];
    for number in 0..4000_u32 {
        payload[..4].copy_from_slice(&number.to_le_bytes());
        server.send_to(&payload, to).await.expect("sends");
        if number % 64 == 0 {
            // Others are served meanwhile, and the agent has had its turn.
            let (_, mut quick) = open(&link, address, false, 0).await;
            send(&mut quick, address, b"quick").await;
            server.recv_from(&mut [0; 8]).await.expect("receives");
        }
    }
    let grown = agent.resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown}");
    // What was taken before is whole and in order, and what comes after arrives.
    let mut last = None;
    let mut sent_again = false;
    loop {
        let (from, got) = receive(&mut flooded).await;
        assert_eq!((from, got.len()), (address, payload.len()));
        let number = u32::from_le_bytes(got[..4].try_into().expect("4 bytes"));
        assert!(last < Some(number));
        if number == u32::MAX {
            break;
        }
        last = Some(number);
        if !sent_again {
            sent_again = true;
            payload[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        }
        server.send_to(&payload, to).await.expect("sends");
        payload[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
}

#[tokio::test]
async fn source_ports_are_kept_where_they_can_be_had() {
    let (_agent, link) = agent().await;
    let (server, address) = udp_server().await;
    let free = {
        let (_probe, address) = udp_server().await;
        address.port()
    };
    let (opened, _first) = open(&link, address, false, free).await;
    assert_eq!(opened.local.port(), free);
    let (opened, _second) = open(&link, address, true, free).await;
    assert_ne!(opened.local.port(), free, "in use");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let destination = listener.local_addr().expect("bound");
    let free = {
        let probe = TcpListener::bind("0.0.0.0:0").await.expect("binds");
        probe.local_addr().expect("bound").port()
    };
    let connect = |source_port| link.open(ConnectTcp { destination, source_port });
    let (connected, mut stream) = connect(free).await.expect("answers");
    assert_eq!(connected.expect("connects").local.port(), free);
    let (accepted, peer) = listener.accept().await.expect("accepts");
    assert_eq!(peer.port(), free);
    let (connected, _other) = connect(free).await.expect("answers");
    assert_ne!(connected.expect("connects").local.port(), free, "the same connection exists");
    let (connected, _third) = connect(destination.port()).await.expect("answers");
    assert_ne!(connected.expect("connects").local.port(), destination.port(), "somebody listens there");
    // A port whose last connection waits for its end serves for another destination.
    stream.shutdown().await.expect("shuts down");
    drop(accepted);
    assert_eq!(stream.read(&mut [0; 8]).await.expect("a clean end"), 0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let destination = listener.local_addr().expect("bound");
    let (connected, _fourth) = link.open(ConnectTcp { destination, source_port: free }).await.expect("answers");
    assert_eq!(connected.expect("connects").local.port(), free);
    drop(server);
}

async fn connect_unix(link: &Link, address: UnixAddress, kind: UnixKind) -> Result<Stream, Errno> {
    let (connected, stream) = link.open(ConnectUnix { address, kind }).await.expect("answers");
    connected.map(|()| stream).map_err(|error| Errno::from_raw_os_error(error.errno))
}

fn path(path: &Path) -> UnixAddress {
    UnixAddress::Path(path.as_os_str().as_bytes().to_vec())
}

#[tokio::test]
async fn unix_streams_half_close_wherever_they_are_named() {
    let (_agent, link) = agent().await;
    let folder = tempfile::tempdir().expect("creates");
    // Longer than a socket's address may be.
    let long = folder.path().join("x".repeat(200));
    std::fs::create_dir(&long).expect("creates");
    let socket = folder.path().join("socket");
    let at_path = UnixListener::bind(&socket).expect("binds");
    std::os::unix::fs::symlink(&socket, long.join("link")).expect("links");
    let name = format!("agent-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("valid");
    let by_name = std::os::unix::net::UnixListener::bind_addr(&address).expect("binds");
    by_name.set_nonblocking(true).expect("option");
    let by_name = UnixListener::from_std(by_name).expect("registers");
    for (listener, address) in [
        (&at_path, path(&socket)),
        (&at_path, path(&long.join("link"))),
        (&by_name, UnixAddress::Abstract(name.clone().into_bytes())),
    ] {
        let mut stream = connect_unix(&link, address, UnixKind::Stream).await.expect("connects");
        let (mut peer, _) = listener.accept().await.expect("accepts");
        stream.write_all(&[1; 300_000]).await.expect("writes");
        stream.shutdown().await.expect("shuts down");
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.expect("a clean end");
        assert_eq!(got.len(), 300_000);
        peer.write_all(b"answer").await.expect("the other direction is open");
        drop(peer);
        got.clear();
        stream.read_to_end(&mut got).await.expect("a clean end");
        assert_eq!(got, b"answer");
    }
}

#[tokio::test]
async fn failures_of_unix_sockets_are_the_kernels_own() {
    let (_agent, link) = agent().await;
    let folder = tempfile::tempdir().expect("creates");
    let socket = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("binds");
    std::fs::write(folder.path().join("file"), "").expect("writes");
    let at = |name: &str| path(&folder.path().join(name));
    for (address, kind, expected) in [
        (at("none"), UnixKind::Stream, Errno::NOENT),
        (at("file"), UnixKind::Stream, Errno::CONNREFUSED),
        (at("socket"), UnixKind::Datagram, Errno::PROTOTYPE),
        (at("socket/below"), UnixKind::Stream, Errno::NOTDIR),
        (UnixAddress::Abstract(b"agent-test-none".to_vec()), UnixKind::SeqPacket, Errno::CONNREFUSED),
        (UnixAddress::Abstract(vec![b'x'; 108]), UnixKind::Stream, Errno::NAMETOOLONG),
        (UnixAddress::Path(b"a\0b".to_vec()), UnixKind::Stream, Errno::INVAL),
    ] {
        let what = format!("{address:?} {kind:?}");
        assert_eq!(connect_unix(&link, address, kind).await.map(drop), Err(expected), "{what}");
    }
    drop(listener);
    assert_eq!(connect_unix(&link, at("socket"), UnixKind::Stream).await.map(drop), Err(Errno::CONNREFUSED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_waited_for_and_given_up_with_the_request() {
    let (_agent, link) = agent().await;
    let name = format!("agent-full-{}", std::process::id());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("valid");
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("opens");
    rustix::net::bind(&listener, &address).expect("binds");
    rustix::net::listen(&listener, 0).expect("listens");
    let ask = || connect_unix(&link, UnixAddress::Abstract(name.clone().into_bytes()), UnixKind::Stream);
    let first = ask().await.expect("one fits");
    tokio::select! {
        _ = ask() => panic!("two fit"),
        // Anything that takes a while; the request is dropped then.
        connected = connect_unix(&link, UnixAddress::Abstract(b"agent-none".to_vec()), UnixKind::Stream) => {
            assert_eq!(connected.map(drop), Err(Errno::CONNREFUSED));
        }
    }
    // Until the last one has connected: what was given up may have come in between.
    let listener = std::sync::Arc::new(listener);
    let accepting = std::thread::spawn({
        let listener = std::sync::Arc::clone(&listener);
        move || while rustix::net::accept(&listener).is_ok() {}
    });
    ask().await.expect("connects");
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).expect("shuts down");
    accepting.join().expect("no panic");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_unix_sockets_keep_their_bounds() {
    let (_agent, link) = agent().await;
    let folder = tempfile::tempdir().expect("creates");
    let at = folder.path().join("datagrams");
    let peer = std::os::unix::net::UnixDatagram::bind(&at).expect("binds");
    let mut stream = connect_unix(&link, path(&at), UnixKind::Datagram).await.expect("connects");
    for size in [0, 1, 100_000] {
        write_message(&mut stream, &UnixDatagram(vec![5; size])).await.expect("writes");
        let mut buffer = vec![0; 100_001];
        let (length, from) = peer.recv_from(&mut buffer).expect("receives");
        assert_eq!(buffer[..length], vec![5; size]);
        peer.send_to_addr(&vec![6; size], &from).expect("sends");
        let UnixDatagram(answer) = read_message(&mut stream).await.expect("reads");
        assert_eq!(answer, vec![6; size]);
    }
    drop(peer);
    write_message(&mut stream, &UnixDatagram(b"gone".to_vec())).await.expect("writes");
    let error = stream.read(&mut [0; 8]).await.expect_err("the peer is gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_in_sequence_have_ends_and_empty_ones_are_none() {
    let (_agent, link) = agent().await;
    let name = format!("agent-packets-{}", std::process::id());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("valid");
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("opens");
    rustix::net::bind(&listener, &address).expect("binds");
    rustix::net::listen(&listener, 1).expect("listens");
    let address = UnixAddress::Abstract(name.into_bytes());
    let mut stream = connect_unix(&link, address, UnixKind::SeqPacket).await.expect("connects");
    let peer = rustix::net::accept(&listener).expect("accepts");
    for text in ["one", "", "two"] {
        rustix::net::send(&peer, text.as_bytes(), SendFlags::empty()).expect("sends");
        let UnixDatagram(got) = read_message(&mut stream).await.expect("reads");
        assert_eq!(got, text.as_bytes());
    }
    write_message(&mut stream, &UnixDatagram(b"question".to_vec())).await.expect("writes");
    stream.shutdown().await.expect("shuts down");
    let mut buffer = [0; 16];
    let mut next = || rustix::net::recv(&peer, &mut buffer[..], RecvFlags::empty()).expect("receives").1;
    assert_eq!((next(), next()), (8, 0));
    rustix::net::send(&peer, b"answer", SendFlags::empty()).expect("sends");
    rustix::net::shutdown(&peer, rustix::net::Shutdown::Write).expect("shuts down");
    let UnixDatagram(got) = read_message(&mut stream).await.expect("reads");
    assert_eq!(got, b"answer");
    assert_eq!(stream.read(&mut buffer).await.expect("a clean end"), 0);
}

/// The addresses that the kernel lists in its files, as the agent should find them.
fn listed_addresses() -> BTreeSet<IpAddr> {
    let trie = std::fs::read_to_string("/proc/net/fib_trie").expect("reads");
    let lines: Vec<_> = trie.lines().collect();
    let v4 = lines.windows(2).filter(|pair| pair[1].contains("/32 host LOCAL"));
    let v4 = v4.map(|pair| pair[0].trim().trim_start_matches("|-- ").parse::<Ipv4Addr>().expect("an address"));
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let v6 = v6.lines().map(|line| IpAddr::from(u128::from_str_radix(&line[..32], 16).expect("hex").to_be_bytes()));
    let of_the_network = |address: &IpAddr| !address.is_loopback() && !address.to_string().starts_with("fe80:");
    v4.map(IpAddr::from).chain(v6).filter(of_the_network).collect()
}

#[tokio::test]
async fn it_says_who_the_pod_is() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Control).await;
    let description = link.call(Describe {}).await.expect("answers").expect("describes");
    assert_eq!(description.host_name, rustix::system::uname().nodename().to_string_lossy());
    assert_eq!(description.addresses.into_iter().collect::<BTreeSet<_>>(), listed_addresses());
    let files: Vec<_> = POD_FILES.iter().map(|path| std::fs::read(path).ok()).collect();
    assert_eq!(description.files, files);
    let answer = link.call(QueryDns::Message(b"short".to_vec())).await.expect("answers");
    assert_eq!(answer, Err(ResolveError::Fail));
}

#[tokio::test]
async fn beside_a_target_it_describes_and_reaches_that_one() {
    let agent = Agent::start_beside_target().await;
    let (control, data) = (agent.connect(Channel::Control).await, agent.connect(Channel::Data).await);
    let description = control.call(Describe {}).await.expect("answers").expect("describes");
    assert_eq!((description.host_name.as_str(), description.addresses), ("pod-a", vec![]));
    let name = format!("agent-outside-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("valid");
    let _outside = std::os::unix::net::UnixListener::bind_addr(&address).expect("binds");
    let reached = connect_unix(&data, UnixAddress::Abstract(name.into_bytes()), UnixKind::Stream).await;
    assert_eq!(reached.map(drop), Err(Errno::CONNREFUSED), "the name is of another network");
    let peer = SocketAddr::from(([192, 0, 2, 1], 53));
    let (opened, _) = data.open(OpenUdp { peer, connect: true, source_port: 0 }).await.expect("answers");
    assert_eq!(opened.map(drop).map_err(|error| error.errno), Err(Errno::NETUNREACH.raw_os_error()));
}
