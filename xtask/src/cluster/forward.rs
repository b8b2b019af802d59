//! The way from the machine's own programs to the API server: a listener on loopback whose
//! connections go on from inside the control plane's network namespace, and so the only door
//! into the cluster. It can also delay every byte and carry only so many a second, to test what a far cluster
//! feels like.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const BUFFER: usize = 128 * 1024;
/// Chunks on the way in one direction of a delayed connection: at most 64 MiB.
const CHUNKS_IN_FLIGHT: usize = 512;
/// How far a line that stood still may catch up: what a late wake-up costs, not more.
const CATCH_UP: Duration = Duration::from_millis(2);

/// What to forward.
#[derive(Args)]
pub(crate) struct Forward {
    /// Where to listen, in the namespace that the program is started in.
    #[arg(long)]
    listen: SocketAddr,
    /// Where connections go.
    #[arg(long)]
    connect: SocketAddr,
    /// The network namespace that they go on from.
    #[arg(long)]
    netns: PathBuf,
    /// Milliseconds that every byte waits, each way.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// MiB that all connections together carry in a second, each way; 0 is without limit.
    #[arg(long, default_value_t = 0)]
    rate: u32,
}

/// What lies between the two ends.
struct Link {
    delay: Duration,
    up: Line,
    down: Line,
}

impl Link {
    /// `rate` in MiB/s, 0 for no limit.
    fn new(delay: Duration, rate: u32) -> Self {
        Self { delay, up: Line::new(rate), down: Line::new(rate) }
    }
}

/// One direction, shared by all connections.
struct Line {
    /// Seconds that a byte occupies it; none means that it has no limit.
    seconds_per_byte: Option<f64>,
    /// When it will have sent everything that it was given.
    free_at: Mutex<Instant>,
}

impl Line {
    fn new(rate: u32) -> Self {
        let seconds_per_byte = (rate > 0).then(|| 1.0 / (f64::from(rate) * 1_048_576.0));
        Self { seconds_per_byte, free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until the line has sent so many bytes, after those of others that came before.
    fn send(&self, length: usize) {
        let Some(seconds) = self.seconds_per_byte else { return };
        let sent_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let begins = Instant::now().checked_sub(CATCH_UP).map_or(*free_at, |earliest| earliest.max(*free_at));
            *free_at = begins + Duration::from_secs_f64(length as f64 * seconds);
            *free_at
        };
        thread::sleep(sent_at.saturating_duration_since(Instant::now()));
    }
}

/// Forwards until the process is ended.
pub(crate) fn run(forward: &Forward) -> Result<()> {
    let listener = TcpListener::bind(forward.listen).with_context(|| format!("listen on {}", forward.listen))?;
    let netns =
        File::open(&forward.netns).with_context(|| format!("open the namespace {}", forward.netns.display()))?;
    // The listener stays where it was made; every socket made from here on is in the other one.
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter the namespace {}", forward.netns.display()))?;
    let target = forward.connect;
    let link = Arc::new(Link::new(Duration::from_millis(forward.delay), forward.rate));
    loop {
        let (client, _) = listener.accept().context("accept a connection")?;
        let link = Arc::clone(&link);
        thread::spawn(move || {
            if let Err(error) = serve(&client, target, &link) {
                eprintln!("{target}: {error:#}");
            }
        });
    }
}

fn serve(client: &TcpStream, target: SocketAddr, link: &Link) -> Result<()> {
    // A handshake over a long way costs one round trip before the first byte.
    thread::sleep(link.delay * 2);
    let server = match TcpStream::connect(target) {
        Ok(server) => server,
        Err(error) => {
            reset(client);
            return Err(error).context("connect");
        }
    };
    client.set_nodelay(true).context("set TCP_NODELAY")?;
    server.set_nodelay(true).context("set TCP_NODELAY")?;
    thread::scope(|scope| {
        scope.spawn(|| one_way(client, &server, link.delay, &link.up));
        one_way(&server, client, link.delay, &link.down);
    });
    Ok(())
}

/// Carries one direction to its end: an end of stream is passed on as one, a broken connection
/// breaks the other side too.
fn one_way(from: &TcpStream, to: &TcpStream, delay: Duration, line: &Line) {
    let carried = if delay.is_zero() { carry(from, to, line) } else { carry_late(from, to, delay, line) };
    if carried.is_ok() {
        // Fails only when the peer has gone, and then nobody needs the news.
        let _ = to.shutdown(Shutdown::Write);
    } else {
        for side in [from, to] {
            reset(side);
            // Wakes the other direction and, other than ending the writing side, sends nothing.
            let _ = side.shutdown(Shutdown::Read);
        }
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, line: &Line) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                line.send(length);
                to.write_all(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn carry_late(from: &TcpStream, to: &TcpStream, delay: Duration, line: &Line) -> io::Result<()> {
    let (sender, receiver) = sync_channel(CHUNKS_IN_FLIGHT);
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_chunks(from, delay, line, sender));
        let written = write_chunks(to, receiver);
        if written.is_err() {
            let _ = from.shutdown(Shutdown::Read);
        }
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        written.and(read)
    })
}

