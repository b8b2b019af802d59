//! The agent's only unsafe code.

pub(crate) mod bpf;

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::process::Pid;
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

/// Reads a part of another process's memory (`process_vm_readv(2)`); a shorter part where the rest is not there.
pub(crate) fn read_memory(pid: Pid, place: Range<usize>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; place.len()];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: place.start as *mut libc::c_void, iov_len: place.len() };
    // SAFETY: the kernel writes to the whole of `bytes` at most, and checks the other process's addresses itself.
    let count =
        unsafe { libc::process_vm_readv(pid.as_raw_nonzero().get(), &raw const local, 1, &raw const remote, 1, 0) };
    bytes.truncate(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
    Ok(bytes)
}

/// Moves the calling thread into a new network, which has nothing but loopback, and that is down.
#[cfg(test)]
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: descriptors and memory stay shared with the other threads, so nothing changes under anybody's feet.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
