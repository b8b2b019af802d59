//! Links over real byte streams: handshake, requests, ends, pressure, garbage.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use link::{AcceptError, Call, ConnectError, Ended, Incoming, Link, LinkConfig, LinkError, accept, connect};
use protocol::agent::{AnyRequest, ConnectTcp, Connected, Environment, GetEnvironment, Resolve, ReverseResolve};
use protocol::handshake::{Challenge, Channel, Hello, Refusal, Verdict};
use protocol::packet::{HEADER, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

const SIGNATURE: &[u8] = b"signed";

fn sign(_: &[u8]) -> Vec<u8> {
    SIGNATURE.to_vec()
}

fn verify(_: &[u8], signature: &[u8]) -> bool {
    signature == SIGNATURE
}

async fn over_pipe(channel: Channel) -> (Link, Incoming) {
    let (host, agent) = duplex(256 * 1024);
    let (link, accepted) =
        tokio::join!(connect(host, channel, sign, LinkConfig::HOST), accept(agent, verify, LinkConfig::AGENT));
    let (got, incoming) = accepted.expect("accepts");
    assert_eq!(got, channel);
    (link.expect("connects"), incoming)
}

async fn over_tcp(channel: Channel) -> (Link, Incoming) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let host = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
    let (agent, _) = listener.accept().await.expect("accepts");
    host.set_nodelay(true).expect("option");
    agent.set_nodelay(true).expect("option");
    let (link, accepted) =
        tokio::join!(connect(host, channel, sign, LinkConfig::HOST), accept(agent, verify, LinkConfig::AGENT));
    (link.expect("connects"), accepted.expect("accepts").1)
}

fn destination() -> ConnectTcp {
    ConnectTcp { destination: SocketAddr::from(([10, 0, 0, 1], 80)), source_port: 0 }
}

fn connected() -> Connected {
    Connected { local: SocketAddr::from(([10, 0, 0, 2], 40000)), peer: destination().destination }
}

/// Serves every connection request with an echo and everything else with nothing.
async fn echo(mut incoming: Incoming) -> Ended {
    while let Some(call) = incoming.next().await {
        tokio::spawn(echo_one(call));
    }
    incoming.ended().await
}

async fn echo_one(call: Call) {
    assert!(matches!(call.request, AnyRequest::ConnectTcp(_)));
    let stream = call.reply::<ConnectTcp>(&Ok(connected())).await.expect("replies");
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.expect("copies");
    writer.shutdown().await.expect("ends");
}

#[tokio::test]
async fn a_call_is_answered_and_its_stream_is_gone() {
    let (link, mut incoming) = over_pipe(Channel::Control).await;
    let environment = Environment(vec![(b"A".to_vec(), b"1".to_vec())]);
    for _ in 0..10_000 {
        let serve = async {
            let call = incoming.next().await.expect("a call");
            assert_eq!(call.request, AnyRequest::GetEnvironment(GetEnvironment {}));
            let mut stream = call.reply::<GetEnvironment>(&Ok(environment.clone())).await.expect("replies");
            stream.shutdown().await.expect("shuts down");
        };
        let (reply, ()) = tokio::join!(link.call(GetEnvironment {}), serve);
        assert_eq!(reply.expect("a reply"), Ok(environment.clone()));
    }
}

#[tokio::test]
async fn a_request_must_go_by_its_own_channel() {
    let (link, _incoming) = over_pipe(Channel::Control).await;
    assert!(matches!(link.open(destination()).await, Err(LinkError::WrongChannel)));
}

#[tokio::test]
async fn a_wrong_key_is_refused_on_both_sides() {
    let (host, agent) = duplex(1024);
    let (link, accepted) = tokio::join!(
        connect(host, Channel::Data, |_| b"forged".to_vec(), LinkConfig::HOST),
        accept(agent, verify, LinkConfig::AGENT)
    );
    assert!(matches!(link, Err(ConnectError::Refused(Refusal::Key))));
    assert!(matches!(accepted, Err(AcceptError::Refused(Refusal::Key))));
}

