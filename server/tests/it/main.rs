//! The real `mirror serve` without a cluster: its life, the order of edits, the language, and recorded dialogs.

#[expect(dead_code, unreachable_pub, reason = "it is a part of the end-to-end tests' library, which use all of it")]
#[path = "../../../tests/src/editor.rs"]
mod editor;

mod language;
mod lifecycle;
mod transcripts;

use std::net::TcpListener;
use std::process::Command;

use editor::Editor;

/// `mirror serve` in an empty home, with a kubeconfig of no cluster.
fn helper(home: &tempfile::TempDir) -> Command {
    helper_at(home, 9)
}

/// As [`helper`], with a kubeconfig of a server at a port of this machine.
fn helper_at(home: &tempfile::TempDir, port: u16) -> Command {
    let kubeconfig = home.path().join("kubeconfig");
    let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "contexts": [{"name": "nowhere", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
                     {"name": "eu-prod", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:PORT"}}], "users": [{"name": "u", "user": {}}]}"#;
    if !kubeconfig.exists() {
        std::fs::write(&kubeconfig, text.replace("PORT", &port.to_string())).expect("written");
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

/// As [`started`], with a cluster that takes connections and never says a word.
fn started_at_a_silent_cluster() -> (TcpListener, tempfile::TempDir, Editor) {
    let (silent, home) = (TcpListener::bind("127.0.0.1:0").expect("binds"), tempfile::tempdir().expect("a home"));
    let editor = Editor::initialized(helper_at(&home, silent.local_addr().expect("bound").port()));
    (silent, home, editor)
}
