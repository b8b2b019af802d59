//! Processes that live no longer than the bench, however that ends.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

/// A process that ends with its handle, and with this program when that is interrupted or killed.
pub(super) struct Helper {
    child: Child,
    /// What it prints; none once it is thrown away.
    output: Option<BufReader<ChildStdout>>,
}

/// A command that the kernel ends with this program (`PR_SET_PDEATHSIG`).
pub(super) fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

impl Helper {
    /// Starts a command made by [`bound`].
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {command:?}"))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    /// The process itself, for its standard input and its number.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            output.read_line(&mut line).context("read what a program prints")?;
        }
        ensure!(!line.is_empty(), "a program ended early: {:?}", self.child.wait());
        Ok(line.trim_end().to_owned())
    }

    /// Reads on without listening: who prints into a full pipe stands still.
    pub(super) fn ignore_output(&mut self) {
        if let Some(mut output) = self.output.take() {
            thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // A process that has ended by itself is no error.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
