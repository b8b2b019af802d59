//! Files that the rules call the pod's: real files of this machine in a folder of the session, at the pod's paths.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use decide::files::{NONE, Parts, Rule};
use libc::{EACCES, EEXIST, EINVAL, EIO, ENAMETOOLONG, ENOENT, EROFS};
use protocol::files::Time;
use protocol::layer::{ChangeReply, FileReply, Lease, Purpose, SHADOW_LARGE, SHADOW_LEASES};

use crate::files::kept;
use crate::host::{Asked, FakeHost, Reply};
use crate::run::{Ended, figures, finish, hooked, run};

/// A table whose patterns are beginnings of paths.
pub(crate) fn table(patterns: &[(&str, Rule)]) -> Vec<u8> {
    // Each state is what was read so far; the last is where no pattern can match any more.
    let mut read: Vec<&str> = vec![""];
    for (prefix, _) in patterns {
        read.extend((1..=prefix.len()).map(|length| &prefix[..length]));
    }
    read.sort_by_key(|text| (text.len(), *text));
    read.dedup();
    let dead = read.len() as u16;
    let find = |text: &str| read.iter().position(|known| *known == text).map(|at| at as u16);
    let matches = |text: &str| patterns.iter().position(|(prefix, _)| *prefix == text).map_or(NONE, |at| at as u16);
    let step = |text: &str, byte: u8| find(&format!("{text}{}", char::from(byte))).unwrap_or(dead);
    let row = |text: &&str| (0..128).map(|byte| step(text, byte)).chain([find(text).unwrap_or(dead)]).collect();
    let mut next: Vec<Vec<u16>> = read.iter().map(row).collect();
    next.push(vec![dead; 129]);
    Parts {
        classes: std::array::from_fn(|byte| (byte % 128) as u8),
        rules: patterns.iter().map(|(_, rule)| *rule).collect(),
        matches: read.iter().map(|text| matches(text)).chain([NONE]).collect(),
        next,
    }
    .write()
    .expect("fits")
}

/// A folder for a shadow, and a table that processes can map.
pub(crate) struct Shown {
    pub(crate) root: &'static Path,
    table: (File, u32),
    /// Whether what is there may be changed.
    writes: bool,
    _folder: tempfile::TempDir,
}

impl Shown {
    pub(crate) fn new(table: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root: &'static Path = Box::leak(folder.path().join("root").into_boxed_path());
        let mut file = kept("mirror-file-rules", "");
        file.write_all(table).expect("written");
        Self { root, table: (file, table.len() as u32), writes: false, _folder: folder }
    }

    /// A host that answers for files so.
    pub(crate) fn serve(
        &self,
        answer: impl Fn(&[u8], bool, Purpose) -> FileReply<'static> + Send + Sync + 'static,
    ) -> FakeHost {
        let (descriptor, size, root) = (self.table.0.as_raw_fd() as u32, self.table.1, self.root);
        let written_on = self.writes.then(|| fs::metadata(root).expect("there").dev());
        FakeHost::start(move |asked| match asked {
            Asked::Attach { .. } => Reply::Files(descriptor, size, root.as_os_str().as_bytes(), written_on),
            Asked::ChangeFile { .. } if written_on.is_some() => Reply::Change(ChangeReply::Done),
            Asked::File { path, follow, purpose } => Reply::File(answer(path, *follow, *purpose)),
            _ => Reply::Default,
        })
    }
}

/// A host whose shadow has `/pod/file` and a link to it; `answer` says what else it does.
struct Session {
    host: FakeHost,
    root: &'static Path,
    _shown: Shown,
}

const TEXT: &str = "from the pod\n";

const RULES: &[(&str, Rule)] = &[
    ("/pod/absent", Rule::NotFound),
    ("/pod/local", Rule::Local),
    ("/pod", Rule::ReadOnly),
    ("/read", Rule::Read),
    ("/unnamed", Rule::Unnamed),
];

fn session(answer: impl Fn(&[u8], bool, Purpose) -> FileReply<'static> + Send + Sync + 'static) -> Session {
    session_that(false, answer)
}

