//! `mirror config show`: the effective settings, each with where it comes from.

use config::{Origin, render};

use crate::cli::Source;
use crate::failure::{Class, Failure, Result};
use crate::settings;

/// Runs the command.
pub fn run(source: &Source, all: bool, json: bool) -> Result<()> {
    let loaded = settings::load(source, Vec::new())?;
    loaded.valid()?;
    let mut effective = loaded.resolved.effective();
    effective.retain(|setting| all || setting.origin != Origin::Default);
    if json {
        let text = serde_json::to_string_pretty(&effective)
            .map_err(|error| Failure::new(Class::Internal, format!("cannot write the settings: {error}")))?;
        return super::answer(&(text + "\n"));
    }
    if effective.is_empty() {
        return super::answer("all settings are at their defaults; --all shows them\n");
    }
    let width = effective.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let line = |setting: &config::Effective| {
        let place = render::place(&setting.origin, loaded.document.as_ref());
        format!("{:width$}  {}  ({place})\n", setting.key, setting.value)
    };
    super::answer(&effective.iter().map(line).collect::<String>())
}
