//! Carries one direction between two connections. Where much comes, the kernel hands it on by itself (`splice(2)`): the
//! bytes are never here.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use link::{pump, pump_little};
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

use crate::outgoing::Arrivals;

/// Bytes that a pipe has room for.
const ROOM: usize = 256 * 1024;

/// Pipes of all connections. More would be a matter of descriptors, and of memory where nobody reads.
const PIPES: usize = 32;

thread_local! {
    /// Empty ones, and how many there are in all.
    static POOL: RefCell<(Vec<Pipe>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

/// Copies until `from` ends, then shuts `to` down; the first failure of either ends the copy.
pub(super) async fn carry(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = (Arrivals(from), Departures(to));
    while !pump_little(&mut reader, &mut writer).await? {
        match Pipe::take() {
            Some(pipe) => pipe.carry(from, to).await?,
            None => return pump(reader, writer, |_| {}).await,
        }
    }
    Ok(())
}

/// Writes to a socket that others use, too.
#[derive(Debug)]
pub(super) struct Departures<'s>(pub(super) &'s TcpStream);

impl AsyncWrite for Departures<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.0, Shutdown::Write).map_err(io::Error::from))
    }
}

/// Where bytes are on their way from one socket to another. It goes back to the others when it is empty, and is
/// closed where it is not.
#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    fn take() -> Option<Held> {
        let pipe = POOL.with_borrow_mut(|(empty, count)| {
            empty.pop().or_else(|| {
                if *count >= PIPES {
                    return None;
                }
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                // It may not be had, since all pipes of a user are limited together; a smaller one does as well.
                let _ = fcntl_setpipe_size(&writer, ROOM);
                *count += 1;
                Some(Self { reader, writer })
            })
        });
        pipe.map(|pipe| Held(Some(pipe)))
    }
}

/// A pipe in use.
struct Held(Option<Pipe>);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.is_some() {
            POOL.with_borrow_mut(|(_, count)| *count -= 1);
        }
    }
}

impl Held {
    /// Hands on what is there, until there is nothing more or the end.
    async fn carry(mut self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        while let Some(pipe) = &self.0 {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let taken = from.try_io(Interest::READABLE, || {
                splice(from, None, &pipe.writer, None, ROOM, flags).map_err(io::Error::from)
            });
            let mut left = match taken {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if left == 0 {
                POOL.with_borrow_mut(|(empty, _)| empty.extend(self.0.take()));
                return Ok(());
            }
            while left > 0 {
                to.writable().await?;
                let given = to.try_io(Interest::WRITABLE, || {
                    splice(&pipe.reader, None, to, None, left, flags).map_err(io::Error::from)
                });
                match given {
                    Ok(count) => left -= count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            // Other connections have their turn.
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (one, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.expect("connects"), accepted.expect("accepts").0)
    }

    #[tokio::test]
    async fn much_and_little_arrive_with_the_end() {
        let ((mut client, near), (far, mut server)) = (pair().await, pair().await);
        let data: Vec<u8> = (0..20_000_000_u32).map(|number| (number / 7) as u8).collect();
        let send = async {
            for part in [0..5, 5..10_000_000, 10_000_000..10_000_009, 10_000_009..20_000_000] {
                client.write_all(&data[part]).await.expect("writes");
                tokio::task::yield_now().await;
            }
            client.shutdown().await.expect("ends");
        };
        let mut got = Vec::new();
        let receive = async { server.read_to_end(&mut got).await.expect("reads") };
        let (carried, (), _) = tokio::join!(carry(&near, &far), send, receive);
        carried.expect("carries");
        assert!(got == data);
        POOL.with_borrow(|(empty, count)| assert!(*count > 0 && empty.len() == *count, "all are empty again"));
    }

    #[tokio::test]
    async fn a_pipe_that_is_not_empty_is_not_used_again() {
        let ((mut client, near), (far, server)) = (pair().await, pair().await);
        let send = async { while client.write_all(&[7; 65536]).await.is_ok() {} };
        let leave = async {
            server.readable().await.expect("something comes");
            drop(server);
        };
        let carried = async {
            let carried = carry(&near, &far).await;
            drop((near, far));
            carried
        };
        let (carried, (), ()) = tokio::join!(carried, send, leave);
        assert!(carried.is_err());
        POOL.with_borrow(|(empty, count)| assert_eq!(empty.len(), *count));
    }
}
