//! The cache of what takes long to make: every entry is named by a digest of all that it was made
//! from, and so it is either right or not there. It lies outside `target/`, so that a clean
//! checkout finds what an older one made.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::layout::hex;

const KEPT_UNUSED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The cache folder of the user.
pub(crate) fn folder() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => {
            let home = env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
            PathBuf::from(home).join(".cache")
        }
    };
    let folder = base.join("mirror-cluster");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Keeps two clusters from making the same entries at the same time.
pub(crate) fn lock() -> Result<File> {
    let path = folder()?.join("lock");
    let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    flock(&file, FlockOperation::LockExclusive).with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// Returns the entry of that name and digest; when it is missing, `make` makes it at the path
/// that it is given, which may be a file or a folder.
pub(crate) fn entry(name: &str, digest: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = folder()?.join(format!("{name}-{}", &digest[..16]));
    if path.exists() {
        mark_used(&path)?;
        return Ok(path);
    }
    forget_unused(name)?;
    let unfinished = path.with_extension("new");
    remove(&unfinished)?;
    make(&unfinished)?;
    fs::rename(&unfinished, &path).with_context(|| format!("name {}", path.display()))?;
    Ok(path)
}

/// An entry's time of change is the time of its last use.
fn mark_used(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|entry| entry.set_modified(SystemTime::now()))
        .with_context(|| format!("mark {} as used", path.display()))
}

/// Removes the entries of a name that no checkout has used for long.
fn forget_unused(name: &str) -> Result<()> {
    let folder = folder()?;
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries.flatten() {
        let file = entry.file_name();
        let is_of_name = file.to_str().and_then(|file| file.rsplit_once('-')).is_some_and(|(of, _)| of == name);
        let used = entry.metadata().and_then(|metadata| metadata.modified());
        let age = used.ok().and_then(|used| used.elapsed().ok());
        if is_of_name && age.is_some_and(|age| age > KEPT_UNUSED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file or a folder with all that is in it, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.with_context(|| format!("remove {}", path.display()))
}

/// The digest of a folder of sources and of words that say what is made of it and how.
pub(crate) fn digest_of(sources: &Path, words: &[&str]) -> Result<String> {
    let mut digest = Sha256::new();
    for word in words {
        add(&mut digest, word.as_bytes());
    }
    add_folder(&mut digest, sources)?;
    Ok(hex(&digest.finalize()))
}

fn add_folder(digest: &mut Sha256, folder: &Path) -> Result<()> {
    let mut names: Vec<OsString> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
        .with_context(|| format!("list {}", folder.display()))?;
    names.sort();
    for name in names {
        let path = folder.join(&name);
        add(digest, name.as_encoded_bytes());
        if path.is_dir() {
            add_folder(digest, &path)?;
        } else {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            add(digest, &bytes);
        }
    }
    Ok(())
}

fn add(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}
