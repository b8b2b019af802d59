//! When the helper comes and goes, and what it survives.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::editor::Editor;
use crate::{helper, started, started_at_a_silent_cluster};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn it_says_who_it_is() {
    let home = tempfile::tempdir().expect("a home");
    let mut editor = Editor::start(helper(&home));
    let hello = editor.call("initialize", json!({ "capabilities": {} }));
    assert_eq!(hello["serverInfo"]["name"], "mirror");
    editor.notify("initialized", json!({}));
    let status = editor.call("mirror/status", json!({}));
    assert_eq!(status["version"], hello["serverInfo"]["version"]);
    assert_eq!(status["pid"], editor.pid());
    editor.call("shutdown", json!(null));
    editor.notify("exit", json!(null));
    assert!(editor.wait(SOON).success());
}

#[test]
fn it_leaves_when_its_input_ends_whatever_it_does() {
    let (_silent, _home, mut editor) = started_at_a_silent_cluster();
    editor.ask("mirror/targets/list", json!({}));
    editor.close();
    editor.wait(SOON);
}

#[test]
fn it_leaves_when_the_clients_process_ends() {
    let home = tempfile::tempdir().expect("a home");
    let mut client = Command::new("cat").stdin(Stdio::piped()).spawn().expect("starts");
    let mut editor = Editor::start(helper(&home));
    editor.call("initialize", json!({ "processId": client.id(), "capabilities": {} }));
    client.kill().expect("killed");
    client.wait().expect("its end");
    editor.wait(SOON);
}

#[test]
fn bad_requests_do_not_end_it() {
    let (_home, mut editor) = started();
    editor.send_bytes(b"Content-Length: 9\r\n\r\n{nonsense");
    assert_eq!(editor.answer(&json!(null))["error"]["code"], -32700);
    editor.send_bytes(b"Content-Length: 2\r\n\r\n[]");
    editor.send_bytes(b"rubbish\r\n\r\n");
    editor.send(&json!({ "jsonrpc": "2.0", "id": "x", "method": "mirror/no/such/method" }));
    assert_eq!(editor.answer(&json!("x"))["error"]["code"], -32601);
    let error = editor.fails("mirror/session/stop", json!({ "session": 7 }));
    assert_eq!(error["code"], -32602);
    let error = editor.fails("mirror/session/stop", json!({ "session": "none" }));
    assert_eq!(error["data"]["code"], "session-not-found");
    let error = editor.fails("mirror/session/start", json!({ "folder": "relative", "launch": { "type": "node" } }));
    assert_eq!(error["data"]["code"], "usage");
    let error = editor.fails("mirror/targets/list", json!({ "kinds": ["deploymnt"] }));
    assert_eq!(error["data"]["next"], "did you mean deployment?");
    editor.notify("textDocument/didChange", json!({ "nonsense": true }));
    assert_eq!(editor.call("mirror/status", json!({}))["pid"], editor.pid());
}

#[test]
fn requests_can_be_cancelled() {
    let (_home, mut editor) = started();
    let id = editor.ask("mirror/targets/list", json!({}));
    editor.notify("$/cancelRequest", json!({ "id": id }));
    let answer = editor.answer(&json!(id));
    // It may have been faster.
    assert!(answer["error"]["code"] == -32800 || answer.get("result").is_some(), "{answer}");
}

#[test]
fn contexts_are_listed_and_followed_on_disk() {
    let (home, mut editor) = started();
    let contexts = editor.call("mirror/contexts/list", json!({}));
    let names: Vec<_> =
        contexts["contexts"].as_array().expect("a list").iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["nowhere", "eu-prod"]);
    assert_eq!(contexts["contexts"][1]["production"], true);
    let file = home.path().join("kubeconfig");
    let text = std::fs::read_to_string(&file).expect("read").replace("eu-prod", "eu-test");
    // As tools write it: another file takes the place.
    std::fs::write(home.path().join("new"), text).expect("written");
    std::fs::rename(home.path().join("new"), &file).expect("renamed");
    let changed = editor.wait_for("mirror/contexts/changed", |_| true);
    assert_eq!(changed["files"], json!([file]));
    assert_eq!(editor.call("mirror/contexts/list", json!({}))["contexts"][1]["production"], false);
}

#[test]
fn a_cluster_that_does_not_answer_is_told_with_what_helps() {
    let (_home, mut editor) = started();
    let watched = editor.call("mirror/targets/watch", json!({}));
    let problems = match watched["targets"]["problems"].as_array() {
        Some(problems) if !problems.is_empty() => problems.clone(),
        _ => {
            let is_told = |params: &serde_json::Value| params["problems"].as_array().is_some_and(|all| !all.is_empty());
            editor.wait_for("mirror/targets/changed", is_told)["problems"].as_array().expect("a list").clone()
        }
    };
    assert_eq!(problems[0]["code"], "cluster-unreachable");
    assert_eq!(problems[0]["actions"][0]["kind"], "retry");
    editor.call("mirror/targets/unwatch", json!({ "watch": watched["watch"] }));
    editor.fails("mirror/targets/unwatch", json!({ "watch": watched["watch"] }));
}

#[test]
fn a_start_is_refused_before_anything_is_made() {
    let (home, mut editor) = started();
    let start = |launch: serde_json::Value| json!({ "folder": home.path(), "target": "pod/a", "launch": launch });
    let error = editor.fails("mirror/session/start", start(json!({ "type": "go" })));
    assert_eq!(error["data"]["code"], "not-yet");
    let error = editor.fails("mirror/session/start", json!({ "folder": home.path(), "launch": { "type": "node" } }));
    assert_eq!(error["data"]["code"], "target-missing");
    assert_eq!(error["data"]["actions"][0]["kind"], "pick-target");
    std::fs::write(home.path().join(".mirror.json"), r#"{"agnet": 1}"#).expect("written");
    let error = editor.fails("mirror/session/start", start(json!({ "type": "node" })));
    assert_eq!(error["data"]["code"], "config");
    assert!(error["data"]["causes"].to_string().contains("did you mean"), "{error}");
}

#[test]
fn reports_show_no_secrets() {
    let home = tempfile::tempdir().expect("a home");
    let mut command = helper(&home);
    command.env("MIRROR_ENV_OVERRIDE", "PASSWORD=hunter2");
    let mut editor = Editor::initialized(command);
    std::fs::write(home.path().join(".mirror.json"), r#"{"target": "deployment/web"}"#).expect("written");
    let report = editor.call("mirror/diagnostics/collect", json!({}))["text"].to_string();
    assert!(report.contains("MIRROR_ENV_OVERRIDE: set") && !report.contains("hunter2"), "{report}");
    let effective = editor.call("mirror/config/effective", json!({ "folder": home.path() }));
    assert_eq!((&effective["target"], &effective["context"]), (&json!("deployment/web"), &json!("nowhere")));
    assert_eq!(effective["namespace"], "shop");
    assert!(!effective.to_string().contains("hunter2"), "{effective}");
}