fn session_that(
    writes: bool,
    answer: impl Fn(&[u8], bool, Purpose) -> FileReply<'static> + Send + Sync + 'static,
) -> Session {
    let mut shown = Shown::new(&table(RULES));
    shown.writes = writes;
    let root = shown.root;
    fs::create_dir_all(root.join("pod/folder")).expect("made");
    fs::write(root.join("pod/file"), TEXT).expect("written");
    fs::set_permissions(root.join("pod/file"), PermissionsExt::from_mode(0o644)).expect("a mode");
    symlink("/pod/file", root.join("pod/link")).expect("a link");
    Session { host: shown.serve(answer), root, _shown: shown }
}

/// What the pod of these tests has.
fn pod(path: &[u8], follow: bool, _: Purpose) -> FileReply<'static> {
    let at = |path| FileReply::Shadow { path, may: 4, large: false, writable: false };
    match path {
        b"/pod/link" if !follow => at(b"/pod/link"),
        b"/pod/file" | b"/pod/link" => at(b"/pod/file"),
        b"/pod" | b"/pod/" => FileReply::Shadow { path: b"/pod", may: 5, large: false, writable: false },
        b"/pod/folder" | b"/pod/folder/" => {
            FileReply::Shadow { path: b"/pod/folder", may: 5, large: false, writable: false }
        }
        b"/read/file" => at(b"/pod/file"),
        b"/pod/secret" => FileReply::Failed(EACCES),
        _ => FileReply::Failed(ENOENT),
    }
}

fn all_end_with(ended: Ended, expected: &str) {
    let shown = ended.output();
    assert!(shown.lines().count() >= 3, "{shown}");
    for line in shown.lines() {
        assert!(line.ends_with(expected), "{line} is not {expected}");
    }
}

#[test]
fn every_function_has_the_shadows_version() {
    let session = session(pod);
    for path in ["/pod/file", "//pod/./file", "/pod/folder/../file", "/none/../pod/file"] {
        all_end_with(run(&session.host, "files", &["opens", path]), " from the pod");
        let shown = run(&session.host, "files", &["looks", path]).output();
        let (described, asked) = shown.lines().partition::<Vec<_>, _>(|line| line.contains("size=13"));
        assert_eq!((described.len(), asked.len()), (13, 4), "{shown}");
        assert!(described.iter().all(|line| line.ends_with(" mode=100644 size=13")), "{shown}");
        assert!(asked.iter().all(|line| line.ends_with(" mode=0 size=0")), "{shown}");
    }
    let shown = run(&session.host, "files", &["links", "/pod/link"]).output();
    let (links, paths) = shown.lines().partition::<Vec<_>, _>(|line| line.ends_with(" length=9"));
    assert_eq!((links.len(), paths.len()), (4, 4), "{shown}");
    assert!(paths.iter().all(|line| line.ends_with(" /pod/file")), "{shown}");
    let shown = run(&session.host, "files", &["links", "/pod/file"]).output();
    assert_eq!(shown.lines().filter(|line| line.ends_with(&format!("errno={EINVAL}"))).count(), 4, "{shown}");
}

#[test]
fn the_host_is_told_the_plain_path_and_what_for() {
    let session = session(pod);
    run(&session.host, "files", &["opens", "/pod//x/../file"]).output();
    let asked = session.host.asked();
    let expected = |follow, purpose| Asked::File { path: b"/pod/file".to_vec(), follow, purpose };
    assert_eq!(asked[0], expected(true, Purpose::Open));
    assert_eq!(asked[1], expected(false, Purpose::Open), "O_NOFOLLOW");
    assert!(asked.iter().all(|asked| matches!(asked, Asked::File { path, .. } if path == b"/pod/file")), "{asked:?}");
}

/// Gives a folder of the pod a lease that ends so many milliseconds from now.
fn lease(root: &Path, folder: &str, milliseconds: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
    let now = Time { seconds: now.as_secs() as i64, nanoseconds: now.subsec_nanos() };
    let Time { seconds, nanoseconds } = Lease::new(now, milliseconds).written();
    let until = SystemTime::UNIX_EPOCH + Duration::new(seconds as u64, nanoseconds);
    let leases = root.with_file_name(SHADOW_LEASES);
    fs::create_dir_all(&leases).expect("made");
    let name = String::from_utf8(Lease::name(folder.as_bytes()).to_vec()).expect("text");
    File::create(leases.join(name)).and_then(|file| file.set_modified(until)).expect("set");
}