type Chunk = (Instant, Vec<u8>);

fn read_chunks(mut from: &TcpStream, delay: Duration, line: &Line, out: SyncSender<Chunk>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(length) => {
                line.send(length);
                let chunk = (Instant::now() + delay, buffer[..length].to_vec());
                if out.send(chunk).is_err() || length == 0 {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes each chunk when its time has come. The end of stream is an empty chunk, and late too.
fn write_chunks(mut to: &TcpStream, chunks: Receiver<Chunk>) -> io::Result<()> {
    for (due, bytes) in chunks {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// Lets the peer see a broken connection instead of an orderly end once the socket is closed.
fn reset(socket: &TcpStream) {
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends through a forwarded connection to a server that answers only at the end of stream.
    fn echo_after_end_of_stream(text: &str, link: Link) -> Result<(String, Duration)> {
        let (outside, inside) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (address, target) = (outside.local_addr()?, inside.local_addr()?);
        thread::spawn(move || -> Result<()> {
            let (mut server, _) = inside.accept()?;
            let mut text = String::new();
            server.read_to_string(&mut text)?;
            Ok(server.write_all(format!("got {text}").as_bytes())?)
        });
        thread::spawn(move || serve(&outside.accept()?.0, target, &link));
        let begin = Instant::now();
        let mut client = TcpStream::connect(address)?;
        client.write_all(text.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok((answer, begin.elapsed()))
    }

    #[test]
    fn an_end_of_stream_passes_while_the_other_direction_goes_on() -> Result<()> {
        let (answer, _) = echo_after_end_of_stream("all of it", Link::new(Duration::ZERO, 0))?;
        assert_eq!(answer, "got all of it");
        Ok(())
    }

    #[test]
    fn a_delay_costs_two_round_trips_for_the_first_answer() -> Result<()> {
        let (answer, took) = echo_after_end_of_stream("all of it", Link::new(Duration::from_millis(20), 0))?;
        assert_eq!(answer, "got all of it");
        assert!(took >= Duration::from_millis(80), "{took:?}");
        Ok(())
    }

    #[test]
    fn a_narrow_line_takes_its_time() -> Result<()> {
        let text = "x".repeat(1 << 20);
        let (answer, took) = echo_after_end_of_stream(&text, Link::new(Duration::ZERO, 10))?;
        assert_eq!(answer.len(), "got ".len() + text.len());
        assert!(took >= Duration::from_millis(2 * 100 - 10), "{took:?}");
        Ok(())
    }

    #[test]
    fn a_target_that_refuses_shows_as_a_broken_connection() -> Result<()> {
        let outside = TcpListener::bind("127.0.0.1:0")?;
        let address = outside.local_addr()?;
        let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        thread::spawn(move || serve(&outside.accept()?.0, nobody, &Link::new(Duration::ZERO, 0)));
        let error = TcpStream::connect(address)?.read(&mut [0]).expect_err("the connection is reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        Ok(())
    }
}
