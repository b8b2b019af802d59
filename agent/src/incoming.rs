//! Traffic of the pod: answers [`OpenPort`] and [`Accept`].
//!
//! `steering` brings new connections here, `ports` keeps them until the session takes them, and `passing` hands
//! those on to the application that are not the session's.

mod canary;

mod copies;

mod flush;

mod http;

mod news;

mod order;

mod passing;

mod ports;

mod probes;

mod program;

mod splice;

mod steering;

mod stolen;

#[cfg(any(test, fuzzing))]
pub use http::fuzzing;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use link::{Call, MessageError, Watch};
use protocol::agent::{Accept, Accepted, Arrival, Event, OpenPort, PortMode, PortOpened, RemoteError};
use protocol::launch::Launch;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_keepalive;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::dispatch::{Counters, reply};
use crate::outgoing::{abort, refusal};
use crate::sys::bpf::ProgramKind;
use canary::Canaries;
use news::{Happened, News};
use order::{Passing, Place, Told};
use passing::Way;
use ports::{Arrived, Opened, Ports};
use steering::{Listeners, Steering, SteeringError};

/// How often the agent says that it lives: connections go to the application once it has not for a second.
const BEAT: Duration = Duration::from_millis(250);

/// How long the agent says that it lives without hearing of the host, which says something every 4 s.
const SILENCE: Duration = Duration::from_secs(10);

/// How long an agent that ends carries the connections which the application serves through it.
const DRAIN: Duration = Duration::from_secs(25);

/// What the session has opened. Nothing of it is there before the first port.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    ports: Ports,
    filters: http::Filters,
    canaries: Canaries,
    news: News,
    active: RefCell<Option<Active>>,
    /// Tells when the host was heard of.
    host: RefCell<Option<Watch>>,
    /// No connection could be accepted.
    exhausted: Cell<bool>,
    /// Behave as on a kernel that cannot steer.
    without_sk_lookup: bool,
}

