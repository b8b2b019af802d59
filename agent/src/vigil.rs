//! Watches the target. Its process may end and its container be started again in the same pod, whose network is the
//! agent's: so the agent goes on for as long as anything of the pod is there.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use crate::dispatch::Pod;
use crate::sys;
use crate::target::Target;

/// What becomes of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its process has ended, and may be followed by another one.
    Ended,
    /// Its pod has ended.
    Gone,
}

/// Watches for both.
pub(crate) struct Vigil {
    pod: Rc<Pod>,
    /// The end of the target, or of what has outlived it. None without a target.
    watched: Option<AsyncFd<OwnedFd>>,
    is_target: bool,
}

impl Vigil {
    /// Begins with the target's process.
    pub(crate) fn new(pod: Rc<Pod>) -> io::Result<Self> {
        let mut vigil = Self { pod, watched: None, is_target: true };
        vigil.watch_target()?;
        Ok(vigil)
    }

    /// The next change. Cancel safe.
    pub(crate) async fn change(&mut self) -> Change {
        loop {
            tokio::select! {
                () = self.pod.followed() => {
                    if let Err(error) = self.watch_target() {
                        warn!(%error, "the target's process cannot be watched");
                    }
                }
                () = readable(self.watched.as_ref()) => {
                    let survivor = self.pod.with_target(Target::survivor).flatten();
                    self.watched = survivor.and_then(|survivor| sys::watch(survivor).ok());
                    let was_target = std::mem::replace(&mut self.is_target, false);
                    match (&self.watched, was_target) {
                        (None, _) => return Change::Gone,
                        (Some(_), true) => {
                            info!("the target's process ended; its pod has others");
                            return Change::Ended;
                        }
                        (Some(_), false) => {}
                    }
                }
            }
        }
    }

    fn watch_target(&mut self) -> io::Result<()> {
        let end = self.pod.with_target(|target| target.end.try_clone()).transpose()?;
        self.watched = end.map(sys::watch).transpose()?;
        self.is_target = true;
        Ok(())
    }
}

async fn readable(descriptor: Option<&AsyncFd<OwnedFd>>) {
    match descriptor {
        Some(descriptor) => drop(descriptor.readable().await),
        None => std::future::pending().await,
    }
}
