//! Debian packages that the cluster is made of, installed when missing.

use anyhow::{Context, Result};

use super::command::{run, run_in};
use super::progress::long_step;

const PACKAGES: &[&str] = &[
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "debootstrap",
    "gcc",
    "iproute2",
    "iptables",
    "libc6-dev",
    "nftables",
    "openssl",
    "runc",
    "util-linux",
];

/// Makes sure that all packages are there.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("Debian packages {}", missing.join(" "));
    long_step(&what, "about 20 s", || {
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        let root = std::path::Path::new("/");
        run_in(root, &quiet, "apt-get", &["update", "-qq"])?;
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(missing);
        run_in(root, &quiet, "apt-get", &arguments)?;
        Ok(())
    })
}

fn missing() -> Result<Vec<&'static str>> {
    let arguments = ["-W", "-f", "${Package} ${db:Status-Status}\n"];
    let installed = run("dpkg-query", &arguments).context("list the installed packages")?;
    let is_there = |package: &&str| {
        let line = format!("{package} installed");
        installed.lines().any(|present| present == line)
    };
    Ok(PACKAGES.iter().copied().filter(|package| !is_there(package)).collect())
}
