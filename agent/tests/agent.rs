//! The real program, reached over its real port.

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use link::{ConnectError, Ended, LinkConfig};
use protocol::agent::{
    ConnectTcp, Event, Families, GetEnvironment, Leaving, Resolve, ResolveError, ReverseResolve, Subscribe,
};
use protocol::handshake::{Channel, Refusal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::Agent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(60);
const NOW: Duration = Duration::ZERO;

/// `errno` of a refused connection, and of a network without a route.
const ECONNREFUSED: i32 = 111;
const ENETUNREACH: i32 = 101;

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn only_the_key_lets_in() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let socket = TcpStream::connect(agent.address).await.expect("connects");
    let forged = link::connect(socket, Channel::Control, |_| vec![7; 64], LinkConfig::HOST).await;
    assert!(matches!(forged, Err(ConnectError::Refused(Refusal::Key))));
    let mut noise = TcpStream::connect(agent.address).await.expect("connects");
    noise.write_all(&[255; 4096]).await.expect("writes");
    agent.connect(Channel::Control).await.call(GetEnvironment {}).await.expect("answers").expect("reads");
}

#[tokio::test]
async fn silent_strangers_do_not_keep_the_client_out() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Control).await;
    let mut strangers = Vec::new();
    for _ in 0..16 {
        let mut stranger = TcpStream::connect(agent.address).await.expect("connects");
        stranger.read_u8().await.expect("is challenged");
        strangers.push(stranger);
    }
    let mut one_too_many = TcpStream::connect(agent.address).await.expect("connects");
    assert!(one_too_many.read_u8().await.is_err(), "closed at once");
    link.call(GetEnvironment {}).await.expect("the client is served").expect("reads");
    let started = Instant::now();
    let mut all = Vec::new();
    let _ = strangers[0].read_to_end(&mut all).await;
    assert!(started.elapsed() < Duration::from_secs(30), "five seconds are enough for a handshake");
    agent.connect(Channel::Control).await;
}

#[tokio::test]
async fn names_and_environment_come_from_where_the_agent_is() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Control).await;
    let resolve = |name: &str| Resolve { name: name.to_owned(), families: Families::V4 };
    let found = link.call(resolve("localhost")).await.expect("answers");
    let addresses = found.expect("found").addresses;
    // Once for each line of the hosts file.
    assert!(
        !addresses.is_empty() && addresses.iter().all(|address| *address == IpAddr::from([127, 0, 0, 1])),
        "{addresses:?}"
    );
    let found = link.call(resolve("no..name")).await.expect("answers");
    assert_eq!(found.map(|found| found.addresses), Err(ResolveError::NoName));
    let found = link.call(ReverseResolve { address: [127, 0, 0, 1].into() }).await.expect("answers");
    assert!(found.is_ok() || found == Err(ResolveError::NoName) || found == Err(ResolveError::Again));
    let environment = link.call(GetEnvironment {}).await.expect("answers").expect("reads");
    assert!(environment.0.contains(&(b"AGENT_TEST".to_vec(), b"value".to_vec())));
}

#[tokio::test]
async fn connections_carry_bytes_and_both_ends() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Data).await;
    let destination = echo_server().await;
    let (connected, stream) = link.open(ConnectTcp { destination, source_port: 0 }).await.expect("answers");
    let connected = connected.expect("connects");
    assert_eq!(connected.peer, destination);
    assert!(connected.local.ip().is_loopback());
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        for chunk in 0..64_u8 {
            writer.write_all(&vec![chunk; 64 * 1024]).await.expect("writes");
        }
        writer.shutdown().await.expect("ends");
    };
    let mut got = Vec::new();
    let receive = async { reader.read_to_end(&mut got).await.expect("a clean end") };
    tokio::join!(send, receive);
    assert_eq!(got.len(), 4 << 20);
    assert!(got.chunks(64 * 1024).enumerate().all(|(number, chunk)| chunk.iter().all(|byte| *byte == number as u8)));
}

#[tokio::test]
async fn ten_thousand_connections_stand_at_once() {
    const CONNECTIONS: u32 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("raises");
    let enough = limit.maximum.is_none_or(|maximum| maximum > u64::from(CONNECTIONS) + 100);
    assert!(enough, "this test needs {CONNECTIONS} open files (ulimit -Hn)");
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Data).await;
    let destination = echo_server().await;
    let before = agent.resident();
    let mut streams = Vec::new();
    for number in 0..CONNECTIONS {
        let (connected, mut stream) = link.open(ConnectTcp { destination, source_port: 0 }).await.expect("answers");
        connected.expect("connects");
        stream.write_all(&number.to_le_bytes()).await.expect("writes");
        streams.push(stream);
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.read_u32_le().await.expect("reads"), number as u32);
    }
    let each = agent.resident().saturating_sub(before) / CONNECTIONS as usize;
    assert!(each < 8 * 1024, "{each} bytes for an idle connection");
    for mut stream in streams {
        stream.shutdown().await.expect("shuts down");
        assert_eq!(stream.read(&mut [0; 8]).await.expect("a clean end"), 0);
    }
}

