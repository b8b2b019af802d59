//! Work that several ask for at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use tokio::sync::OnceCell;

use super::lock;

/// What comes of work that is being done.
type Outcome<T> = Arc<OnceCell<Result<T, Errno>>>;

/// Work that is done once for all who ask for it while it is being done.
pub(super) struct Shared<K, T> {
    running: Mutex<HashMap<K, Outcome<T>>>,
}

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, T: Clone> Shared<K, T> {
    pub(super) async fn once(&self, key: &K, work: impl Future<Output = Result<T, Errno>>) -> Result<T, Errno> {
        let cell = lock(&self.running).entry(key.clone()).or_default().clone();
        let result = cell.get_or_init(|| work).await.clone();
        let mut running = lock(&self.running);
        if running.get(key).is_some_and(|current| Arc::ptr_eq(current, &cell)) {
            running.remove(key);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_is_asked_for_meanwhile_is_done_once() {
        let shared = Shared::default();
        let runs = std::cell::Cell::new(0);
        let work = || async {
            runs.set(runs.get() + 1);
            tokio::task::yield_now().await;
            Ok(runs.get())
        };
        let (first, second) = tokio::join!(shared.once(&"a", work()), shared.once(&"a", work()));
        assert_eq!((first, second, runs.get()), (Ok(1), Ok(1), 1));
        assert_eq!(shared.once(&"a", work()).await, Ok(2));
        assert!(lock(&shared.running).is_empty());
    }
}
