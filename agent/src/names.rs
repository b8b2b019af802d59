//! Answers [`Resolve`], [`ReverseResolve`](protocol::agent::ReverseResolve) and [`QueryDns`] as the pod's own
//! C library would: from the sources of `nsswitch.conf`, which are the file `hosts` and the servers and the
//! search list of `resolv.conf`.
//!
//! The files are read for every look-up, which costs microseconds and is never stale; answers are not
//! cached, since a pod's C library does not cache either.

mod message;

mod nsswitch;

mod order;

mod query;

mod search;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use decide::{hosts, names::is_localhost};
use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use protocol::agent::{Families, Named, QueryDns, Resolve, ResolveError, Resolved};
use resolv_conf::Config;

use crate::files::Root;
use nsswitch::{Source, Status};
use query::{Client, Failure};
use search::Plan;

/// Longest `hosts`, `resolv.conf` or `nsswitch.conf` that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Resolves names with the files below a root directory, from the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Names {
    root: Rc<Root>,
    /// Where name servers listen.
    port: u16,
}

/// What a question to the servers is about, for the log.
pub(crate) fn subject(request: &QueryDns) -> String {
    match request {
        QueryDns::Message(question) => format!("a message of {} bytes", question.len()),
        QueryDns::Records { name, kind, .. } => format!("{name} {}", RecordType::from(*kind)),
    }
}

impl Names {
    pub(crate) fn new(root: Rc<Root>) -> Self {
        Self { root, port: 53 }
    }

    /// Addresses of a name in the order in which to try them.
    pub(crate) async fn resolve(&self, request: &Resolve) -> Result<Resolved, ResolveError> {
        let mut found = self.find(request).await?;
        order::sort(&mut found.addresses);
        Ok(found)
    }

    /// Addresses of a name, IPv4 before IPv6.
    async fn find(&self, request: &Resolve) -> Result<Resolved, ResolveError> {
        let name = &request.name;
        let wanted = |address: &IpAddr| match request.families {
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
            Families::Both => true,
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            let found = Resolved { addresses: vec![address], canonical: name.clone(), aliases: Vec::new() };
            return Some(found).filter(|_| wanted(&address)).ok_or(ResolveError::NoName);
        }
        let from_files = || {
            let form = match request.families {
                Families::V4 => hosts::as_v4,
                Families::V6 => hosts::as_v6,
                Families::Both => Some,
            };
            let found = hosts::of_name(&self.read("etc/hosts")?, name, form);
            Ok(found.map(|hosts::Host { addresses, name, aliases }| Resolved { addresses, canonical: name, aliases }))
        };
        let from_servers = async || {
            if is_localhost(name.as_bytes()) {
                let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                addresses.retain(wanted);
                return Ok(Resolved { addresses, canonical: without_dot(name.clone()), aliases: Vec::new() });
            }
            self.ask_servers(request).await
        };
        self.ask_sources(from_files, from_servers).await
    }

    /// Name of an address.
    pub(crate) async fn reverse(&self, address: IpAddr) -> Result<Named, ResolveError> {
        let from_servers = async || {
            let mut name = Name::from(address);
            name.set_fqdn(true);
            let message = Client::new(&self.config()?, self.port).ask(&name, RecordType::PTR).await?;
            let names = message.answers.into_iter().find_map(|record| match record.data {
                RData::PTR(name) => Some(without_dot(name.to_ascii())),
                _ => None,
            });
            names.map(|name| Named { name, aliases: Vec::new() }).ok_or(ResolveError::NoData)
        };
        let from_files = || {
            let found = hosts::of_address(&self.read("etc/hosts")?, address);
            Ok(found.map(|hosts::Host { name, aliases, .. }| Named { name, aliases }))
        };
        self.ask_sources(from_files, from_servers).await
    }

    /// The name servers' whole response.
    pub(crate) async fn query(&self, request: &QueryDns) -> Result<Vec<u8>, ResolveError> {
        let config = self.config()?;
        let client = Client::new(&config, self.port);
        match request {
            QueryDns::Message(question) if question.len() < message::HEADER => Err(ResolveError::Fail),
            QueryDns::Message(question) => Ok(client.send(question).await?),
            QueryDns::Records { name, class, kind, search } => {
                let plan = if *search { Plan::new(name, &config) } else { Plan::as_it_is(name) };
                let (class, kind) = (DNSClass::from(*class), RecordType::from(*kind));
                Ok(plan.follow(async |name: &Name| client.ask_for(name, class, kind).await).await?)
            }
        }
    }

