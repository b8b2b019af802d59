//! How a start is shown: a tree with a spinner on a terminal, plain lines elsewhere, JSON lines on request.
//!
//! Everything goes to standard error, so that the program's own output stays as it is.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::failure::Failure;
use crate::session::message::Step;

/// How to show things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A tree that is redrawn, with colours where the terminal wants them.
    Terminal,
    /// One line per event.
    Plain,
    /// One JSON object per event.
    Json,
    /// Errors only.
    Quiet,
}

impl Mode {
    /// The mode for this terminal and these options.
    pub fn choose(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (_, true) => Self::Quiet,
            _ if std::io::stderr().is_terminal() && !is_dumb() => Self::Terminal,
            _ => Self::Plain,
        }
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Whether text on `stream` may have colours (<https://no-color.org>).
pub fn colourful(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows one start.
pub struct Progress {
    mode: Mode,
    colour: bool,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Begins with the headline.
    pub fn begin(mode: Mode, headline: &str) -> Self {
        let colour = mode == Mode::Terminal && colourful(&std::io::stderr());
        let progress = Self { mode, colour, spinner: None };
        match mode {
            Mode::Json => {
                progress.line(&json!({"type": "begin", "version": protocol::VERSION, "text": headline}).to_string())
            }
            Mode::Quiet => {}
            Mode::Plain | Mode::Terminal => progress.line(&progress.paint("1", headline)),
        }
        progress
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "{text}").ok();
    }

    /// A step begins.
    pub fn step_began(&mut self, step: Step) {
        match self.mode {
            Mode::Json => self.line(&json!({"type": "step-began", "step": step}).to_string()),
            Mode::Terminal => {
                let spinner = ProgressBar::new_spinner();
                if let Ok(style) = ProgressStyle::with_template(if self.colour {
                    "  {spinner:.cyan} {msg}"
                } else {
                    "  {spinner} {msg}"
                }) {
                    spinner.set_style(style);
                }
                spinner.set_message(doing(step));
                spinner.enable_steady_tick(Duration::from_millis(100));
                self.spinner = Some(spinner);
            }
            Mode::Plain | Mode::Quiet => {}
        }
    }

    /// A step is done.
    pub fn step_done(&mut self, step: Step, text: &str, took: Duration) {
        self.clear();
        match self.mode {
            Mode::Json => self.line(
                &json!({"type": "step-done", "step": step, "text": text, "milliseconds": took.as_millis() as u64})
                    .to_string(),
            ),
            Mode::Terminal | Mode::Plain => {
                let time = self.paint("2", &format!("({} ms)", took.as_millis()));
                self.line(&format!("  {} {}: {text} {time}", self.paint("32", "✓"), name(step)));
            }
            Mode::Quiet => {}
        }
    }

    /// A line of the summary.
    pub fn note(&mut self, topic: &str, text: &str) {
        self.clear();
        match self.mode {
            Mode::Json => self.line(&json!({"type": "note", "topic": topic, "text": text}).to_string()),
            Mode::Terminal | Mode::Plain => self.line(&format!("    {} {text}", self.paint("2", &format!("{topic}:")))),
            Mode::Quiet => {}
        }
    }

    /// Something the user should know.
    pub fn warning(&mut self, text: &str) {
        self.clear();
        match self.mode {
            Mode::Json => self.line(&json!({"type": "warning", "text": text}).to_string()),
            Mode::Terminal | Mode::Plain => self.line(&format!("  {} {text}", self.paint("33", "!"))),
            Mode::Quiet => {}
        }
    }

    /// All is ready; `took` is the whole start.
    pub fn ready(&mut self, text: &str, took: Duration) {
        self.clear();
        match self.mode {
            Mode::Json => self.line(&json!({"type": "ready", "milliseconds": took.as_millis() as u64}).to_string()),
            Mode::Terminal | Mode::Plain => {
                let time = self.paint("2", &format!("({} ms)", took.as_millis()));
                self.line(&format!("  {} {text} {time}", self.paint("32", "✓")));
            }
            Mode::Quiet => {}
        }
    }

    /// It cannot be done.
    pub fn failed(&mut self, failure: &Failure) {
        self.clear();
        if self.mode == Mode::Json {
            self.line(&json!({"type": "failed", "failure": failure, "exit_code": failure.exit_code()}).to_string());
            return;
        }
        self.line(&format!("{} {}", self.paint("1;31", "error:"), failure.message));
        for line in &failure.details {
            self.line(&format!("  {line}"));
        }
        if let Some(next) = &failure.next {
            self.line(&format!("{} {next}", self.paint("1;36", "next:")));
        }
    }

    /// Shows a failure of a command that has no progress to show.
    pub fn show(failure: &Failure) {
        Self { mode: Mode::Plain, colour: colourful(&std::io::stderr()), spinner: None }.failed(failure);
    }

    fn clear(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Cluster => "cluster",
        Step::Target => "target",
        Step::AgentCreated => "agent created",
        Step::AgentReady => "agent ready",
    }
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Cluster => "reading the kubeconfig",
        Step::Target => "looking for the target",
        Step::AgentCreated => "creating the agent",
        Step::AgentReady => "waiting for the agent",
    }
}
