//! The `mirror` binary: reads the command line, runs one command, turns a failure into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use server::cli::{Cli, Command, ConfigCommand, FsCommand, ImageCommand};
use server::commands;
use server::commands::fs_explain::Wanted;
use server::failure::{Class, Failure, Result};
use server::progress::Progress;
use server::session::{host, spawn};
use tracing_subscriber::EnvFilter;

/// Lists of ten thousand pods leave the C library's heap in pieces: each answer afterwards takes twice as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(Class::Usage as u8) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.exit_code()),
    }
}

/// Runs a command and shows its failure.
fn run(command: Command) -> Result<()> {
    let shown = match command {
        Command::Exec(exec) => return Err(commands::exec::run(&exec)),
        Command::SessionHost { detach: true, .. } => {
            return spawn::detach().map_err(|error| Failure::system("cannot start the session host", error));
        }
        Command::SessionHost { .. } => return host::run(),
        Command::Serve { .. } => server::serve::run(),
        Command::Ls(ls) => runtime().and_then(|runtime| runtime.block_on(commands::ls::run(&ls))),
        Command::VerifyConfig(command) => commands::verify_config::run(&command),
        Command::Config(ConfigCommand::Show { source, all, json }) => commands::config_show::run(&source, all, json),
        Command::Config(ConfigCommand::Rights { source, target, user }) => {
            commands::config_rights::run(&source, target.as_deref(), user.as_deref())
        }
        Command::Config(ConfigCommand::Convert { file }) => commands::config_convert::run(&file),
        Command::Fs(FsCommand::Explain { source, target, container, path }) => {
            let wanted = Wanted { target, container };
            runtime().and_then(|runtime| runtime.block_on(commands::fs_explain::run(&source, wanted, &path)))
        }
        Command::Image(ImageCommand::Save { output, name }) => commands::image::save(&output, &name),
        Command::Completions { shell } => {
            // Into memory first: the generators panic when their writer fails.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mirror", &mut script);
            commands::answer(&String::from_utf8_lossy(&script))
        }
    };
    if let Err(failure) = &shown {
        Progress::show(failure);
    }
    shown
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let filter = EnvFilter::try_from_env("MIRROR_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    subscriber.with_writer(std::io::stderr).try_init().ok();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the runtime", error))
}
