//! One match over the protocol's table: which function answers which request. Runs on the network thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use link::{Call, MessageError};
use protocol::agent::{
    AnyRequest, ConnectUnix, Describe, GetEnvironment, OpenUdp, QueryDns, RemoteError, Request, Resolve, ResolveError,
    ReverseResolve,
};
use tokio::io::AsyncWriteExt;
use tracing::debug;

use crate::environment;
use crate::files::Root;
use crate::names::Names;
use crate::outgoing;
use crate::target::{FindError, Target};

/// What the agent has done so far, for its last log line.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) failed_connections: AtomicU64,
    pub(crate) lookups: AtomicU64,
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
    pub(crate) target: Option<Target>,
    pub(crate) names: Names,
    pub(crate) counters: Arc<Counters>,
}

impl Pod {
    /// Opens what is needed of the target.
    pub(crate) fn new(target: Option<Target>) -> Result<Self, FindError> {
        let root = match &target {
            Some(target) => Root::open(target.proc_path("root")),
            None => Root::open("/"),
        };
        let names = Names::new(root.map_err(FindError::Root)?);
        Ok(Self { target, names, counters: Arc::default() })
    }
}

/// Carries one request out. A failure to reply means that the host is gone or does not want it any more.
pub(crate) async fn answer(pod: Arc<Pod>, mut call: Call) {
    let replied = match call.request.clone() {
        AnyRequest::GetEnvironment(_) => {
            let environment = environment::read(pod.target.as_ref());
            reply::<GetEnvironment>(call, &environment).await
        }
        AnyRequest::Resolve(request) => {
            Counters::add(&pod.counters.lookups, 1);
            tokio::select! {
                result = pod.names.resolve(&request) => {
                    debug!(name = request.name, ?result, "resolve");
                    reply::<Resolve>(call, &result).await
                }
                () = call.stream.aborted() => Ok(()),
            }
        }
        AnyRequest::ReverseResolve(request) => {
            Counters::add(&pod.counters.lookups, 1);
            tokio::select! {
                result = pod.names.reverse(request.address) => {
                    debug!(address = %request.address, ?result, "reverse resolve");
                    reply::<ReverseResolve>(call, &result).await
                }
                () = call.stream.aborted() => Ok(()),
            }
        }
        AnyRequest::Describe(_) => reply::<Describe>(call, &Err(not_yet())).await,
        AnyRequest::QueryDns(_) => reply::<QueryDns>(call, &Err(ResolveError::Fail)).await,
        AnyRequest::OpenUdp(_) => reply::<OpenUdp>(call, &Err(not_yet())).await,
        AnyRequest::ConnectUnix(_) => reply::<ConnectUnix>(call, &Err(not_yet())).await,
        AnyRequest::ConnectTcp(request) => outgoing::serve_tcp(&pod.counters, call, request).await,
        // Answered where the connections are known (`server`).
        AnyRequest::Subscribe(_) => Ok(()),
    };
    if let Err(error) = replied {
        debug!(error = crate::with_causes(error), "reply");
    }
}

fn not_yet() -> RemoteError {
    RemoteError { errno: rustix::io::Errno::NOSYS.raw_os_error(), context: "not yet".to_owned() }
}

/// A reply that nothing follows.
async fn reply<R: Request>(call: Call, reply: &R::Reply) -> Result<(), MessageError> {
    let mut stream = call.reply::<R>(reply).await?;
    stream.shutdown().await.map_err(MessageError::Io)
}
