//! Carries one direction between two connections. Where much comes, the kernel hands it on by itself (`splice(2)`): the
//! bytes are never here.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use link::{Arrivals, pump_little};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

/// Bytes that a pipe has room for.
const ROOM: usize = 256 * 1024;

/// Pipes of all connections. More would be a matter of descriptors, and of memory where nobody reads.
const PIPES: usize = 32;

thread_local! {
    /// Empty ones, and how many there are in all.
    static POOL: RefCell<(Vec<Rc<Pipe>>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

/// Whose connection has failed.
#[derive(Debug)]
pub(super) enum Failed {
    Read(io::Error),
    Write(io::Error),
}

/// Copies until `from` ends, then shuts `to` down; the first failure of either ends the copy.
pub(super) async fn carry(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = (Arrivals(from), Departures(to));
    while !pump_little(&mut reader, &mut writer).await? {
        match many(from, to, u64::MAX, &mut Vec::new()).await {
            Ok(_) => {}
            Err(Failed::Read(error) | Failed::Write(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Hands on what is there, at most so many bytes, and returns how many they were once nothing is there. Cancelled at any
/// time, `held` gets what was read and not written.
pub(super) async fn many(from: &TcpStream, to: &TcpStream, most: u64, held: &mut Vec<u8>) -> Result<u64, Failed> {
    let Some(pipe) = Pipe::take() else { return Ok(0) };
    let mut held = Held { pipe, left: 0, held };
    let mut all = 0;
    while all < most {
        match held.fill(from, most - all) {
            Ok(0) => break,
            Ok(count) => all += count as u64,
            Err(error) => return Err(Failed::Read(error)),
        }
        while held.left > 0 {
            held.empty(to).await.map_err(Failed::Write)?;
        }
        // Other connections have their turn.
        tokio::task::consume_budget().await;
    }
    Ok(all)
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
        Poll::Ready(match shutdown(self.0, Shutdown::Write) {
            // Both directions have ended before.
            Err(Errno::NOTCONN) => Ok(()),
            ended => ended.map_err(io::Error::from),
        })
    }
}

/// Where bytes are on their way from one socket to another.
#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    fn take() -> Option<Rc<Self>> {
        POOL.with_borrow_mut(|(empty, count)| {
            empty.pop().or_else(|| {
                if *count >= PIPES {
                    return None;
                }
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                // It may not be had, since all pipes of a user are limited together; a smaller one does as well.
                let _ = fcntl_setpipe_size(&writer, ROOM);
                *count += 1;
                Some(Rc::new(Self { reader, writer }))
            })
        })
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// A pipe in use, and who gets what is left in it.
struct Held<'h> {
    pipe: Rc<Pipe>,
    left: usize,
    held: &'h mut Vec<u8>,
}

impl Held<'_> {
    /// 0 where nothing is there, or the end.
    fn fill(&mut self, from: &TcpStream, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(ROOM).min(ROOM);
        let filled = from.try_io(Interest::READABLE, || {
            splice(from, None, &self.pipe.writer, None, most, FLAGS).map_err(io::Error::from)
        });
        match filled {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Ok(count) => {
                self.left = count;
                Ok(count)
            }
            Err(error) => Err(error),
        }
    }

    async fn empty(&mut self, to: &TcpStream) -> io::Result<()> {
        to.writable().await?;
        let emptied = to.try_io(Interest::WRITABLE, || {
            splice(&self.pipe.reader, None, to, None, self.left, FLAGS).map_err(io::Error::from)
        });
        match emptied {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(count) => {
                self.left -= count;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let begin = self.held.len();
        self.held.resize(begin + self.left, 0);
        let mut at = begin;
        while at < self.held.len() {
            match rustix::io::read(&self.pipe.reader, &mut self.held[at..]) {
                Ok(count @ 1..) => at += count,
                // It holds what it was given.
                _ => break,
            }
        }
        POOL.with_borrow_mut(|(empty, count)| {
            if at == self.held.len() {
                empty.push(Rc::clone(&self.pipe));
            } else {
                *count -= 1;
            }
        });
        self.held.truncate(at);
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
    async fn what_was_read_and_not_written_is_held_when_it_is_cancelled() {
        let ((mut client, near), (far, mut server)) = (pair().await, pair().await);
        let data: Vec<u8> = (0..40_000_000_u32).map(|number| (number / 7) as u8).collect();
        let send = async {
            client.write_all(&data).await.expect("writes");
            client.shutdown().await.expect("ends");
        };
        let carried = async {
            let mut held = Vec::new();
            for _ in 0..50 {
                near.readable().await.expect("something comes");
                let carrying = many(&near, &far, 1_000_000, &mut held);
                let cancelled = async {
                    for _ in 0..3 {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    carried = carrying => drop(carried.expect("carries")),
                    () = cancelled => {}
                }
                Departures(&far).write_all(&std::mem::take(&mut held)).await.expect("writes");
            }
            carry(&near, &far).await.expect("carries");
        };
        let mut got = Vec::new();
        let receive = async { server.read_to_end(&mut got).await.expect("reads") };
        tokio::join!(carried, send, receive);
        assert!(got == data);
        POOL.with_borrow(|(empty, count)| assert_eq!(empty.len(), *count, "all are empty again"));
    }
}
