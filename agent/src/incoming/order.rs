//! The order of several agents in one pod, without a coordinator: each is asked before those that came earlier,
//! and what it does not take goes on to the next, finally to the application.
//!
//! Agent number n has bound the abstract socket `mirror-agent-n` in the pod's network (`unix(7)`), so the kernel frees
//! its number when it ends. A new one takes the highest number and one, never a free lower one: the order of the
//! numbers is that of attaching, since both happen under a lock. Each number has source ports of its own, and
//! the program of agent n lets connections from those of 0 to n pass (`program`). On that socket agents ask each other
//! what they need to know.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use protocol::codec;
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::debug;

/// Most agents in one pod.
const MAX_AGENTS: u16 = 10;

/// Source ports of connections to the application: below those that kernels choose (`ip_local_port_range`, 32768 on),
/// and so many for each agent.
const FIRST_PORT: u16 = 12_288;
const PORTS: u16 = 2_048;

/// Name of the lock under which agents attach. Its holder is done within milliseconds.
const LOCK: &str = "mirror-agents";
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How long another agent may take to say who a client is.
const ANSWER: Duration = Duration::from_millis(500);

/// Largest message in bytes: hardly more than an address.
const MAX_MESSAGE: usize = 64;

/// What one agent asks another.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Question {
    /// Who is the client of your connection from here? Answer: `Option<SocketAddr>`.
    Client(SocketAddr),
    /// Do you steal the connections to this port? Answer: `bool`.
    Steals(u16),
}

/// What an agent tells others of itself.
pub(super) struct Told {
    pub(super) passing: Rc<Passing>,
    /// Whether it steals the connections to a port.
    pub(super) steals: Box<dyn Fn(u16) -> bool>,
}

/// The place of this agent, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u16,
    socket: UnixListener,
}

impl Place {
    /// Takes the next number, has `attach` attach what depends on it, and lets others in again.
    pub(super) fn take<T, E: From<io::Error>>(attach: impl FnOnce(&Self) -> Result<T, E>) -> Result<(Self, T), E> {
        let _lock = lock()?;
        let number = next_number(&fs::read_to_string("/proc/thread-self/net/unix")?);
        if number >= MAX_AGENTS {
            return Err(io::Error::from(Errno::USERS).into());
        }
        let place = Self { number, socket: bind(&name(number))? };
        let attached = attach(&place)?;
        Ok((place, attached))
    }

    /// Ports from which this agent connects to the application.
    pub(super) fn own_ports(&self) -> RangeInclusive<u16> {
        let first = FIRST_PORT + self.number * PORTS;
        first..=first + (PORTS - 1)
    }

    /// Ports from which connections come that this agent has seen already, or that are not for it.
    pub(super) fn passed_ports(&self) -> RangeInclusive<u16> {
        FIRST_PORT..=*self.own_ports().end()
    }

    /// Ports from which newer agents let connections pass, and this one does not.
    pub(super) fn canary_ports(&self) -> RangeInclusive<u16> {
        let first = self.own_ports().end() + 1;
        first..=first + (PORTS - 1)
    }

    /// Answers other agents, until the returned future is dropped.
    pub(super) fn answers(&self, told: Told) -> io::Result<impl Future<Output = ()> + use<>> {
        let told = Rc::new(told);
        let listener = self.socket.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(spawn_local(answer(stream, Rc::clone(&told)))),
                    Err(error) => {
                        debug!(%error, "cannot accept another agent's question");
                        tokio::time::sleep(ANSWER).await;
                    }
                }
            }
        })
    }

    /// Whether another agent steals the connections to a port.
    pub(super) async fn is_stolen(&self, port: u16) -> bool {
        for number in (0..MAX_AGENTS).filter(|number| *number != self.number) {
            if let Ok(Ok(true)) = timeout(ANSWER, ask(number, Question::Steals(port))).await {
                return true;
            }
        }
        false
    }
}

/// Connections that are passed on: their source, and their client.
#[derive(Debug, Default)]
pub(super) struct Passing(RefCell<HashMap<SocketAddr, SocketAddr>>);

impl Passing {
    /// Names the client behind a source until the returned value is dropped.
    pub(super) fn enter(self: &Rc<Self>, source: SocketAddr, client: SocketAddr) -> Entered {
        self.0.borrow_mut().insert(source, client);
        Entered { source, passing: Rc::clone(self) }
    }
}

/// See [`Passing::enter`].
#[derive(Debug)]
pub(super) struct Entered {
    source: SocketAddr,
    passing: Rc<Passing>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.passing.0.borrow_mut().remove(&self.source);
    }
}

