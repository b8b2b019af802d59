//! Builds what the tests run, and runs it with the layer in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::host::FakeHost;

/// Longer than any case takes on a slow machine; a case that hangs fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// Root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}

/// The built library. Cargo does not build a cdylib for its own integration tests, so this does, in the
/// same target directory and profile.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = tmp.parent().expect("the target directory");
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet", "--package", "layer", "--lib", "--message-format", "json"])
            .args(["--profile", profile, "--target-dir"])
            .arg(target)
            .current_dir(workspace())
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let messages = String::from_utf8_lossy(&built.stdout);
        let artifact = messages.split('"').find(|part| part.ends_with("/libmirror_layer.so"));
        // A copy of its own name, so that a build during the tests does not change it under them.
        remove_leftovers(tmp);
        let copy = tmp.join(format!("layer-{}", std::process::id()));
        std::fs::create_dir_all(&copy).expect("a directory");
        std::fs::copy(artifact.expect("the library in cargo's messages"), copy.join("libmirror_layer.so"))
            .expect("a copy");
        copy.join("libmirror_layer.so")
    })
}

/// Removes the copies of test runs that are over.
fn remove_leftovers(tmp: &Path) {
    for entry in std::fs::read_dir(tmp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("layer-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The compiled C program `tests/apps/layer/<name>.c`.
pub(crate) fn app(name: &str) -> PathBuf {
    compiled(name, name, "cc", &["-pthread"]).expect("a C compiler")
}

/// The C program `name` compiled as `file` by `compiler`; `None` if that does not work on this machine.
pub(crate) fn compiled(file: &str, name: &str, compiler: &str, flags: &[&str]) -> Option<PathBuf> {
    static DONE: Mutex<Option<HashMap<String, Option<PathBuf>>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = done.get_or_insert_default().entry(file.to_owned());
    entry
        .or_insert_with(|| {
            let source = workspace().join(format!("tests/apps/layer/{name}.c"));
            let directory = library().parent().expect("a directory");
            let output = directory.join(file);
            let status = Command::new(compiler)
                .args(["-O1", "-Wall", "-D_GNU_SOURCE", "-o"])
                .arg(&output)
                .arg(source)
                .args(flags)
                .stderr(if compiler == "cc" { Stdio::inherit() } else { Stdio::null() })
                .status();
            status.is_ok_and(|status| status.success()).then_some(output)
        })
        .clone()
}

/// Whether a program is installed; says so when it is not.
pub(crate) fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()));
    if !found {
        skip(&format!("no {program} on this machine"));
    }
    found
}

/// Says that a case is left out.
#[expect(clippy::print_stderr, reason = "the only way for a test to say that it did nothing")]
pub(crate) fn skip(why: &str) {
    eprintln!("left out: {why}");
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Exit code, or the negative signal.
    pub(crate) code: i32,
}

impl Ended {
    /// What it printed; fails unless it ended well.
    pub(crate) fn output(self) -> String {
        assert!(self.code == 0, "{self:#?}");
        self.stdout
    }
}

/// A command that runs in the session of `host`.
pub(crate) fn hooked(host: &FakeHost, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", library()).env(protocol::layer::SESSION_VARIABLE, host.session());
    // A group of its own, so that the watchdog reaches its children too: they hold the output open.
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Runs the C program `name` with a case and its arguments in the session of `host`.
pub(crate) fn run(host: &FakeHost, name: &str, arguments: &[&str]) -> Ended {
    finish(hooked(host, app(name)).args(arguments))
}

/// With `BENCH` set, shows what a program's calls cost in the session of `host` and without the layer.
#[expect(clippy::print_stderr, reason = "figures for people")]
pub(crate) fn figures(host: &FakeHost, name: &str, arguments: &[&str]) {
    if std::env::var_os("BENCH").is_some() {
        let with = run(host, name, arguments).output();
        let without = finish(Command::new(app(name)).args(arguments)).output();
        eprintln!("with the layer:\n{with}without:\n{without}");
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Ended {
    wait(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts"))
}

/// Waits for a child with piped output.
pub(crate) fn wait(mut child: Child) -> Ended {
    let (done, ended) = channel::<()>();
    let pid = child.id() as i32;
    let watchdog = thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // SAFETY: kill(2) of the group of a child that has not been waited for.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
    });
    let mut error = child.stderr.take().expect("piped");
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = error.read_to_string(&mut text);
        text
    });
    let mut stdout = String::new();
    let _ = child.stdout.take().expect("piped").read_to_string(&mut stdout);
    let stderr = errors.join().expect("reads");
    let status = child.wait().expect("ends");
    drop(done);
    watchdog.join().expect("ends");
    let code = status.code().unwrap_or_else(|| -status.signal().expect("a signal"));
    Ended { stdout, stderr, code }
}
