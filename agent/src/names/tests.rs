//! Look-ups against files in a folder and a name server of our own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// A zone whose names say how the server behaves.
fn zone(question: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
    let a = |last| RData::A(A([10, 0, 0, last].into()));
    let aaaa = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
    let name = |text| Name::from_ascii(text).expect("valid");
    let alias = |target| RData::CNAME(CNAME(name(target)));
    let found = match (question, kind) {
        ("db.ns.svc.local.", RecordType::A) => vec![a(1)],
        ("both.svc.local.", RecordType::A) => vec![a(2), a(3)],
        ("both.svc.local.", RecordType::AAAA) => vec![aaaa],
        ("alias.svc.local.", RecordType::A) => vec![alias("way.svc.local."), alias("db.ns.svc.local."), a(1)],
        ("alias.svc.local.", RecordType::AAAA) => vec![alias("way.svc.local."), alias("db.ns.svc.local.")],
        ("dangling.ns.svc.local.", RecordType::A) => vec![alias("nowhere.svc.local.")],
        ("circle.svc.local.", RecordType::A) => vec![alias("way.svc.local."), alias("circle.svc.local."), a(1)],
        ("_http._tcp.svc.local.", RecordType::SRV) => vec![RData::SRV(SRV::new(0, 0, 80, name("db.ns.svc.local.")))],
        ("large.svc.local.", RecordType::A) => (0..200).map(a).collect(),
        ("_http._tcp.svc.local.", RecordType::A) => vec![a(9)],
        ("7.0.0.10.in-addr.arpa.", RecordType::PTR) => {
            vec![RData::PTR(PTR(name("seven.svc.local.")))]
        }
        _ => vec![],
    };
    let known = ["db.ns.svc.local.", "both.svc.local.", "alias.svc.local.", "empty.svc.local."];
    let code = match question.split('.').next() {
        _ if !found.is_empty() || known.contains(&question) => ResponseCode::NoError,
        // What CoreDNS says of the root.
        Some("broken" | "") => ResponseCode::ServFail,
        Some("refused") => ResponseCode::Refused,
        _ => ResponseCode::NXDomain,
    };
    (code, found)
}

fn answer(question: &[u8], over_udp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).expect("a question");
    let query = question.queries[0].clone();
    let name = query.name().to_ascii();
    if name.starts_with("silent.") {
        return None;
    }
    let (code, records) = zone(&name, query.query_type());
    let mut message = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    message.metadata.response_code = code;
    message.metadata.recursion_available = true;
    message.metadata.authentic_data = true;
    message.add_query(query.clone());
    message.metadata.truncation = over_udp && records.len() > 20;
    if !message.metadata.truncation {
        let mut owner = query.name().clone();
        for data in records {
            let target = if let RData::CNAME(target) = &data { target.0.clone() } else { owner.clone() };
            message.add_answer(Record::from_rdata(std::mem::replace(&mut owner, target), 5, data));
        }
    }
    Some(message.to_vec().expect("encodes"))
}

/// Serves [`zone`] on the same port over both transports; records what was asked over UDP.
async fn serve() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (tcp, address, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = tcp.local_addr().expect("bound");
        // Somebody else may have the port of UDP.
        if let Ok(udp) = UdpSocket::bind(address).await {
            break (tcp, address, udp);
        }
    };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 1024];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.expect("receives");
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            record.lock().expect("no panic").push(question.queries[0].name().to_ascii());
            if let Some(answer) = answer(&buffer[..length], true) {
                // What somebody else might send first must not be believed.
                let mut forged = answer.clone();
                forged[0] ^= 1;
                udp.send_to(&forged, from).await.expect("sends");
                udp.send_to(b"noise", from).await.expect("sends");
                udp.send_to(&answer, from).await.expect("sends");
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = tcp.accept().await.expect("accepts");
            let mut question = vec![0; socket.read_u16().await.expect("reads").into()];
            socket.read_exact(&mut question).await.expect("reads");
            let answer = answer(&question, false).expect("no silence over TCP");
            socket.write_u16(answer.len() as u16).await.expect("writes");
            socket.write_all(&answer).await.expect("writes");
        }
    });
    (address, asked)
}

