//! Source ports that programs have chosen. One that cannot be had in the pod becomes any.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

/// Runs `attempt` with the wanted port, and where that port is what failed, with any.
pub(super) async fn with_port<T>(wanted: u16, attempt: impl AsyncFn(u16) -> io::Result<T>) -> io::Result<T> {
    if wanted != 0 {
        match attempt(wanted).await {
            Err(error) if is_about_port(&error) => {
                tracing::debug!(port = wanted, %error, "source port cannot be had");
            }
            result => return result,
        }
    }
    attempt(0).await
}

/// In use, privileged (`ip(7)`), or already part of the same connection (`tcp(7)`). Where the cause is
/// another one, the attempt with any port fails the same way.
fn is_about_port(error: &io::Error) -> bool {
    let causes = [Errno::ADDRINUSE, Errno::ACCESS, Errno::ADDRNOTAVAIL];
    causes.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Every address of the family of `peer`, with a port.
pub(super) fn any_address(peer: SocketAddr, port: u16) -> SocketAddr {
    let any = match peer {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(any, port)
}
