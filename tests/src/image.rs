//! The agent as an image of the cluster's nodes, for `agent.image`.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Cluster, Laptop};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An image that `mirror image save` has made. The nodes have it until it is dropped.
pub struct AgentImage {
    /// Its name.
    pub name: String,
}

impl AgentImage {
    /// Saves it, and gives it to every node.
    pub fn save(laptop: &Laptop) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mirror.test/agent-{}-{number}:1", std::process::id());
        laptop.run(laptop.mirror(["image", "save", "--output", "agent.tar", "--name", &name])).success();
        Cluster::shared().import_image(&laptop.home().join("agent.tar"));
        Self { name }
    }
}

impl Drop for AgentImage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            Cluster::shared().remove_image(&self.name);
        }
    }
}
