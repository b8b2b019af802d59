//! What comes with the bytes on a Unix socket: descriptors.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Fills `bytes` from the stream; the descriptor that came along, if one did. `None` at the end of the stream.
pub(crate) fn receive(stream: &mut UnixStream, bytes: &mut [u8]) -> Option<Option<OwnedFd>> {
    use std::io::Read;
    let mut control = [0usize; 8];
    let mut data = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr is numbers and pointers, which may be null.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut data, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
    // SAFETY: recvmsg(2) with room that is ours.
    let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let received = usize::try_from(received).ok().filter(|received| *received > 0)?;
    stream.read_exact(&mut bytes[received..]).ok()?;
    // SAFETY: the kernel has written the control data that the header names.
    let passed = unsafe {
        libc::CMSG_FIRSTHDR(&message).as_ref().map(|header| {
            assert_eq!((header.cmsg_level, header.cmsg_type), (libc::SOL_SOCKET, libc::SCM_RIGHTS));
            OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
        })
    };
    Some(passed)
}

/// `SO_COOKIE` of a socket.
pub(crate) fn cookie(socket: &impl AsRawFd) -> u64 {
    let (mut cookie, mut length) = (0u64, size_of::<u64>() as libc::socklen_t);
    let place = (&raw mut cookie).cast();
    // SAFETY: getsockopt(2) with room for the answer.
    let failed = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, 57, place, &raw mut length) };
    assert_eq!(failed, 0);
    cookie
}