struct Fixture {
    names: Names,
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("creates");
        std::fs::create_dir(folder.path().join("etc")).expect("creates");
        let (server, asked) = serve().await;
        let names = Names { root: Rc::new(Root::open(folder.path()).expect("opens")), port: server.port() };
        let fixture = Self { names, folder, asked };
        fixture.write(
            "resolv.conf",
            "search ns.svc.local svc.local\nnameserver 127.0.0.1\noptions ndots:5 timeout:5 attempts:1\n",
        );
        fixture.write("hosts", "10.9.9.9 pod-a.full pod-a\n::9 pod-six\n");
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("etc").join(name), text).expect("writes");
    }

    async fn resolve(&self, name: &str, families: Families) -> Result<Vec<String>, ResolveError> {
        let found = self.names.find(&Resolve { name: name.to_owned(), families }).await?;
        Ok(found.addresses.iter().map(IpAddr::to_string).collect())
    }

    async fn records(&self, name: &str, kind: RecordType, search: bool) -> Result<Message, ResolveError> {
        let request = QueryDns::Records { name: name.to_owned(), class: 1, kind: kind.into(), search };
        Ok(Message::from_vec(&self.names.query(&request).await?).expect("a message"))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

type Case = (&'static str, Families, Result<&'static [&'static str], ResolveError>);

#[tokio::test]
async fn names_resolve_as_in_the_pod() {
    use Families::{Both, V4, V6};
    use ResolveError::{Again, NoData, NoName};
    let fixture = Fixture::new().await;
    let table: [Case; 27] = [
        ("db", Both, Ok(&["10.0.0.1"])),
        ("DB", V4, Err(NoName)),
        ("db", V6, Err(NoData)),
        ("db.ns", Both, Ok(&["10.0.0.1"])),
        ("db.ns.svc.local", Both, Ok(&["10.0.0.1"])),
        ("db.ns.svc.local.", V4, Ok(&["10.0.0.1"])),
        ("db.", Both, Err(NoName)),
        ("both", Both, Ok(&["10.0.0.2", "10.0.0.3", "::1"])),
        ("both", V4, Ok(&["10.0.0.2", "10.0.0.3"])),
        ("both", V6, Ok(&["::1"])),
        ("alias", V4, Ok(&["10.0.0.1"])),
        ("_http._tcp", V4, Ok(&["10.0.0.9"])),
        ("dangling", V4, Err(NoData)),
        ("circle", V4, Ok(&["10.0.0.1"])),
        ("empty", Both, Err(NoData)),
        ("none", Both, Err(NoName)),
        ("broken", Both, Err(Again)),
        ("refused", Both, Err(Again)),
        ("silent", Both, Err(Again)),
        ("pod-a", Both, Ok(&["10.9.9.9"])),
        ("pod-six", V4, Err(NoName)),
        ("localhost", V4, Ok(&["127.0.0.1"])),
        ("any.localhost", Both, Err(NoName)),
        ("10.1.2.3", Both, Ok(&["10.1.2.3"])),
        ("10.1.2.3", V6, Err(NoName)),
        ("", Both, Err(NoName)),
        (".", Both, Err(Again)),
    ];
    for (name, families, expected) in table {
        let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
        // Case travels as it was written and servers need not mind it; this one does.
        assert_eq!(fixture.resolve(name, families).await, expected, "{name} {families:?}");
    }
    let large = fixture.resolve("large", V4).await.expect("comes over TCP");
    assert_eq!(large.len(), 200);
}

#[tokio::test]
async fn a_time_out_ends_the_search_and_changed_files_count_at_once() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.resolve("silent", Families::V4).await, Err(ResolveError::Again));
    assert_eq!(fixture.asked(), ["silent.ns.svc.local.", "silent."]);
    fixture.write("hosts", "10.9.9.8 silent # a comment\n");
    assert_eq!(fixture.resolve("silent", Families::V4).await, Ok(vec!["10.9.9.8".to_owned()]));
    fixture.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:1 use-vc no-aaaa\n");
    assert_eq!(fixture.resolve("db", Families::V4).await, Err(ResolveError::NoName));
    let found = fixture.resolve("both.svc.local", Families::Both).await;
    assert_eq!(found, Ok(vec!["10.0.0.2".to_owned(), "10.0.0.3".to_owned()]));
}

#[tokio::test]
async fn without_files_the_own_host_is_the_server() {
    let fixture = Fixture::new().await;
    for name in ["hosts", "resolv.conf"] {
        std::fs::remove_file(fixture.folder.path().join("etc").join(name)).expect("removes");
    }
    assert_eq!(fixture.resolve("db.ns.svc.local", Families::V4).await, Ok(vec!["10.0.0.1".to_owned()]));
    std::fs::create_dir(fixture.folder.path().join("etc/hosts")).expect("creates");
    assert!(matches!(fixture.resolve("db", Families::V4).await, Err(ResolveError::System(_))));
}

#[tokio::test]
async fn addresses_have_names_from_the_file_and_the_server() {
    let fixture = Fixture::new().await;
    for (address, expected) in [
        ("10.9.9.9", Ok(("pod-a.full", vec!["pod-a".to_owned()]))),
        ("10.0.0.7", Ok(("seven.svc.local", vec![]))),
        ("10.0.0.8", Err(ResolveError::NoName)),
        ("::7", Err(ResolveError::NoName)),
    ] {
        let found = fixture.names.reverse(address.parse().expect("valid")).await;
        let expected = expected.map(|(name, aliases)| Named { name: name.to_owned(), aliases });
        assert_eq!(found, expected, "{address}");
    }
}

#[tokio::test]
async fn a_dead_server_is_passed_over() {
    let fixture = Fixture::new().await;
    fixture.write("resolv.conf", "nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions timeout:1\n");
    let found = fixture.resolve("db.ns.svc.local.", Families::V4).await;
    assert_eq!(found, Ok(vec!["10.0.0.1".to_owned()]));
}

#[tokio::test]
async fn canonical_names_are_those_behind_all_aliases() {
    let fixture = Fixture::new().await;
    let table: [(&str, Families, &str, &[&str]); 7] = [
        ("db", Families::Both, "db.ns.svc.local", &[]),
        ("alias", Families::V4, "db.ns.svc.local", &["alias.svc.local", "way.svc.local"]),
        ("alias", Families::Both, "db.ns.svc.local", &["alias.svc.local", "way.svc.local"]),
        ("both.svc.local.", Families::V6, "both.svc.local", &[]),
        ("pod-a", Families::Both, "pod-a.full", &["pod-a"]),
        ("localhost", Families::V4, "localhost", &[]),
        ("10.1.2.3", Families::Both, "10.1.2.3", &[]),
    ];
    for (name, families, canonical, aliases) in table {
        let found = fixture.names.find(&Resolve { name: name.to_owned(), families }).await.expect("found");
        assert_eq!(
            (found.canonical.as_str(), found.aliases.as_slice()),
            (canonical, &aliases.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..]),
            "{name}"
        );
    }
}

