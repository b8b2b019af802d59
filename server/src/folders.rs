//! Folders of mirror's own: made where they are missing, and used only if nobody else can change them.
//!
//! What is in them is loaded into the user's programs (the layer) or tells of them (logs), and the last
//! resort lies in `/tmp`, where anybody may make a folder or a symbolic link under our name first.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The folder of last resort.
pub fn temporary() -> PathBuf {
    PathBuf::from(format!("/tmp/mirror-{}", rustix::process::getuid().as_raw()))
}

/// Makes `root` and, inside it, `parts`. Each must be a folder of this user, reached without anybody else's
/// symbolic link. New ones get `mode`; the bits that let others write are taken away from old ones.
pub fn own(root: &Path, parts: &[&str], mode: u32) -> Result<PathBuf, String> {
    let text = |error: io::Error| error.to_string();
    if !root.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent).map_err(text)?;
    }
    let mut folder = root.to_owned();
    own_one(&folder, mode)?;
    for part in parts {
        folder.push(part);
        own_one(&folder, mode)?;
    }
    Ok(folder)
}

fn own_one(folder: &Path, mode: u32) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(text(error)),
        _ => {}
    }
    let user = rustix::process::getuid().as_raw();
    let link = fs::symlink_metadata(folder).map_err(text)?;
    let target = fs::metadata(folder).map_err(text)?;
    if link.uid() != user || target.uid() != user {
        return Err(format!("{} belongs to another user", folder.display()));
    }
    if !target.is_dir() {
        return Err(format!("{} is not a folder", folder.display()));
    }
    if target.mode() & WRITABLE_BY_OTHERS != 0 {
        fs::set_permissions(folder, Permissions::from_mode(target.mode() & !WRITABLE_BY_OTHERS)).map_err(text)?;
    }
    Ok(())
}

/// Whether `path` is a file of this user's that nobody else can change.
pub fn is_own_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| {
        file.is_file()
            && file.uid() == rustix::process::getuid().as_raw()
            && file.mode() & WRITABLE_BY_OTHERS == 0
            && file.len() > 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").mode() & 0o777
    }

    #[test]
    fn folders_are_made_and_closed_to_others() {
        let place = tempfile::tempdir().expect("a folder");
        let root = place.path().join("deep/er/mirror");
        let folder = own(&root, &["layer", "abc"], 0o700).expect("made");
        assert_eq!(mode(&folder), 0o700);
        fs::set_permissions(&root, Permissions::from_mode(0o777)).expect("chmod");
        own(&root, &["layer", "abc"], 0o700).expect("found");
        assert_eq!(mode(&root), 0o755);
        assert!(own(Path::new("relative"), &[], 0o700).is_err());
        fs::write(root.join("file"), "").expect("written");
        assert!(own(&root, &["file"], 0o700).is_err());
    }

    #[test]
    fn what_belongs_to_others_is_not_used() {
        let place = tempfile::tempdir().expect("a folder");
        // Root owns `/`, and root's tests have no other user's folder: then a link of ours to it is fine.
        let foreign = fs::metadata("/").expect("metadata").uid() != rustix::process::getuid().as_raw();
        let link = place.path().join("mirror");
        std::os::unix::fs::symlink("/", &link).expect("a link");
        assert_eq!(own_one(&link, 0o700).is_err(), foreign);
        assert!(!is_own_file(&link));
        assert!(!is_own_file(Path::new("/nonexistent")));
    }
}
