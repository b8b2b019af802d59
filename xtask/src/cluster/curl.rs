//! A curl that resolves names by c-ares, as some distributions build theirs and Debian does not: from Debian's source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache;
use super::command::{run, run_in};
use super::image::{package_site, release};
use super::layout::sha256_hex;
use super::progress::long_step;

/// As little of curl as can ask a web server over TLS.
const OPTIONS: &[&str] = &[
    "--quiet",
    "--enable-ares",
    "--with-openssl",
    "--disable-shared",
    "--disable-dict",
    "--disable-ftp",
    "--disable-gopher",
    "--disable-imap",
    "--disable-ldap",
    "--disable-manual",
    "--disable-mqtt",
    "--disable-pop3",
    "--disable-rtsp",
    "--disable-smb",
    "--disable-smtp",
    "--disable-telnet",
    "--disable-tftp",
    "--without-brotli",
    "--without-libidn2",
    "--without-libpsl",
    "--without-librtmp",
    "--without-nghttp2",
    "--without-zlib",
    "--without-zstd",
];

/// Finds or builds the program, in the cache.
pub(crate) fn ensure() -> Result<PathBuf> {
    let suite = release()?;
    let digest = sha256_hex(format!("{suite} {} layout 1", OPTIONS.join(" ")).as_bytes());
    cache::entry("curl-with-c-ares", &digest, |out| {
        long_step("curl with c-ares", "about 1 min", || {
            let folder = out.with_extension("build");
            cache::remove(&folder)?;
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
            build(&suite, &folder, out)?;
            cache::remove(&folder)
        })
    })
}

fn build(suite: &str, folder: &Path, out: &Path) -> Result<()> {
    let source = fetch(suite, folder)?;
    let configure = source.join("configure").display().to_string();
    run_in(&source, &[], &configure, OPTIONS)?;
    for part in ["lib", "src"] {
        run_in(&source, &[], "make", &["--silent", "--jobs=2", "--directory", part])?;
    }
    let program = source.join("src/curl");
    run("strip", &[&program])?;
    fs::copy(&program, out).map(drop).with_context(|| format!("copy {}", program.display()))
}

/// Downloads and unpacks the source. The machine's own lists of packages stay as they are.
fn fetch(suite: &str, folder: &Path) -> Result<PathBuf> {
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial")).with_context(|| format!("make {}", lists.display()))?;
    let sources = folder.join("sources.list");
    let line = format!("deb-src {} {suite} main\n", package_site(suite)?);
    fs::write(&sources, line).with_context(|| format!("write {}", sources.display()))?;
    let options = [
        format!("-oDir::Etc::SourceList={}", sources.display()),
        "-oDir::Etc::SourceParts=/dev/null".to_owned(),
        format!("-oDir::State::Lists={}", lists.display()),
        "-oAPT::Sandbox::User=root".to_owned(),
        "-qq".to_owned(),
    ];
    let apt = |words: &[&str]| {
        let arguments: Vec<&str> = options.iter().map(String::as_str).chain(words.iter().copied()).collect();
        run_in(folder, &[], "apt-get", &arguments)
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", "curl"])?;
    let files = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
    let archive = names.filter(|name| name.contains(".orig.tar.") && !name.ends_with(".asc")).max();
    let archive = archive.context("find the source of curl in what was downloaded")?;
    run_in(folder, &[], "mkdir", &["source"])?;
    run_in(folder, &[], "tar", &["--extract", "--strip-components=1", "--directory=source", "--file", &archive])?;
    Ok(folder.join("source"))
}
