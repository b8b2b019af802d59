//! Crates that only few modules of ours may know, so that the rest speaks our own words.

use crate::tidy::Findings;
use crate::tidy::source::{line_of, places};
use crate::tidy::workspace::Workspace;

/// A crate and the folders that know it.
struct Boundary {
    foreign: &'static str,
    homes: &'static [&'static str],
}

const BOUNDARIES: &[Boundary] = &[
    Boundary { foreign: "kube", homes: &["server/src/kube/"] },
    Boundary { foreign: "k8s_openapi", homes: &["server/src/kube/"] },
    Boundary { foreign: "tokio_tungstenite", homes: &["server/src/kube/"] },
    Boundary {
        foreign: "netlink_packet_sock_diag",
        homes: &["agent/src/incoming/flush.rs", "server/src/session/sock_diag.rs"],
    },
    Boundary { foreign: "saphyr_parser", homes: &["config/src/syntax/yaml.rs"] },
    Boundary { foreign: "toml", homes: &["config/src/syntax/toml.rs"] },
    Boundary { foreign: "hickory_proto", homes: &["agent/src/names", "server/src/session/rules.rs"] },
];

/// No path outside a crate's homes begins with the crate.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    for (file, source) in workspace.rust() {
        for boundary in
            BOUNDARIES.iter().filter(|boundary| !boundary.homes.iter().any(|home| file.path.starts_with(home)))
        {
            for at in
                places(&source.code, boundary.foreign).filter(|at| begins_a_path(&source.code, *at, boundary.foreign))
            {
                let problem = format!("only {} may know the crate {}", boundary.homes.join(" and "), boundary.foreign);
                findings.line(&file.path, line_of(&source.code, at), problem);
            }
        }
    }
}

/// Whether the word at `at` is the first of a path. A module of ours may have a crate's name: the file that
/// declares it means it, others write `crate::` or the like in front of it or of the braces of a `use`.
fn begins_a_path(code: &str, at: usize, word: &str) -> bool {
    let (before, after) = (code[..at].trim_end(), code[at + word.len()..].trim_start());
    let statement = before.rsplit([';', '}']).next().unwrap_or_default().trim_start();
    if places(code, &format!("mod {word}")).next().is_some() {
        return false;
    }
    let used = statement.strip_prefix("pub").unwrap_or(statement).trim_start().strip_prefix("use");
    match used {
        Some("") => after.starts_with("::") || after.starts_with(';') || after.starts_with("as "),
        Some(path) => path.trim_start().starts_with("::"),
        None => after.starts_with("::") && !before.ends_with("::"),
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::testing::{findings, workspace};

    #[test]
    fn a_crate_is_known_to_its_module_only() {
        for (text, n_expected) in [
            ("use kube::Api;", 1),
            ("use kube::{Api, Client};", 1),
            ("pub use kube;", 1),
            ("use ::kube::Api;", 1),
            ("fn f(error: kube::Error) {}", 1),
            ("fn f() { kube::Client::new() }", 1),
            ("use crate::kube::client::Cluster;", 0),
            ("use crate::{bundle, kube::client};", 0),
            ("use super::kube;", 0),
            ("mod kube;", 0),
            ("mod kube;\nfn f() { kube::start() }", 0),
            ("let kube = 1;", 0),
            ("// kube::Api\nlet text = \"kube::Api\";", 0),
            ("fn f() -> crate::kube::Row { crate::kube::row() }", 0),
        ] {
            let workspace = workspace(&[("server/src/session/host.rs", text), ("server/src/kube/client.rs", text)]);
            assert_eq!(findings("boundaries", &workspace).len(), n_expected, "{text}");
        }
    }
}
