//! A real VS Code for the end-to-end tests: code-server and what drives it, in the versions that `tests/vscode` locks.
//! Both come from npm; what they compile or link here, install scripts would fetch from elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::command::{run, run_in};
use super::layout::Layout;
use super::progress::long_step;
use super::{cache, libraries};

/// The major version of Node.js that this code-server is made for.
const NODE: &str = "v20.";

/// Parts of code-server with dependencies of their own, and the lock files that stand for theirs, which name a host
/// that only its makers reach.
const PARTS: &[(&str, &str)] = &[("lib/vscode", "vscode.json"), ("lib/vscode/extensions", "extensions.json")];

/// What code-server itself has compiled: passwords.
const NATIVE_SERVER: &[&str] = &["argon2"];

/// What is compiled of the editor: terminals, logs, watching files.
const NATIVE: &[&str] =
    &["node-pty", "@vscode/spdlog", "native-watchdog", "@parcel/watcher", "kerberos", "@vscode/deviceid"];

/// Options of each installation.
const QUIET: &[&str] = &["--silent", "--ignore-scripts", "--no-audit", "--no-fund"];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vscode")
}

/// Finds or makes the folder with `node_modules`, where every user of the machine can read it.
pub(crate) fn ensure() -> Result<PathBuf> {
    let _lock = cache::lock()?;
    let node = run("node", &["--version"]).context("Node.js runs the editor of the tests")?;
    if !node.starts_with(NODE) {
        bail!("the editor of the tests runs on Node.js {NODE}x, and `node --version` says {}", node.trim());
    }
    let locks = sources().join("locks");
    let lock = fs::read_to_string(sources().join("package-lock.json")).context("read the lock file of tests/vscode")?;
    let compiled = [NATIVE_SERVER, NATIVE].concat().join(" ");
    let digest = cache::digest_of(&locks, &[&lock, &node, &compiled])?;
    let made =
        cache::entry("editor", &digest, |out| long_step("VS Code and its driver", "2 to 3 min", || make(out, &locks)))?;
    libraries::publish(&Layout::from_environment()?, &made).map(PathBuf::from)
}

fn make(out: &Path, locks: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(sources().join(file), out.join(file)).with_context(|| format!("copy {file}"))?;
    }
    npm(out, &["ci"], QUIET)?;
    npm(out, &["rebuild", "--silent"], NATIVE_SERVER)?;
    let code = out.join("node_modules/code-server");
    for (part, lock) in PARTS {
        let part = code.join(part);
        cache::remove(&part.join("npm-shrinkwrap.json"))?;
        fs::copy(locks.join(lock), part.join("package-lock.json")).with_context(|| format!("copy {lock}"))?;
        npm(&part, &["ci", "--omit=dev", "--legacy-peer-deps"], QUIET)?;
    }
    let code = code.join("lib/vscode");
    npm(&code, &["rebuild", "--silent"], NATIVE)?;
    let search = code.join("node_modules/@vscode/ripgrep/bin");
    fs::create_dir_all(&search).with_context(|| format!("make {}", search.display()))?;
    std::os::unix::fs::symlink("/usr/bin/rg", search.join("rg")).context("link ripgrep")?;
    // Where extensions look for modules of the editor.
    std::os::unix::fs::symlink("node_modules", code.join("node_modules.asar")).context("link the modules")
}

/// Runs npm; what it compiles, it compiles with the headers of this machine.
fn npm(folder: &Path, words: &[&str], more: &[&str]) -> Result<()> {
    let arguments = [words, more].concat();
    run_in(folder, &[("npm_config_nodedir", "/usr")], "npm", &arguments).map(drop)
}