#[test]
fn what_was_just_listed_is_looked_at_without_asking() {
    let session = session(pod);
    File::create(session.root.join("pod/large")).and_then(|file| file.set_len(101)).expect("made");
    let asks = |what: &str, path: &str| {
        let before = session.host.asked().len();
        run(&session.host, "files", &[what, path]).output();
        session.host.asked().len() - before
    };
    let unleased = asks("looks", "/pod/file");
    lease(session.root, "/pod", 1000);
    let leased = asks("looks", "/pod/file");
    assert!(leased > 0 && leased < unleased, "`access` asks, `stat` does not: {leased} of {unleased}");
    for (what, path, expected) in
        [("opens", "/pod/file", 7), ("looks", "/pod/large", unleased), ("looks", "/pod/none", unleased)]
    {
        lease(session.root, "/pod", 1000);
        let asked = asks(what, path);
        assert!(asked >= expected, "{what} {path}: {asked}");
    }
    lease(session.root, "/pod", -1);
    assert_eq!(asks("looks", "/pod/file"), unleased, "it is over");
    symlink("/etc", session.root.join("pod/out")).expect("a link");
    lease(session.root, "/pod/out", 1000);
    assert_eq!(asks("looks", "/pod/out/passwd"), unleased, "a link leads out");
}

#[test]
fn files_too_large_to_be_fetched_are_in_a_folder_beside() {
    let session = session(|_, _, _| FileReply::Shadow { path: b"/pod/file", may: 4, large: true, writable: false });
    let large = session.root.with_file_name(SHADOW_LARGE);
    fs::create_dir_all(large.join("pod")).expect("made");
    fs::rename(session.root.join("pod/file"), large.join("pod/file")).expect("moved");
    all_end_with(run(&session.host, "files", &["opens", "/pod/file"]), " from the pod");
    let shown = run(&session.host, "files", &["links", "/pod/file"]).output();
    assert!(shown.lines().any(|line| line.ends_with(" /pod/file")), "the path is the pod's: {shown}");
}

#[test]
fn errors_are_the_pods() {
    let session = session(pod);
    for (path, errno) in [("/pod/none", ENOENT), ("/pod/secret", EACCES), ("/pod/absent", ENOENT)] {
        for what in ["opens", "looks", "links"] {
            all_end_with(run(&session.host, "files", &[what, path]), &format!("errno={errno}"));
        }
    }
    let long = format!("/pod/{}", "x/".repeat(600));
    all_end_with(run(&session.host, "files", &["looks", &long]), &format!("errno={ENAMETOOLONG}"));
}

#[test]
fn a_lost_host_is_an_error_and_never_this_machines_file() {
    let session = session(|_, _, _| FileReply::Failed(0));
    for what in ["opens", "looks", "links"] {
        all_end_with(run(&session.host, "files", &[what, "/pod/file"]), &format!("errno={EIO}"));
    }
}

#[test]
fn the_shadow_can_only_be_read() {
    let session = session(pod);
    let line = |what: &str, errno: i32| format!("{what} errno={errno}\n");
    let refused = |what: &str| line(what, EROFS);
    let expected = [
        ["open w", "open rw", "open truncate"].map(refused).concat(),
        line("open create", EEXIST),
        "openat create from the pod\n".to_owned(),
        ["creat", "creat64", "fopen w", "fopen a", "fopen r+", "access w", "euidaccess w", "faccessat w"]
            .map(refused)
            .concat(),
        line("access x", EACCES),
    ];
    assert_eq!(run(&session.host, "files", &["writes", "/pod/file"]).output(), expected.concat());
    assert_eq!(fs::read_to_string(session.root.join("pod/file")).expect("reads"), TEXT);
}

