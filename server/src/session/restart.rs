//! A target whose container is started again in its pod: the agent stays in the pod's network, and is told here which
//! container it is now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use link::Link;
use protocol::agent::FollowTarget;
use tokio::sync::Mutex;

use super::host;
use crate::kube::client::Cluster;
use crate::kube::target::{self, PodTarget};

/// Follows the target's container.
pub(super) struct Restarts {
    cluster: Cluster,
    control: Link,
    target: Mutex<PodTarget>,
    is_told: AtomicBool,
}

impl Restarts {
    pub(super) fn new(cluster: Cluster, control: Link, target: PodTarget) -> Arc<Self> {
        Arc::new(Self { cluster, control, target: Mutex::new(target), is_told: AtomicBool::new(false) })
    }

    /// Waits for the next life of the container, and has the agent follow. Ends without one where the pod ends.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut target = self.target.lock().await;
        while let Some(container_id) = target::next_container(&self.cluster, &target).await {
            target.container_id.clone_from(&container_id);
            match self.control.call(FollowTarget { container_id }).await {
                Ok(Ok(())) => return self.tell(&target).await,
                // It may have ended already.
                Ok(Err(error)) => tracing::warn!(%error, "the restarted container cannot be followed yet"),
                Err(error) => return tracing::warn!(%error, "the agent is not told of the restarted container"),
            }
        }
    }

    async fn tell(&self, target: &PodTarget) {
        tracing::info!(container = target.container_id, "the target's container was restarted");
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let what = "traffic, connections and names go on; the environment is that of before";
            host::tell(format!("mirror: container {} was restarted: {what}", target.container)).await;
        }
    }
}
