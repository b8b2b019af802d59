//! `mirror verify-config`: every problem of a configuration file, for people or as JSON.

use std::io::IsTerminal;

use config::render::{Colour, render, to_json};

use crate::cli::{Source, VerifyConfig};
use crate::failure::{Class, Failure, Result};
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
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        super::answer(&render(problems, document, if colour { Colour::Always } else { Colour::Never }))?;
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