/// Steering, with the tasks that serve it. Stays when the last port is closed: connections may be on their way
/// to the listeners still.
#[derive(Debug)]
struct Active {
    steering: Rc<Steering>,
    way: Rc<Way>,
    tasks: Vec<JoinHandle<()>>,
    place: Rc<Place>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Incoming {
    /// As the arguments say.
    pub(crate) fn new(launch: &Launch) -> Self {
        Self { without_sk_lookup: launch.without_sk_lookup, ..Self::default() }
    }

    /// Opens a port, and closes it when the host gives the stream up.
    pub(crate) async fn serve_port(
        self: &Rc<Self>,
        counters: &Rc<Counters>,
        call: Call,
        request: OpenPort,
    ) -> Result<(), MessageError> {
        let port = request.port;
        let opened = match self.open(counters, &request, call.stream.watch()).await {
            Ok(opened) => opened,
            Err(error) => return reply::<OpenPort>(call, &Err(error)).await,
        };
        let mut stream = match call.reply::<OpenPort>(&Ok(opened)).await {
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

    /// Another wish for a port that is open.
    pub(crate) async fn change(&self, request: &OpenPort) -> Result<(), RemoteError> {
        let OpenPort { port, mode, alone, probed, .. } = *request;
        let refuse = |errno: Errno, context| Err(RemoteError { errno: errno.raw_os_error(), context });
        let place = self.active.borrow().as_ref().map(|active| Rc::clone(&active.place));
        let (Some(place), true) = (place, self.ports.get(port).is_some()) else {
            return refuse(Errno::NOENT, format!("change port {port}"));
        };
        if alone && place.is_stolen(port).await {
            return refuse(Errno::BUSY, format!("another session steals port {port}"));
        }
        if let Err(context) = self.filters.set(request) {
            return refuse(Errno::INVAL, context);
        }
        self.ports.insert(port, Opened { mode, probed });
        info!(port, ?mode, filtered = request.filter.is_some(), "port changed");
        Ok(())
    }

    /// Hands one connection over.
    pub(crate) async fn serve_accept(&self, counters: &Rc<Counters>, mut call: Call) -> Result<(), MessageError> {
        let (arrived, accepted) = tokio::select! {
            next = self.ports.next() => next,
            () = call.stream.aborted() => return Ok(()),
        };
        let (mode, filtered) = match &arrived {
            Arrived::Stolen(_) => (PortMode::Steal, false),
            Arrived::Mirrored(_) => (PortMode::Mirror, false),
            Arrived::Wanted(mode, _) => (*mode, true),
        };
        let arrival = Arrival { accepted, mode, filtered };
        match (call.reply::<Accept>(&arrival).await, arrived) {
            (Ok(stream), Arrived::Stolen(socket)) => {
                Counters::add(&counters.stolen, 1);
                let given_back = stolen::carry(counters, socket, stream).await;
                if let (Some(given_back), Some(way)) = (given_back, self.way()) {
                    way.pass_rest(given_back, accepted.peer).await;
                }
            }
            (Ok(stream), Arrived::Mirrored(copy)) => {
                Counters::add(&counters.mirrored, 1);
                if !copy.send(stream).await {
                    debug!(peer = %accepted.peer, "the copy of a connection was cut");
                    self.news.note(Happened::CopyCut, accepted.local.port());
                }
            }
            (Ok(stream), Arrived::Wanted(_, wanted)) => {
                Counters::add(&counters.stolen, 1);
                http::hand_over(stream, wanted).await;
            }
            (Err(error), arrived) => {
                self.give_back(arrived, accepted);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives all ports back: the session takes no connections any more.
    pub(crate) fn close_all(&self) {
        self.ports.numbers().into_iter().for_each(|port| self.close(port));
    }

    /// Closes all ports and waits for the connections that the application serves through here.
    pub(crate) async fn drain(&self) {
        self.close_all();
        let Some(way) = self.way() else { return };
        if timeout(DRAIN, way.idle()).await.is_err() {
            warn!(seconds = DRAIN.as_secs(), "connections to the application were cut");
        }
    }

    async fn open(
        self: &Rc<Self>,
        counters: &Rc<Counters>,
        request: &OpenPort,
        host: Watch,
    ) -> Result<PortOpened, RemoteError> {
        let OpenPort { port, mode, alone, probed, flush, .. } = *request;
        let refuse = |errno: Errno, context| Err(RemoteError { errno: errno.raw_os_error(), context });
        if self.ports.get(port).is_some() {
            return refuse(Errno::ADDRINUSE, format!("open port {port}"));
        }
        self.host.replace(Some(host));
        let (steering, place) = self.started(counters)?;
        if alone && place.is_stolen(port).await {
            return refuse(Errno::BUSY, format!("another session steals port {port}"));
        }
        if let Err(context) = self.filters.set(request) {
            return refuse(Errno::INVAL, context);
        }
        let standing = flush.then(|| flush::Standing::on(port));
        // Known before the first connection can come.
        self.ports.insert(port, Opened { mode, probed });
        if let Err(error) = steering.add(port) {
            self.ports.remove(port);
            return Err(refusal(&error, format!("open port {port}")));
        }
        let opened = self.canaries.check(place.canary_ports(), port).await;
        if let (true, Some(ip)) = (opened.verified.is_empty(), opened.failed.first()) {
            self.close(port);
            return refuse(
                Errno::HOSTUNREACH,
                format!("a connection of our own to {ip} port {port} did not come here"),
            );
        }
        info!(port, ?mode, ?opened, "port opened");
        standing.map(|standing| spawn_local(standing.flush()));
        Ok(opened)
    }

    fn started(self: &Rc<Self>, counters: &Rc<Counters>) -> Result<(Rc<Steering>, Rc<Place>), RemoteError> {
        let mut active = self.active.borrow_mut();
        if active.is_none() {
            let started = self.start(counters).map_err(|error| {
                warn!(error = crate::with_causes(&error), "connections cannot be had");
                RemoteError { errno: error.errno(), context: crate::with_causes(error) }
            })?;
            active.replace(started);
        }
        let closed = || RemoteError { errno: Errno::CANCELED.raw_os_error(), context: "steer connections".to_owned() };
        active.as_ref().map(|active| (Rc::clone(&active.steering), Rc::clone(&active.place))).ok_or_else(closed)
    }

    /// The application gets the port back, with the connections that nobody has taken.
    fn close(&self, port: u16) {
        let Some(waiting) = self.ports.remove(port) else { return };
        if let Some(active) = &*self.active.borrow()
            && let Err(error) = active.steering.remove(port)
        {
            warn!(port, %error, "close a port");
        }
        info!(port, "port closed");
        waiting.into_iter().for_each(|(arrived, accepted)| self.give_back(arrived, accepted));
    }

    fn way(&self) -> Option<Rc<Way>> {
        self.active.borrow().as_ref().map(|active| Rc::clone(&active.way))
    }

    /// The application gets what the session does not take.
    fn give_back(&self, arrived: Arrived, accepted: Accepted) {
        match (arrived, self.way()) {
            (Arrived::Stolen(socket), Some(way)) => way.pass(socket, accepted.peer, || None),
            (Arrived::Mirrored(_), _) => self.news.note(Happened::CopyCut, accepted.local.port()),
            _ => {}
        }
    }

    /// What users should know from now on.
    pub(crate) fn news(&self) -> broadcast::Receiver<Event> {
        self.news.listen()
    }

    fn start(self: &Rc<Self>, counters: &Rc<Counters>) -> Result<Active, SteeringError> {
        let kind = if self.without_sk_lookup { ProgramKind::Unknown } else { ProgramKind::Lookup };
        let attach = |place: &Place| {
            let (steering, listeners) = Steering::start(kind, &place.passed_ports())?;
            steering.beat().map_err(SteeringError::Map)?;
            Ok::<_, SteeringError>((Rc::new(steering), listeners))
        };
        let (place, (steering, Listeners { v4, v6 })) = Place::take(attach)?;
        let passing = Rc::new(Passing::default());
        let own = Rc::downgrade(self);
        let steals = Box::new(move |port| {
            own.upgrade().and_then(|own| own.ports.get(port)).is_some_and(|opened| opened.mode == PortMode::Steal)
        });
        let mut tasks = vec![
            spawn_local(Rc::clone(self).keep_alive(Rc::clone(&steering))),
            spawn_local(place.answers(Told { passing: Rc::clone(&passing), steals })?),
        ];
        let way = Rc::new(Way::new(Rc::clone(counters), place.own_ports(), passing));
        for listener in std::iter::once(v4).chain(v6) {
            let own = listener.local_addr().map_err(SteeringError::Listen)?.port();
            let listener = TcpListener::from_std(listener).map_err(SteeringError::Listen)?;
            tasks.push(spawn_local(Rc::clone(self).take_all(Rc::clone(&way), listener, own)));
        }
        Ok(Active { steering, way, tasks, place: Rc::new(place) })
    }

    /// Says that the agent lives for as long as it can serve, and hears of the host.
    async fn keep_alive(self: Rc<Self>, steering: Rc<Steering>) {
        let mut beats = tokio::time::interval(BEAT);
        loop {
            beats.tick().await;
            let heard = self.host.borrow().as_ref().is_some_and(|host| host.heard().elapsed() < SILENCE);
            if heard
                && !self.exhausted.get()
                && let Err(error) = steering.beat()
            {
                warn!(%error, "say that the agent lives");
            }
            for (arrived, accepted) in self.ports.late() {
                self.give_back(arrived, accepted);
            }
            self.news.tell(Instant::now());
        }
    }

    async fn take_all(self: Rc<Self>, way: Rc<Way>, listener: TcpListener, own: u16) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    self.exhausted.set(false);
                    drop(spawn_local(Rc::clone(&self).take(Rc::clone(&way), socket, peer, own)));
                }
                Err(error) => {
                    // Without descriptors the next attempt fails as well: new connections go to the application.
                    self.exhausted.set(true);
                    let paused = self.active.borrow().as_ref().map(|active| active.steering.pause());
                    warn!(%error, ?paused, "take a connection to the pod");
                    sleep(BEAT).await;
                }
            }
        }
    }

    /// Gives a new connection to its port. `own` is the listener's, which nobody has to know.
    async fn take(self: Rc<Self>, way: Rc<Way>, socket: TcpStream, peer: SocketAddr, own: u16) {
        let Some(local) = socket.local_addr().ok().filter(|local| local.port() != own) else { return abort(&socket) };
        if self.canaries.is_one(peer, local) {
            return;
        }
        let peer = order::client(peer, local).await;
        debug!(%peer, %local, "new connection to the pod");
        let _ = socket.set_nodelay(true);
        // A client that is gone without a word is noticed some time.
        let _ = set_socket_keepalive(&socket, true);
        let opened = match self.ports.get(local.port()) {
            Some(Opened { probed: true, .. }) if probes::is_probe(&socket).await => None,
            // The port may be closed by now.
            _ => self.ports.get(local.port()),
        };
        let Some(opened) = opened else { return way.pass(socket, peer, || None) };
        if let Some(port) = self.filters.get(local.port()) {
            return Box::pin(http::serve(self, way, socket, Accepted { peer, local }, port)).await;
        }
        let accepted = Accepted { peer, local };
        match opened.mode {
            PortMode::Steal => self.hand(Arrived::Stolen(socket), accepted),
            PortMode::Mirror => way.pass(socket, peer, move || self.copy(accepted)),
        }
    }

    /// A copy of a connection that the application has taken, for the session, unless its port is closed by now.
    fn copy(&self, accepted: Accepted) -> Option<copies::Original> {
        self.ports.get(accepted.local.port()).filter(|opened| opened.mode == PortMode::Mirror)?;
        let (original, copy) = copies::copy();
        self.hand(Arrived::Mirrored(copy), accepted);
        Some(original)
    }

    fn hand(&self, arrived: Arrived, accepted: Accepted) {
        if let Err(arrived) = self.ports.push(arrived, accepted) {
            self.give_back(arrived, accepted);
        }
    }
}

impl SteeringError {
    fn errno(&self) -> i32 {
        let (Self::Place(error)
        | Self::Listen(error)
        | Self::Map(error)
        | Self::Load(error)
        | Self::Kernel(_, error)
        | Self::Attach(error)) = self;
        io::Error::raw_os_error(error).unwrap_or(Errno::IO.raw_os_error())
    }
}
