//! Debian packages that the cluster is made of and that tests run, installed when missing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::command::{run, run_in};
use super::progress::long_step;

/// One package, and the program that makes it unnecessary where it comes from elsewhere.
struct Need {
    package: &'static str,
    program: Option<&'static str>,
}

const fn package(package: &'static str) -> Need {
    Need { package, program: None }
}

const fn program(program: &'static str, package: &'static str) -> Need {
    Need { package, program: Some(program) }
}

/// What the cluster is made of, and the libraries and programs that it keeps for tests.
const CLUSTER: &[Need] = &[
    package("conntrack"),
    package("containerd"),
    package("containernetworking-plugins"),
    package("debootstrap"),
    package("gcc"),
    package("iproute2"),
    package("iptables"),
    package("libc-ares-dev"),
    package("libc6-dev"),
    package("libssl-dev"),
    package("make"),
    package("nftables"),
    program("npm", "npm"),
    package("openssl"),
    package("python3-pip"),
    package("runc"),
    package("util-linux"),
];

/// What tests run on this machine, and what the build of `mirror` needs beside Rust.
const TESTS: &[Need] = &[
    program("objcopy", "binutils"),
    package("bind9-dnsutils"),
    package("bpftool"),
    program("curl", "curl"),
    program("fusermount3", "fuse3"),
    package("gcc-multilib"),
    package("libcurl4-openssl-dev"),
    package("musl-tools"),
    program("java", "default-jdk-headless"),
    program("nc", "netcat-openbsd"),
    program("h2load", "nghttp2-client"),
    program("nginx", "nginx"),
    program("node", "nodejs"),
    program("ssh", "openssh-client"),
    program("php", "php-cli"),
    package("php-curl"),
    package("php-fpm"),
    program("psql", "postgresql-client"),
    package("python3"),
    program("redis-cli", "redis-tools"),
    program("wget", "wget"),
    program("wrk", "wrk"),
];

/// Makes sure that all packages of the cluster are there.
pub(crate) fn ensure() -> Result<()> {
    install(CLUSTER)
}

/// Makes sure that everything is there that builds and tests use.
pub(crate) fn ensure_for_tests() -> Result<()> {
    install(TESTS)?;
    let device = Path::new("/dev/fuse");
    if device.exists() {
        // As udev does where it runs: everybody may mount file systems of their own.
        let open = fs::set_permissions(device, Permissions::from_mode(0o666));
        open.with_context(|| format!("open {} for all users", device.display()))?;
    }
    Ok(())
}

fn install(needs: &[Need]) -> Result<()> {
    let missing = missing(needs)?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("Debian packages {}", missing.join(" "));
    long_step(&what, "about 30 s", || {
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        let root = Path::new("/");
        let _policy = NoStarts::new()?;
        run_in(root, &quiet, "apt-get", &["update", "-qq"])?;
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(missing);
        run_in(root, &quiet, "apt-get", &arguments)?;
        Ok(())
    })
}

/// Packages of servers start them, unless a policy says no. Where the machine has one of its own, that counts.
struct NoStarts(Option<&'static Path>);

impl NoStarts {
    fn new() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(policy, Permissions::from_mode(0o755)))
            .with_context(|| format!("write {}", policy.display()))?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for NoStarts {
    fn drop(&mut self) {
        self.0.map(fs::remove_file);
    }
}

fn missing(needs: &[Need]) -> Result<Vec<&'static str>> {
    let arguments = ["-W", "-f", "${Package} ${db:Status-Status}\n"];
    let installed = run("dpkg-query", &arguments).context("list the installed packages")?;
    let is_there = |need: &&Need| {
        let line = format!("{} installed", need.package);
        need.program.is_some_and(is_in_path) || installed.lines().any(|present| present == line)
    };
    Ok(needs.iter().filter(|need| !is_there(need)).map(|need| need.package).collect())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
