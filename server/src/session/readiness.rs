//! Tells when the kernel's sockets of kinds that the runtime does not know are ready.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a socket, which keeps its descriptor until it is dropped, as those of the standard library do.
#[expect(deprecated, reason = "the replacement is unsafe, and this crate has no unsafe code")]
pub(super) fn watch<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// For reading and writing.
pub(super) const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
