//! The load program of `tests/apps/bench`: built here, asked over its standard input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::children::{Helper, bound};
use crate::{build, tidy};

/// One running load program.
pub(super) struct Load {
    helper: Helper,
}

/// The numbers of an answer, or the reason why there are none.
pub(super) type Answer = std::result::Result<Vec<f64>, String>;

/// Compiles the program.
pub(super) fn compile() -> Result<PathBuf> {
    let sources = ["load.c", "http.c"].map(|name| tidy::root().join("tests/apps/bench").join(name));
    let folder = build::target_folder()?.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let program = folder.join("load");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&program).args(&sources);
    let status = compile.status().context("cannot run cc (package gcc)")?;
    ensure!(status.success(), "cc: {status}");
    Ok(program)
}

impl Load {
    /// Runs it as it is.
    pub(super) fn native(program: &Path) -> Result<Self> {
        Self::start(&mut bound(program))
    }

    /// Runs it in another network namespace.
    pub(super) fn within(program: &Path, netns: &str) -> Result<Self> {
        Self::start(bound("nsenter").arg(format!("--net={netns}")).arg(program))
    }

    /// Runs it in a session of its own.
    pub(super) fn in_session(program: &Path, mirror: &Path, kubeconfig: &str, label: &str) -> Result<Self> {
        let mut command = bound(mirror);
        command.args(["exec", "--quiet", "--target=deployment/echo-server", "--"]).arg(program);
        command
            .env("KUBECONFIG", kubeconfig)
            .env("MIRROR_AGENT_LABELS", format!("{{\"mirror.test/bench\": {label:?}}}"));
        Self::start(&mut command)
    }

    fn start(command: &mut Command) -> Result<Self> {
        let mut helper = Helper::start(command.stdin(Stdio::piped()))?;
        let first = helper.line()?;
        ensure!(first == "ready", "the load program says {first:?}");
        Ok(Self { helper })
    }

    /// Its process, which under `mirror exec` is the same from the beginning.
    pub(super) fn pid(&mut self) -> u32 {
        self.helper.child().id()
    }

    fn say(&mut self, command: &str) -> Result<String> {
        let Some(input) = &mut self.helper.child().stdin else { bail!("the load program has no input") };
        writeln!(input, "{command}").context("tell the load program")?;
        self.helper.line()
    }

    /// Has one command carried out.
    pub(super) fn ask(&mut self, command: &str) -> Result<Answer> {
        let line = self.say(command)?;
        if let Some(reason) = line.strip_prefix("error ") {
            return Ok(Err(format!("{command}: {reason}")));
        }
        let numbers: std::result::Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        Ok(Ok(numbers.with_context(|| format!("{command}: {line:?} is no list of numbers"))?))
    }

    /// Has something done with many connections: seconds, failures, and why the first one failed.
    pub(super) fn ask_many(&mut self, command: &str) -> Result<(f64, u64, String)> {
        let line = self.say(command)?;
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().with_context(|| format!("{command}: {line:?} is cut"));
        let (seconds, failures) = (next()?, next()?);
        let reason = next().unwrap_or_default().to_owned();
        Ok((seconds.parse().context("seconds")?, failures.parse().context("failures")?, reason))
    }
}
