//! Which new connections to the pod come to us: the maps, the program and the listeners behind it.
//!
//! Everything here is held by descriptors of this process, so the kernel gives the traffic back when it ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::system::uname;
use rustix::time::{ClockId, clock_gettime};

use super::program::{self, Maps};
use crate::sys::bpf::{Map, MapKind, ProgramKind, attach, load};

/// Words of 64 ports each: an array of 8 KiB, since a map of single ports would exceed the memory that a container may
/// lock before Linux 5.11.
const PORT_WORDS: u32 = 1024;

/// How long connections come to an agent that does not say that it lives.
pub(super) const ALIVE: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why connections cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SteeringError {
    #[error("take a place among the agents of the pod (at most 10)")]
    Place(#[from] io::Error),
    #[error("listen in the pod's network")]
    Listen(#[source] io::Error),
    #[error("make a BPF map (needs SYS_ADMIN, or BPF and NET_ADMIN)")]
    Map(#[source] io::Error),
    #[error("load the BPF program that chooses connections (needs SYS_ADMIN, or BPF and NET_ADMIN)")]
    Load(#[source] io::Error),
    #[error("the node's Linux {0} cannot choose connections: sk_lookup programs need 5.9")]
    Kernel(String, #[source] io::Error),
    #[error("attach the BPF program to the pod's network")]
    Attach(#[source] io::Error),
}

impl SteeringError {
    fn of_loading(error: io::Error) -> Self {
        match error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
            true => Self::Kernel(uname().release().to_string_lossy().into_owned(), error),
            false => Self::Load(error),
        }
    }
}

/// Steers new connections for as long as it lives.
#[derive(Debug)]
pub(super) struct Steering {
    ports: Map<u32, u64>,
    /// What `ports` has.
    steered: RefCell<HashMap<u32, u64>>,
    state: Map<u32, u64>,
    _link: OwnedFd,
}

/// Where steered connections arrive.
pub(super) struct Listeners {
    pub(super) v4: TcpListener,
    pub(super) v6: Option<TcpListener>,
}

impl Steering {
    /// Attaches to the calling thread's network; no port is steered yet. Connections from the source ports `passed`
    /// are those of agents, on their way to the application.
    pub(super) fn start(kind: ProgramKind, passed: &RangeInclusive<u16>) -> Result<(Self, Listeners), SteeringError> {
        let v4 = listen((Ipv4Addr::LOCALHOST, 0).into()).map_err(SteeringError::Listen)?;
        let v6 = listen((Ipv6Addr::LOCALHOST, 0).into()).ok();
        let ports = Map::new(MapKind::Array, PORT_WORDS).map_err(SteeringError::Map)?;
        let state = Map::new(MapKind::Array, 1).map_err(SteeringError::Map)?;
        let listeners: Map<u32, u64> = Map::new(MapKind::Sockets, 2).map_err(SteeringError::Map)?;
        listeners.set_socket(0, v4.as_fd()).map_err(SteeringError::Map)?;
        if let Some(v6) = &v6 {
            listeners.set_socket(1, v6.as_fd()).map_err(SteeringError::Map)?;
        }
        let maps = Maps { ports: ports.number(), state: state.number(), listeners: listeners.number() };
        let program = load(kind, &program::instructions(&maps, passed), "mirror").map_err(SteeringError::of_loading)?;
        let network = File::open("/proc/thread-self/ns/net").map_err(SteeringError::Attach)?;
        let link = attach(&program, network.as_fd()).map_err(SteeringError::Attach)?;
        Ok((Self { ports, steered: RefCell::default(), state, _link: link }, Listeners { v4, v6 }))
    }

    /// New connections to the port come here.
    pub(super) fn add(&self, port: u16) -> io::Result<()> {
        self.change(port, |word, bit| word | bit)
    }

    /// New connections to the port go where they went before.
    pub(super) fn remove(&self, port: u16) -> io::Result<()> {
        self.change(port, |word, bit| word & !bit)
    }

    fn change(&self, port: u16, change: impl Fn(u64, u64) -> u64) -> io::Result<()> {
        let (at, bit) = (u32::from(port / 64), 1 << (port % 64));
        let mut steered = self.steered.borrow_mut();
        let word = steered.entry(at).or_default();
        let changed = change(*word, bit);
        self.ports.set(at, changed)?;
        *word = changed;
        Ok(())
    }

    /// Lets new connections go where they went before, until the next beat.
    pub(super) fn pause(&self) -> io::Result<()> {
        self.state.set(0, 0)
    }

    /// Says that the agent lives: connections come for another [`ALIVE`].
    pub(super) fn beat(&self) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let until = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + ALIVE;
        self.state.set(0, until.as_nanos() as u64)
    }
}

/// A listener that nobody reaches but through the program, since its port is not known.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, rustix::net::SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    const PASSED: RangeInclusive<u16> = 61_000..=61_063;

    /// Runs in a new network that has loopback only; needs root.
    pub(crate) fn in_a_new_network(body: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            crate::sys::enter_new_network().expect("a new network namespace (needs root)");
            let status = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
            assert!(status.success());
            body();
        });
        thread.join().expect("passes");
    }

    fn answer(address: &str) -> String {
        let mut client = TcpStream::connect(address).expect("connects");
        let mut text = String::new();
        client.read_to_string(&mut text).expect("reads");
        text
    }

    fn serve(listener: TcpListener, text: &'static str) {
        listener.set_nonblocking(false).expect("blocks");
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("accepted");
                let name = client.local_addr().expect("a name").port();
                write!(client, "{text} {name}").expect("writes");
            }
        });
    }

    #[test]
    fn connections_come_while_the_port_is_steered_and_the_agent_lives() {
        in_a_new_network(|| {
            for (any, there) in [("0.0.0.0:7000", "127.0.0.1:7000"), ("[::]:7001", "[::1]:7001")] {
                let application = TcpListener::bind(any).expect("listens");
                let port = application.local_addr().expect("bound").port();
                serve(application, "application");
                let (steering, listeners) = Steering::start(ProgramKind::Lookup, &PASSED).expect("starts");
                serve(listeners.v4, "agent");
                serve(listeners.v6.expect("IPv6"), "agent");
                let (usual, steered) = (format!("application {port}"), format!("agent {port}"));
                steering.beat().expect("beats");
                assert_eq!(answer(there), usual);
                steering.add(port).expect("adds");
                assert_eq!(answer(there), steered);
                steering.add(port ^ 1).expect("adds its neighbour");
                steering.remove(port).expect("removes");
                assert_eq!(answer(there), usual);
                steering.add(port).expect("adds");
                steering.state.set(0, 1).expect("an old beat");
                assert_eq!(answer(there), usual);
                steering.beat().expect("beats");
                steering.pause().expect("pauses");
                assert_eq!(answer(there), usual);
                steering.beat().expect("beats");
                assert_eq!(answer(there), steered);
                drop(steering);
                assert_eq!(answer(there), usual);
            }
        });
    }

    #[test]
    fn a_kernel_without_such_programs_is_told_from_other_failures() {
        in_a_new_network(|| {
            let Err(error) = Steering::start(ProgramKind::Unknown, &PASSED) else { panic!("no kernel knows it") };
            assert!(matches!(error, SteeringError::Kernel(..)), "{error:?}");
        });
    }
}
