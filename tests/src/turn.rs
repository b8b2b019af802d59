//! Whose turn it is with the cluster: many tests use it together, and one that takes a part of it down has it alone.

use std::fs::File;
use std::sync::Arc;

use crate::Cluster;

/// The right to use the cluster, which every [`crate::Laptop`] has for its life. It is a lock on the cluster's
/// state folder, so that it also counts between two runs of the tests.
#[derive(Clone)]
pub struct Turn(Arc<File>);

impl Turn {
    /// Together with others; waits while a test has the cluster alone.
    pub fn together() -> Self {
        let turn = Self::open();
        turn.share();
        turn
    }

    /// Alone; waits until no other test uses the cluster. Who has this and asks for another turn waits for ever:
    /// the laptops of such a test are made with [`crate::Laptop::during`].
    pub fn alone() -> Self {
        let turn = Self::open();
        turn.0.lock().expect("the lock is given");
        turn
    }

    /// Lets the others in again.
    pub fn share(&self) {
        self.0.lock_shared().expect("the lock is given");
    }

    fn open() -> Self {
        let folder = Cluster::shared().folder();
        Self(Arc::new(File::open(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))))
    }
}
