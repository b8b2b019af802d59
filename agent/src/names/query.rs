//! One question to the pod's name servers: over UDP, over TCP when the answer does not fit, from one
//! server to the next (`resolv.conf(5)`: attempts, timeout, rotate, use-vc).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use protocol::agent::ResolveError;
use resolv_conf::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Largest answer over UDP that is read; servers send 512 bytes unless asked for more.
const MAX_DATAGRAM: usize = 4096;

/// The C library's own bounds for what `resolv.conf` may ask for.
const MAX_ATTEMPTS: u32 = 5;
const MAX_TIMEOUT: u32 = 30;
const MAX_SERVERS: usize = 3;

/// Why a question has no answer; the later in this list, the more it says when several names were tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    NoName,
    /// The servers refuse the question or do not understand it.
    Refused,
    /// The servers could not find out (SERVFAIL).
    BrokenServer,
    NoData,
    /// No server answered; asking for further names would only take longer.
    TimedOut,
    /// No socket could be had.
    System(i32),
}

impl From<Failure> for ResolveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoName => Self::NoName,
            Failure::NoData => Self::NoData,
            Failure::BrokenServer | Failure::TimedOut => Self::Again,
            Failure::Refused => Self::Fail,
            Failure::System(errno) => Self::System(errno),
        }
    }
}

/// Asks the servers of one `resolv.conf`.
#[derive(Debug)]
pub(super) struct Client {
    servers: Vec<SocketAddr>,
    attempts: u32,
    wait: Duration,
    tcp_only: bool,
    edns: bool,
}

impl Client {
    pub(super) fn new(config: &Config, port: u16) -> Self {
        let addresses = config.nameservers.iter().take(MAX_SERVERS).map(IpAddr::from);
        let mut servers: Vec<_> = addresses.map(|address| SocketAddr::from((address, port))).collect();
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, port).into());
        }
        if config.rotate {
            let mut random = [0];
            // Without random bytes the first server is as good as any.
            let _ = getrandom::fill(&mut random);
            let by = usize::from(random[0]) % servers.len();
            servers.rotate_left(by);
        }
        Self {
            servers,
            attempts: config.attempts.clamp(1, MAX_ATTEMPTS),
            wait: Duration::from_secs(config.timeout.clamp(1, MAX_TIMEOUT).into()),
            tcp_only: config.use_vc,
            edns: config.edns0,
        }
    }

    /// All records of a kind that a name has, behind aliases too.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Vec<RData>, Failure> {
        let mut failure = Failure::TimedOut;
        for _ in 0..self.attempts {
            for server in &self.servers {
                let answer = timeout(self.wait, self.ask_server(*server, name, kind)).await;
                match answer {
                    Ok(Ok(message)) => match read_answer(message, kind) {
                        Err(error @ (Failure::BrokenServer | Failure::Refused)) => failure = error,
                        decided => return decided,
                    },
                    Ok(Err(error)) if is_own_failure(&error) => {
                        return Err(Failure::System(error.raw_os_error().unwrap_or_default()));
                    }
                    // Nobody there, or a garbled answer: the next server may do better.
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
        Err(failure)
    }

    async fn ask_server(&self, server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
        let question = Query::query(name.clone(), kind);
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(question.clone());
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().map_err(io::Error::other)?;
        let is_answer = |answer: &Message| {
            answer.metadata.id == message.metadata.id
                && answer.metadata.message_type == MessageType::Response
                && (answer.queries.is_empty() || answer.queries.iter().eq([&question]))
        };
        if !self.tcp_only {
            let answer = over_udp(server, &bytes, is_answer).await?;
            if !answer.metadata.truncation {
                return Ok(answer);
            }
        }
        let answer = over_tcp(server, &bytes).await?;
        if is_answer(&answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// A socket of its own for each question: its random port is half of what protects against forged answers.
async fn over_udp(server: SocketAddr, question: &[u8], is_answer: impl Fn(&Message) -> bool) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(message) if is_answer(&message) => return Ok(message),
            // Forged, late or broken: the right one may still come.
            _ => {}
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let mut socket = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut answer = vec![0; socket.read_u16().await?.into()];
    socket.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

fn read_answer(message: Message, kind: RecordType) -> Result<Vec<RData>, Failure> {
    match message.metadata.response_code {
        ResponseCode::NoError => {
            let records = message.answers.into_iter().map(|record| record.data);
            let records: Vec<_> = records.filter(|data| data.record_type() == kind).collect();
            if records.is_empty() { Err(Failure::NoData) } else { Ok(records) }
        }
        ResponseCode::NXDomain => Err(Failure::NoName),
        ResponseCode::ServFail => Err(Failure::BrokenServer),
        _ => Err(Failure::Refused),
    }
}

/// Errors of this machine, which no other server can help: no descriptors, no memory, no permission.
fn is_own_failure(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ACCESS, Errno::PERM];
    error.raw_os_error().is_some_and(|number| own.iter().any(|errno| errno.raw_os_error() == number))
}