#[tokio::test]
async fn other_versions_are_refused_on_both_sides() {
    let (host, mut agent) = duplex(1024);
    let challenge = Challenge { version: "0.0.0".to_owned(), nonce: [0; 32] };
    link::write_message(&mut agent, &challenge).await.expect("writes");
    let link = connect(host, Channel::Data, sign, LinkConfig::HOST).await;
    assert!(matches!(link, Err(ConnectError::Version { agent }) if agent == "0.0.0"));

    let (mut host, agent) = duplex(1024);
    let hello = |version: &str, received| Hello {
        version: version.to_owned(),
        channel: Channel::Data,
        received,
        signature: SIGNATURE.to_vec(),
    };
    link::write_message(&mut host, &hello("0.0.0", 0)).await.expect("writes");
    let accepted = accept(agent, verify, LinkConfig::AGENT).await;
    assert!(matches!(accepted, Err(AcceptError::Refused(Refusal::Version(_)))));
    let _: Challenge = link::read_message(&mut host).await.expect("reads");
    let verdict: Verdict = link::read_message(&mut host).await.expect("reads");
    assert_eq!(verdict, Verdict::Refused(Refusal::Version(protocol::VERSION.to_owned())));

    let (mut host, agent) = duplex(1024);
    link::write_message(&mut host, &hello(protocol::VERSION, 1)).await.expect("writes");
    let accepted = accept(agent, verify, LinkConfig::AGENT).await;
    assert!(matches!(accepted, Err(AcceptError::Refused(Refusal::NotResumable))));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_streams_live_side_by_side() {
    const STREAMS: u32 = 10_000;
    let (link, incoming) = over_tcp(Channel::Data).await;
    tokio::spawn(echo(incoming));
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let (reply, mut stream) = link.open(destination()).await.expect("opens");
        assert_eq!(reply, Ok(connected()));
        stream.write_all(&number.to_le_bytes()).await.expect("writes");
        streams.push(stream);
    }
    // The last one has only its first window and carries as much as any.
    let last = streams.pop().expect("some");
    let (mut reader, mut writer) = tokio::io::split(last);
    let send = tokio::spawn(async move {
        writer.write_all(&vec![7; 4 << 20]).await.expect("writes");
        writer.shutdown().await.expect("shuts down");
    });
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.expect("a clean end");
    send.await.expect("no panic");
    assert_eq!(all.len(), 4 + (4 << 20));
    for (number, mut stream) in streams.into_iter().enumerate() {
        stream.shutdown().await.expect("shuts down");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("a clean end");
        assert_eq!(all, (number as u32).to_le_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_may_open_at_once() {
    let (link, incoming) = over_tcp(Channel::Data).await;
    tokio::spawn(echo(incoming));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let link = link.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                let (_, mut stream) = link.open(destination()).await.expect("opens");
                stream.write_all(&number.to_le_bytes()).await.expect("writes");
                stream.shutdown().await.expect("shuts down");
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.expect("a clean end");
                assert_eq!(all, number.to_le_bytes());
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
}

#[tokio::test]
async fn unanswered_requests_hold_up_no_other() {
    let (link, mut incoming) = over_pipe(Channel::Data).await;
    let mut waiting = Vec::new();
    let asked: Vec<_> = (0..1000)
        .map(|_| {
            let link = link.clone();
            tokio::spawn(async move { link.open(destination()).await.map(|(reply, _)| reply) })
        })
        .collect();
    for _ in 0..1000 {
        waiting.push(incoming.next().await.expect("a call"));
    }
    let last = waiting.pop().expect("some");
    let stream = last.reply::<ConnectTcp>(&Ok(connected())).await.expect("replies");
    let (first, _, rest) = futures_select(asked).await;
    assert_eq!(first.expect("a reply"), Ok(connected()));
    drop((stream, waiting));
    for task in rest {
        let reset = task.await.expect("no panic");
        assert!(matches!(reset, Err(LinkError::Message(_))));
    }
}

type Asked = tokio::task::JoinHandle<Result<<ConnectTcp as protocol::agent::Request>::Reply, LinkError>>;

/// The first task that is done, and the others.
async fn futures_select(
    mut tasks: Vec<Asked>,
) -> (Result<<ConnectTcp as protocol::agent::Request>::Reply, LinkError>, usize, Vec<Asked>) {
    let (index, result) = std::future::poll_fn(|context| {
        for (index, task) in tasks.iter_mut().enumerate() {
            if let std::task::Poll::Ready(result) = std::pin::Pin::new(task).poll(context) {
                return std::task::Poll::Ready((index, result));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    drop(tasks.remove(index));
    (result.expect("no panic"), index, tasks)
}

#[tokio::test]
async fn half_close_works_in_both_directions() {
    let (link, mut incoming) = over_pipe(Channel::Data).await;
    let (opened, call) = tokio::join!(link.open(destination()), async {
        let call = incoming.next().await.expect("a call");
        call.reply::<ConnectTcp>(&Ok(connected())).await.expect("replies")
    });
    let (mut host, mut agent) = (opened.expect("opens").1, call);
    agent.write_all(b"greeting").await.expect("writes");
    agent.shutdown().await.expect("shuts down");
    let mut all = Vec::new();
    host.read_to_end(&mut all).await.expect("a clean end");
    assert_eq!(all, b"greeting");
    host.write_all(b"answer").await.expect("the other direction is open");
    host.shutdown().await.expect("shuts down");
    all.clear();
    agent.read_to_end(&mut all).await.expect("a clean end");
    assert_eq!(all, b"answer");
}

#[tokio::test]
async fn a_dropped_stream_is_a_reset_at_the_other_end() {
    let (link, mut incoming) = over_pipe(Channel::Data).await;
    let asked = tokio::spawn({
        let link = link.clone();
        async move { link.open(destination()).await }
    });
    let mut call = incoming.next().await.expect("a call");
    asked.abort();
    call.stream.aborted().await;
    let failed = call.reply::<ConnectTcp>(&Ok(connected())).await;
    assert!(failed.is_err());

    let (opened, agent) = tokio::join!(link.open(destination()), async {
        incoming.next().await.expect("a call").reply::<ConnectTcp>(&Ok(connected())).await.expect("replies")
    });
    let (_, mut host) = opened.expect("opens");
    host.shutdown().await.expect("shuts down");
    drop(agent);
    let error = host.read(&mut [0; 8]).await.expect_err("no clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_stream_stalls_no_other() {
    let (link, incoming) = over_tcp(Channel::Data).await;
    tokio::spawn(echo(incoming));
    let (_, mut stalled) = link.open(destination()).await.expect("opens");
    let mut written = 0;
    // Nobody reads the echo, so at some point nothing more is taken.
    while let Ok(count) = tokio::time::timeout(Duration::from_millis(200), stalled.write(&[0; 64 * 1024])).await {
        written += count.expect("writes");
    }
    assert!(written < 64 << 20, "{written}");
    let (_, quick) = link.open(destination()).await.expect("opens");
    let (mut reader, mut writer) = tokio::io::split(quick);
    let sent = tokio::spawn(async move {
        for _ in 0..256 {
            writer.write_all(&[7; 64 * 1024]).await.expect("writes");
        }
        writer.shutdown().await.expect("shuts down");
    });
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await.expect("a clean end");
    sent.await.expect("no panic");
    assert_eq!(got.len(), 16 << 20);
}

#[tokio::test]
async fn goodbye_delivers_what_was_written_and_is_told_from_a_cut() {
    let (link, mut incoming) = over_tcp(Channel::Data).await;
    let (opened, agent) = tokio::join!(link.open(destination()), async {
        incoming.next().await.expect("a call").reply::<ConnectTcp>(&Ok(connected())).await.expect("replies")
    });
    let (mut host, mut agent) = (opened.expect("opens").1, agent);
    host.write_all(&[1; 50_000]).await.expect("writes");
    host.shutdown().await.expect("shuts down");
    link.goodbye().await;
    assert_eq!(link.ended().await, Ended::Closed);
    assert_eq!(incoming.ended().await, Ended::Goodbye);
    let mut all = Vec::new();
    agent.read_to_end(&mut all).await.expect("a clean end");
    assert_eq!(all.len(), 50_000);
    assert!(matches!(link.open(destination()).await, Err(LinkError::Ended(Ended::Closed))));
    assert!(incoming.next().await.is_none());
}

#[tokio::test]
async fn the_agents_goodbye_reaches_the_host() {
    let (link, incoming) = over_pipe(Channel::Control).await;
    incoming.goodbye().await;
    assert_eq!(link.ended().await, Ended::Goodbye);
}

#[tokio::test]
async fn a_lost_connection_is_a_cut_and_no_end_of_any_stream() {
    let (link, mut incoming) = over_pipe(Channel::Data).await;
    let (opened, agent) = tokio::join!(link.open(destination()), async {
        incoming.next().await.expect("a call").reply::<ConnectTcp>(&Ok(connected())).await.expect("replies")
    });
    let mut host = opened.expect("opens").1;
    drop(incoming);
    assert!(matches!(link.ended().await, Ended::Cut(_)));
    let error = host.read(&mut [0; 8]).await.expect_err("no clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    drop(agent);
}

#[tokio::test]
async fn dropping_every_link_is_a_cut_for_the_agent() {
    let (link, incoming) = over_pipe(Channel::Data).await;
    drop(link.clone());
    assert!(link.round_trip().is_none_or(|round_trip| round_trip > Duration::ZERO));
    drop(link);
    assert!(matches!(incoming.ended().await, Ended::Cut(_)));
}

#[test]
fn a_link_ends_with_the_runtime_that_drives_it() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let (driving, asking) = (build(), build());
    let (link, incoming) = driving.block_on(over_pipe(Channel::Control));
    drop(driving);
    assert!(matches!(asking.block_on(link.ended()), Ended::Cut(_)));
    assert!(matches!(asking.block_on(link.call(GetEnvironment {})), Err(LinkError::Ended(_))));
    drop(incoming);
}

/// Lets a client in and then says nothing more.
async fn mute_agent() -> (Link, DuplexStream) {
    let (host, mut agent) = duplex(1 << 20);
    let serve = async {
        let challenge = Challenge { version: protocol::VERSION.to_owned(), nonce: [0; 32] };
        link::write_message(&mut agent, &challenge).await.expect("writes");
        let _: Hello = link::read_message(&mut agent).await.expect("reads");
        link::write_message(&mut agent, &Verdict::Welcome { received: 0 }).await.expect("writes");
    };
    let (link, ()) = tokio::join!(connect(host, Channel::Control, sign, LinkConfig::HOST), serve);
    (link.expect("connects"), agent)
}

#[tokio::test(start_paused = true)]
async fn a_mute_peer_is_silent_after_its_time_and_pings_keep_a_quiet_one() {
    let (link, agent) = mute_agent().await;
    let start = tokio::time::Instant::now();
    assert_eq!(link.ended().await, Ended::Silent);
    assert_eq!(start.elapsed(), LinkConfig::HOST.silence);
    drop(agent);

    let (link, incoming) = over_pipe(Channel::Control).await;
    let quiet = tokio::time::timeout(Duration::from_secs(3600), link.ended()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(link.round_trip().is_some());
    drop(incoming);
}

#[tokio::test]
async fn received_bytes_are_acknowledged() {
    let (link, mut agent) = mute_agent().await;
    let asked = tokio::spawn(async move { link.call(GetEnvironment {}).await });
    agent.write_all(&Header::Data { offset: 0, length: 9 }.encode()).await.expect("writes");
    // Credit for a stream that is gone: harmless payload.
    agent.write_all(&[5, 9, 0, 0, 0, 1, 0, 0, 0]).await.expect("writes");
    let mut payload = Vec::new();
    loop {
        let mut header = [0; HEADER];
        agent.read_exact(&mut header).await.expect("reads");
        match Header::decode(header).expect("valid") {
            Header::Ack { offset } => break assert_eq!(offset, 9),
            Header::Data { length, .. } => {
                payload.resize(length as usize, 0);
                agent.read_exact(&mut payload).await.expect("reads");
            }
            _ => {}
        }
    }
    drop(agent);
    assert!(matches!(asked.await.expect("no panic"), Err(LinkError::Ended(Ended::Cut(_)))));
}

#[tokio::test]
async fn garbage_ends_a_link_without_a_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..300 {
        let mut noise: Vec<u8> = (0..random() % 400).map(|_| random() as u8).collect();
        if round % 2 == 0 && noise.len() > HEADER {
            // A right packet header reaches the multiplexer.
            let length = (noise.len() - HEADER) as u32;
            noise[..HEADER].copy_from_slice(&Header::Data { offset: 0, length }.encode());
            noise[HEADER] = 1 + (random() % 5) as u8;
        }
        let (link, mut agent) = mute_agent().await;
        agent.write_all(&noise).await.expect("writes");
        drop(agent);
        assert!(matches!(link.ended().await, Ended::Cut(_) | Ended::Goodbye));

        let (mut host, agent) = duplex(1024);
        let (_, accepted) = tokio::join!(
            async {
                let _ = host.write_all(&noise).await;
                drop(host);
            },
            accept(agent, verify, LinkConfig::AGENT)
        );
        assert!(accepted.is_err());
    }
}

#[tokio::test]
async fn a_request_that_never_arrives_whole_holds_up_no_other() {
    let (host, agent) = duplex(64 * 1024);
    let (mut host, accepted) = {
        let greet = async {
            let mut host = host;
            let _: Challenge = link::read_message(&mut host).await.expect("reads");
            let hello = Hello {
                version: protocol::VERSION.to_owned(),
                channel: Channel::Control,
                received: 0,
                signature: SIGNATURE.to_vec(),
            };
            link::write_message(&mut host, &hello).await.expect("writes");
            host
        };
        tokio::join!(greet, accept(agent, verify, LinkConfig::AGENT))
    };
    let (_, mut incoming) = accepted.expect("accepts");
    let request = AnyRequest::from(ReverseResolve { address: [10, 0, 0, 1].into() });
    let whole = protocol::codec::encode(&request).expect("encodes");
    let mut payload = Vec::new();
    for (id, body) in [(1_u32, &whole[..3]), (2, b"\xff\xff\xff\xff"), (3, &whole)] {
        payload.push(1);
        payload.extend_from_slice(&id.to_le_bytes());
        payload.extend_from_slice(&(body.len() as u32).to_le_bytes());
        payload.extend_from_slice(body);
    }
    let header = Header::Data { offset: 0, length: payload.len() as u32 };
    host.write_all(&[&header.encode()[..], &payload].concat()).await.expect("writes");
    let call = incoming.next().await.expect("a call");
    assert_eq!(call.request, request);
}

#[tokio::test]
async fn replies_may_be_megabytes() {
    let (link, mut incoming) = over_pipe(Channel::Control).await;
    let environment = Environment((0..2000).map(|n| (vec![b'A'; 20], vec![n as u8; 1000])).collect());
    let serve = async {
        let call = incoming.next().await.expect("a call");
        let mut stream = call.reply::<GetEnvironment>(&Ok(environment.clone())).await.expect("replies");
        stream.shutdown().await.expect("shuts down");
        assert!(incoming.next().await.is_none());
    };
    let ask = async {
        let reply = link.call(GetEnvironment {}).await.expect("a reply");
        assert_eq!(reply, Ok(environment.clone()));
        link.goodbye().await;
    };
    tokio::join!(serve, ask);
    let name = Resolve { name: "a".to_owned(), families: protocol::agent::Families::Both };
    assert!(matches!(link.call(name).await, Err(LinkError::Ended(Ended::Closed))));
}
