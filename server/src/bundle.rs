//! What a released `mirror` carries inside itself: the layer, and the agent with its loader.
//!
//! They are sections of the executable (`cargo xtask build` puts them there), so that one file is the
//! whole tool, the versions on both hops are equal by construction, and `readelf -S` shows them.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use object::read::{ReadCache, elf::ElfFile64};
use object::{Object, ObjectSection};
use rustix::fs::StatVfsMountFlags;
use sha2::{Digest, Sha256};

use crate::failure::{Class, Failure, Result};
use crate::folders;

/// The layer, compressed by zstd.
const LAYER_SECTION: &str = ".mirror.layer";
/// The program that unpacks the agent in its container, as it is.
const LOADER_SECTION: &str = ".mirror.loader";
/// The agent, compressed as the loader expects it.
const AGENT_SECTION: &str = ".mirror.agent";

/// File name of the unpacked layer.
const LAYER_FILE: &str = "libmirror_layer.so";

/// Largest piece of the agent in one file, so that several share no ConfigMap of 1 MiB by accident.
const CHUNK: usize = 1_000_000;

/// The files of the agent, as the loader expects them in its folder.
pub struct AgentFiles(Vec<(String, Vec<u8>)>);

impl AgentFiles {
    /// Names and contents, the loader first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

/// Reads the agent out of this executable.
pub fn agent_files() -> Result<AgentFiles> {
    let [loader, agent] = sections([LOADER_SECTION, AGENT_SECTION])?;
    let chunks = agent.chunks(CHUNK).enumerate().map(|(index, chunk)| (format!("agent.{index}"), chunk.to_vec()));
    Ok(AgentFiles(std::iter::once(("loader".to_owned(), loader)).chain(chunks).collect()))
}

/// Makes sure that the layer of this executable is a file that the dynamic loader can use, and says where.
pub fn layer_path() -> Result<PathBuf> {
    let [packed] = sections([LAYER_SECTION])?;
    let digest = Sha256::digest(&packed);
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut reasons = Vec::new();
    for root in layer_roots() {
        match usable(&root, &hash).and_then(|folder| unpack_into(&folder, &packed)) {
            Ok(path) => return Ok(path),
            Err(reason) => reasons.push(format!("{}: {reason}", root.display())),
        }
    }
    let failure = Failure::new(Class::System, "cannot unpack the layer anywhere");
    Err(reasons
        .into_iter()
        .fold(failure, Failure::detail)
        .next("set XDG_CACHE_HOME to a folder without spaces or colons, on a file system that permits execution"))
}

fn layer_roots() -> Vec<PathBuf> {
    let cache = directories::ProjectDirs::from("", "", "mirror").map(|dirs| dirs.cache_dir().to_owned());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let runtime = runtime.map(|dir| dir.join("mirror"));
    cache.into_iter().chain(runtime).chain([folders::temporary()]).collect()
}

/// `LD_PRELOAD` separates by spaces and colons, maps code, and must not come from a folder of somebody else.
fn usable(root: &Path, hash: &str) -> Result<PathBuf, String> {
    let text = root.as_os_str().as_encoded_bytes();
    if text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b':' | b'$')) {
        return Err("LD_PRELOAD cannot name a path with spaces, colons or dollar signs".to_owned());
    }
    // Others may read it: the program may go on as another user.
    let folder = folders::own(root, &["layer", hash], 0o755)?;
    let system = rustix::fs::statvfs(&folder).map_err(|error| error.to_string())?;
    if system.f_flag.contains(StatVfsMountFlags::from_bits_retain(rustix::mount::MountFlags::NOEXEC.bits().into())) {
        return Err("its file system is mounted noexec".to_owned());
    }
    Ok(folder)
}

fn unpack_into(folder: &Path, packed: &[u8]) -> Result<PathBuf, String> {
    let path = folder.join(LAYER_FILE);
    if folders::is_own_file(&path) {
        return Ok(path);
    }
    let text = |error: std::io::Error| error.to_string();
    let bytes = zstd::decode_all(packed).map_err(text)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(text)?;
    file.write_all(&bytes).map_err(text)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o755)).map_err(text)?;
    // Else a crash of the machine may leave an empty file under the final name.
    file.as_file().sync_all().map_err(text)?;
    file.persist(&path).map_err(|error| error.to_string())?;
    Ok(path)
}

/// Contents of sections of this executable.
fn sections<const N: usize>(names: [&str; N]) -> Result<[Vec<u8>; N]> {
    let broken = |error: &dyn core::fmt::Display| Failure::system("cannot read mirror's own executable", error);
    let file = File::open("/proc/self/exe").map_err(|error| broken(&error))?;
    let cache = ReadCache::new(BufReader::new(file));
    let elf: ElfFile64<'_, object::Endianness, _> = ElfFile64::parse(&cache).map_err(|error| broken(&error))?;
    let mut contents = [const { Vec::new() }; N];
    for (content, name) in contents.iter_mut().zip(names) {
        let section = elf.section_by_name(name).ok_or_else(|| {
            Failure::new(Class::Internal, format!("this mirror was built without its {name} section"))
                .next("build it with `cargo xtask build`, which puts layer and agent inside")
        })?;
        *content = section.data().map_err(|error| broken(&error))?.to_vec();
    }
    Ok(contents)
}
