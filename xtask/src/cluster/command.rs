//! Runs programs and says what was tried when one fails. The only place that starts a process.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and returns what it printed to its standard output.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String> {
    finish(command(program, arguments), "")
}

/// Like [`run`], with text for its standard input.
pub(crate) fn run_with_input<A: AsRef<OsStr>>(program: &str, arguments: &[A], input: &str) -> Result<String> {
    finish(command(program, arguments), input)
}

/// Like [`run`], in a folder and with more environment.
pub(crate) fn run_in<A: AsRef<OsStr>>(
    folder: &Path,
    environment: &[(&str, &str)],
    program: &str,
    arguments: &[A],
) -> Result<String> {
    let mut command = command(program, arguments);
    command.current_dir(folder).envs(environment.iter().copied());
    finish(command, "")
}

/// Whether a program ends with success; what it prints is dropped.
pub(crate) fn succeeds<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> bool {
    run(program, arguments).is_ok()
}

/// Starts a program in a session of its own, so that it outlives this process and its terminal.
/// What it prints is added to the log file.
pub(crate) fn detach<A: AsRef<OsStr>>(arguments: &[A], log: &Path) -> Result<Child> {
    let log_file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open the log {}", log.display()))?;
    let copy = log_file.try_clone().context("share the log file")?;
    let mut command = command("setsid", arguments);
    command.current_dir("/").stdin(Stdio::null()).stdout(log_file).stderr(copy);
    command.spawn().with_context(|| format!("start {}", describe(&command)))
}

/// Becomes another program; only returns when that failed.
pub(crate) fn become_program<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> anyhow::Error {
    let mut command = command(program, arguments);
    let error = command.exec();
    anyhow::Error::new(error).context(format!("run {}", describe(&command)))
}

fn command<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn finish(mut command: Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {}", describe(&command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it: its exit code tells what matters.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("run {}", describe(&command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", describe(&command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
