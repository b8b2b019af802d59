//! Copies are watched, for what is written to them without a word to the host; and when nobody writes one any more, it
//! becomes an ordinary file of the shadow again.

use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, ReadFlags};

use super::{Writer, Writing};
use crate::session::files::lock;
use crate::session::host::tell;

/// How long what a program writes may wait for more, when it neither closes nor synchronises the file.
const DELAY: Duration = Duration::from_millis(200);

/// How long an error waits for a program to ask for it before the user is told.
const UNCLAIMED: Duration = Duration::from_millis(500);

/// Files that nobody writes any more and that are still watched: a program may open one by its descriptor's number.
const MAX_IDLE: usize = 1024;

impl Writing {
    /// Follows what the kernel says of the copies.
    pub(super) async fn watch(self: Arc<Self>) {
        let Some(notices) = &self.notices else { return };
        loop {
            let Ok(mut ready) = notices.readable().await else { return };
            let mut room = [MaybeUninit::uninit(); 16 * 1024];
            let mut reader = inotify::Reader::new(notices.get_ref(), &mut room);
            let mut seen = Vec::new();
            while let Ok(event) = reader.next() {
                seen.push((event.wd(), event.events()));
            }
            ready.clear_ready();
            for (watch, events) in seen {
                if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                    // Something was not said: of whom is not known.
                    let all: Vec<i32> = self.writers().by_watch.keys().copied().collect();
                    all.into_iter().for_each(|watch| self.notice(watch, ReadFlags::MODIFY));
                }
                self.notice(watch, events);
            }
        }
    }

    fn notice(self: &Arc<Self>, watch: i32, events: ReadFlags) {
        let Some(writer) = self.writers().by_watch.get(&watch).cloned() else { return };
        let is_end = events.contains(ReadFlags::CLOSE_WRITE);
        let mut books = lock(&writer.books);
        if is_end {
            books.closed += 1;
        } else if std::mem::replace(&mut books.scheduled, true) {
            return;
        }
        drop(books);
        let writing = self.clone();
        tokio::spawn(async move {
            if !is_end {
                tokio::time::sleep(DELAY).await;
                lock(&writer.books).scheduled = false;
            }
            if writing.sync(&writer, false).await.is_err() {
                tokio::time::sleep(UNCLAIMED).await;
                if let (Some(errno), Some(path)) = (writer.claim(), writer.path()) {
                    let path = String::from_utf8_lossy(&path).into_owned();
                    tell(format!("mirror: {path} in the pod was not written: {errno}")).await;
                }
            }
            if is_end && !writer.is_live() {
                writing.rest(&writer).await;
            }
        });
    }

    /// Nobody writes a file any more: the pod's is closed, the copy is one like others. It stays watched for a while.
    pub(super) async fn rest(&self, writer: &Arc<Writer>) {
        let _opening = self.opening.lock().await;
        let mut remote = writer.remote.lock().await;
        if writer.is_live() {
            return;
        }
        remote.stream = None;
        let mut writers = self.writers();
        let is_own = |path: &Vec<u8>| writers.by_path.get(path).is_some_and(|known| Arc::ptr_eq(known, writer));
        if let Some(path) = writer.path().filter(is_own) {
            writers.by_path.remove(&path);
            lock(&self.tree).end_writing(&path, &writer.copy);
        }
        if !writers.idle.contains(&writer.inode) {
            writers.idle.push_back(writer.inode);
        }
        while writers.idle.len() > MAX_IDLE {
            let Some(inode) = writers.idle.pop_front() else { break };
            let Some(old) = writers.by_inode.get(&inode).filter(|old| !old.is_live()).cloned() else { continue };
            writers.by_inode.remove(&inode);
            if let (Some(watch), Some(notices)) = (old.watch, &self.notices) {
                writers.by_watch.remove(&watch);
                inotify::remove_watch(notices, watch).ok();
            }
        }
    }
}

/// Whether another process has a file open, as far as this user can see.
pub(super) fn is_open(file: (u64, u64)) -> bool {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = processes.filter(|entry| entry.file_name().to_str().is_some_and(|name| name != own));
    others
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flatten()
        .flatten()
        .any(|descriptor| std::fs::metadata(descriptor.path()).is_ok_and(|about| (about.dev(), about.ino()) == file))
}