#[tokio::test]
async fn only_configured_sources_are_asked() {
    let fixture = Fixture::new().await;
    fixture.write("hosts", "10.9.9.9 db.ns.svc.local\n");
    for (line, name, expected, asked) in [
        ("hosts: files dns", "db.ns.svc.local", Ok("10.9.9.9"), 0),
        ("hosts: dns files", "db.ns.svc.local", Ok("10.0.0.1"), 4),
        ("hosts: files", "both.svc.local", Err(ResolveError::NoName), 0),
        ("hosts: dns", "db.ns.svc.local.", Ok("10.0.0.1"), 1),
        ("hosts: files [NOTFOUND=return] dns", "both.svc.local", Err(ResolveError::NoName), 0),
        ("hosts: mymachines resolve [!UNAVAIL=return] files dns", "db.ns.svc.local", Ok("10.9.9.9"), 0),
        ("hosts: resolve [UNAVAIL=return] files dns", "db.ns.svc.local", Err(ResolveError::NoName), 0),
        ("hosts: dns [TRYAGAIN=return] files", "broken.", Err(ResolveError::Again), 1),
    ] {
        fixture.write("nsswitch.conf", line);
        fixture
            .write("resolv.conf", "search a.local b.local c.local\nnameserver 127.0.0.1\noptions ndots:5 attempts:1\n");
        let found = fixture.resolve(name, Families::V4).await;
        assert_eq!(found, expected.map(|address| vec![address.to_owned()]), "{line}");
        assert_eq!(fixture.asked().len(), asked, "{line}");
    }
    fixture.write("nsswitch.conf", "hosts: dns");
    fixture.write("hosts", "10.0.0.8 eight\n");
    assert_eq!(fixture.names.reverse([10, 0, 0, 8].into()).await, Err(ResolveError::NoName));
}

