//! The client in Rust: the standard library's sockets and names, ureq with rustls, and hickory-resolver. One line for
//! each check: its name, what came of it. Usage: rust-client CA-FILE

#![allow(clippy::print_stdout, reason = "this program is there to print")]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RecordType;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

type Outcome = Result<String, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(10);

fn check(name: &str, outcome: Outcome) {
    match outcome {
        Ok(result) => println!("{name} {result}"),
        Err(error) => println!("{name} {error}"),
    }
}

fn http_raw() -> Outcome {
    let mut connection = TcpStream::connect("echo-server:80")?;
    connection.write_all(b"GET /bytes/5 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n")?;
    connection.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    Ok(format!("{status} {}", answer.lines().last().unwrap_or_default()))
}

fn http_library(url: &str, roots: RootCerts) -> Outcome {
    let tls = TlsConfig::builder().root_certs(roots).build();
    let agent = ureq::Agent::from(ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(PATIENCE)).build());
    match agent.get(url).call() {
        Ok(mut answer) => Ok(format!("{} {}", answer.status().as_u16(), answer.body_mut().read_to_string()?)),
        Err(error) if error.to_string().contains("UnknownIssuer") => Ok("untrusted".to_owned()),
        Err(error) => Err(error.into()),
    }
}

fn authority(file: &str) -> Result<RootCerts, Box<dyn Error>> {
    let pem = std::fs::read(file)?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(RootCerts::from(certificates.collect::<Vec<_>>()))
}

fn udp(host: &str, port: u16, size: usize, connected: bool) -> Outcome {
    let asked = (host, port).to_socket_addrs()?.find(SocketAddr::is_ipv4).ok_or("no address")?;
    let (sent, mut got) = (vec![b'x'; size], vec![0; 65535]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let received = if connected {
        socket.connect(asked)?;
        socket.send(&sent)?;
        socket.recv(&mut got).map(|length| (length, asked))
    } else {
        socket.send_to(&sent, asked)?;
        socket.recv_from(&mut got)
    };
    match received {
        Ok((length, from)) => {
            let same = if got[..length] == sent { "same" } else { "different" };
            Ok(format!("{length} {same} {}", if from == asked { "asked" } else { "other" }))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok("refused".to_owned()),
        Err(error) => Err(error.into()),
    }
}

fn some(mut values: Vec<String>) -> String {
    values.sort();
    values.dedup();
    if values.len() > 5 { values.len().to_string() } else { values.join(",") }
}

fn lookup(name: &str) -> Outcome {
    match (name, 0).to_socket_addrs() {
        Ok(found) => Ok(some(found.map(|address| address.ip().to_string()).collect())),
        Err(error) => Ok(error.to_string().rsplit(": ").next().unwrap_or_default().to_owned()),
    }
}

async fn query(resolver: &TokioResolver, name: &str, kind: RecordType) -> Outcome {
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let of_kind = found.answers().iter().filter(|record| record.record_type() == kind);
            Ok(some(of_kind.map(|record| record.data.to_string()).collect()))
        }
        Err(error) if error.is_nx_domain() => Ok("NXDOMAIN".to_owned()),
        Err(error) if error.is_no_records_found() => Ok("NODATA".to_owned()),
        Err(NetError::Timeout) => Ok("TIMEOUT".to_owned()),
        Err(error) => Err(error.into()),
    }
}

async fn queries() -> Result<(), Box<dyn Error>> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().attempts = 1;
    builder.options_mut().timeout = Duration::from_secs(2);
    let resolver = builder.build()?;
    let found = resolver.lookup_ip("echo-server").await?.iter().count();
    println!("query-search {found}");
    for (label, name, kind) in [
        ("several", "several.dns.test.", RecordType::A),
        ("six", "aaaa.dns.test.", RecordType::AAAA),
        ("mx", "mx.dns.test.", RecordType::MX),
        ("srv", "_grpc._tcp.dns.test.", RecordType::SRV),
        ("cname", "alias.dns.test.", RecordType::CNAME),
        ("ptr", "31.0.99.10.in-addr.arpa.", RecordType::PTR),
        ("huge", "huge.dns.test.", RecordType::TXT),
        ("absent", "absent.dns.test.", RecordType::A),
        ("nodata", "txt.dns.test.", RecordType::A),
        ("never", "never.dns.test.", RecordType::A),
    ] {
        check(&format!("query-{label}"), query(&resolver, name, kind).await);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let roots = authority(&std::env::args().nth(1).ok_or("usage: rust-client CA-FILE")?)?;
    check("http-raw", http_raw());
    check("http-library", http_library("http://echo-server/bytes/5", RootCerts::WebPki));
    check("https-library", http_library("https://echo-server/bytes/5", roots));
    check("https-untrusted", http_library("https://echo-server/bytes/5", RootCerts::WebPki));
    check("udp-connected", udp("echo-server", 7001, 5, true));
    check("udp-unconnected", udp("echo-server", 7001, 5, false));
    check("udp-elsewhere", udp("echo-headless", 7008, 5, false));
    check("udp-large", udp("echo-headless", 7001, 60_000, false));
    check("udp-refused", udp("echo-headless", 7099, 5, true));
    for name in ["a", "both", "alias", "several", "large", "absent", "txt", "servfail"] {
        check(&format!("lookup-{name}"), lookup(&format!("{name}.dns.test")));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(queries())
}
