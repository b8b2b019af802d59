//! One question to the pod's name servers: over UDP, over TCP when the answer does not fit, from one
//! server to the next (`resolv.conf(5)`: attempts, timeout, rotate, use-vc).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use protocol::agent::ResolveError;
use resolv_conf::Config;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message;
use crate::scratch;

/// Longest question that goes over UDP (RFC 1035 4.2.1).
const MAX_OVER_UDP: usize = 512;

/// The C library's own bounds for what `resolv.conf` may ask for.
const MAX_ATTEMPTS: u32 = 5;
const MAX_TIMEOUT: u32 = 30;
const MAX_SERVERS: usize = 3;

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// NXDOMAIN.
    NoName,
    /// The name has no records of the kind.
    NoData,
    /// The servers do not understand the question, or nobody could ask it.
    Refused,
    /// The servers could not find out (SERVFAIL).
    BrokenServer,
    /// No server answered, or all refused to: glibc makes no difference.
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
    wait: u32,
    tcp_only: bool,
    edns: bool,
    trust: bool,
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
            wait: config.timeout.clamp(1, MAX_TIMEOUT),
            tcp_only: config.use_vc,
            edns: config.edns0,
            trust: config.trust_ad,
        }
    }

    /// The response with the records of a kind that a name has, aliases on the way to them included.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, Failure> {
        let response = self.ask_for(name, DNSClass::IN, kind).await?;
        Message::from_vec(&response).map_err(|_| Failure::Refused)
    }

    /// The response to a question for records, which has at least one answer (`res_query`).
    pub(super) async fn ask_for(&self, name: &Name, class: DNSClass, kind: RecordType) -> Result<Vec<u8>, Failure> {
        let mut query = Query::query(name.clone(), kind);
        query.set_query_class(class);
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.metadata.authentic_data = self.trust;
        question.add_query(query);
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            question.set_edns(edns);
        }
        let question = question.to_vec().map_err(|_| Failure::Refused)?;
        let response = self.send(&question).await?;
        match message::code(&response) {
            message::NO_ERROR if message::has_answers(&response) => Ok(response),
            message::NO_ERROR => Err(Failure::NoData),
            message::NAME_ERROR => Err(Failure::NoName),
            message::SERVER_FAILURE => Err(Failure::BrokenServer),
            message::NOT_IMPLEMENTED | message::REFUSED => Err(Failure::TimedOut),
            _ => Err(Failure::Refused),
        }
    }

    /// The response to a whole message, which goes out as it is (`res_send`). A server that fails, refuses
    /// or knows nothing is passed over for the next; its response counts if no other gives a better one.
    pub(super) async fn send(&self, question: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut second_best = Err(Failure::TimedOut);
        for _ in 0..self.attempts {
            for (index, server) in self.servers.iter().enumerate() {
                let mut response = match timeout(self.patience(index), self.ask_server(*server, question)).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(error)) if is_own_failure(&error) => {
                        return Err(Failure::System(error.raw_os_error().unwrap_or_default()));
                    }
                    // Nobody there, or a garbled answer: the next server may do better.
                    Ok(Err(_)) | Err(_) => continue,
                };
                if !self.trust {
                    message::distrust(&mut response);
                }
                match message::code(&response) {
                    message::SERVER_FAILURE | message::NOT_IMPLEMENTED | message::REFUSED => {}
                    _ if message::is_lame(&response) => {}
                    _ => return Ok(response),
                }
                second_best = Ok(response);
            }
        }
        second_best
    }

    /// How long one server may take: longer for the later ones, shared by all of them, as in glibc.
    fn patience(&self, index: usize) -> Duration {
        let count = if index == 0 { 1 } else { self.servers.len() as u32 };
        Duration::from_secs(u64::from(((self.wait << index) / count).max(1)))
    }

    async fn ask_server(&self, server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        if !self.tcp_only && question.len() <= MAX_OVER_UDP {
            let response = over_udp(server, question).await?;
            if !message::is_truncated(&response) {
                return Ok(response);
            }
        }
        let response = over_tcp(server, question).await?;
        if message::is_answer(&response, question) { Ok(response) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// A socket of its own for each question: its random port is half of what protects against forged answers.
async fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    loop {
        // Forged, late or broken ones: the right one may still come.
        let response =
            scratch::receive(&socket, |response, _| message::is_answer(response, question).then(|| response.to_vec()));
        if let Some(response) = response.await? {
            return Ok(response);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut response = vec![0; socket.read_u16().await?.into()];
    socket.read_exact(&mut response).await?;
    Ok(response)
}

/// Errors of this machine, which no other server can help: no descriptors, no memory, no permission.
fn is_own_failure(error: &io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ACCESS, Errno::PERM];
    error.raw_os_error().is_some_and(|number| own.iter().any(|errno| errno.raw_os_error() == number))
}
