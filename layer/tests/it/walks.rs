//! What the C library does with paths inside itself: `glob`, `nftw`, `mkstemp`; programs and libraries of the pod.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use decide::files::Rule;
use libc::{EACCES, EINVAL, ENOENT, EROFS};
use protocol::layer::{FileReply, Purpose};

use crate::host::FakeHost;
use crate::run::{app, compiled, finish, run};
use crate::shadow::{Shown, table};

/// A tree that is the pod's at `/pod` and this machine's somewhere else, with a folder beside it.
fn tree(root: &Path) {
    let outside = root.with_file_name("outside");
    fs::create_dir_all(&outside).expect("made");
    fs::write(outside.join("four.txt"), "text\n").expect("written");
    for folder in ["a/deep", "skip/inside", "empty"] {
        fs::create_dir_all(root.join(folder)).expect("made");
    }
    for file in ["a/one.txt", "a/two.txt", "a/deep/three.txt", "skip/inside/x", "last.txt"] {
        fs::write(root.join(file), "text\n").expect("written");
    }
    symlink("../outside", root.join("link")).expect("a link");
    symlink("none", root.join("dangling")).expect("a link");
}

/// A host whose pod has the tree, and the same tree of this machine.
fn session(patterns: &[(&str, Rule)]) -> (FakeHost, Shown, PathBuf, tempfile::TempDir) {
    let own = tempfile::tempdir().expect("a folder");
    let path = own.path().join("tree");
    tree(&path);
    let shown = Shown::new(&table(patterns));
    tree(&shown.root.join("pod"));
    let root = shown.root;
    let host = shown.serve(move |path, follow, purpose: Purpose| match answer(root, path, follow) {
        FileReply::Failed(ENOENT) if purpose.changes() && path.starts_with(b"/pod/") => FileReply::Failed(EROFS),
        answer => answer,
    });
    (host, shown, path, own)
}

/// What is there in the shadow, with the one link to a folder resolved as the agent does.
fn answer(root: &Path, path: &[u8], follow: bool) -> FileReply<'static> {
    let text = std::str::from_utf8(path).expect("text").trim_end_matches('/');
    let (text, last) = match text.strip_prefix("/pod/link") {
        Some("") if !follow => (text.to_owned(), true),
        Some(rest) => (format!("/outside{rest}"), false),
        None => (text.to_owned(), text == "/pod/dangling"),
    };
    let Ok(about) = fs::symlink_metadata(root.join(&text[1..])) else { return FileReply::Failed(ENOENT) };
    if last && follow {
        return FileReply::Failed(ENOENT);
    }
    let may = (about.permissions().mode() >> 6 & 7) as u8;
    FileReply::Shadow { path: Box::leak(text.into_bytes().into_boxed_slice()), may, large: false, writable: false }
}

/// What a program prints for the pod's tree, and for this machine's, with the paths made equal.
fn both(operation: &str, below: &str, more: &[&str]) -> (Vec<String>, Vec<String>) {
    let (host, _shown, own, _folder) = session(&[("/pod", Rule::ReadOnly)]);
    let of = |root: &str| -> Vec<String> {
        let path = format!("{root}{below}");
        let shown = run(&host, "walks", &[&[operation, &path], more].concat()).output();
        // The order of a directory, and what stands in front of the tree, are each machine's.
        let above = root.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty());
        let plain = |line: &str| match above {
            Some(above) => line.replace(root, "/pod").replace(&format!("{above}/"), "/").replace(above, "/"),
            None => line.to_owned(),
        };
        let mut lines: Vec<String> = shown.lines().map(plain).collect();
        lines.sort();
        lines
    };
    (of("/pod"), of(own.to_str().expect("text")))
}

fn without_bases(lines: Vec<String>) -> Vec<String> {
    let word = |word: &str| if word.starts_with("base=") { String::new() } else { format!("{word} ") };
    lines.iter().map(|line| line.split(' ').map(word).collect()).collect()
}

#[test]
fn glob_finds_what_is_there() {
    for pattern in ["/*.txt", "/*/*.txt", "/a/{one,two}*", "/[a-z]*", "/none*", "/link/*", "/dangling", "/a/", "/*/"] {
        for flags in [0, libc::GLOB_MARK, libc::GLOB_NOCHECK, 1 << 10] {
            let (pod, own) = both("glob", pattern, &[&flags.to_string()]);
            assert_eq!(pod, own, "{pattern} {flags}");
        }
    }
}

