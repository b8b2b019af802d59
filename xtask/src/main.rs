//! The project's task runner, `cargo xtask`: it only picks the module that does the task.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to its terminal")]

mod bench;
mod build;
mod check;
mod cluster;
mod codegen;
mod extension;
mod fuzz;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All that must hold before a change is handed in: format, tidy, clippy, generated files, tests.
    Check(check::Check),
    /// The repository's own rules, which neither the compiler nor clippy knows.
    Tidy,
    /// Write the files that are made from tables.
    Codegen(codegen::Codegen),
    /// Build `mirror` as one file with layer and agent inside; prints its path.
    Build(build::Build),
    /// Build the VS Code extension with `mirror` inside; prints the path of the `.vsix`.
    Extension(extension::Extension),
    /// Check everything, then run the end-to-end tests on the real cluster.
    Test(test::Test),
    /// The main job once: start the cluster and run curl as if in a pod of it.
    Demo,
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Look for bytes of which the parsers, the filters or the protocol make what they must not.
    Fuzz(fuzz::Fuzz),
    /// A real Kubernetes on this machine, for the end-to-end tests.
    #[command(subcommand)]
    Cluster(cluster::Task),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Check(check) => check::run(&check),
        Task::Tidy => tidy::run(),
        Task::Codegen(codegen) => codegen::run(&codegen),
        Task::Build(build) => build::run(&build),
        Task::Extension(extension) => extension::run(&extension),
        Task::Test(test) => test::run(&test),
        Task::Demo => test::demo(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Fuzz(fuzz) => fuzz::run(&fuzz),
        Task::Cluster(task) => cluster::run(task),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
