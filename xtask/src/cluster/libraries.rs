//! Libraries of the client programs in `tests/apps/clients`, in the versions that the lock files there name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache;
use super::command::{run, run_in};
use super::layout::Layout;
use super::progress::long_step;

/// Where the lock files are: `requirements.txt` and `package-lock.json`.
fn sources(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/apps/clients/libraries").join(inside)
}

/// Finds or makes the folder that has them all, in the cache.
pub(crate) fn ensure() -> Result<PathBuf> {
    let python = run("/usr/bin/python3", &["--version"])?;
    let digest = cache::digest_of(&sources(""), &[&python])?;
    cache::entry("libraries", &digest, |out| {
        long_step("libraries of client programs", "about 30 s", || {
            fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
            let folder = out.join("python").display().to_string();
            let lock = sources("requirements.txt").display().to_string();
            let options = ["--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"];
            let mut arguments = vec!["-m", "pip", "install"];
            arguments.extend(options);
            arguments.extend(["--target", &folder, "--requirement", &lock]);
            run("/usr/bin/python3", &arguments)?;
            for file in ["package.json", "package-lock.json"] {
                fs::copy(sources(file), out.join(file)).with_context(|| format!("copy {file}"))?;
            }
            run_in(out, &[], "npm", &["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]).map(drop)
        })
    })
}

/// Gives every user of the machine a way to them, which is not through the cache: it is its owner's.
pub(crate) fn publish(layout: &Layout, libraries: &Path) -> Result<String> {
    let name = libraries.file_name().context("name the folder of libraries")?;
    let parent = layout.path("libraries");
    fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
    let folder = parent.join(name);
    if !folder.exists() {
        let unfinished = folder.with_extension("new");
        cache::remove(&unfinished)?;
        let (from, to) = (libraries.display().to_string(), unfinished.display().to_string());
        // Links to the same files where that is possible.
        if run("cp", &["--archive", "--link", &from, &to]).is_err() {
            cache::remove(&unfinished)?;
            run("cp", &["--archive", &from, &to])?;
        }
        fs::rename(&unfinished, &folder).with_context(|| format!("name {}", folder.display()))?;
    }
    Ok(folder.display().to_string())
}
