//! Rules about what does not belong into a file that others have, too.

use super::Facts;
use crate::diagnostic::{Diagnostic, Origin, Severity};
use crate::settings::asks_for_nothing;

/// The codes of these rules.
pub(crate) const CODES: &[&str] = &[SECRET, PATH];

const SECRET: &str = "secret-in-file";
const PATH: &str = "path-of-one-user";

/// Words in the names of variables that hold secrets.
const SECRETS: &[&str] =
    &["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY", "API_KEY", "PRIVATE_KEY", "CREDENTIALS"];

/// Folders with a folder for each user.
const HOMES: &[&str] = &["/home/", "/Users/", "/root/"];

/// Keys with a path of this machine, and whether `~/` is understood in it.
const PATHS: &[(&str, bool)] = &[("kubeconfig", true), ("feature.env.env_file", false)];

/// A secret in the file is everybody's who reads the file.
pub(super) fn secrets(facts: &mut Facts<'_>) {
    const OVERRIDE: &str = "feature.env.override";
    let Some(setting) = facts.settings.find(OVERRIDE) else { return };
    if !matches!(setting.origin, Origin::File(_)) {
        return;
    }
    for member in setting.node.members() {
        if looks_secret(&member.key) && !asks_for_nothing(&member.value) && member.value.as_str() != Some("") {
            let message = format!(
                "`{}` looks like a secret, and whoever has this file can read it: write it into a file of your own and \
                 name that in `feature.env.env_file`",
                crate::syntax::clip(&member.key)
            );
            let diagnostic = Diagnostic::hint(SECRET, Origin::File(member.key_span), message);
            facts.diagnostics.push(diagnostic.key(OVERRIDE));
        }
    }
}

fn looks_secret(name: &str) -> bool {
    let name = format!("_{}_", name.to_ascii_uppercase().replace('-', "_"));
    SECRETS.iter().any(|word| name.contains(&format!("_{word}_")))
}

/// A path in somebody's home is nobody else's.
pub(super) fn paths_of_one_machine(facts: &mut Facts<'_>) {
    for (key, knows_home) in PATHS {
        let Some(setting) = facts.settings.find(key) else { continue };
        let Some(path) = setting.node.as_str().filter(|path| HOMES.iter().any(|home| path.starts_with(home))) else {
            continue;
        };
        if !matches!(setting.origin, Origin::File(_)) {
            continue;
        }
        let of_home = path.trim_start_matches('/').split('/').skip(if path.starts_with("/root/") { 1 } else { 2 });
        let short = format!("~/{}", of_home.collect::<Vec<_>>().join("/"));
        let message = "this path is in the home of one user: others who have this file do not have it";
        let diagnostic = Diagnostic::new(Severity::Hint, PATH, setting.origin.clone(), message).key(key);
        facts.diagnostics.push(diagnostic.nearest(Some(short.as_str()).filter(|_| *knows_home)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Format;

    #[test]
    fn what_is_one_users_is_told_without_its_value() {
        let text = r#"{"kubeconfig": "/home/ann/.kube/dev", "feature": {"env": {
            "env_file": "/Users/ann/x.env",
            "override": {"DB_PASSWORD": "hunter2", "api-key": "k", "TOKENIZER": "fast", "SECRET": "", "PATH": "/x"}}}}"#;
        let (_, found) = crate::parse(text, Format::Json);
        let shown: Vec<_> = found
            .iter()
            .map(|found| {
                let span = found.span().expect("in the file");
                (found.code.as_str(), &text[span.start..span.end], found.nearest.as_deref())
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("path-of-one-user", "\"/home/ann/.kube/dev\"", Some("~/.kube/dev")),
                ("path-of-one-user", "\"/Users/ann/x.env\"", None),
                ("secret-in-file", "\"DB_PASSWORD\"", None),
                ("secret-in-file", "\"api-key\"", None),
            ]
        );
        assert!(found.iter().all(|found| found.severity == Severity::Hint && !found.message.contains("hunter2")));
        let document = crate::Document::new("", text, Format::Json);
        assert_eq!(crate::resolve(Some(&document), &|_| None, &[]).of_session().count(), 0);
        let (_, found) = crate::parse(r#"{"kubeconfig": "~/.kube/dev"}"#, Format::Json);
        assert_eq!(found, []);
    }
}
