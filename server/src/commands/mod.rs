//! The commands: one file each, one function each.

pub mod config_convert;
pub mod config_rights;
pub mod config_show;
pub mod exec;
pub mod fs_explain;
pub mod image;
pub mod ls;
pub mod verify_config;

use std::io::Write;

use crate::failure::{Failure, Result};

/// Writes a command's answer to standard output. A reader that has seen enough (`| head`) is no failure.
pub fn answer(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::system("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}
