//! `mirror config convert`: a file of mirrord becomes one of ours; the old one stays.

use std::io::Write;
use std::path::Path;

use crate::failure::{Class, Failure, Result};

/// Runs the command. A file that is there already is never overwritten.
pub fn run(file: &Path) -> Result<()> {
    let document = config::load::read(file).map_err(|error| Failure::new(Class::Config, error.to_string()))?;
    let Some(migration) = config::migrate::migrate(&document) else {
        let failure = Failure::new(Class::Config, format!("{} cannot be converted", file.display()));
        return Err(match document.diagnostics.is_empty() {
            true => failure.next("name a file of mirrord, such as mirrord.json or .mirrord/mirrord.json"),
            false => failure.next(format!("repair it first: `mirror verify-config {}`", file.display())),
        });
    };
    let path = migration.path;
    let written = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(migration.text.as_bytes()));
    written.map_err(|error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let failure = Failure::system(format!("cannot write {}", path.display()), error);
        if is_there { failure.next("move it away first: it is not overwritten") } else { failure }
    })?;
    let without = match migration.left_out.as_slice() {
        [] => String::new(),
        keys => format!(", without keys that have no effect: {}", keys.join(", ")),
    };
    super::answer(&format!("wrote {}{without}\n", path.display()))
}
