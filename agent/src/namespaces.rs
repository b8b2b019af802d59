//! The network thread: the only one that enters the target's network, and the namespace of its host name.
//! Outgoing sockets and name look-ups live on it, with a runtime of its own; the links stay on the main
//! thread, in the agent's own namespaces, where the port-forward arrives.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use link::Call;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use crate::dispatch::{Pod, answer};
use crate::target::Target;

/// Why there is no network thread.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkThreadError {
    #[error("start a thread")]
    Start(#[source] io::Error),
    #[error("open the target's {0} namespace (needs SYS_PTRACE and hostPID)")]
    Open(&'static str, #[source] io::Error),
    #[error("enter the target's {0} namespace (needs SYS_ADMIN)")]
    Enter(&'static str, #[source] io::Error),
}

/// Starts the thread, waits until it stands where it should, and returns the way to hand it calls.
pub(crate) fn start_network_thread(pod: Pod) -> Result<mpsc::UnboundedSender<Call>, NetworkThreadError> {
    let (calls_tx, calls_rx) = mpsc::unbounded_channel();
    let (ready_tx, ready_rx) = std::sync::mpsc::channel();
    let body = move || {
        let runtime = enter(pod.target.as_ref()).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(NetworkThreadError::Start)
        });
        match runtime {
            Ok(runtime) => {
                let _ = ready_tx.send(Ok(()));
                LocalSet::new().block_on(&runtime, serve(Arc::new(pod), calls_rx));
            }
            Err(error) => drop(ready_tx.send(Err(error))),
        }
    };
    let thread = std::thread::Builder::new().name("network".to_owned());
    thread.spawn(body).map_err(NetworkThreadError::Start)?;
    let ended = |_| NetworkThreadError::Start(io::ErrorKind::BrokenPipe.into());
    ready_rx.recv().map_err(ended)??;
    Ok(calls_tx)
}

/// Moves the calling thread into the target's network and host name; without a target it is there already.
fn enter(target: Option<&Target>) -> Result<(), NetworkThreadError> {
    let Some(target) = target else { return Ok(()) };
    for (what, file, kind) in [
        ("network", "ns/net", LinkNameSpaceType::Network),
        ("host name", "ns/uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ] {
        let namespace = File::open(target.proc_path(file)).map_err(|error| NetworkThreadError::Open(what, error))?;
        move_into_link_name_space(namespace.as_fd(), Some(kind))
            .map_err(|errno| NetworkThreadError::Enter(what, errno.into()))?;
    }
    Ok(())
}

async fn serve(pod: Arc<Pod>, mut calls: mpsc::UnboundedReceiver<Call>) {
    while let Some(call) = calls.recv().await {
        spawn_local(answer(Arc::clone(&pod), call));
    }
}
