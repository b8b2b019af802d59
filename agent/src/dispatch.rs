//! One match over the protocol's table: which function answers which request.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use link::{Call, MessageError};
use protocol::agent::{
    AnyRequest, ChangePort, Describe, FollowTarget, GetEnvironment, QueryDns, RemoteError, Request, Resolve,
    ResolveError, ReverseResolve,
};
use protocol::files::{ChangePath, LookAt};
use protocol::launch::Launch;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tracing::{debug, info};

use crate::describe::describe;
use crate::environment;
use crate::files::{self, Root};
use crate::incoming::Incoming;
use crate::names::{self, Names};
use crate::outgoing;
use crate::target::{self, FindError, Target};

/// What the agent has done so far, for its last log line.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) failed_connections: AtomicU64,
    pub(crate) stolen: AtomicU64,
    pub(crate) mirrored: AtomicU64,
    pub(crate) passed: AtomicU64,
    pub(crate) udp_sockets: AtomicU64,
    pub(crate) lookups: AtomicU64,
    pub(crate) datagrams_sent: AtomicU64,
    pub(crate) datagrams_received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

impl Counters {
    /// Adds to one of the counters.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// The pod that requests are about: the target's, or the agent's own when there is no target.
#[derive(Debug)]
pub(crate) struct Pod {
    target: RefCell<Option<Rc<Target>>>,
    followed: Notify,
    pub(crate) root: Rc<Root>,
    pub(crate) names: Names,
    pub(crate) incoming: Rc<Incoming>,
    pub(crate) counters: Rc<Counters>,
}

impl Pod {
    /// Opens what is needed of the target.
    pub(crate) fn new(launch: &Launch, target: Option<Target>) -> Result<Self, FindError> {
        let root = match &target {
            Some(target) => target.root()?,
            None => Root::open("/").map_err(FindError::OwnRoot)?,
        };
        let root = Rc::new(root);
        let names = Names::new(Rc::clone(&root));
        Ok(Self {
            target: RefCell::new(target.map(Rc::new)),
            followed: Notify::new(),
            root,
            names,
            incoming: Rc::new(Incoming::new(launch)),
            counters: Rc::default(),
        })
    }

    /// The target as it is now, if there is one.
    fn target(&self) -> Option<Rc<Target>> {
        self.target.borrow().clone()
    }

    /// Asks the target something, if there is one.
    pub(crate) fn with_target<T>(&self, ask: impl FnOnce(&Target) -> T) -> Option<T> {
        self.target().as_deref().map(ask)
    }

    /// Returns once the target is another process.
    pub(crate) async fn followed(&self) {
        self.followed.notified().await;
    }

    /// Takes the process of a container of the same pod for the target.
    fn follow(&self, container_id: &str) -> Result<(), RemoteError> {
        let failed = |errno: Errno, error: FindError| RemoteError {
            errno: errno.raw_os_error(),
            context: crate::with_causes(error),
        };
        let target = target::find(container_id).map_err(|error| failed(Errno::SRCH, error))?;
        if !target.is_in_own_network() {
            let context = "the target's pod has another network now".to_owned();
            return Err(RemoteError { errno: Errno::STALE.raw_os_error(), context });
        }
        target.follow_with(&self.root).map_err(|error| failed(Errno::ACCESS, error))?;
        info!(container = container_id, pid = target.pid.as_raw_nonzero().get(), "the target has a new process");
        self.target.replace(Some(Rc::new(target)));
        self.followed.notify_one();
        Ok(())
    }
}

/// Carries one request out. A failure to reply means that the host is gone or does not want it any more.
pub(crate) async fn answer(pod: Rc<Pod>, call: Call) {
    let counters = &pod.counters;
    let root = &pod.root;
    // Boxed: thousands of idle connections must not keep the room that a look-up needs.
    let replied = match call.request.clone() {
        AnyRequest::GetEnvironment(_) => {
            let environment = environment::read(pod.target().as_deref());
            reply::<GetEnvironment>(call, &environment).await
        }
        AnyRequest::FollowTarget(request) => reply::<FollowTarget>(call, &pod.follow(&request.container_id)).await,
        AnyRequest::Describe(_) => reply::<Describe>(call, &describe(root)).await,
        AnyRequest::Resolve(request) => {
            let looking = Box::pin(pod.names.resolve(&request));
            look_up::<Resolve, _>(counters, call, &request.name, looking).await
        }
        AnyRequest::ReverseResolve(request) => {
            let looking = Box::pin(pod.names.reverse(request.address));
            look_up::<ReverseResolve, _>(counters, call, &request.address, looking).await
        }
        AnyRequest::QueryDns(request) => {
            let (subject, looking) = (names::subject(&request), Box::pin(pod.names.query(&request)));
            look_up::<QueryDns, _>(counters, call, &subject, looking).await
        }
        AnyRequest::ConnectTcp(request) => Box::pin(outgoing::serve_tcp(counters, call, request)).await,
        AnyRequest::OpenUdp(request) => Box::pin(outgoing::serve_udp(counters, call, request)).await,
        AnyRequest::ConnectUnix(request) => Box::pin(outgoing::serve_unix(counters, root, call, request)).await,
        AnyRequest::OpenPort(request) => pod.incoming.serve_port(counters, call, request).await,
        AnyRequest::ChangePort(ChangePort(request)) => {
            let changed = pod.incoming.change(&request).await;
            reply::<ChangePort>(call, &changed).await
        }
        AnyRequest::Accept(_) => Box::pin(pod.incoming.serve_accept(counters, call)).await,
        AnyRequest::LookAt(request) => {
            let looked = files::look_at(root, pod.target().as_deref(), &request);
            reply::<LookAt>(call, &looked).await
        }
        AnyRequest::ListDirectory(request) => {
            let target = pod.target();
            Box::pin(files::list_directory(root, target.as_deref(), call, request)).await
        }
        AnyRequest::ReadFile(request) => {
            let target = pod.target();
            Box::pin(files::read_file(root, target.as_deref(), call, request)).await
        }
        AnyRequest::ReadAhead(request) => {
            let target = pod.target();
            Box::pin(files::read_ahead(root, target.as_deref(), call, request)).await
        }
        AnyRequest::OpenFile(request) => {
            let target = pod.target();
            Box::pin(files::open_file(root, target.as_deref(), call, request)).await
        }
        AnyRequest::ChangePath(request) => {
            let target = pod.target();
            let changed = files::change_path(root, target.as_deref(), &request).await;
            reply::<ChangePath>(call, &changed).await
        }
        // Answered where the connections are known (`server`).
        AnyRequest::Subscribe(_) => Ok(()),
    };
    if let Err(error) = replied {
        debug!(error = crate::with_causes(error), "request given up");
    }
}

/// Replies with what comes of `looking`, unless the host gives it up before.
async fn look_up<R: Request<Reply = Result<T, ResolveError>>, T>(
    counters: &Counters,
    mut call: Call,
    subject: &(dyn Display + Sync),
    looking: impl Future<Output = R::Reply>,
) -> Result<(), MessageError> {
    Counters::add(&counters.lookups, 1);
    tokio::select! {
        result = looking => {
            debug!(%subject, failure = ?result.as_ref().err(), "look up");
            reply::<R>(call, &result).await
        }
        () = call.stream.aborted() => Ok(()),
    }
}

/// A reply that nothing follows.
pub(crate) async fn reply<R: Request>(call: Call, reply: &R::Reply) -> Result<(), MessageError> {
    let mut stream = call.reply::<R>(reply).await?;
    stream.shutdown().await.map_err(MessageError::Io)
}
