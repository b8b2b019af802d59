//! `mirror serve`: the helper that editors start. JSON-RPC on standard input and output.
//!
//! [`rpc`] defines what it can do beyond the language server protocol. `receiver` takes the requests; `clusters`,
//! `watches` and `targets` know clusters, `disk` follows files, `sessions` and `launch` hold sessions, `documents` and
//! `language` are the configuration. `stdio` and `input` bring messages, and `service` stands between all these and
//! `tower-lsp`: it keeps the order of edits and survives defects.

mod clusters;
mod disk;
mod documents;
mod input;
mod language;
mod launch;
mod logging;
mod problems;
mod progress;
mod receiver;
mod reviews;
pub mod rpc;
mod service;
mod sessions;
mod starting;
mod status;
mod stdio;
mod targets;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tower_lsp::Server;

use crate::failure::{Failure, Result};
use service::Guarded;

/// Requests that are worked on at a time; more wait. One that starts a session takes seconds.
const CONCURRENT: usize = 256;

/// Threads, more than many machines have processors: one that reads a list of ten thousand pods holds up nobody who types.
const WORKERS: usize = 4;

/// How long answers may still be written after the end of the input.
const LAST_ANSWERS: Duration = Duration::from_millis(300);

/// Serves until the input ends, the client says `exit`, or its process ends.
pub fn run() -> Result<()> {
    let logs = logging::init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the runtime", error))?;
    runtime.block_on(async {
        let leave = Arc::new(Notify::new());
        let (input, input_ended) = input::messages(stdio::input());
        let (service, socket) = receiver::service(leave.clone(), logs);
        let documents = service.inner().documents();
        let server = Server::new(input, stdio::output(), socket).concurrency_level(CONCURRENT);
        // With the workers, so that a message is not handed from thread to thread.
        let mut served = tokio::spawn(server.serve(Guarded::new(service, documents, leave.clone())));
        tokio::select! {
            _ = &mut served => {}
            () = leave.notified() => tracing::info!("the client has said so, or its process has ended"),
            () = input_ended.notified() => {
                tokio::time::timeout(LAST_ANSWERS, served).await.ok();
            }
        }
    });
    // A thread may wait for input that never comes.
    runtime.shutdown_background();
    Ok(())
}