#[test]
fn walks_visit_what_is_there() {
    for flags in [0, 1, 8, 9, 16, 4, 5, 12] {
        let (pod, own) = both("nftw", "", &[&flags.to_string()]);
        assert!(pod.len() > 5, "{pod:?}");
        assert_eq!(without_bases(pod.clone()), without_bases(own), "flags {flags}");
        assert!(pod.iter().any(|line| line.contains("/pod/a/one.txt base=7 level=2")), "{pod:?}");
    }
    for path in ["", "/", "/a/one.txt", "/link", "/dangling", "/none"] {
        let (pod, own) = both("ftw", path, &[]);
        assert_eq!(pod, own, "{path}");
        let (pod, own) = both("nftw", path, &["0"]);
        assert_eq!(without_bases(pod), without_bases(own), "{path}");
    }
}

#[test]
fn temporary_files_are_made_where_files_may_be_made() {
    let (host, _shown, own, _folder) = session(&[("/pod", Rule::ReadOnly), ("/read", Rule::Read)]);
    let shown = run(&host, "walks", &["temporaries", "/pod"]).output();
    let expected = format!(
        "mkstemp errno={EROFS}\nmkostemp errno={EROFS}\nmkstemps errno={EROFS}\nmkostemps errno={EROFS}\n\
         mkdtemp errno={EROFS}\nbad errno={EINVAL}\n"
    );
    assert_eq!(shown, expected);
    let made = "mkstemp made\nmkostemp made\nmkstemps made\nmkostemps made\nmkdtemp made\n";
    fs::set_permissions(&own, PermissionsExt::from_mode(0o777)).expect("a mode");
    let here = run(&host, "walks", &["temporaries", own.to_str().expect("text")]).output();
    assert_eq!(here, format!("{made}bad errno={EINVAL}\n"));
    // What is read from the pod is written here, where there is no such folder.
    let read = run(&host, "walks", &["temporaries", "/read"]).output();
    assert_eq!(read.matches(&format!("errno={ENOENT}\n")).count(), 5, "{read}");
}

#[test]
fn programs_of_the_pod_are_executed_under_their_own_names() {
    let (host, shown, _, _folder) = session(&[("/pod", Rule::ReadOnly)]);
    let pod = shown.root.join("pod");
    let put = |name: &str, text: &[u8], mode: u32| {
        fs::write(pod.join(name), text).expect("written");
        fs::set_permissions(pod.join(name), PermissionsExt::from_mode(mode)).expect("a mode");
    };
    put("script", b"#!/bin/sh -e\necho \"$0 $*\"\n", 0o755);
    put("second", b"#!/pod/script  one argument \n", 0o755);
    put("plain", b"echo\n", 0o644);
    put("again", b"#!/pod/again\n", 0o755);
    fs::copy("/bin/echo", pod.join("echo")).expect("copied");
    for (name, expected) in [
        ("script", "/pod/script a b\n".to_owned()),
        ("second", "/pod/script one argument /pod/second a b\n".to_owned()),
        ("echo", "a b\n".to_owned()),
        ("plain", format!("errno={EACCES}\n")),
        ("none", format!("errno={ENOENT}\n")),
        ("again", format!("errno={}\n", libc::ELOOP)),
    ] {
        for how in ["execv", "execvp"] {
            let ended = run(&host, "walks", &[how, &format!("/pod/{name}"), "a", "b"]);
            assert_eq!(ended.output(), expected, "{how} {name}");
        }
        let twice = match expected.strip_prefix("errno=").map(str::trim) {
            Some(errno) => format!("posix_spawn {errno}\nposix_spawnp {errno}\n"),
            None => format!("{expected}status 0\n").repeat(2),
        };
        assert_eq!(run(&host, "walks", &["spawn", &format!("/pod/{name}"), "a", "b"]).output(), twice, "{name}");
    }
}

#[test]
fn libraries_of_the_pod_are_loaded() {
    let (host, shown, _, _folder) = session(&[("/pod", Rule::ReadOnly)]);
    let Some(library) = compiled("libanswer.so", "answer", "cc", &["-shared", "-fPIC"]) else { panic!("a C compiler") };
    fs::copy(library, shown.root.join("pod/libanswer.so")).expect("copied");
    assert_eq!(run(&host, "walks", &["dlopen", "/pod/libanswer.so"]).output(), "answer 42\n");
    let missing = run(&host, "walks", &["dlopen", "/pod/none.so"]).output();
    assert!(missing.contains("/pod/none.so: cannot open shared object file"), "{missing}");
    let own = finish(Command::new(app("walks")).args(["dlopen", "/pod/libanswer.so"])).output();
    assert!(own.contains("cannot open shared object file"), "{own}");
}
