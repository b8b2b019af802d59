//! The folder of a session's shadow: private, in memory where there is some, and removed at the session's end.
//!
//! A host that is killed leaves its folder, with secrets of the pod in it. A lock on a file in each folder
//! tells who lives, so the next session that starts removes the others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::large;
use crate::failure::{Failure, Result};
use crate::folders;

/// The lock in a session's folder, and the one of all beside them.
const LOCK: &str = "lock";

/// A folder of this session's own.
pub(super) struct Shadow {
    path: PathBuf,
    _lock: File,
}

impl Shadow {
    /// Makes the folder of `session`, and removes those of sessions that were killed.
    pub(super) fn new(session: &str) -> Result<Self> {
        let mut reasons = Vec::new();
        for place in places() {
            match folders::own(&place, &[], 0o700).and_then(|place| Self::in_place(&place, session)) {
                Ok(shadow) => return Ok(shadow),
                Err(reason) => reasons.push(format!("{}: {reason}", place.display())),
            }
        }
        let failure = Failure::system("there is no place for files of the pod", "no folder can be used");
        Err(reasons.into_iter().fold(failure, Failure::detail))
    }

    fn in_place(place: &Path, session: &str) -> Result<Self, String> {
        let make = || -> io::Result<Self> {
            // Held until this session's own lock is: another that starts would remove the folder.
            let all = lock(place, FlockOperation::LockExclusive)?;
            remove_leftovers(place)?;
            let path = place.join(session);
            fs::create_dir(&path)?;
            let own = lock(&path, FlockOperation::NonBlockingLockExclusive)?;
            drop(all);
            Ok(Self { path, _lock: own })
        };
        make().map_err(|error| error.to_string())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Shadow {
    /// Removes the folder, if that was not done yet.
    pub(super) fn remove(&self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot remove the pod's files; the next session does");
            }
            _ => {}
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where shadows may be, the best first: memory, then the disk.
fn places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let memory = PathBuf::from(format!("/dev/shm/mirror-{}", rustix::process::getuid().as_raw()));
    let cache = directories::BaseDirs::new().map(|dirs| dirs.cache_dir().join("mirror").join("files"));
    runtime.map(|path| path.join("mirror-files")).into_iter().chain([memory]).chain(cache).collect()
}

fn lock(folder: &Path, operation: FlockOperation) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    flock(&file, operation)?;
    Ok(file)
}

fn remove_leftovers(place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if lock(&entry.path(), FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::info!(folder = %entry.path().display(), "removes the files of a session that was killed");
            large::end_leftover(&entry.path());
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, "cannot remove files of a session that was killed; the next session does");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lives_as_long_as_its_session() {
        let place = tempfile::tempdir().expect("a folder");
        let shown = || {
            let names = fs::read_dir(place.path()).expect("reads").map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let first = Shadow::in_place(place.path(), "first").expect("made");
        fs::create_dir_all(first.path().join("root/app")).expect("made");
        fs::create_dir_all(place.path().join("killed/root")).expect("made");
        fs::write(place.path().join("killed/root/secret"), "x").expect("written");
        let second = Shadow::in_place(place.path(), "second").expect("made");
        assert_eq!(shown(), ["first", LOCK, "second"]);
        drop(first);
        assert_eq!(shown(), [LOCK, "second"]);
        drop(second);
        assert_eq!(shown(), [LOCK]);
    }
}