    /// The first answer of the sources that the pod is configured to ask. Where there is none, what the
    /// servers said is the answer.
    async fn ask_sources<T>(
        &self,
        files: impl Fn() -> Result<Option<T>, ResolveError>,
        servers: impl AsyncFn() -> Result<T, ResolveError>,
    ) -> Result<T, ResolveError> {
        let mut failure = ResolveError::NoName;
        for step in nsswitch::steps(&self.read("etc/nsswitch.conf")?) {
            let status = match step.source {
                Source::Files => match files()? {
                    Some(found) => return Ok(found),
                    None => Status::NotFound,
                },
                Source::Dns => match servers().await {
                    Ok(found) => return Ok(found),
                    Err(error) => {
                        failure = error;
                        status_of(&failure)
                    }
                },
                Source::Other => Status::Unavailable,
            };
            if step.ends_with(status) {
                break;
            }
        }
        Err(failure)
    }

    async fn ask_servers(&self, request: &Resolve) -> Result<Resolved, ResolveError> {
        let config = self.config()?;
        let client = Client::new(&config, self.port);
        let ask = async |name: &Name| lookup(&client, name, request.families, &config).await;
        let found = Plan::new(&request.name, &config).follow(ask).await?;
        // An alias to nowhere is an answer, which ends the search.
        if found.addresses.is_empty() { Err(ResolveError::NoData) } else { Ok(found) }
    }

    fn config(&self) -> Result<Config, ResolveError> {
        // Lines that make no sense are skipped, as the C library skips them.
        Ok(Config::parse_with_errors(&self.read("etc/resolv.conf")?).0)
    }

    /// A file's bytes; one that is not there is as good as empty (`resolv.conf(5)`).
    fn read(&self, path: &str) -> Result<Vec<u8>, ResolveError> {
        match self.root.read(path, MAX_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => {
                tracing::warn!(path, %error, "read a file of the pod");
                Err(ResolveError::System(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())))
            }
            Ok(bytes) => Ok(bytes),
        }
    }
}

fn status_of(error: &ResolveError) -> Status {
    match error {
        ResolveError::NoName | ResolveError::NoData => Status::NotFound,
        ResolveError::Again => Status::TryAgain,
        ResolveError::Fail | ResolveError::System(_) => Status::Unavailable,
    }
}

fn without_dot(mut name: String) -> String {
    if name.ends_with('.') {
        name.pop();
    }
    name
}

/// The wanted kinds of addresses, at the same time unless the pod is configured to ask one by one.
async fn lookup(client: &Client, name: &Name, families: Families, config: &Config) -> Result<Resolved, Failure> {
    let v4 = async { client.ask(name, RecordType::A).await };
    let v6 = async {
        match config.no_aaaa {
            true => Err(Failure::NoData),
            false => client.ask(name, RecordType::AAAA).await,
        }
    };
    let (v4, v6) = match families {
        Families::V4 => return v4.await.map(|message| addresses(name, [message])),
        Families::V6 => return v6.await.map(|message| addresses(name, [message])),
        Families::Both if config.single_request || config.single_request_reopen => (v4.await, v6.await),
        Families::Both => tokio::join!(v4, v6),
    };
    match (v4, v6) {
        (Err(Failure::NoData), Err(failure)) | (Err(failure), Err(_)) => Err(failure),
        (v4, v6) => Ok(addresses(name, v4.into_iter().chain(v6))),
    }
}

/// The addresses of all messages, the name at which the first message's aliases arrive, and those.
fn addresses(name: &Name, messages: impl IntoIterator<Item = Message>) -> Resolved {
    let mut found = Resolved { addresses: Vec::new(), canonical: String::new(), aliases: Vec::new() };
    for message in messages {
        if found.canonical.is_empty() {
            (found.canonical, found.aliases) = canonical(name, &message);
        }
        found.addresses.extend(message.answers.iter().filter_map(|record| record.data.ip_addr()));
    }
    found
}

/// Follows aliases, in whatever order they are written, to the name behind them; each is used once at most, so that
/// a circle ends.
fn canonical(name: &Name, message: &Message) -> (String, Vec<String>) {
    let (mut current, mut passed) = (name, Vec::new());
    for _ in &message.answers {
        let next = message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *current => Some(&target.0),
            _ => None,
        });
        let Some(next) = next else { break };
        passed.push(without_dot(current.to_ascii()));
        current = next;
    }
    (without_dot(current.to_ascii()), passed)
}

#[cfg(test)]
mod tests;
