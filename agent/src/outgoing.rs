//! Connections and datagrams that leave from the pod, one file for each kind.

mod source;

mod tcp;

mod udp;

mod unix;

use std::io;

use protocol::agent::RemoteError;
use rustix::io::Errno;

pub(crate) use tcp::{abort, failure, serve as serve_tcp};
pub(crate) use udp::serve as serve_udp;
pub(crate) use unix::serve as serve_unix;

/// The kernel's error number; errors that are not the kernel's become `EIO`.
fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}

/// The reply for a failure of `what`.
pub(crate) fn refusal(error: &io::Error, what: String) -> RemoteError {
    tracing::debug!(what, %error, "refused");
    RemoteError { errno: errno_of(error), context: what }
}