#[tokio::test]
async fn records_of_any_kind_come_as_whole_messages() {
    let fixture = Fixture::new().await;
    let found = fixture.records("_http._tcp", RecordType::SRV, true).await.expect("found");
    assert!(matches!(&found.answers[0].data, RData::SRV(server) if server.port == 80));
    assert!(!found.metadata.authentic_data, "nobody has said that the server is to be trusted");
    for (name, kind, search, expected) in [
        ("_http._tcp", RecordType::SRV, false, ResolveError::NoName),
        ("both", RecordType::MX, true, ResolveError::NoData),
        ("broken", RecordType::SRV, true, ResolveError::Again),
        ("refused", RecordType::SRV, true, ResolveError::Again),
        ("silent", RecordType::SRV, false, ResolveError::Again),
    ] {
        let found = fixture.records(name, kind, search).await;
        assert_eq!(found.map(drop), Err(expected), "{name}");
    }
    fixture.write("resolv.conf", "nameserver 127.0.0.1\noptions trust-ad\n");
    let found = fixture.records("large.svc.local", RecordType::A, true).await.expect("found");
    assert_eq!((found.answers.len(), found.metadata.authentic_data), (200, true));
}

#[tokio::test]
async fn whole_messages_go_as_they_are_and_every_response_counts() {
    let fixture = Fixture::new().await;
    let question = |name: &str| {
        let mut message = Message::query();
        message.metadata.id = 4242;
        message.add_query(Query::query(Name::from_ascii(name).expect("valid"), RecordType::A));
        message.set_edns(Edns::new());
        QueryDns::Message(message.to_vec().expect("encodes"))
    };
    for (name, code, answers) in [
        ("db.ns.svc.local.", ResponseCode::NoError, 1),
        ("large.svc.local.", ResponseCode::NoError, 200),
        ("db.", ResponseCode::NXDomain, 0),
        ("broken.", ResponseCode::ServFail, 0),
        ("refused.", ResponseCode::Refused, 0),
    ] {
        let response = fixture.names.query(&question(name)).await.expect("a response");
        let response = Message::from_vec(&response).expect("a message");
        assert_eq!((response.metadata.id, response.metadata.response_code), (4242, code), "{name}");
        assert_eq!(response.answers.len(), answers, "{name}");
    }
    assert_eq!(fixture.names.query(&question("silent.")).await, Err(ResolveError::Again));
    assert_eq!(fixture.names.query(&QueryDns::Message(vec![0; 11])).await, Err(ResolveError::Fail));
}

#[tokio::test]
async fn a_slow_answer_delays_no_other() {
    let fixture = Fixture::new().await;
    tokio::select! {
        _ = fixture.resolve("silent", Families::Both) => panic!("silence was quicker"),
        found = fixture.resolve("db", Families::V4) => assert_eq!(found, Ok(vec!["10.0.0.1".to_owned()])),
    }
}
