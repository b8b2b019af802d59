//! Answers the layer's questions about names: by the pod, or by this machine where the user's filters say so.

use std::net::IpAddr;

use decide::hosts::{self, Host};
use decide::names::is_localhost;
use decide::outgoing::is_loopback;
use protocol::agent::{Families, Named, QueryDns, Resolve, ResolveError, Resolved, ReverseResolve};
use protocol::layer::{Answer, DnsQuestion, DnsReply, MAX_ADDRESSES, MAX_ALIASES, ResolveReply, ReverseReply};

use super::layers::Layers;
use super::rules::Resolver;

/// Addresses of a name.
pub(super) async fn resolve(layers: &Layers, name: &str, families: Families) -> ResolveReply {
    let families = match (layers.settings().ipv6, families) {
        (true, families) => families,
        (false, Families::V6) => return Answer::Failed(ResolveError::NoData),
        (false, _) => Families::V4,
    };
    let mut reply = match layers.rules.resolver(name) {
        Resolver::Pod if is_localhost(name.as_bytes()) => localhost(layers, name, families).await,
        Resolver::Pod => {
            let request = Resolve { name: name.to_owned(), families };
            answered(layers.links.control.call(request).await)
        }
        Resolver::Host => on_this_machine(name, families).await,
        Resolver::Machine => return Answer::Local,
    };
    if let Answer::Found(resolved) = &mut reply {
        resolved.addresses.truncate(MAX_ADDRESSES);
        cut(&mut resolved.aliases);
        layers.rules.learn(&[name, &resolved.canonical], &resolved.addresses);
    }
    reply
}

/// Name of an address.
pub(super) async fn reverse(layers: &Layers, address: IpAddr) -> ReverseReply {
    if !layers.rules.is_remote_address(address) {
        return Answer::Local;
    }
    let found = is_loopback(address).then(|| hosts::of_address(&layers.files.hosts, address)).flatten();
    let mut reply = match found {
        Some(Host { name, aliases, .. }) => Answer::Found(Named { name, aliases }),
        None => answered(layers.links.control.call(ReverseResolve { address }).await),
    };
    if let Answer::Found(named) = &mut reply {
        cut(&mut named.aliases);
    }
    reply
}

/// `localhost` as the pod's file has it, which is at hand: programs ask for it often, and also when the agent is gone.
/// The addresses are this machine's, of which it may lack one.
async fn localhost(layers: &Layers, name: &str, families: Families) -> ResolveReply {
    let form = match families {
        Families::V4 => hosts::as_v4,
        Families::V6 => hosts::as_v6,
        Families::Both => Some,
    };
    let mut reply = match hosts::of_name(&layers.files.hosts, name, form) {
        Some(Host { addresses, name, aliases }) => Answer::Found(Resolved { addresses, canonical: name, aliases }),
        None => answered(layers.links.control.call(Resolve { name: name.to_owned(), families }).await),
    };
    if let Answer::Found(resolved) = &mut reply
        && layers.settings().relay_v6.is_none()
    {
        resolved.addresses.retain(|address| address.is_ipv4() || !is_loopback(*address));
    }
    reply
}

/// Leaves out the aliases for which a reply has no room.
fn cut(aliases: &mut Vec<String>) {
    let mut room = MAX_ALIASES;
    aliases.retain(|alias| {
        // With its length before it.
        let rest = room.checked_sub(alias.len() + 1);
        room = rest.unwrap_or(room);
        rest.is_some()
    });
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
        false => Answer::Found(Resolved { addresses, canonical: name.to_owned(), aliases: Vec::new() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_cut_to_the_room_of_a_reply() {
        let mut aliases = vec!["a".repeat(2000), "b".repeat(100), "c".repeat(46), "d".to_owned()];
        cut(&mut aliases);
        assert_eq!(aliases, ["a".repeat(2000), "c".repeat(46)]);
    }
}
