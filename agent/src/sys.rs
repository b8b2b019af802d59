//! The agent's only unsafe code.

pub(crate) mod bpf;

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime watch a descriptor.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open file from here until `AsyncFd` drops it, and it is not lent out
    // mutably meanwhile, so the registration never outlives the file (I/O safety).
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

/// Moves the calling thread into a new network, which has nothing but loopback, and that is down.
#[cfg(test)]
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: descriptors and memory stay shared with the other threads, so nothing changes under anybody's feet.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
