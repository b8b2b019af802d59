//! The pod's files at their own paths: every function that takes a path, of the C program `files`.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;

use libc::{EACCES, EEXIST, EFAULT, EINVAL, EIO, ENOENT};
use protocol::agent::POD_FILES;
use protocol::layer::PodFile;

use crate::host::{Asked, FakeHost, Reply};
use crate::run::{app, figures, finish, hooked, installed, run};

const TEXT: &str = "from the pod\n";

/// A file as the host keeps it.
pub(crate) fn kept(name: &str, text: &str) -> File {
    let name = CString::new(name).expect("a name");
    // SAFETY: memfd_create(2) with a C string.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a fresh descriptor that nobody else has.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.set_permissions(PermissionsExt::from_mode(0o644)).expect("a mode");
    file.write_all(text.as_bytes()).expect("writes");
    file
}

/// A host whose files are those of [`POD_FILES`]' order.
pub(crate) fn session(files: [PodFile; POD_FILES.len()]) -> FakeHost {
    FakeHost::with_settings(|settings| settings.files = files, |_| Reply::Default)
}

pub(crate) fn descriptor(file: &File) -> PodFile {
    PodFile::Descriptor(file.as_raw_fd() as u32)
}

/// Each line that the case prints ends so.
fn all_end_with(host: &FakeHost, words: &[&str], expected: &str) {
    let shown = run(host, "files", words).output();
    assert!(shown.lines().count() >= 3, "{shown}");
    for line in shown.lines() {
        assert!(line.ends_with(expected), "{words:?}: {line} is not {expected}");
    }
}

#[test]
fn every_function_has_the_pods_version() {
    let file = kept("mirror-hosts", TEXT);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Local, PodFile::Local]);
    let spellings = ["/etc/hosts", "//etc/./hosts", "/etc//hosts", "/usr/../etc/hosts", "/proc/self/root/etc/hosts"];
    for path in spellings {
        all_end_with(&host, &["opens", path], " from the pod");
        let shown = run(&host, "files", &["looks", path]).output();
        let (described, asked) = shown.lines().partition::<Vec<_>, _>(|line| line.contains("size=13"));
        assert_eq!((described.len(), asked.len()), (13, 4), "{shown}");
        assert!(described.iter().all(|line| line.ends_with(" mode=100644 size=13")), "{shown}");
        assert!(asked.iter().all(|line| line.ends_with(" mode=0 size=0")), "{shown}");
        let shown = run(&host, "files", &["links", path]).output();
        let (links, paths) = shown.lines().partition::<Vec<_>, _>(|line| line.ends_with(&format!("errno={EINVAL}")));
        assert_eq!((links.len(), paths.len()), (4, 4), "{shown}");
        assert!(paths.iter().all(|line| line.ends_with(" /etc/hosts")), "{shown}");
    }
}

#[test]
fn a_relative_path_is_told_by_its_folder() {
    let file = kept("mirror-hosts", TEXT);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Local, PodFile::Local]);
    let expected = ["openat", "__openat_2", "syscall"].map(|what| format!("{what} from the pod\n")).concat()
        + &["fstatat", "__fxstatat", "statx"].map(|what| format!("{what} mode=0 size=13\n")).concat()
        + &format!("faccessat errno={EACCES}\nreadlinkat errno={EINVAL}\n");
    for path in ["hosts", "./hosts", "../etc/hosts"] {
        assert_eq!(run(&host, "files", &["below", path]).output(), expected, "{path}");
    }
    for (folder, path) in [("/etc", "hosts"), ("/etc", ".//hosts"), ("/", "etc/hosts"), ("/usr", "../etc/hosts")] {
        let mut command = hooked(&host, app("files"));
        let shown = finish(command.current_dir(folder).args(["opens", path])).output();
        assert!(shown.lines().all(|line| line.ends_with(" from the pod")), "{folder} {path}: {shown}");
    }
}

