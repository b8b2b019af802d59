//! The laptop side of a test: an unprivileged user with a home of its own and the built `mirror`.
//!
//! Root would hide bugs, so commands run as `nobody`. When a [`Laptop`] is dropped it checks that the cluster, the
//! networks of its pods and the machine hold nothing of its sessions.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::{Cluster, Running, Turn, processes, remains};

/// The account of the laptop's user, which every Linux has.
const USER: &str = "nobody";

/// Seconds after which nothing of an ended session may be left.
const GONE_WITHIN: u32 = 90;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A copy of the built `mirror` where any user can execute it.
static MIRROR: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = std::env::var("MIRROR_BIN").expect("MIRROR_BIN names the built mirror: run `cargo xtask test`");
    let folder = std::env::temp_dir().join(format!("mirror-e2e-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("chmod");
    let copy = folder.join("mirror");
    std::fs::copy(&built, &copy).unwrap_or_else(|error| panic!("{built}: {error}"));
    copy
});

/// One user's machine, as far as one test needs it.
pub struct Laptop {
    home: tempfile::TempDir,
    label: String,
    _turn: Turn,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Outcome {
    /// The outcome, if it is a success; else the test fails and shows all.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{}\nstdout:\n{}\nstderr:\n{}", self.status, self.stdout, self.stderr);
        self
    }

    /// The outcome, if the command exited with `code`.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that standard error says something.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in stderr:\n{}", self.stderr);
        self
    }
}

impl Laptop {
    /// A new user with an empty home.
    pub fn new() -> Self {
        Self::during(&Turn::together())
    }

    /// A new user, for a test that has the cluster alone.
    pub fn during(turn: &Turn) -> Self {
        let home = tempfile::Builder::new().prefix("laptop-").tempdir().expect("a home");
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).expect("chmod");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { home, label: format!("t{}-{number}", std::process::id()), _turn: turn.clone() }
    }

    /// The user's home, which is also the current folder of its commands.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Label selector of everything that this laptop's sessions make in the cluster.
    pub fn selector(&self) -> String {
        format!("mirror-test={}", self.label)
    }

    /// Writes a file into the home.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.home().join(name);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).expect("folders");
        }
        std::fs::write(&file, text).expect("written");
        file
    }

    /// Copies a file of `tests/apps` into the home.
    pub fn bring(&self, app: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(app);
        let name = source.file_name().expect("a file");
        let copy = self.home().join(name);
        std::fs::copy(&source, &copy).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        copy
    }

    /// A command of the unprivileged user, with the variables that mark its sessions.
    pub fn command<S: AsRef<OsStr>>(&self, program: S) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", "nogroup", "--clear-groups", "--inh-caps=-all", "--"])
            .arg(program)
            .current_dir(self.home())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", self.home())
            .env("USER", USER)
            .env("LANG", "C.UTF-8")
            .env("KUBECONFIG", Cluster::shared().user_kubeconfig())
            .env("MIRROR_AGENT_LABELS", format!(r#"{{"mirror-test": "{}"}}"#, self.label))
            .stdin(Stdio::null());
        command
    }

    /// Where the built `mirror` is.
    pub fn mirror_path(&self) -> &Path {
        &MIRROR
    }

    /// `mirror` with arguments.
    pub fn mirror<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(MIRROR.as_path());
        command.args(arguments);
        command
    }

    /// `mirror exec OPTIONS -- COMMAND`, both split at spaces.
    pub fn exec(&self, options: &str, program: &str) -> Outcome {
        let arguments =
            ["exec"].into_iter().chain(options.split_whitespace()).chain(["--"]).chain(program.split_whitespace());
        self.run(self.mirror(arguments))
    }

    /// Runs a command to its end.
    pub fn run(&self, mut command: Command) -> Outcome {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Outcome {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a command whose output the test follows.
    pub fn start(&self, command: Command) -> Running {
        Running::start(command)
    }

    /// Processes of this laptop: session hosts, `mirror` commands and the user's programs.
    pub fn processes(&self) -> Vec<i32> {
        let home = format!("HOME={}", self.home().display());
        processes::find(|pid| processes::has(&processes::read(pid, "environ"), &home))
    }

    /// Session hosts of this laptop that still run.
    pub fn hosts(&self) -> Vec<i32> {
        let is_host = |pid: &i32| processes::has(&processes::read(*pid, "cmdline"), "session-host");
        self.processes().into_iter().filter(is_host).collect()
    }

    /// Waits for the ends of this laptop's session hosts.
    pub fn wait_hosts_gone(&self) {
        processes::wait_gone(|| self.hosts(), Instant::now() + Duration::from_secs(GONE_WITHIN.into()));
    }

    /// Waits until this laptop runs nothing at all.
    pub fn wait_idle(&self, within: Duration) {
        processes::wait_gone(|| self.processes(), Instant::now() + within);
    }
}

impl Default for Laptop {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.wait_hosts_gone();
            Cluster::shared().wait_gone(&self.selector(), GONE_WITHIN);
            remains::wait_none();
        }
    }
}
