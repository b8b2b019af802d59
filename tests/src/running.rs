//! A command that runs while the test does other things.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest wait for a line of output.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longest wait for the end of output.
const TO_THE_END: Duration = Duration::from_secs(600);

/// A started command and the lines it prints. Ended when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a command that is not a laptop user's.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// The process's pid: `mirror exec` keeps it when it becomes the program.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for a line that contains `text`, on either output, and returns it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_until(text, |line| line.contains(text))
    }

    /// Waits for a line with each of `texts`, in any order: the two outputs are read side by side. The lines come in the
    /// order of `texts`.
    #[track_caller]
    pub fn wait_for_all<const N: usize>(&mut self, texts: [&str; N]) -> [String; N] {
        let mut found = [const { None }; N];
        while found.iter().any(Option::is_none) {
            let line = self.wait_until(&texts.join("\" and \""), |line| texts.iter().any(|text| line.contains(text)));
            for (text, found) in texts.iter().zip(&mut found) {
                if line.contains(text) {
                    *found = Some(line.clone());
                }
            }
        }
        found.map(|line| line.expect("all are found"))
    }

    /// Waits for a line of which `is_it` holds, on either output, and returns it; `what` names it in a failure.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if is_it(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {what:?} ({error}); seen:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// The program's standard input.
    pub fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("still open")
    }

    /// Closes standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("its end")
    }

    /// Everything printed until the end of both outputs.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let deadline = Instant::now() + TO_THE_END;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.seen.join("\n"),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("output goes on after {TO_THE_END:?}; seen:\n{}", self.seen.join("\n"))
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
