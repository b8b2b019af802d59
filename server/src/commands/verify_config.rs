//! `mirror verify-config`: every problem of a configuration file, for people or as JSON.

use config::render::{Colour, render, to_json};

use crate::cli::{Source, VerifyConfig};
use crate::failure::{Class, Failure, Result};
use crate::progress::colourful;
use crate::settings;

/// Runs the command. Errors in the file are a failure of class [`Class::Config`].
pub fn run(command: &VerifyConfig) -> Result<()> {
    let source = Source { config: command.file.clone(), ..Source::default() };
    let loaded = settings::load(&source, Vec::new())?;
    let document = loaded.document.as_ref();
    let problems = &loaded.resolved.diagnostics;
    if command.json {
        super::answer(&format!("{}\n", to_json(problems, document)))?;
    } else {
        let colour = if colourful(&std::io::stdout()) { Colour::Always } else { Colour::Never };
        super::answer(&render(problems, document, colour))?;
        if problems.is_empty() {
            let name = document.map_or("no configuration file here, all settings at their defaults", |document| {
                document.name.as_str()
            });
            super::answer(&format!("{name}: no problems\n"))?;
        }
    }
    if loaded.resolved.has_errors() {
        return Err(Failure::new(Class::Config, "the configuration has errors"));
    }
    Ok(())
}
