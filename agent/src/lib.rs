//! The agent: stands beside a target container (or alone) and does in its network what the session host
//! asks over [`link`]. It is told everything it needs to know by its arguments, asks no API server, and
//! leaves by itself.
//!
//! Reading order: [`server`] (clients and the agent's own life), [`life`], [`vigil`], [`dispatch`], then one file for
//! each kind of request: [`environment`], [`describe`], [`names`], [`outgoing`]. What touches the node stands in
//! [`target`], [`files`], [`interfaces`] and [`namespaces`].

#![deny(unsafe_code)]

mod server;

mod life;

mod vigil;

mod dispatch;

mod environment;

mod describe;

mod interfaces;

mod names;

mod outgoing;

mod incoming;

mod scratch;

mod target;

mod files;

mod namespaces;

#[expect(unsafe_code, reason = "the one place for it")]
mod sys;

#[cfg(any(test, fuzzing))]
pub use incoming::fuzzing;

use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;

use protocol::launch::{Launch, NOT_PERMITTED};
use tracing::{error, info};
use tracing_subscriber::filter::LevelFilter;

/// Does what the arguments of the process say, until it is time to leave.
pub fn run() -> ExitCode {
    let launch = Launch::from_args(std::env::args().skip(1));
    let level = launch.as_ref().ok().and_then(|launch| launch.log.parse().ok()).unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .compact()
        .init();
    let launch = match launch {
        Ok(launch) => launch,
        Err(error) => {
            error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // The modes of files that are made for programs are theirs.
    rustix::process::umask(rustix::fs::Mode::empty());
    match server::run(&launch) {
        Ok(reason) => {
            info!(%reason, "agent leaves");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = if is_about_rights(&error) { NOT_PERMITTED.into() } else { ExitCode::FAILURE };
            error!("{}", with_causes(error));
            code
        }
    }
}

/// Whether the kernel's answer behind an error is that we may not.
fn is_about_rights(error: &(dyn Error + 'static)) -> bool {
    let here = error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied);
    here || error.source().is_some_and(is_about_rights)
}

/// An error with its causes on one line.
fn with_causes(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
