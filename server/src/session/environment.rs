//! The environment of the local program: the pod's variables, with the user's changes.
//!
//! Order, as users of such tools know it: the pod's own, then the env file, then `mapping`, then
//! `override`; `unset` removes from the local environment.

use decide::env::{Verdict, verdict};
use protocol::agent::Environment;
use regex_lite::Regex;

use super::spec::EnvironmentOptions;
use crate::failure::{Class, Failure, Result};

/// What to change in the local environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Variables to set.
    pub set: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many of them are the pod's.
    pub from_pod: usize,
    /// Variables to remove.
    pub unset: Vec<String>,
}

/// Options of runtimes, to which debuggers add their own.
const OPTIONS: [&str; 12] = [
    "CORECLR_ENABLE_PROFILING",
    "DOTNET_STARTUP_HOOKS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "PERL5OPT",
    "PYTHONPATH",
    "RUBYLIB",
    "RUBYOPT",
    "VSCODE_INSPECTOR_OPTIONS",
    "XDEBUG_CONFIG",
    "XDEBUG_MODE",
];

/// Whether a variable has to be there when a program is launched: its loader reads it before the layer can set it, or a
/// debugger has its part in it.
pub fn is_of_the_launch(name: &[u8]) -> bool {
    name.starts_with(b"LD_") || OPTIONS.iter().any(|option| option.as_bytes() == name)
}

/// Works out the changes. `pod` is empty for a session without a target.
pub fn changes(pod: Environment, options: &EnvironmentOptions) -> Result<Changes> {
    if !options.enabled {
        return Ok(Changes::default());
    }
    let include: Option<Vec<&str>> = options.include.as_ref().map(|list| list.iter().map(String::as_str).collect());
    let exclude: Vec<&str> = options.exclude.iter().map(String::as_str).collect();
    let wanted = |name: &[u8]| verdict(name, include.as_deref(), &exclude) == Verdict::Remote;
    let mut set: Vec<(Vec<u8>, Vec<u8>)> = pod.0.into_iter().filter(|(name, _)| wanted(name)).collect();
    let from_pod = set.len();
    for (name, value) in &options.file {
        put(&mut set, name, value);
    }
    map(&mut set, options)?;
    for (name, value) in &options.overrides {
        put(&mut set, name, value);
    }
    set.retain(|(name, _)| !options.unset.iter().any(|unset| unset.as_bytes().eq_ignore_ascii_case(name)));
    Ok(Changes { set, from_pod, unset: options.unset.clone() })
}

fn put(set: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &str, value: &str) {
    set.retain(|(known, _)| known != name.as_bytes());
    set.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
}

/// Gives each variable whose name fits a pattern the pattern's value; `$1` is a group of the match.
fn map(set: &mut [(Vec<u8>, Vec<u8>)], options: &EnvironmentOptions) -> Result<()> {
    for (pattern, replacement) in &options.mapping {
        let regex = Regex::new(pattern).map_err(|error| {
            Failure::new(
                Class::Config,
                format!("feature.env.mapping has a bad regular expression {pattern:?}: {error}"),
            )
        })?;
        for (name, value) in set.iter_mut() {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if let Some(captures) = regex.captures(name) {
                let mut mapped = String::new();
                captures.expand(replacement, &mut mapped);
                *value = mapped.into_bytes();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn later_sources_win_and_unset_removes() {
        let pod = Environment(
            [("DB_URL", "pod"), ("DB_USER", "pod"), ("MODE", "pod"), ("PATH", "/pod"), ("TRASH", "pod")]
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .to_vec(),
        );
        let options = EnvironmentOptions {
            enabled: true,
            file: pairs(&[("MODE", "file"), ("EXTRA", "file")]),
            mapping: pairs(&[("DB_(.*)", "mapped-$1")]),
            overrides: pairs(&[("DB_USER", "override")]),
            unset: vec!["trash".to_owned()],
            ..EnvironmentOptions::default()
        };
        let changes = changes(pod, &options).expect("valid");
        let mut shown: Vec<String> = changes
            .set
            .iter()
            .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect();
        shown.sort();
        assert_eq!(shown, ["DB_URL=mapped-URL", "DB_USER=override", "EXTRA=file", "MODE=file"]);
        assert_eq!((changes.from_pod, changes.unset), (4, vec!["trash".to_owned()]));
    }

    #[test]
    fn bytes_that_are_not_text_survive() {
        let pod = Environment(vec![(b"RAW".to_vec(), vec![0xff, 0xfe])]);
        let options = EnvironmentOptions { enabled: true, ..EnvironmentOptions::default() };
        assert_eq!(changes(pod, &options).expect("valid").set, [(b"RAW".to_vec(), vec![0xff, 0xfe])]);
    }
}
