//! The packages' `Cargo.toml` files.

use crate::tidy::Findings;
use crate::tidy::workspace::Workspace;

/// Keys that would fetch something else than the registry's released versions.
const DETOURS: &[&str] = &["[patch", "[replace]", "git = "];

/// Every package of the workspace inherits its lints; there are no forks and no patches.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    for file in workspace.files.iter().filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml")) {
        let inherits = file.text.lines().skip_while(|line| *line != "[lints]").nth(1) == Some("workspace = true");
        let is_apart = file.text.lines().any(|line| line == "[workspace]");
        if file.text.contains("[package]") && !is_apart && !inherits {
            findings.file(&file.path, "does not inherit the workspace's lints (`[lints]`, `workspace = true`)");
        }
        for (index, line) in file.text.lines().enumerate() {
            if let Some(detour) = DETOURS.iter().find(|detour| line.contains(*detour)) {
                findings.line(&file.path, index + 1, format!("has {detour}: only released versions are used"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::testing::{findings, workspace};

    #[test]
    fn manifests_share_lints_and_patch_nothing() {
        let workspace = workspace(&[
            ("Cargo.toml", "[workspace]\nmembers = []\n"),
            ("a/Cargo.toml", "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"),
            ("apart/Cargo.toml", "[package]\nname = \"c\"\n\n[workspace]\n"),
            ("b/Cargo.toml", "[package]\nname = \"b\"\n[dependencies]\nx = { git = \"https://example.org/x\" }\n"),
        ]);
        assert_eq!(
            findings("manifests", &workspace),
            [
                "b/Cargo.toml: does not inherit the workspace's lints (`[lints]`, `workspace = true`)",
                "b/Cargo.toml:4: has git = : only released versions are used",
            ]
        );
    }
}
