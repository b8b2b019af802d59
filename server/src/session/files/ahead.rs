//! What the pod has told before it was asked for: a directory's small files once a program has opened a second one of
//! them, the entries of a directory that was listed, and the tree around it once a program walks it.
//!
//! It is used for a second, a file's content only once, and none of it after this session has changed anything.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::read_message;
use protocol::files::{Ahead as Message, Entry, FileKind, Looked, Metadata, ReadAhead, Time};
use protocol::layer::{Lease, Purpose};

use super::tree::Tree;
use super::{Wish, lock};
use crate::session::startup::Links;

/// How long it is used.
const FRESH: Duration = Duration::from_secs(1);

/// Most paths that are known ahead.
const MAX_PATHS: usize = 131_072;

/// Most directories of which it is known that a program looks at them.
const MAX_DIRECTORIES: usize = 4096;

/// Everything that is known ahead.
pub(super) struct Ahead {
    links: Links,
    tree: Arc<Mutex<Tree>>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    looked: HashMap<Vec<u8>, (Instant, Looked)>,
    listings: HashMap<Vec<u8>, (Instant, Vec<Entry>)>,
    /// The last file that was opened in a directory.
    opened: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    listed: HashMap<Vec<u8>, Instant>,
    /// What is being read ahead.
    running: HashSet<ReadAhead>,
    /// Counts the session's own changes.
    changes: u64,
}

impl Ahead {
    pub(super) fn new(links: &Links, tree: &Arc<Mutex<Tree>>) -> Arc<Self> {
        Arc::new(Self { links: links.clone(), tree: tree.clone(), books: Mutex::default() })
    }

    /// What is at a path, as far as it is wished for.
    pub(super) fn look(&self, wish: &Wish) -> Option<Looked> {
        let path = wish.path.strip_suffix(b"/").filter(|path| !path.is_empty()).unwrap_or(&wish.path);
        let mut books = self.books();
        let (came, looked) = books.looked.get(path)?;
        let (kind, has_content) = (looked.about.kind, looked.content.is_some());
        let suits = match kind {
            _ if came.elapsed() > FRESH => false,
            FileKind::Link => !wish.follow && path == wish.path && wish.purpose == Purpose::Look,
            FileKind::Directory => true,
            _ => path == wish.path && (has_content || wish.purpose == Purpose::Look),
        };
        if !suits {
            return None;
        }
        let mut looked = looked.clone();
        if wish.purpose == Purpose::Open && kind == FileKind::Regular {
            books.looked.remove(path);
        } else {
            looked.content = None;
        }
        Some(looked)
    }

    /// The entries of a directory, and when they came; once.
    pub(super) fn listing(&self, path: &[u8], about: &Metadata) -> Option<(Instant, Vec<Entry>)> {
        let mut books = self.books();
        let (came, entries) = books.listings.remove(path)?;
        let is_same = books.looked.get(path).is_some_and(|(_, looked)| looked.about == *about);
        (is_same && came.elapsed() <= FRESH).then_some((came, entries))
    }