#[test]
fn what_is_read_from_the_pod_is_written_here() {
    let session = session(pod);
    all_end_with(run(&session.host, "files", &["opens", "/read/file"]), " from the pod");
    let shown = run(&session.host, "files", &["writes", "/read/file"]).output();
    let (writes, others) = shown.lines().partition::<Vec<_>, _>(|line| !line.starts_with("access x"));
    assert!(writes.iter().all(|line| line.ends_with(&format!("errno={ENOENT}"))), "{shown}");
    assert_eq!(others, [format!("access x errno={EACCES}")]);
    let asked = session.host.asked().len();
    all_end_with(run(&session.host, "files", &["opens", "/unnamed/file"]), &format!("errno={ENOENT}"));
    assert_eq!(session.host.asked().len(), asked, "nobody is asked for what is this machine's");
}

#[test]
fn what_is_written_is_settled_and_what_changes_is_the_hosts() {
    let written = |path: &[u8], _: bool, _: Purpose| match path {
        b"/pod/file" => FileReply::Shadow { path: b"/pod/file", may: 6, large: false, writable: true },
        _ => FileReply::Failed(ENOENT),
    };
    let session = session_that(true, written);
    let script = "echo one >> /pod/file && mkdir /pod/new && mv /pod/a /pod/b && ln -s x /pod/link && \
                  rm -f /pod/gone && rmdir /pod/new && chmod 640 /pod/file && touch -d @7 /pod/file && sync /pod/file";
    finish(hooked(&session.host, "sh").args(["-c", script])).output();
    assert_eq!(fs::read_to_string(session.root.join("pod/file")).expect("reads"), format!("{TEXT}one\n"));
    let inode = fs::metadata(session.root.join("pod/file")).expect("there").ino();
    let asked = session.host.asked();
    assert!(asked.contains(&Asked::Settle { inode, durable: false }), "{asked:?}");
    for (path, beginning) in [
        ("/pod/new", "MakeDirectory(511)"),
        ("/pod/a", "Rename { to: [47, 112, 111, 100, 47, 98]"),
        ("/pod/link", "Symlink([120])"),
        ("/pod/new", "Remove(Directory)"),
        ("/pod/file", "SetMode { mode: 416, follow: true }"),
        ("/pod/file", "SetTimes { times: [Time { seconds: 7, nanoseconds: 0 }, Time { seconds: 7"),
    ] {
        let is_asked = |asked: &Asked| matches!(asked, Asked::ChangeFile { path: of, change } if of == path.as_bytes() && change.starts_with(beginning));
        assert!(asked.iter().any(is_asked), "{path} {beginning}: {asked:?}");
    }
}

#[test]
fn folders_of_the_pod_are_entered_and_listed_under_their_own_paths() {
    let session = session(pod);
    let script = "cd /pod && pwd && pwd -P && cat file link ./folder/../file && ls && cd folder && /bin/pwd && cd .. && \
                  cat /proc/self/cwd/file && ls -l /proc/self/cwd | sed 's/.* -> //' && exec 3< . && cat /proc/self/fd/3/file";
    let shown = finish(hooked(&session.host, "sh").args(["-c", script])).output();
    let texts = TEXT.repeat(3);
    assert_eq!(shown, format!("/pod\n/pod\n{texts}file\nfolder\nlink\n/pod/folder\n{TEXT}/pod\n{TEXT}"));
}

#[test]
fn what_no_pattern_names_is_this_machines_also_from_a_folder_of_the_pod() {
    let session = session(pod);
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("file");
    let up = format!("../..{}", file.display());
    let script = format!(
        "cd /pod/folder && echo here > {up} && cat {up} && cat ../local 2>&1; cd / && cat /pod/folder/../..{} && \
         ls -d /pod/..",
        file.display()
    );
    let shown = finish(hooked(&session.host, "sh").args(["-c", &script])).stdout;
    assert_eq!(shown, "here\ncat: ../local: No such file or directory\nhere\n/pod/..\n");
    assert_eq!(fs::read_to_string(file).expect("reads"), "here\n");
    assert!(
        session.host.asked().iter().all(|asked| !matches!(asked, Asked::File { path, .. } if path.ends_with(b"local")))
    );
}

/// `BENCH=1 cargo test --release -p layer with_patterns -- --nocapture` shows the figures.
#[test]
fn with_patterns_paths_that_stay_local_ask_nobody() {
    let session = session(pod);
    run(&session.host, "files", &["bench", "-"]).output();
    assert_eq!(session.host.asked(), []);
    figures(&session.host, "files", &["bench", "-"]);
}
