//! Traffic of the pod: answers [`OpenPort`] and [`Accept`].
//!
//! `steering` brings new connections here, `ports` keeps them until the session takes them, and `passing` hands
//! those on to the application that are not the session's.

mod copies;

mod order;

mod passing;

mod ports;

mod program;

mod steering;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use link::{Call, MessageError};
use protocol::agent::{Accept, Accepted, OpenPort, PortMode, RemoteError};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tracing::{debug, info, warn};

use crate::dispatch::{Counters, reply};
use crate::outgoing::{abort, carry, refusal};
use order::{Passing, Place};
use passing::Way;
use ports::{Arrived, Port, Ports};
use steering::{Listeners, Steering, SteeringError};

/// How often the agent says that it lives: connections go to the application once it has not for a second.
const BEAT: Duration = Duration::from_millis(250);

/// What the session has opened. Nothing of it is there before the first port.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    ports: Ports,
    active: RefCell<Option<Active>>,
}

/// Steering, with the tasks that serve it. Stays when the last port is closed: connections may be on their way
/// to the listeners still.
#[derive(Debug)]
struct Active {
    steering: Rc<Steering>,
    way: Rc<Way>,
    tasks: Vec<JoinHandle<()>>,
    _place: Place,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Incoming {
    /// Opens a port, and closes it when the host gives the stream up.
    pub(crate) async fn serve_port(
        self: &Rc<Self>,
        counters: &Rc<Counters>,
        call: Call,
        request: OpenPort,
    ) -> Result<(), MessageError> {
        let OpenPort { port, mode } = request;
        if let Err(error) = self.open(counters, port, mode) {
            return reply::<OpenPort>(call, &Err(error)).await;
        }
        let mut stream = match call.reply::<OpenPort>(&Ok(())).await {
            Ok(stream) => stream,
            Err(error) => {
                self.close(port);
                return Err(error);
            }
        };
        // The host says nothing more: this is its end, or that of the link.
        let _ = stream.read(&mut [0]).await;
        self.close(port);
        // A host that has shut its direction down waits for this.
        let _ = stream.shutdown().await;
        Ok(())
    }

    /// Hands one connection over.
    pub(crate) async fn serve_accept(
        &self,
        counters: &Rc<Counters>,
        mut call: Call,
        request: &Accept,
    ) -> Result<(), MessageError> {
        let Some(port) = self.ports.get(request.port) else { return reply::<Accept>(call, &Err(closed())).await };
        let next = tokio::select! {
            next = port.next() => next,
            () = call.stream.aborted() => return Ok(()),
        };
        let Some((arrived, accepted)) = next else { return reply::<Accept>(call, &Err(closed())).await };
        match (call.reply::<Accept>(&Ok(accepted)).await, arrived) {
            (Ok(stream), Arrived::Stolen(socket)) => {
                Counters::add(&counters.stolen, 1);
                carry(counters, socket, stream).await;
            }
            (Ok(stream), Arrived::Mirrored(copy)) => {
                Counters::add(&counters.mirrored, 1);
                if !copy.send(stream).await {
                    debug!(peer = %accepted.peer, "the copy of a connection was cut");
                }
            }
            (Err(error), arrived) => {
                if let Arrived::Stolen(socket) = arrived {
                    abort(&socket);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn open(self: &Rc<Self>, counters: &Rc<Counters>, port: u16, mode: PortMode) -> Result<(), RemoteError> {
        let errno = |errno: Errno| RemoteError { errno: errno.raw_os_error(), context: format!("open port {port}") };
        if self.ports.get(port).is_some() {
            return Err(errno(Errno::ADDRINUSE));
        }
        let mut active = self.active.borrow_mut();
        let steering = match &*active {
            Some(active) => Rc::clone(&active.steering),
            None => {
                let started = self.start(counters).map_err(|error| {
                    warn!(error = crate::with_causes(&error), "connections cannot be had");
                    RemoteError { errno: error.errno(), context: crate::with_causes(error) }
                })?;
                Rc::clone(&active.insert(started).steering)
            }
        };
        // Known before the first connection can come.
        self.ports.insert(port, Port::new(mode));
        match steering.add(port) {
            Ok(()) => {
                info!(port, ?mode, "port opened");
                Ok(())
            }
            Err(error) => {
                self.ports.remove(port);
                Err(refusal(&error, format!("open port {port}")))
            }
        }
    }

    /// The application gets the port back, with the connections that nobody has taken.
    fn close(&self, port: u16) {
        let active = self.active.borrow();
        let Some(active) = &*active else { return };
        if let Err(error) = active.steering.remove(port) {
            warn!(port, %error, "close a port");
        }
        info!(port, "port closed");
        for (arrived, accepted) in self.ports.remove(port) {
            give_back(&active.way, arrived, accepted.peer);
        }
    }

    fn start(self: &Rc<Self>, counters: &Rc<Counters>) -> Result<Active, SteeringError> {
        let attach = |place: &Place| {
            let (steering, listeners) = Steering::start(&place.passed_ports())?;
            steering.beat().map_err(SteeringError::Map)?;
            Ok::<_, SteeringError>((Rc::new(steering), listeners))
        };
        let (place, (steering, Listeners { v4, v6 })) = Place::take(attach)?;
        let passing = Rc::new(Passing::default());
        let mut tasks =
            vec![spawn_local(keep_alive(Rc::clone(&steering))), spawn_local(place.answers(Rc::clone(&passing))?)];
        let way = Rc::new(Way::new(Rc::clone(counters), place.own_ports(), passing));
        for listener in std::iter::once(v4).chain(v6) {
            let listener = TcpListener::from_std(listener).map_err(SteeringError::Listen)?;
            tasks.push(spawn_local(Rc::clone(self).take_all(Rc::clone(&way), listener)));
        }
        Ok(Active { steering, way, tasks, _place: place })
    }

    async fn take_all(self: Rc<Self>, way: Rc<Way>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => drop(spawn_local(Rc::clone(&self).take(Rc::clone(&way), socket, peer))),
                Err(error) => {
                    // Without descriptors the next attempt fails as well.
                    warn!(%error, "take a connection to the pod");
                    tokio::time::sleep(BEAT).await;
                }
            }
        }
    }

    /// Gives a new connection to its port.
    async fn take(self: Rc<Self>, way: Rc<Way>, socket: TcpStream, peer: SocketAddr) {
        let Ok(local) = socket.local_addr() else { return };
        let peer = order::client(peer, local).await;
        debug!(%peer, %local, "new connection to the pod");
        let _ = socket.set_nodelay(true);
        let Some(port) = self.ports.get(local.port()) else { return way.pass(socket, peer, None) };
        let arrived = match port.mode {
            PortMode::Steal => Arrived::Stolen(socket),
            PortMode::Mirror => {
                let (original, copy) = copies::copy();
                way.pass(socket, peer, Some(original));
                Arrived::Mirrored(copy)
            }
        };
        if let Err(arrived) = port.push(arrived, Accepted { peer, local }) {
            give_back(&way, arrived, peer);
        }
    }
}

/// The application gets what the session does not take.
fn give_back(way: &Rc<Way>, arrived: Arrived, peer: SocketAddr) {
    if let Arrived::Stolen(socket) = arrived {
        way.pass(socket, peer, None);
    }
}

async fn keep_alive(steering: Rc<Steering>) {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        beats.tick().await;
        if let Err(error) = steering.beat() {
            warn!(%error, "say that the agent lives");
        }
    }
}

/// The port is not open, or no longer.
fn closed() -> RemoteError {
    RemoteError { errno: Errno::CANCELED.raw_os_error(), context: "take a connection of a closed port".to_owned() }
}

impl SteeringError {
    fn errno(&self) -> i32 {
        let (Self::Place(error) | Self::Listen(error) | Self::Map(error) | Self::Load(error) | Self::Attach(error)) =
            self;
        io::Error::raw_os_error(error).unwrap_or(Errno::IO.raw_os_error())
    }
}
