//! The agent's process: all that it does stands in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::run()
}
