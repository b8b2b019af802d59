//! Moves the agent into the target's network, and the namespace of its host name. An ephemeral container is in both
//! from the beginning, and needs no right to stay there.
//!
//! The agent is one thread. Its listeners are made before it moves: a socket belongs to the network that it was
//! made in, so the port-forward goes on arriving in the agent's own, and every later socket is the pod's
//! (network_namespaces(7), setns(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::fstat;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::target::Target;

/// Why the agent is not in the target's place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    #[error("open the {0} namespace")]
    Own(&'static str, #[source] io::Error),
    #[error("open the target's {0} namespace (needs SYS_PTRACE)")]
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
        let own =
            File::open(Path::new("/proc/thread-self").join(file)).map_err(|error| EnterError::Own(what, error))?;
        let namespace = File::open(target.proc_path(file)).map_err(|error| EnterError::Open(what, error))?;
        if is_same(&own, &namespace).map_err(|error| EnterError::Open(what, error))? {
            continue;
        }
        move_into_link_name_space(namespace.as_fd(), Some(kind))
            .map_err(|errno| EnterError::Enter(what, errno.into()))?;
    }
    Ok(())
}

/// Whether two descriptors stand for one namespace (`namespaces(7)`).
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
