//! Answers [`protocol::agent::Resolve`] and [`protocol::agent::ReverseResolve`] as the pod's own C library
//! would: `hosts` first, then the servers and the search list of `resolv.conf`.
//!
//! The files are read for every look-up, which costs microseconds and is never stale; answers are not
//! cached, since a pod's C library does not cache either.

mod hosts;

mod query;

mod search;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{Name, RData, RecordType};
use protocol::agent::{Families, Resolve, ResolveError, Resolved};
use resolv_conf::Config;

use crate::files::Root;
use query::{Client, Failure};

/// Longest `hosts` or `resolv.conf` that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Resolves names with the files below a root directory, from the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Names {
    root: Root,
    /// Where name servers listen.
    port: u16,
}

impl Names {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, port: 53 }
    }

    /// Addresses of a name, IPv4 before IPv6.
    pub(crate) async fn resolve(&self, request: &Resolve) -> Result<Resolved, ResolveError> {
        let addresses = self.addresses(request).await?;
        let canonical = request.name.strip_suffix('.').unwrap_or(&request.name).to_owned();
        Ok(Resolved { addresses, canonical })
    }

    async fn addresses(&self, request: &Resolve) -> Result<Vec<IpAddr>, ResolveError> {
        let wanted = |address: &IpAddr| match request.families {
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
            Families::Both => true,
        };
        if let Ok(address) = request.name.parse::<IpAddr>() {
            return Some(vec![address]).filter(|_| wanted(&address)).ok_or(ResolveError::NoName);
        }
        let mut found = hosts::addresses(&self.read("etc/hosts")?, &request.name);
        found.retain(wanted);
        if found.is_empty() && search::is_localhost(&request.name) {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            found.retain(wanted);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        self.ask_servers(request).await
    }

    /// Name of an address.
    pub(crate) async fn reverse(&self, address: IpAddr) -> Result<String, ResolveError> {
        if let Some(name) = hosts::name(&self.read("etc/hosts")?, address) {
            return Ok(name);
        }
        let mut name = Name::from(address);
        name.set_fqdn(true);
        let names = Client::new(&self.config()?, self.port).ask(&name, RecordType::PTR).await?;
        let name = names.into_iter().find_map(|data| match data {
            RData::PTR(name) => Some(name.to_ascii()),
            _ => None,
        });
        let name = name.ok_or(ResolveError::NoData)?;
        Ok(name.strip_suffix('.').map(str::to_owned).unwrap_or(name))
    }

    /// Tries the candidates of the search list in turn, as `getaddrinfo(3)` does: the first that has
    /// addresses wins, and otherwise the most telling failure is the answer.
    async fn ask_servers(&self, request: &Resolve) -> Result<Vec<IpAddr>, ResolveError> {
        let config = self.config()?;
        let client = Client::new(&config, self.port);
        let mut failure = Failure::NoName;
        for name in search::candidates(&request.name, &config) {
            match lookup(&client, &name, request.families, config.no_aaaa).await {
                Ok(addresses) => return Ok(addresses),
                Err(error) => failure = failure.max(error),
            }
            if failure >= Failure::TimedOut {
                break;
            }
        }
        Err(failure.into())
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

/// The wanted kinds of addresses at the same time.
async fn lookup(client: &Client, name: &Name, families: Families, no_aaaa: bool) -> Result<Vec<IpAddr>, Failure> {
    let v4 = async {
        match families {
            Families::V6 => Err(Failure::NoName),
            Families::V4 | Families::Both => client.ask(name, RecordType::A).await,
        }
    };
    let v6 = async {
        match families {
            Families::V4 => Err(Failure::NoName),
            Families::V6 | Families::Both if no_aaaa => Err(Failure::NoData),
            Families::V6 | Families::Both => client.ask(name, RecordType::AAAA).await,
        }
    };
    match tokio::join!(v4, v6) {
        (Err(v4), Err(v6)) => Err(v4.max(v6)),
        (v4, v6) => {
            let records = v4.into_iter().chain(v6).flatten();
            Ok(records.filter_map(|data| data.ip_addr()).collect())
        }
    }
}

#[cfg(test)]
mod tests;