/// The client behind a connection from `peer`: another agent says it where the connection comes from one.
pub(super) async fn client(peer: SocketAddr, local: SocketAddr) -> SocketAddr {
    let last = FIRST_PORT + (MAX_AGENTS * PORTS - 1);
    if peer.ip() != local.ip() || !(FIRST_PORT..=last).contains(&peer.port()) {
        return peer;
    }
    let number = (peer.port() - FIRST_PORT) / PORTS;
    match timeout(ANSWER, ask(number, Question::Client(peer))).await {
        Ok(Ok(Some(client))) => client,
        answer => {
            debug!(%peer, ?answer, "no agent knows this client");
            peer
        }
    }
}

async fn ask<T: DeserializeOwned>(number: u16, question: Question) -> io::Result<T> {
    let stream = std::os::unix::net::UnixStream::connect_addr(&UnixAddr::from_abstract_name(name(number))?)?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    stream.write_all(&codec::encode(&question).map_err(io::Error::other)?).await?;
    read(&mut stream).await
}

async fn answer(mut stream: UnixStream, told: Rc<Told>) {
    let answer = async {
        let answer = match read(&mut stream).await? {
            Question::Client(source) => codec::encode(&told.passing.0.borrow().get(&source)),
            Question::Steals(port) => codec::encode(&(told.steals)(port)),
        };
        stream.write_all(&answer.map_err(io::Error::other)?).await
    };
    if let Err(error) = timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        debug!(%error, "a question of another agent was not answered");
    }
}

async fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut prefix = [0; codec::PREFIX];
    stream.read_exact(&mut prefix).await?;
    let length = codec::length(prefix).map_err(io::Error::other)?;
    let mut body = [0; MAX_MESSAGE];
    let body = body.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
    stream.read_exact(body).await?;
    codec::decode(body).map_err(io::Error::other)
}

fn name(number: u16) -> String {
    format!("mirror-agent-{number}")
}

fn bind(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)
}

/// The kernel frees the lock when its holder ends.
fn lock() -> io::Result<UnixListener> {
    let began = Instant::now();
    loop {
        match bind(LOCK) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < LOCK_PATIENCE => {
                sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// One more than the highest number in the kernel's list of Unix sockets (`proc_pid_net(5)`: an abstract name is the
/// last field, with `@` in front).
fn next_number(sockets: &str) -> u16 {
    let number = |line: &str| line.split(' ').next_back()?.strip_prefix("@mirror-agent-")?.parse::<u16>().ok();
    sockets.lines().filter_map(number).max().map_or(0, |highest| highest.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_above_all_others() {
        let line = |name: &str| format!("0000000000000000: 00000002 00000000 00010000 0001 01 25181 {name}\n");
        assert_eq!(next_number("Num       RefCount Protocol Flags    Type St Inode Path\n"), 0);
        let sockets = ["/run/x", "@mirror-agents", "@mirror-agent-0", "@mirror-agent-4", "@mirror-agent-x"].map(line);
        assert_eq!(next_number(&sockets.concat()), 5);
        assert_eq!(next_number(&line("@mirror-agent-65535")), u16::MAX);
    }

    #[tokio::test]
    async fn the_newest_agent_passes_all_ports_and_tells_who_its_clients_are() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (first, ()) = Place::take::<_, io::Error>(|_| Ok(())).expect("a place");
                let (second, ()) = Place::take::<_, io::Error>(|_| Ok(())).expect("a place");
                assert!(second.own_ports().start() > first.own_ports().end());
                assert_eq!(second.passed_ports(), FIRST_PORT..=*second.own_ports().end());
                let passing = Rc::new(Passing::default());
                let steals = Box::new(|port| port == 80);
                let told = Told { passing: Rc::clone(&passing), steals };
                spawn_local(second.answers(told).expect("serves"));
                assert_eq!([first.is_stolen(80).await, first.is_stolen(81).await], [true, false]);
                assert!(!second.is_stolen(80).await, "by nobody else");
                let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
                let (source, there) = (address(*second.own_ports().start()), address(80));
                let stranger = SocketAddr::from(([10, 0, 0, 9], 4242));
                assert_eq!(client(stranger, there).await, stranger);
                assert_eq!(client(source, there).await, source);
                let entered = passing.enter(source, stranger);
                assert_eq!(client(source, there).await, stranger);
                drop(entered);
                assert_eq!(client(source, there).await, source);
            })
            .await;
    }
}