#[tokio::test]
async fn failures_and_resets_are_the_kernels_own() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Data).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let destination = listener.local_addr().expect("bound");

    let (opened, accepted) = tokio::join!(link.open(ConnectTcp { destination, source_port: 0 }), listener.accept());
    let (_, mut stream) = opened.expect("answers");
    accepted.expect("accepts").0.set_zero_linger().expect("option");
    let error = stream.read(&mut [0; 8]).await.expect_err("reset by the far end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (opened, accepted) = tokio::join!(link.open(ConnectTcp { destination, source_port: 0 }), listener.accept());
    drop(opened.expect("answers").1);
    let error = accepted.expect("accepts").0.read(&mut [0; 8]).await.expect_err("reset by this end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    // A far end that has closed altogether takes no more bytes.
    let (opened, accepted) = tokio::join!(link.open(ConnectTcp { destination, source_port: 0 }), listener.accept());
    let (_, mut stream) = opened.expect("answers");
    drop(accepted.expect("accepts"));
    assert_eq!(stream.read(&mut [0; 8]).await.expect("the far end's own end"), 0);
    stream.write_all(b"too late").await.expect("nobody knows yet");
    stream.aborted().await;

    drop(listener);
    let (refused, _) = link.open(ConnectTcp { destination, source_port: 0 }).await.expect("answers");
    assert_eq!(refused.map_err(|error| error.errno), Err(ECONNREFUSED));
}

#[tokio::test]
async fn a_new_connection_replaces_the_old_one_of_its_channel() {
    let agent = Agent::start(LONG, LONG, LONG).await;
    let control = agent.connect(Channel::Control).await;
    let old = agent.connect(Channel::Data).await;
    let new = agent.connect(Channel::Data).await;
    assert!(matches!(old.ended().await, Ended::Cut(_)));
    control.call(GetEnvironment {}).await.expect("answers").expect("reads");
    let destination = echo_server().await;
    assert!(new.open(ConnectTcp { destination, source_port: 0 }).await.expect("answers").0.is_ok());
}

#[tokio::test]
async fn it_leaves_when_nobody_comes_or_everybody_has_gone() {
    let mut agent = Agent::start(NOW, LONG, LONG).await;
    assert!(agent.wait().await.contains("no client came"));

    let mut agent = Agent::start(LONG, LONG, LONG).await;
    let (control, data) = (agent.connect(Channel::Control).await, agent.connect(Channel::Data).await);
    drop(data);
    control.goodbye().await;
    assert!(agent.wait().await.contains("the client ended the session"));

    let mut agent = Agent::start(LONG, NOW, LONG).await;
    drop(agent.connect(Channel::Control).await);
    assert!(agent.wait().await.contains("the client was lost and did not return"));
}

#[tokio::test]
async fn asked_to_end_it_tells_its_client_and_goes_quickly() {
    let mut agent = Agent::start(LONG, LONG, LONG).await;
    let link = agent.connect(Channel::Control).await;
    let data = agent.connect(Channel::Data).await;
    let ((), mut events) = link.open(Subscribe {}).await.expect("answers");
    let started = Instant::now();
    agent.signal("TERM");
    let event: Event = link::read_message(&mut events).await.expect("reads");
    assert_eq!(event, Event::Leaving(Leaving::Terminated));
    assert_eq!((link.ended().await, data.ended().await), (Ended::Goodbye, Ended::Goodbye));
    assert!(agent.wait().await.contains("asked to end"));
    assert!(started.elapsed() < Duration::from_secs(10), "it waits for nobody");
}

#[tokio::test]
async fn few_descriptors_are_a_warning() {
    let agent = Agent::start_with_descriptors(200).await;
    let link = agent.connect(Channel::Control).await;
    let ((), mut events) = link.open(Subscribe {}).await.expect("answers");
    let event: Event = link::read_message(&mut events).await.expect("reads");
    assert!(matches!(event, Event::Warning(text) if text.contains("only 200 connections")));
}

#[tokio::test]
async fn a_target_gives_its_environment_and_network_and_its_end() {
    let mut agent = Agent::start_beside_target().await;
    let (control, data) = (agent.connect(Channel::Control).await, agent.connect(Channel::Data).await);
    let environment = control.call(GetEnvironment {}).await.expect("answers").expect("reads");
    assert_eq!(environment.0, [(b"TARGET".to_vec(), b"yes".to_vec())]);
    let destination = echo_server().await;
    // The target's network has not even a loopback.
    let (refused, _) = data.open(ConnectTcp { destination, source_port: 0 }).await.expect("answers");
    assert_eq!(refused.map_err(|error| error.errno), Err(ENETUNREACH));
    let ((), mut events) = control.open(Subscribe {}).await.expect("answers");
    agent.end_target();
    let event: Event = link::read_message(&mut events).await.expect("reads");
    assert_eq!(event, Event::Leaving(Leaving::TargetEnded));
    assert!(agent.wait().await.contains("the target ended"));
}
