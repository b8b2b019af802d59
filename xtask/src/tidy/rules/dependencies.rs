//! Who depends on whom. The two tables in `docs/ARCHITECTURE.md` say it; the manifests must say the same.

use std::collections::BTreeSet;

use crate::tidy::Findings;
use crate::tidy::workspace::{Package, Workspace};

const DOCUMENT: &str = "docs/ARCHITECTURE.md";

/// Packages that run in the user's process or start in somebody's container: everything that is linked into
/// them is in the second table.
pub(in crate::tidy) const GUESTS: &[&str] = &["layer", "loader"];

/// A cell of the tables.
#[derive(Debug, PartialEq, Eq)]
enum Names {
    /// Whatever the manifest says.
    Any,
    /// Exactly these.
    These(BTreeSet<String>),
}

/// Every package's own dependencies are those of its row.
pub(in crate::tidy) fn edges(workspace: &Workspace, findings: &mut Findings) {
    if workspace.members.is_empty() {
        return;
    }
    let rows = table(workspace, "dependencies");
    for package in &workspace.members {
        match rows.iter().find(|row| row.first().is_some_and(|cell| *cell == one(&package.name))).map(Vec::as_slice) {
            Some([_, ours, others]) => compare(package, ours, others, findings),
            _ => findings
                .file(DOCUMENT, format!("has no row of three cells for {} in its table of dependencies", package.name)),
        }
    }
    for row in rows {
        let known = |cell: &Names| workspace.members.iter().any(|package| *cell == one(&package.name));
        if !row.first().is_some_and(known) {
            findings.file(DOCUMENT, format!("has a row of dependencies for no package of the workspace: {row:?}"));
        }
    }
}

fn compare(package: &Package, ours: &Names, others: &Names, findings: &mut Findings) {
    for (said, found, of) in [(ours, &package.ours, "ours"), (others, &package.others, "others")] {
        differ(&format!("{} depends on packages of {of}", package.name), said, found, findings);
    }
}

/// Everything that is linked into a guest is in its row.
pub(in crate::tidy) fn linked(workspace: &Workspace, findings: &mut Findings) {
    let rows = table(workspace, "linked");
    for (package, found) in &workspace.linked {
        match rows.iter().find(|row| row.first().is_some_and(|cell| *cell == one(package))).map(Vec::as_slice) {
            Some([_, said]) => differ(&format!("into {package} is linked"), said, found, findings),
            _ => {
                findings.file(DOCUMENT, format!("has no row of two cells for {package} in its table of what is linked"))
            }
        }
    }
}

fn differ(what: &str, said: &Names, found: &BTreeSet<String>, findings: &mut Findings) {
    let Names::These(said) = said else { return };
    for name in found.difference(said) {
        findings.file(DOCUMENT, format!("{what}, also {name}, which the table does not have"));
    }
    for name in said.difference(found) {
        findings.file(DOCUMENT, format!("{what}, but no longer {name}, which the table has"));
    }
}

fn one(name: &str) -> Names {
    Names::These(BTreeSet::from([name.to_owned()]))
}

/// The rows between `<!-- tidy: NAME -->` and the next empty line, without the head.
fn table(workspace: &Workspace, name: &str) -> Vec<Vec<Names>> {
    let text = workspace.text(DOCUMENT).unwrap_or_default();
    let mark = format!("<!-- tidy: {name} -->");
    let after = text.lines().skip_while(|line| *line != mark).skip(1);
    let rows = after.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect()).collect()
}

fn cell(text: &str) -> Names {
    match text.trim() {
        "any" => Names::Any,
        text => Names::These(text.split('`').skip(1).step_by(2).map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing;

    const TABLES: &str = "\
text
<!-- tidy: dependencies -->
| crate | ours | others |
|---|---|---|
| `layer` | `protocol` | `libc` |
| `server` | – | any |

<!-- tidy: linked -->
| crate | everything |
|---|---|
| `layer` | `libc`, `protocol` |
";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn workspace(layer: &[&str]) -> Workspace {
        let package = |name: &str, ours: &[&str], others: &[&str]| Package {
            name: name.to_owned(),
            ours: set(ours),
            others: set(others),
        };
        Workspace {
            members: vec![package("layer", &["protocol"], layer), package("server", &[], &["kube", "tokio"])],
            linked: [("layer".to_owned(), set(&[&["protocol"], layer].concat()))].into(),
            ..testing::workspace(&[(DOCUMENT, TABLES)])
        }
    }

    #[test]
    fn manifests_are_as_the_document_says() {
        assert_eq!(testing::findings("dependencies", &workspace(&["libc"])), [""; 0]);
        assert_eq!(
            testing::findings("dependencies", &workspace(&["tokio"])),
            [
                "docs/ARCHITECTURE.md: layer depends on packages of others, also tokio, which the table does not have",
                "docs/ARCHITECTURE.md: layer depends on packages of others, but no longer libc, which the table has",
            ]
        );
    }

    #[test]
    fn every_package_has_its_row_and_every_row_its_package() {
        let mut workspace = workspace(&["libc"]);
        workspace.members[1].name = "host".to_owned();
        let found = testing::findings("dependencies", &workspace);
        assert!(found[0].contains("no row of three cells for host"), "{found:?}");
        assert!(found[1].contains("for no package of the workspace"), "{found:?}");
    }

    #[test]
    fn nothing_else_is_linked_into_a_guest() {
        assert_eq!(testing::findings("linked", &workspace(&["libc"])), [""; 0]);
        let expected = ["docs/ARCHITECTURE.md: into layer is linked, also regex, which the table does not have"];
        assert_eq!(testing::findings("linked", &workspace(&["libc", "regex"])), expected);
    }
}
