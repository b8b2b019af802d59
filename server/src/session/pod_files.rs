//! The pod's `resolv.conf` and its like, for the layer to open in place of this machine's.
//!
//! They are sealed memory files of the session host, reachable by its user as `/proc/<pid>/fd/<n>`: nothing is
//! written to a disk, and they end with the host.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use protocol::agent::{Description, POD_FILES};
use protocol::layer::PodFile;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The files, open as long as this lives.
pub(super) struct PodFiles {
    /// Where the layer finds each.
    pub(super) places: [PodFile; POD_FILES.len()],
    /// What the pod's `/etc/hosts` says.
    pub(super) hosts: Vec<u8>,
    _files: Vec<OwnedFd>,
}

impl PodFiles {
    /// Makes the files of which `wanted` says so; the others stay this machine's.
    pub(super) fn make(description: &Description, wanted: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut places = [PodFile::Local; POD_FILES.len()];
        for ((place, path), content) in places.iter_mut().zip(POD_FILES).zip(&description.files) {
            *place = match content {
                _ if !wanted(path) => PodFile::Local,
                None => PodFile::Absent,
                Some(content) => {
                    let file = sealed(path, content)?;
                    let number = file.as_raw_fd() as u32;
                    files.push(file);
                    PodFile::Descriptor(number)
                }
            };
        }
        let hosts = POD_FILES.iter().zip(&description.files).find(|(path, _)| **path == "/etc/hosts");
        let hosts = hosts.and_then(|(_, content)| content.clone()).unwrap_or_default();
        Ok(Self { places, hosts, _files: files })
    }
}

/// A memory file of this content that nobody can change.
pub(super) fn sealed(path: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let name = format!("mirror-{}", path.rsplit('/').next().unwrap_or_default());
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_files_can_be_read_by_their_path_and_not_changed() {
        let files = vec![Some(b"nameserver 10.0.0.10\n".to_vec()), None, Some(b"hosts: files dns\n".to_vec()), None];
        let description = Description { host_name: "web-0".to_owned(), addresses: Vec::new(), files };
        let made = PodFiles::make(&description, |path| path != "/etc/nsswitch.conf").expect("made");
        let [PodFile::Descriptor(number), PodFile::Absent, PodFile::Local, PodFile::Absent] = made.places else {
            panic!("{:?}", made.places);
        };
        assert!(made.hosts.is_empty());
        let path = format!("/proc/self/fd/{number}");
        assert_eq!(std::fs::read(&path).expect("reads"), b"nameserver 10.0.0.10\n");
        assert!(std::fs::write(&path, "other").is_err());
        let link = std::fs::read_link(&path).expect("a link");
        assert!(link.to_string_lossy().starts_with("/memfd:mirror-resolv.conf"), "{link:?}");
    }
}