#[test]
fn each_file_is_its_own() {
    let files = POD_FILES.map(|path| kept("mirror-file", &format!("{path} of the pod\n")));
    let host = session(std::array::from_fn(|index| descriptor(&files[index])));
    for path in POD_FILES {
        assert!(run(&host, "files", &["opens", path]).output().starts_with(&format!("open {path} of the pod\n")));
    }
    if installed("cat") {
        let shown = finish(hooked(&host, "cat").args(POD_FILES)).output();
        assert_eq!(shown, POD_FILES.map(|path| format!("{path} of the pod\n")).concat());
    }
}

#[test]
fn the_pods_version_can_only_be_read() {
    let file = kept("mirror-hosts", TEXT);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Absent, PodFile::Local]);
    let line = |what: &str, errno: i32| format!("{what} errno={errno}\n");
    let refused = |what: &str| line(what, EACCES);
    let expected = [
        ["open w", "open rw", "open truncate"].map(refused).concat(),
        line("open create", EEXIST),
        "openat create from the pod\n".to_owned(),
        ["creat", "creat64", "fopen w", "fopen a", "fopen r+", "access w", "euidaccess w", "faccessat w", "access x"]
            .map(refused)
            .concat(),
    ];
    assert_eq!(run(&host, "files", &["writes", "/etc/hosts"]).output(), expected.concat());
    let missing = |what: &str| line(what, ENOENT);
    let expected = [
        ["open w", "open rw", "open truncate"].map(missing).concat(),
        ["open create", "openat create", "creat", "creat64", "fopen w", "fopen a"].map(refused).concat(),
        ["fopen r+", "access w", "euidaccess w", "faccessat w", "access x"].map(missing).concat(),
    ];
    assert_eq!(run(&host, "files", &["writes", "/etc/nsswitch.conf"]).output(), expected.concat());
    assert_eq!(std::fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("reads"), TEXT);
}

#[test]
fn what_the_pod_does_not_have_is_missing() {
    let host = session([PodFile::Absent; POD_FILES.len()]);
    for what in ["opens", "looks", "links"] {
        all_end_with(&host, &[what, "/etc/hosts"], &format!("errno={ENOENT}"));
    }
}

#[test]
fn a_lost_host_is_an_error_and_never_this_machines_file() {
    let file = kept("somebody-elses", TEXT);
    for lost in [PodFile::Descriptor(4_000_000), descriptor(&file)] {
        let host = session([PodFile::Local, lost, PodFile::Local, PodFile::Local]);
        for what in ["opens", "looks", "links"] {
            all_end_with(&host, &[what, "/etc/hosts"], &format!("errno={EIO}"));
        }
        assert_eq!(
            run(&host, "files", &["closed", "/etc/hosts"]).output(),
            format!("freopen errno={EIO}\ndescriptor=-1\n")
        );
    }
    let dead = session([PodFile::Local; POD_FILES.len()]);
    dead.die();
    all_end_with(&dead, &["opens", "/etc/hosts"], &format!("errno={EIO}"));
}

#[test]
fn in_a_sandbox_no_call_is_made_that_the_program_did_not_make() {
    let file = kept("mirror-hosts", TEXT);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Local, PodFile::Local]);
    assert_eq!(run(&host, "files", &["shut_in", "/etc/hosts"]).output(), "before from the pod\nafter=local\n");
}

#[test]
fn everything_else_is_this_machines() {
    let file = kept("mirror-hosts", TEXT);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Local, PodFile::Local]);
    let bare = FakeHost::start(|_| Reply::Default);
    for path in ["/etc/hosts/", "/etc/resolv.conf", "/etc/hosts.none", "/etc", "hosts", "/", "/usr/../etc/passwd"] {
        for what in ["opens", "looks", "links"] {
            let native = run(&bare, "files", &[what, path]);
            assert_eq!(run(&host, "files", &[what, path]), native, "{what} {path}");
        }
    }
    let refused = format!("open errno={EFAULT}\nopen errno={EFAULT}\nreadlink errno={EFAULT}\n");
    assert_eq!(run(&host, "files", &["bad", "-"]).output(), refused);
    assert_eq!(run(&host, "files", &["closed", "/none"]).output(), format!("freopen errno={ENOENT}\ndescriptor=-1\n"));
}

