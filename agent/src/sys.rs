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

/// Sets the user and the group that file systems see of this thread (`setfsuid(2)`), and returns those before. A
/// number that may not be taken changes nothing.
pub(crate) fn set_file_user(user: u32, group: u32) -> (u32, u32) {
    // SAFETY: setfsgid(2) and setfsuid(2) take numbers and concern the calling thread only. The group is first: it
    // needs what a change of the user takes away, and the other way round when the user comes back.
    unsafe {
        let old_group = libc::setfsgid(group);
        let old_user = libc::setfsuid(user);
        libc::setfsgid(group);
        (old_user as u32, old_group as u32)
    }
}

/// Moves the calling thread into a new network, which has nothing but loopback, and that is down.
#[cfg(test)]
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: descriptors and memory stay shared with the other threads, so nothing changes under anybody's feet.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
