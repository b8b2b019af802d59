//! Image stores of containerd, filled once: a node starts with a copy made of hard links, which
//! takes a moment where an import of all images would take many seconds on every node.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cache;
use super::command::{detach, run};
use super::layout::sha256_hex;
use super::process::Identity;
use super::progress::step;

/// What containerd changes in its root folder in place.
const DATA_BASES: [&str; 2] =
    ["io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db"];

/// Finds or makes a containerd root folder that has all the images.
pub(crate) fn ensure(images: &[PathBuf]) -> Result<PathBuf> {
    let containerd = run("containerd", &["--version"])?;
    // The files' names hold the digests of what they were made from.
    let names: Vec<_> = images.iter().map(|image| image.display().to_string()).collect();
    let digest = sha256_hex(format!("{containerd} {}", names.join(" ")).as_bytes());
    cache::entry("store", &digest, |out| step(&format!("image store of {} images", images.len()), || fill(images, out)))
}

/// Gives a node its own containerd root folder. Image contents never change, so links to the
/// same files do; the two data bases do change and are copied.
pub(crate) fn copy_for_node(store: &Path, root: &Path) -> Result<()> {
    let unfinished = root.with_extension("new");
    let (from, to) = (store.display().to_string(), unfinished.display().to_string());
    cache::remove(&unfinished)?;
    if run("cp", &["--archive", "--link", &from, &to]).is_ok() {
        for data_base in DATA_BASES {
            let (shared, own) = (store.join(data_base), unfinished.join(data_base));
            fs::remove_file(&own)
                .and_then(|()| fs::copy(&shared, &own))
                .with_context(|| format!("copy {}", shared.display()))?;
        }
    } else {
        // Another file system: links cannot reach it.
        cache::remove(&unfinished)?;
        run("cp", &["--archive", &from, &to])?;
    }
    fs::rename(&unfinished, root).with_context(|| format!("name {}", root.display()))
}

/// Imports images into a containerd that runs.
pub(crate) fn import(ctr: &[String], images: &[PathBuf]) -> Result<()> {
    for image in images {
        let path = image.display().to_string();
        let mut arguments = ctr[1..].to_vec();
        arguments.extend(["images", "import", &path].map(str::to_owned));
        run(&ctr[0], &arguments)?;
    }
    Ok(())
}

fn fill(images: &[PathBuf], out: &Path) -> Result<()> {
    let scratch = out.with_extension("scratch");
    cache::remove(&scratch)?;
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let socket = scratch.join("containerd.sock");
    let config = scratch.join("config.toml");
    let text = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\noom_score = 0\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{}\"\n",
        out.display(),
        scratch.join("state").display(),
        socket.display(),
    );
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    let config = config.display().to_string();
    // In namespaces of its own, so that no mount or process can stay behind.
    let arguments =
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "containerd", "--config", &config];
    let process = detach(&arguments, &scratch.join("log"))?;
    let identity = Identity::of(i32::try_from(process.id()).context("read the process number")?)?;
    let filled = wait_for_socket(&socket, identity).and_then(|()| {
        let socket = socket.display().to_string();
        import(&["ctr", "-a", &socket, "-n", "k8s.io"].map(str::to_owned), images)
    });
    // `unshare` passes the signal on to nobody: the namespace ends with it, and containerd has
    // written everything that an import has answered.
    identity.kill()?;
    filled?;
    cache::remove(&scratch)
}

fn wait_for_socket(socket: &Path, process: Identity) -> Result<()> {
    let begin = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        if !process.is_alive() || begin.elapsed() > Duration::from_secs(20) {
            let log = fs::read_to_string(socket.with_file_name("log")).unwrap_or_default();
            bail!("containerd does not listen on {}: {}", socket.display(), log.trim());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
