//! Container images without a registry: tar files that the project writes itself.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::build::Programs;
use super::cache;
use super::command::run;
use super::layout::{hex, sha256_hex};
use super::progress::{long_step, step};

/// The image of every pod's sandbox.
pub(crate) const PAUSE: &str = "mirror.test/pause:1";
const ECHO_SERVER: &str = "mirror.test/echo-server:1";
const COREDNS: &str = "mirror.test/coredns:1";
const DEBIAN: &str = "mirror.test/debian:1";

/// What the Debian image has besides the smallest system, for realistic targets.
const DEBIAN_PACKAGES: &str = "ca-certificates,curl,iproute2,netcat-openbsd,nginx-light,nodejs,openssh-server,postgresql,\
                               procps,python3,redis-server";

/// What of a system no test reads; PostgreSQL's compiler of queries is half of it.
const LEFT_OUT: [&str; 12] = [
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./usr/lib/*/libLLVM-*",
    "./usr/lib/*/libz3.*",
    "./usr/lib/postgresql/*/lib/bitcode/*",
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/apt/*",
    "./var/cache/debconf/*",
    "./var/lib/apt/lists/*",
];

/// The tar files of all images, in the cache.
pub(crate) fn all(programs: &Programs, with_debian: bool) -> Result<Vec<PathBuf>> {
    let mut images = vec![
        of_program(PAUSE, &programs.pause)?,
        of_program(ECHO_SERVER, &programs.echo_server)?,
        of_program(COREDNS, &programs.coredns)?,
    ];
    if with_debian {
        images.push(debian()?);
    }
    Ok(images)
}

/// An image that has one static program and the few files that programs expect.
fn of_program(image: &str, program: &Path) -> Result<PathBuf> {
    let name = short_name(image);
    // The file's name in the cache holds the digest of its sources.
    let digest = sha256_hex(format!("{image} {} layout 1", program.display()).as_bytes());
    cache::entry(&format!("image-{name}"), &digest, |out| {
        step(&format!("image {image}"), || {
            let root = out.with_extension("root");
            cache::remove(&root)?;
            for folder in ["etc", "tmp"] {
                let folder = root.join(folder);
                fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
            }
            let write = |inside: &str, text: &str| {
                fs::write(root.join(inside), text).with_context(|| format!("write {inside}"))
            };
            write("etc/passwd", "root:x:0:0:root:/:/none\napp:x:1000:1000:app:/:/none\n")?;
            write("etc/group", "root:x:0:\napp:x:1000:\n")?;
            write("etc/os-release", &format!("ID=mirror-test\nPRETTY_NAME=\"{image}\"\n"))?;
            fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).context("open /tmp of the image")?;
            fs::copy(program, root.join(name)).with_context(|| format!("copy {}", program.display()))?;
            write_tar(image, &root, json!({ "Entrypoint": [format!("/{name}")] }), out)?;
            cache::remove(&root)
        })
    })
}

fn debian() -> Result<PathBuf> {
    let suite = release()?;
    let digest = sha256_hex(format!("{suite} {DEBIAN_PACKAGES} layout 2").as_bytes());
    cache::entry("image-debian", &digest, |out| {
        long_step(&format!("image {DEBIAN} by debootstrap"), "about 2 min", || {
            let root = out.with_extension("root");
            cache::remove(&root)?;
            let include = format!("--include={DEBIAN_PACKAGES}");
            let target = root.display().to_string();
            let site = package_site(&suite)?;
            run("debootstrap", &["--foreign", "--variant=minbase", &include, &suite, &target, &site])?;
            // Packages of servers start them, unless this says no.
            let policy = root.join("usr/sbin/policy-rc.d");
            fs::write(&policy, "#!/bin/sh\nexit 101\n")
                .and_then(|()| fs::set_permissions(&policy, Permissions::from_mode(0o755)))
                .with_context(|| format!("write {}", policy.display()))?;
            run("chroot", &[&target, "/debootstrap/debootstrap", "--second-stage"])?;
            write_tar(DEBIAN, &root, json!({ "Cmd": ["/bin/bash"] }), out)?;
            cache::remove(&root)
        })
    })
}

/// The code name of the Debian release that this machine runs.
pub(crate) fn release() -> Result<String> {
    let path = "/etc/os-release";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.map(str::to_owned).with_context(|| format!("find VERSION_CODENAME in {path}"))
}

/// The site that this machine takes its own packages from.
pub(crate) fn package_site(suite: &str) -> Result<String> {
    let format = "$(SITE) $(RELEASE)";
    let targets = run("apt-get", &["indextargets", "--format", format, "Created-By: Packages"])?;
    let site = targets.lines().find_map(|line| line.strip_suffix(&format!(" {suite}")));
    site.map(str::to_owned).with_context(|| format!("no package source of {suite} is set up"))
}

/// Writes an image with one layer, in the form that `docker save` made usual.
fn write_tar(image: &str, root: &Path, config: serde_json::Value, out: &Path) -> Result<()> {
    let folder = out.with_extension("parts");
    cache::remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let layer = folder.join("layer.tar");
    tar(root, &["."], &layer)?;
    let mut config = config;
    config["Env"] = json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    config["WorkingDir"] = json!("/");
    let description = json!({
        "architecture": go_architecture(),
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256_of(&layer)?)] },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [image],
        "Layers": ["layer.tar"],
    }]);
    for (name, content) in [("config.json", description), ("manifest.json", manifest)] {
        fs::write(folder.join(name), content.to_string()).with_context(|| format!("write {name}"))?;
    }
    tar(&folder, &["manifest.json", "config.json", "layer.tar"], out)?;
    cache::remove(&folder)
}

/// A tar file that depends on nothing but the files' names, rights and contents.
fn tar(folder: &Path, names: &[&str], out: &Path) -> Result<()> {
    let (folder, out) = (folder.display().to_string(), out.display().to_string());
    let mut arguments =
        vec!["--create", "--file", &out, "--directory", &folder, "--sort=name", "--numeric-owner", "--mtime=@0"];
    let left_out = LEFT_OUT.map(|pattern| format!("--exclude={pattern}"));
    arguments.extend(left_out.iter().map(String::as_str));
    arguments.extend(names);
    run("tar", &arguments).map(drop)
}

fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer).with_context(|| format!("read {}", path.display()))? {
            0 => return Ok(hex(&digest.finalize())),
            length => digest.update(&buffer[..length]),
        }
    }
}

fn short_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
