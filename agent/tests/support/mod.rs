//! Starts the agent's program for a test and ends it with the test.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use link::{Link, LinkConfig};
use protocol::handshake::Channel;
use protocol::launch::Launch;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

/// The id that the target's process claims as its container's.
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Makes a process with a network and a host name (`pod-a`) of its own and the control group of a container, and the agent beside it:
/// `$0` the agent, `$1` the control group's text, `$2` a FIFO whose end ends the target.
const BESIDE_TARGET: &str = r#"
set -e
unshare -n -u sh -c 'echo pod-a >/proc/sys/kernel/hostname; exec env -i TARGET=yes "$0" "$1"' "$(command -v cat)" "$2" &
until [ "$(cat /proc/$!/comm)" = cat ]; do :; done
mount --bind "$1" /proc/$!/cgroup
agent=$0
shift 2
exec "$agent" "$@"
"#;

pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    child: Child,
    output: BufReader<ChildStdout>,
    said: String,
    key: SigningKey,
    /// Keeps the target alive; closing it ends the target.
    target: Option<std::fs::File>,
    _folder: Option<tempfile::TempDir>,
}

impl Agent {
    /// A targetless agent that waits so long for a first client, after a goodbye, and after a loss.
    pub(crate) async fn start(first_contact: Duration, linger: Duration, grace: Duration) -> Self {
        let key = SigningKey::from_bytes(&[42; 32]);
        let launch = launch(&key, None, first_contact, linger, grace);
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.args(launch.to_args());
        Self::spawn(command, key).await
    }

    /// An agent that may open so few files.
    pub(crate) async fn start_with_descriptors(count: u32) -> Self {
        let key = SigningKey::from_bytes(&[42; 32]);
        let long = Duration::from_secs(60);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $0; exec \"$@\"", &count.to_string(), env!("CARGO_BIN_EXE_agent")]);
        command.args(launch(&key, None, long, long, long).to_args());
        Self::spawn(command, key).await
    }

    /// A targeted agent. Its namespaces are made with root's rights, or with those that every user has in
    /// a user namespace.
    pub(crate) async fn start_beside_target() -> Self {
        let folder = tempfile::tempdir().expect("creates");
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        std::fs::write(path("cgroup"), format!("0::/kubepods/pod/cri-containerd-{CONTAINER}.scope\n")).expect("writes");
        let fifo = path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .expect("creates");
        let key = SigningKey::from_bytes(&[42; 32]);
        let long = Duration::from_secs(60);
        let launch = launch(&key, Some(CONTAINER), long, long, long);
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", BESIDE_TARGET]);
        command.arg(env!("CARGO_BIN_EXE_agent")).arg(path("cgroup")).arg(&fifo).args(launch.to_args());
        let target = std::thread::spawn(move || std::fs::File::options().write(true).open(fifo).expect("opens"));
        let mut agent = Self::spawn(command, key).await;
        agent.target = Some(target.join().expect("no panic"));
        agent._folder = Some(folder);
        agent
    }

    async fn spawn(mut command: Command, key: SigningKey) -> Self {
        command.env("AGENT_TEST", "value").stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        let port = loop {
            let from = said.len();
            let read = output.read_line(&mut said).await.expect("reads");
            assert!(read > 0, "the agent ended: {said}");
            if let Some((_, rest)) = said[from..].split_once("agent listens port=") {
                break rest.split(' ').next().expect("a word").parse().expect("a port");
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, child, output, said, key, target: None, _folder: None }
    }

    pub(crate) async fn connect(&self, channel: Channel) -> Link {
        let socket = TcpStream::connect(self.address).await.expect("connects");
        let sign = |bytes: &[u8]| self.key.sign(bytes).to_bytes().to_vec();
        link::connect(socket, channel, sign, LinkConfig::HOST).await.expect("is let in")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// Bytes of memory that the agent has in use.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("reads");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is there");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status().expect("starts");
        assert!(sent.success());
    }

    pub(crate) fn end_target(&mut self) {
        self.target = None;
    }

    /// Waits for a planned end; returns everything that the agent said.
    pub(crate) async fn wait(&mut self) -> String {
        let status = self.child.wait().await.expect("waits");
        self.output.read_to_string(&mut self.said).await.expect("reads");
        assert!(status.success(), "{status}: {}", self.said);
        self.said.clone()
    }
}

fn launch(
    key: &SigningKey,
    container_id: Option<&str>,
    first_contact: Duration,
    linger: Duration,
    grace: Duration,
) -> Launch {
    Launch {
        port: 0,
        key: key.verifying_key().to_bytes(),
        container_id: container_id.map(str::to_owned),
        first_contact,
        linger,
        grace,
        log: "debug".to_owned(),
        without_sk_lookup: false,
    }
}
