//! `mirror fs explain`: whose file a path is, and why.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use decide::files::Rule;
use protocol::agent::POD_FILES;

use crate::cli;
use crate::failure::{Failure, Result};
use crate::kube::client::Cluster;
use crate::kube::target;
use crate::machine::Work;
use crate::session::files::{Decision, FileRules, Pattern, Source};
use crate::settings;

/// Whose volumes count.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The target.
    pub target: Option<String>,
    /// Its container.
    pub container: Option<String>,
}

/// Runs the command.
pub async fn run(source: &cli::Source, wanted: Wanted, path: &OsStr) -> Result<()> {
    let Wanted { target, container } = wanted;
    let option = |value| config::OptionValue { key: "target.path".to_owned(), value, option: "--target".to_owned() };
    let is_asked = target.is_some();
    let loaded = settings::load(source, target.into_iter().map(option).collect())?;
    let config = loaded.valid()?;
    let volumes = if is_asked { volumes(config, container.as_deref()).await? } else { Vec::new() };
    let rules = FileRules::new(&settings::file_options(config, &Work::here(&[])?)?, &volumes)?;
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

async fn volumes(config: &config::Config, container: Option<&str>) -> Result<Vec<String>> {
    let cluster = Cluster::open(&settings::cluster_options(config)).await?;
    let found = target::resolve(&cluster, &settings::target(config, container)?).await?;
    Ok(found.map(|target| target.volumes).unwrap_or_default())
}

fn explain(decision: &Decision) -> String {
    let path = String::from_utf8_lossy(&decision.path);
    let mapped = decision.mapped_by.as_ref();
    let mapped = mapped.map(|regex| format!("becomes {path}: feature.fs.mapping has {regex:?}\n")).unwrap_or_default();
    let rule = decision.rule().unwrap_or(Rule::Unnamed);
    let told = match &decision.by {
        None | Some(Pattern { rule: Rule::Unnamed, .. }) if POD_FILES.contains(&&*path) => {
            "the pod's, as names are: feature.network.dns and feature.hostname say whether".to_owned()
        }
        None => "local: no rule names it".to_owned(),
        Some(pattern) => format!("{}: {}", whose(rule), why(pattern)),
    };
    format!("{mapped}{path}: {told}\n")
}

fn why(pattern: &Pattern) -> String {
    let Pattern { rule, regex, source } = pattern;
    match (source, rule.key()) {
        (Source::User, Some(key)) => format!("feature.fs.{key} has {regex:?}"),
        (Source::User, None) => format!("{regex:?}"),
        (Source::Volume, _) => format!("the container has a volume at {regex:?}"),
        (Source::List(why), _) => format!("{why} ({regex:?}, by default)"),
        (Source::Mode, _) => "nothing else names it, and feature.fs.mode says so".to_owned(),
    }
}

fn whose(rule: Rule) -> &'static str {
    match rule {
        Rule::NotFound => "does not exist",
        Rule::ReadWrite => "the pod's",
        Rule::ReadOnly => "the pod's, can only be read",
        Rule::Read => "the pod's to read, this machine's to write",
        Rule::Local | Rule::Mapping | Rule::Unnamed => "local",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_and_its_pattern_are_told() {
        let of = |(rule, regex, source): (Rule, &str, Source)| Pattern { rule, regex: regex.to_owned(), source };
        let decision = |path: &str, mapped: Option<&str>, by: Option<(Rule, &str, Source)>| Decision {
            path: path.into(),
            mapped_by: mapped.map(str::to_owned),
            by: by.map(of),
        };
        let list = || Source::List("programs".to_owned());
        for (decision, expected) in [
            (
                decision("/app/x", None, Some((Rule::ReadOnly, "^/app", Source::User))),
                "/app/x: the pod's, can only be read: feature.fs.read_only has \"^/app\"\n",
            ),
            (
                decision("/b", Some("^/a"), Some((Rule::NotFound, "b$", Source::User))),
                "becomes /b: feature.fs.mapping has \"^/a\"\n/b: does not exist: feature.fs.not_found has \"b$\"\n",
            ),
            (
                decision("/usr/x", None, Some((Rule::Unnamed, "^/usr(/|$)", list()))),
                "/usr/x: local: programs (\"^/usr(/|$)\", by default)\n",
            ),
            (
                decision("/data/x", None, Some((Rule::Read, "^/data(/|$)", Source::Volume))),
                "/data/x: the pod's to read, this machine's to write: the container has a volume at \"^/data(/|$)\"\n",
            ),
            (
                decision("/x", None, Some((Rule::Read, "^/", Source::Mode))),
                "/x: the pod's to read, this machine's to write: nothing else names it, and feature.fs.mode says so\n",
            ),
            (decision("/x", None, None), "/x: local: no rule names it\n"),
            (
                decision("/etc/hosts", None, Some((Rule::Unnamed, "^/etc(/|$)", list()))),
                "/etc/hosts: the pod's, as names are: feature.network.dns and feature.hostname say whether\n",
            ),
        ] {
            assert_eq!(explain(&decision), expected);
        }
    }
}
