//! Standard input and output without threads that wait for them: a message would be handed from one to the next.
//!
//! Editors make pipes (`pipe(7)`) or socket pairs (Node). A pipe is opened once more, so that its other users do not find
//! it non-blocking.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;

/// What comes in.
pub(super) type Input = Box<dyn AsyncRead + Send + Unpin>;

/// Where answers go.
pub(super) type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// Standard input; of any other kind, read by a thread.
pub(super) fn input() -> Input {
    of_kind(
        io::stdin().as_fd(),
        || Ok(Box::new(pipe::OpenOptions::new().open_receiver("/proc/self/fd/0")?) as Input),
        |socket| Box::new(socket),
    )
    .unwrap_or_else(|| Box::new(tokio::io::stdin()))
}

/// Standard output; of any other kind, written by a thread.
pub(super) fn output() -> Output {
    of_kind(
        io::stdout().as_fd(),
        || Ok(Box::new(pipe::OpenOptions::new().open_sender("/proc/self/fd/1")?) as Output),
        |socket| Box::new(socket),
    )
    .unwrap_or_else(|| Box::new(tokio::io::stdout()))
}

fn of_kind<T>(
    descriptor: BorrowedFd<'_>,
    of_pipe: impl FnOnce() -> io::Result<T>,
    of_socket: impl FnOnce(tokio::net::UnixStream) -> T,
) -> Option<T> {
    let file = descriptor.try_clone_to_owned().ok()?;
    let kind = File::from(file.try_clone().ok()?).metadata().ok()?.file_type();
    if kind.is_fifo() {
        return of_pipe().ok();
    }
    let socket = UnixStream::from(kind.is_socket().then_some(file)?);
    socket.set_nonblocking(true).ok()?;
    tokio::net::UnixStream::from_std(socket).ok().map(of_socket)
}
