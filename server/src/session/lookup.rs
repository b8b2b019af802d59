//! Answers the layer's questions about names: by the pod, or by this machine where the user's filters say so.

use std::net::IpAddr;

use protocol::agent::{Families, QueryDns, Resolve, ResolveError, Resolved, ReverseResolve};
use protocol::layer::{Answer, DnsQuestion, DnsReply, MAX_ADDRESSES, ResolveReply, ReverseReply};

use super::layers::Layers;
use super::rules::Resolver;

/// Addresses of a name.
pub(super) async fn resolve(layers: &Layers, name: &str, families: Families) -> ResolveReply {
    let families = match (layers.settings.ipv6, families) {
        (true, families) => families,
        (false, Families::V6) => return Answer::Failed(ResolveError::NoData),
        (false, _) => Families::V4,
    };
    let mut reply = match layers.rules.resolver(name) {
        Resolver::Pod => {
            let request = Resolve { name: name.to_owned(), families };
            answered(layers.links.control.call(request).await)
        }
        Resolver::Host => on_this_machine(name, families).await,
        Resolver::Machine => return Answer::Local,
    };
    if let Answer::Found(resolved) = &mut reply {
        resolved.addresses.truncate(MAX_ADDRESSES);
        layers.rules.learn(&[name, &resolved.canonical], &resolved.addresses);
    }
    reply
}

/// Name of an address.
pub(super) async fn reverse(layers: &Layers, address: IpAddr) -> ReverseReply {
    if !layers.rules.is_remote_address(address) {
        return Answer::Local;
    }
    answered(layers.links.control.call(ReverseResolve { address }).await)
}

/// Records of a name.
pub(super) async fn query(layers: &Layers, question: DnsQuestion<'_>) -> DnsReply {
    let question = match question {
        DnsQuestion::Message(message) => QueryDns::Message(message.to_vec()),
        DnsQuestion::Records { name, .. } if layers.rules.resolver(name) != Resolver::Pod => return Answer::Local,
        DnsQuestion::Records { name, class, kind, search } => {
            QueryDns::Records { name: name.to_owned(), class, kind, search }
        }
    };
    let reply = answered(layers.links.control.call(question).await);
    if let Answer::Found(message) = &reply {
        layers.rules.learn_message(message);
    }
    reply
}

/// The host is an ordinary process of this machine: its C library resolves as the program's would.
async fn on_this_machine(name: &str, families: Families) -> ResolveReply {
    let found = match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => found.map(|address| address.ip()),
        Err(error) => {
            tracing::debug!(name, %error, "this machine does not know a name");
            return Answer::Failed(ResolveError::NoName);
        }
    };
    let wanted = |address: &IpAddr| match families {
        Families::V4 => address.is_ipv4(),
        Families::V6 => address.is_ipv6(),
        Families::Both => true,
    };
    let addresses: Vec<IpAddr> = found.filter(wanted).collect();
    match addresses.is_empty() {
        true => Answer::Failed(ResolveError::NoData),
        false => Answer::Found(Resolved { addresses, canonical: name.to_owned() }),
    }
}

/// Without an agent there is no name service, which is a state that may pass.
fn answered<T>(reply: Result<Result<T, ResolveError>, link::LinkError>) -> Answer<T> {
    match reply {
        Ok(Ok(found)) => Answer::Found(found),
        Ok(Err(error)) => Answer::Failed(error),
        Err(error) => {
            tracing::debug!(%error, "no answer of the agent to a name");
            Answer::Failed(ResolveError::Again)
        }
    }
}