/// A host with name servers and names of its own, and the name `api-0`.
fn pod() -> (FakeHost, [File; 3]) {
    let resolv =
        kept("mirror-resolv.conf", "nameserver 10.96.0.10\nsearch default.svc.cluster.local\noptions ndots:5\n");
    let hosts = kept("mirror-hosts", "127.0.0.1 localhost\n10.1.2.3 in-hosts\n");
    let hostname = kept("mirror-hostname", "api-0\n");
    let files = [descriptor(&resolv), descriptor(&hosts), PodFile::Absent, descriptor(&hostname)];
    let host = FakeHost::with_settings(
        |settings| settings.files = files,
        |asked| match asked {
            Asked::Attach { .. } => Reply::Named("api-0"),
            _ => Reply::Default,
        },
    );
    (host, [resolv, hosts, hostname])
}

#[test]
fn nodes_own_resolver_has_the_pods_servers() {
    if installed("node") {
        let program = "
const dns = require('dns'), fs = require('fs'), os = require('os');
console.log(dns.getServers().join(), os.hostname(), fs.readFileSync('/etc/hostname', 'utf8').trim());
console.log(fs.existsSync('/etc/nsswitch.conf'), fs.realpathSync.native('/etc/hosts'));
fs.promises.readFile('/etc/hosts', 'utf8').then((text) => console.log(text.includes('in-hosts')));
";
        let (host, _files) = pod();
        let shown = finish(hooked(&host, "node").args(["-e", program])).output();
        assert_eq!(shown, "10.96.0.10 api-0 api-0\nfalse /etc/hosts\ntrue\n");
    }
}

#[test]
fn python_reads_the_pods_files() {
    if installed("python3") {
        let program = "
import os, pathlib, socket, platform
print(socket.gethostname(), platform.node(), os.uname().nodename, pathlib.Path('/etc/hostname').read_text().strip())
print(open('/etc/resolv.conf').readline().strip(), os.path.getsize('/etc/hosts'), os.path.islink('/etc/hosts'))
print(os.path.exists('/etc/nsswitch.conf'), os.path.realpath('/etc/hosts'), os.access('/etc/hosts', os.W_OK))
try: open('/etc/hosts', 'w')
except PermissionError as error: print(error.filename)
";
        let (host, _files) = pod();
        let shown = finish(hooked(&host, "python3").args(["-c", program])).output();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            ["api-0 api-0 api-0 api-0", "nameserver 10.96.0.10 38 False", "False /etc/hosts False", "/etc/hosts"]
        );
    }
}

#[test]
fn a_shell_reads_the_pods_files() {
    if installed("sh") {
        let (host, _files) = pod();
        let script = "read name < /etc/hostname; echo $name; test -e /etc/nsswitch.conf || echo none; cat /etc/hosts; \
                      { echo >> /etc/hosts; } 2>/dev/null || echo refused";
        let shown = finish(hooked(&host, "sh").args(["-c", script])).output();
        assert_eq!(shown, "api-0\nnone\n127.0.0.1 localhost\n10.1.2.3 in-hosts\nrefused\n");
    }
}

/// `BENCH=1 cargo test --release -p layer paths_that_stay_local -- --nocapture` shows the figures.
#[test]
fn paths_that_stay_local_ask_nobody() {
    let file = kept("mirror-hosts", TEXT);
    let host = session([PodFile::Local, descriptor(&file), PodFile::Local, PodFile::Local]);
    run(&host, "files", &["bench", "-"]).output();
    assert_eq!(host.asked(), []);
    figures(&host, "files", &["bench", "-"]);
}
