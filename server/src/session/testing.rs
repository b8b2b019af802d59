//! Stands in for the agent in tests: a link in memory.

use link::{Incoming, Link, LinkConfig};
use protocol::handshake::Channel;

/// Both ends of a data channel.
pub(super) async fn link_to_agent() -> (Link, Incoming) {
    let (ours, agents) = tokio::io::duplex(1 << 20);
    let (link, incoming) = tokio::join!(
        link::connect(ours, Channel::Data, |_| vec![0; 64], LinkConfig::HOST),
        link::accept(agents, |_, _| true, LinkConfig::AGENT),
    );
    (link.expect("connects"), incoming.expect("accepts").1)
}
