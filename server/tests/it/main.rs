//! The real `mirror serve` without a cluster: its life, the order of edits, the language, and recorded dialogs.

#[path = "../../../tests/src/editor.rs"]
mod editor;

mod language;
mod lifecycle;
mod transcripts;

use std::process::Command;

use editor::Editor;

/// `mirror serve` in an empty home, with a kubeconfig of no cluster.
fn helper(home: &tempfile::TempDir) -> Command {
    let kubeconfig = home.path().join("kubeconfig");
    let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "contexts": [{"name": "nowhere", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
                     {"name": "eu-prod", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}], "users": [{"name": "u", "user": {}}]}"#;
    if !kubeconfig.exists() {
        std::fs::write(&kubeconfig, text).expect("written");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirror"));
    command.arg("serve").env("HOME", home.path()).env("KUBECONFIG", kubeconfig).env_remove("MIRROR_LOG");
    command.env("XDG_STATE_HOME", home.path().join("state")).env("XDG_CACHE_HOME", home.path().join("cache"));
    command
}

fn started() -> (tempfile::TempDir, Editor) {
    let home = tempfile::tempdir().expect("a home");
    let editor = Editor::initialized(helper(&home));
    (home, editor)
}
