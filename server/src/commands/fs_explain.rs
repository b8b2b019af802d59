//! `mirror fs explain`: whose file a path is, and why.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use decide::files::Rule;
use protocol::agent::POD_FILES;

use crate::cli::Source;
use crate::failure::{Failure, Result};
use crate::session::files::{Decision, FileRules};
use crate::settings;

/// Runs the command.
pub fn run(source: &Source, path: &OsStr) -> Result<()> {
    let loaded = settings::load(source, Vec::new())?;
    let rules = FileRules::new(&settings::file_options(loaded.valid()?)?)?;
    // As layers see it: from the current folder, and with `.` and `..` taken out.
    let absolute =
        std::path::absolute(Path::new(path)).map_err(|error| Failure::system("cannot use the path", error))?;
    let path = decide::files::plain(absolute.as_os_str().as_bytes());
    let decision = match &rules {
        Some(rules) => rules.decide(&path),
        None => Decision { path, mapped_by: None, by: None },
    };
    super::answer(&explain(&decision))
}

fn explain(decision: &Decision) -> String {
    let path = String::from_utf8_lossy(&decision.path);
    let mapped = decision.mapped_by.as_ref();
    let mapped = mapped.map(|regex| format!("becomes {path}: feature.fs.mapping has {regex:?}\n")).unwrap_or_default();
    let told = match &decision.by {
        Some((rule, regex)) => format!("{path}: {}: feature.fs.{} has {regex:?}\n", whose(*rule), rule.key()),
        None if POD_FILES.contains(&&*path) => {
            format!("{path}: the pod's, as names are: feature.network.dns and feature.hostname say whether\n")
        }
        None => format!("{path}: local: no pattern of feature.fs matches\n"),
    };
    mapped + &told
}

fn whose(rule: Rule) -> &'static str {
    match rule {
        Rule::NotFound => "does not exist",
        Rule::ReadWrite => "the pod's",
        Rule::ReadOnly => "the pod's, can only be read",
        Rule::Local | Rule::Mapping => "local",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_and_its_pattern_are_told() {
        let decision = |path: &str, mapped: Option<&str>, by: Option<(Rule, &str)>| Decision {
            path: path.into(),
            mapped_by: mapped.map(str::to_owned),
            by: by.map(|(rule, regex)| (rule, regex.to_owned())),
        };
        for (decision, expected) in [
            (
                decision("/app/x", None, Some((Rule::ReadOnly, "^/app"))),
                "/app/x: the pod's, can only be read: feature.fs.read_only has \"^/app\"\n",
            ),
            (
                decision("/b", Some("^/a"), Some((Rule::NotFound, "b$"))),
                "becomes /b: feature.fs.mapping has \"^/a\"\n/b: does not exist: feature.fs.not_found has \"b$\"\n",
            ),
            (decision("/x", None, None), "/x: local: no pattern of feature.fs matches\n"),
            (
                decision("/etc/hosts", None, None),
                "/etc/hosts: the pod's, as names are: feature.network.dns and feature.hostname say whether\n",
            ),
        ] {
            assert_eq!(explain(&decision), expected);
        }
    }
}
