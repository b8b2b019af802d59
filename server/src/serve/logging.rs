//! Logs: to standard error at the level of `MIRROR_LOG`, and what a user may want to read to the client's log.

use std::fmt::{self, Write};

use tokio::sync::mpsc;
use tower_lsp::Client;
use tower_lsp::lsp_types::MessageType;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for the client; more are left out.
const WAITING: usize = 256;

/// What is logged if `MIRROR_LOG` does not say so. What may not be listed is told to the client as a problem, not by a
/// line for each try.
const DEFAULT: &str = "warn,kube_runtime::watcher=error,server=info";

/// Of the transport no more is logged at any level: messages have secrets in them.
const TRANSPORT: &str = "tower_lsp=warn";

/// Lines for the client.
pub(super) type Lines = mpsc::Receiver<(MessageType, String)>;

/// Begins to log.
pub(super) fn init() -> Lines {
    let (lines, received) = mpsc::channel(WAITING);
    let filter = EnvFilter::try_from_env("MIRROR_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let filter = filter.add_directive(TRANSPORT.parse().unwrap_or_default());
    let to_stderr = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    let to_stderr = to_stderr.log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(to_stderr).with(ToClient(lines)).try_init().ok();
    received
}

/// Hands the lines on.
pub(super) async fn forward(mut lines: Lines, client: Client) {
    while let Some((level, line)) = lines.recv().await {
        client.log_message(level, line).await;
    }
}

struct ToClient(mpsc::Sender<(MessageType, String)>);

impl<S: Subscriber> Layer<S> for ToClient {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => MessageType::ERROR,
            Level::WARN => MessageType::WARNING,
            Level::INFO => MessageType::INFO,
            _ => return,
        };
        // What the transport has to say about itself would come back by the transport.
        if event.metadata().target().starts_with("tower_lsp") {
            return;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.try_send((level, line.0)).ok();
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
        written.ok();
    }
}
