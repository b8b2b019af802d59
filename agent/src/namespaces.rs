//! Moves the agent into the target's network, and the namespace of its host name.
//!
//! The agent is one thread. Its listeners are made before it moves: a socket belongs to the network that it was
//! made in, so the port-forward goes on arriving in the agent's own, and every later socket is the pod's
//! (network_namespaces(7), setns(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::target::Target;

/// Why the agent is not in the target's place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    #[error("open the target's {0} namespace (needs SYS_PTRACE and hostPID)")]
    Open(&'static str, #[source] io::Error),
    #[error("enter the target's {0} namespace (needs SYS_ADMIN)")]
    Enter(&'static str, #[source] io::Error),
}

/// Moves the calling thread, and those it starts, into the target's network and host name.
pub(crate) fn enter(target: &Target) -> Result<(), EnterError> {
    for (what, file, kind) in [
        ("network", "ns/net", LinkNameSpaceType::Network),
        ("host name", "ns/uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ] {
        let namespace = File::open(target.proc_path(file)).map_err(|error| EnterError::Open(what, error))?;
        move_into_link_name_space(namespace.as_fd(), Some(kind))
            .map_err(|errno| EnterError::Enter(what, errno.into()))?;
    }
    Ok(())
}
