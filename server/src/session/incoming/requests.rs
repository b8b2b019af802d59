//! Carries requests to the program over a connection that it has accepted.
//!
//! What is written to a paused program cannot be had back: it reads it when it goes on. So the last bytes of a request's
//! head are kept until the program has read the others. If it reads nothing in time, the connection is reset, and what it
//! then finds is a part of a head, by which nothing is done: the application can have the request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use link::Stream;
use protocol::agent::{Part, Taken};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::session::brief;
use crate::session::relay;
use crate::session::sock_diag;

/// Longest head, somewhat more than the agent reads.
const MAX_HEAD: usize = 128 * 1024;

/// Bytes of a head that are kept: without the ends of its last two lines it is not even nearly one.
const KEPT: usize = 4;

/// How long after a look whether the program has read the next one comes: at first a program that waits has just woken
/// up, and each look takes time from it where processors are few.
const FIRST_PAUSE: Duration = Duration::from_micros(60);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// Bytes of one read.
const CHUNK: usize = 32 * 1024;

/// What holds for connections that carry requests.
pub(super) struct Requests {
    /// How long a request waits for the program to read.
    pub(super) patience: Duration,
    /// What the agent is told when it does not.
    pub(super) untaken: Taken,
}

enum Ended {
    Broken(io::Error),
    /// The program has read nothing of a request.
    Untaken,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Requests {
    /// Carries requests until the connection has ended. False if the program has left one alone.
    pub(super) async fn carry(self, mut socket: TcpStream, stream: Stream) -> bool {
        let Self { patience, untaken } = self;
        socket.set_nodelay(true).ok();
        let (Ok(to), Ok(source)) = (socket.peer_addr(), socket.local_addr()) else { return true };
        let program = Program { to, source, patience };
        let (pod, up_ended) = (stream.watch(), Notify::new());
        let (from_pod, to_pod) = tokio::io::split(stream);
        let (mut from_program, to_program) = socket.split();
        let to_pod = Mutex::new(to_pod);
        let up = async {
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = from_program.read(&mut buffer).await?;
                if count == 0 {
                    up_ended.notify_one();
                    return Ok(to_pod.lock().await.shutdown().await?);
                }
                to_pod.lock().await.write_all(&buffer[..count]).await?;
            }
        };
        let down = async {
            program.send(from_pod, to_program, &to_pod).await?;
            // A peer that has closed altogether resets what still comes: the program is told before it writes again.
            tokio::select! {
                () = up_ended.notified() => Ok(()),
                () = pod.aborted() => Err(Ended::Broken(io::ErrorKind::ConnectionReset.into())),
            }
        };
        match tokio::try_join!(up, down) {
            Ok(((), ())) => true,
            Err(Ended::Broken(error)) => {
                tracing::debug!(%error, "a connection for requests broke");
                relay::reset(&socket);
                true
            }
            Err(Ended::Untaken) => {
                relay::reset(&socket);
                let mut to_pod = to_pod.lock().await;
                let told = async {
                    to_pod.write_u8(untaken as u8).await?;
                    to_pod.shutdown().await
                };
                drop(told.await);
                false
            }
        }
    }
}

/// The program's end of a connection.
struct Program {
    to: SocketAddr,
    source: SocketAddr,
    patience: Duration,
}

impl Program {
    /// Sends what the agent says until it has ended its direction.
    async fn send(
        &self,
        mut from_pod: ReadHalf<Stream>,
        mut to_program: tcp::WriteHalf<'_>,
        to_pod: &Mutex<WriteHalf<Stream>>,
    ) -> Result<(), Ended> {
        let mut buffer = vec![0; CHUNK];
        while let Some(Part { begins, length }) = next(&mut from_pod).await? {
            let mut left = length as usize;
            if begins {
                if !(KEPT..=MAX_HEAD).contains(&left) {
                    return Err(Ended::Broken(io::ErrorKind::InvalidData.into()));
                }
                let mut head = vec![0; left];
                from_pod.read_exact(&mut head).await?;
                let (first, last) = head.split_at(left - KEPT);
                to_program.write_all(first).await?;
                if !self.reads(first.len()).await? {
                    return Err(Ended::Untaken);
                }
                to_pod.lock().await.write_u8(Taken::ByProgram as u8).await?;
                to_program.write_all(last).await?;
                continue;
            }
            while left > 0 {
                let chunk = left.min(CHUNK);
                let count = from_pod.read(&mut buffer[..chunk]).await?;
                if count == 0 {
                    return Err(Ended::Broken(io::ErrorKind::UnexpectedEof.into()));
                }
                to_program.write_all(&buffer[..count]).await?;
                left -= count;
            }
        }
        Ok(to_program.shutdown().await?)
    }

    /// Whether the program begins to read the last `count` bytes in time.
    async fn reads(&self, count: usize) -> Result<bool, Ended> {
        let (since, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            match sock_diag::unread(self.to, self.source)? {
                Some(0) => break,
                Some(unread) if since.elapsed() >= self.patience => return Ok((unread as usize) < count),
                Some(_) => {}
                None => return Err(Ended::Broken(io::ErrorKind::ConnectionReset.into())),
            }
            brief::sleep(pause).await?;
            pause = LAST_PAUSE.min(pause * 2);
        }
        Ok(true)
    }
}

/// The next part; none at the end.
async fn next(from_pod: &mut ReadHalf<Stream>) -> io::Result<Option<Part>> {
    let mut bytes = [0; Part::SIZE];
    match from_pod.read(&mut bytes).await? {
        0 => Ok(None),
        count => {
            from_pod.read_exact(&mut bytes[count..]).await?;
            Ok(Some(Part::from_bytes(bytes)))
        }
    }
}
