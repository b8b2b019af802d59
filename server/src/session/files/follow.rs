//! Files that programs have open for reading, or watch: when one grows in the pod, so does the session's copy, as for
//! `tail -f`. Once a second each of the last of them is looked at.

use std::collections::{HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use protocol::files::{LookAt, Looked, Metadata};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::ahead::Ahead;
use super::content::fetch;
use super::tree::Tree;
use super::{answered, lock, own_errno};
use crate::session::startup::Links;

/// How often they are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Most files that are followed: the last that were opened.
const MAX_FOLLOWED: usize = 32;

/// All files that are followed.
pub(super) struct Followed {
    links: Links,
    tree: Arc<Mutex<Tree>>,
    ahead: Arc<Ahead>,
    /// Largest file that is read.
    max_size: u64,
    notices: Option<OwnedFd>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    by_watch: HashMap<i32, Reading>,
    /// The oldest first.
    order: VecDeque<i32>,
}

struct Reading {
    path: Vec<u8>,
    opened: Instant,
    /// Programs that were let in, less those that are done.
    count: i64,
}

impl Followed {
    pub(super) fn start(links: &Links, tree: &Arc<Mutex<Tree>>, ahead: &Arc<Ahead>, max_size: u64) -> Arc<Self> {
        let notices = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let notices = notices.inspect_err(|errno| tracing::warn!(%errno, "files that grow are not followed")).ok();
        let (links, tree, ahead) = (links.clone(), tree.clone(), ahead.clone());
        let followed = Arc::new(Self { links, tree, ahead, max_size, notices, books: Mutex::default() });
        tokio::spawn(followed.clone().follow());
        followed
    }

    /// A program opens or watches the file at a path; its copy is there.
    pub(super) fn opened(&self, path: &[u8]) {
        let Some(notices) = &self.notices else { return };
        let Ok(place) = lock(&self.tree).place_of(path) else { return };
        let mask = WatchFlags::CLOSE_NOWRITE | WatchFlags::DONT_FOLLOW;
        let Ok(watch) = inotify::add_watch(notices, place, mask) else { return };
        let mut books = self.books();
        self.count_ends(&mut books);
        let fresh = Reading { path: path.to_vec(), opened: Instant::now(), count: 0 };
        let reading = books.by_watch.entry(watch).or_insert(fresh);
        (reading.count, reading.opened) = (reading.count.max(0) + 1, Instant::now());
        books.order.retain(|known| *known != watch);
        books.order.push_back(watch);
        if books.order.len() > MAX_FOLLOWED {
            let oldest = books.order.pop_front();
            oldest.into_iter().for_each(|watch| self.leave(&mut books, watch));
        }
    }

    /// Reads what the kernel says of programs that are done.
    fn count_ends(&self, books: &mut Books) {
        let Some(notices) = &self.notices else { return };
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(notices, &mut room);
        while let Ok(event) = reader.next() {
            let (watch, events) = (event.wd(), event.events());
            if events.contains(ReadFlags::IGNORED) {
                books.by_watch.remove(&watch);
                books.order.retain(|known| *known != watch);
            } else if let Some(reading) = books.by_watch.get_mut(&watch) {
                reading.count -= 1;
            }
        }
    }

    fn leave(&self, books: &mut Books, watch: i32) {
        books.by_watch.remove(&watch);
        books.order.retain(|known| *known != watch);
        if let Some(notices) = &self.notices {
            inotify::remove_watch(notices, watch).ok();
        }
    }

    async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            for path in self.open() {
                if let Err(errno) = self.look(&path).await {
                    tracing::debug!(path = %String::from_utf8_lossy(&path), %errno, "a file is not followed just now");
                }
            }
        }
    }

    /// The files that are open for a while.
    fn open(&self) -> Vec<Vec<u8>> {
        let mut books = self.books();
        self.count_ends(&mut books);
        let done: Vec<i32> = books.by_watch.iter().filter(|(_, one)| one.count <= 0).map(|(watch, _)| *watch).collect();
        done.into_iter().for_each(|watch| self.leave(&mut books, watch));
        let old = books.by_watch.values().filter(|reading| reading.opened.elapsed() >= PERIOD / 2);
        old.map(|reading| reading.path.clone()).collect()
    }

    async fn look(&self, path: &[u8]) -> Result<(), Errno> {
        let Some(old) = lock(&self.tree).content(path) else { return Ok(()) };
        let request = LookAt { path: path.to_vec(), follow: false, content: false, known: None };
        let Looked { path: found, about: now, .. } = answered(self.links.control.call(request).await)?;
        if found == path && has_grown(&old, &now) && now.size <= self.max_size {
            self.grow(path, &old, &now).await?;
        }
        Ok(())
    }

    async fn grow(&self, path: &[u8], old: &Metadata, now: &Metadata) -> Result<(), Errno> {
        let copy = lock(&self.tree).grow(path, old).map_err(own_errno)?;
        // The end of our writing is told, too.
        let end = fetch(&self.links, path, &copy, old.size..now.size).await?;
        self.ahead.forget();
        if end == now.size {
            lock(&self.tree).grown(path, old, now, &copy);
        }
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

/// Whether a file is the same one and longer.
fn has_grown(old: &Metadata, now: &Metadata) -> bool {
    old.identity == now.identity && old.kind == now.kind && now.size > old.size && now.modified >= old.modified
}