    /// Lets layers see for themselves what the shadow has in a directory, whose entries came then, after so many changes.
    pub(super) fn lease(&self, changes: u64, path: &[u8], came: Instant) {
        let books = self.books();
        if let Some(left) = FRESH.checked_sub(came.elapsed()).filter(|_| books.changes == changes) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = Time { seconds: now.as_secs().cast_signed(), nanoseconds: now.subsec_nanos() };
            lock(&self.tree).lease(path, Lease::new(now, left.as_millis() as i64));
        }
    }

    /// Forgets everything: the session is changing something.
    pub(super) fn forget(&self) {
        let mut books = self.books();
        books.changes += 1;
        books.looked.clear();
        books.listings.clear();
        lock(&self.tree).end_leases();
    }

    /// How often the session has changed something.
    pub(super) fn changes(&self) -> u64 {
        self.books().changes
    }

    /// A directory was listed, after so many changes.
    pub(super) fn note_listing(&self, changes: u64, path: &[u8], entries: &[Entry]) {
        let mut books = self.books();
        if books.changes == changes {
            books.add_entries(path, entries);
        }
    }

    /// A program has opened a file: if it is the second one of its directory, others travel along.
    pub(super) fn opened(self: &Arc<Self>, path: &[u8]) {
        let Some(at) = path.iter().rposition(|byte| *byte == b'/') else { return };
        let (directory, name) = (&path[..at.max(1)], &path[at + 1..]);
        let mut books = self.books();
        if books.opened.len() >= MAX_DIRECTORIES {
            books.opened.clear();
        }
        let last = books.opened.insert(directory.to_vec(), (Instant::now(), name.to_vec()));
        let is_second = last.is_some_and(|(when, last)| when.elapsed() <= FRESH && last != name);
        drop(books);
        if is_second {
            self.fetch(ReadAhead::Files { path: directory.to_vec(), after: name.to_vec() });
        }
    }

    /// A program has listed a directory: if it has just listed the one above, the tree travels along.
    pub(super) fn listed(self: &Arc<Self>, path: &[u8]) {
        let mut books = self.books();
        if books.listed.len() >= MAX_DIRECTORIES {
            books.listed.clear();
        }
        books.listed.insert(path.to_vec(), Instant::now());
        let above = path.iter().rposition(|byte| *byte == b'/').map(|at| path[..at.max(1)].to_vec());
        let walks = above.filter(|above| above != path);
        let walks = walks.filter(|above| books.listed.get(above).is_some_and(|when| when.elapsed() <= FRESH));
        drop(books);
        if let Some(above) = walks {
            self.fetch(ReadAhead::Directories { path: above });
        }
    }

    fn fetch(self: &Arc<Self>, wanted: ReadAhead) {
        let mut books = self.books();
        let is_running = books.running.iter().any(|running| same_place(running, &wanted));
        if is_running || !books.running.insert(wanted.clone()) {
            return;
        }
        let (ahead, changes) = (self.clone(), books.changes);
        drop(books);
        tokio::spawn(async move {
            ahead.receive(wanted.clone(), changes).await;
            ahead.books().running.remove(&wanted);
        });
    }

    async fn receive(&self, wanted: ReadAhead, changes: u64) {
        let Ok((Ok(()), mut stream)) = self.links.data.open(wanted).await else { return };
        while let Ok(message) = read_message::<Message>(&mut stream).await {
            let mut books = self.books();
            if books.changes != changes {
                return;
            }
            books.make_room();
            match message {
                Message::Files(files) => {
                    let now = Instant::now();
                    let files = files.into_iter().map(|looked| (looked.path.clone(), (now, looked)));
                    books.looked.extend(files);
                }
                Message::Directory { path, about, may, entries } => {
                    books.add_entries(&path, &entries);
                    let looked = Looked { path: path.clone(), about, destination: None, may, content: None };
                    books.looked.insert(path.clone(), (Instant::now(), looked));
                    books.listings.insert(path, (Instant::now(), entries));
                }
                Message::End => return,
            }
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

impl Books {
    fn add_entries(&mut self, path: &[u8], entries: &[Entry]) {
        if self.looked.len() + entries.len() > MAX_PATHS {
            self.make_room();
        }
        if self.looked.len() + entries.len() > MAX_PATHS {
            return;
        }
        let (now, path) = (Instant::now(), path.strip_suffix(b"/").unwrap_or(path));
        for entry in entries {
            let Entry { name, about, destination, may } = entry;
            let path = [path, b"/", &name[..]].concat();
            let looked = Looked {
                path: path.clone(),
                about: *about,
                destination: destination.clone(),
                may: *may,
                content: None,
            };
            // A content that is there already is worth more.
            let has_content = self.looked.get(&path).is_some_and(|(_, known)| known.content.is_some());
            if !has_content {
                self.looked.insert(path, (now, looked));
            }
        }
    }

    fn make_room(&mut self) {
        if self.looked.len() > MAX_PATHS / 2 {
            self.looked.retain(|_, (came, _)| came.elapsed() <= FRESH);
            self.listings.retain(|_, (came, _)| came.elapsed() <= FRESH);
        }
        if self.looked.len() > MAX_PATHS {
            self.looked.clear();
        }
    }
}

/// One directory is read ahead once at a time, and a tree that is being read is not begun again below.
fn same_place(running: &ReadAhead, wanted: &ReadAhead) -> bool {
    match (running, wanted) {
        (ReadAhead::Files { path: running, .. }, ReadAhead::Files { path, .. }) => running == path,
        (ReadAhead::Directories { path: running }, ReadAhead::Directories { path }) => {
            path.strip_prefix(&running[..]).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        }
        _ => false,
    }
}
