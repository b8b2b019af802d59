//! The configuration language over the wire.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::editor::Editor;
use crate::{started, started_at_a_silent_cluster};

/// An answer that comes later has waited for somebody; what a keystroke costs is told by `cargo xtask bench serve`.
const WAIT: Duration = Duration::from_secs(5);

fn open(editor: &mut Editor, uri: &str, text: &str) {
    let document = json!({ "uri": uri, "languageId": "json", "version": 1, "text": text });
    editor.notify("textDocument/didOpen", json!({ "textDocument": document }));
}

fn change(editor: &mut Editor, uri: &str, version: usize, text: &str) {
    let document = json!({ "uri": uri, "version": version });
    editor.notify("textDocument/didChange", json!({ "textDocument": document, "contentChanges": [{ "text": text }] }));
}

fn at(uri: &str, line: u32, character: u32) -> Value {
    json!({ "textDocument": { "uri": uri }, "position": { "line": line, "character": character } })
}

fn uri(home: &tempfile::TempDir, name: &str) -> String {
    format!("file://{}/{name}", home.path().display())
}

fn problems(editor: &mut Editor, uri: &str, version: u64) -> Vec<Value> {
    let told = editor
        .wait_for("textDocument/publishDiagnostics", |params| params["uri"] == uri && params["version"] == version);
    told["diagnostics"].as_array().cloned().unwrap_or_default()
}

#[test]
fn problems_have_codes_ranges_and_repairs() {
    let (home, mut editor) = started();
    let uri = uri(&home, ".mirror.json");
    open(&mut editor, &uri, "{\n  \"agnet\": {\"ttl\": 1}\n}\n");
    let found = problems(&mut editor, &uri, 1);
    assert_eq!((&found[0]["code"], &found[0]["severity"]), (&json!("unknown-key"), &json!(1)));
    assert_eq!(
        found[0]["range"],
        json!({ "start": { "line": 1, "character": 2 }, "end": { "line": 1, "character": 9 } })
    );
    let params =
        json!({ "textDocument": { "uri": uri }, "range": found[0]["range"], "context": { "diagnostics": [found[0]] } });
    let actions = editor.call("textDocument/codeAction", params);
    assert_eq!(actions[0]["edit"]["changes"][&uri][0]["newText"], "\"agent\"");
    change(&mut editor, &uri, 2, "{\n  \"agent\": {\"ttl\": 1}\n}\n");
    assert_eq!(problems(&mut editor, &uri, 2), [json!(null); 0]);
    editor.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri } }));
    editor
        .wait_for("textDocument/publishDiagnostics", |params| params["uri"] == uri && params.get("version").is_none());
}

fn actions(editor: &mut Editor, uri: &str, range: &Value, problems: &[Value]) -> Vec<Value> {
    let params = json!({ "textDocument": { "uri": uri }, "range": range, "context": { "diagnostics": problems } });
    editor.call("textDocument/codeAction", params).as_array().cloned().unwrap_or_default()
}

fn titled(actions: &[Value], title: &str) -> Option<Value> {
    actions.iter().find(|action| action["title"].as_str().is_some_and(|own| own.starts_with(title))).cloned()
}

/// The beginning of a file.
fn beginning() -> Value {
    json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 0, "character": 0 } })
}

#[test]
fn a_file_of_mirrord_is_converted_unless_there_is_one_already() {
    let (home, mut editor) = started();
    let old = uri(&home, ".mirrord/mirrord.json");
    open(&mut editor, &old, "{\n  // mine\n  \"target\": \"targetless\",\n  \"operator\": true\n}\n");
    let found = actions(&mut editor, &old, &beginning(), &[]);
    let action = titled(&found, "Convert to .mirror.json").expect("offered");
    let new = uri(&home, ".mirror.json");
    let steps = &action["edit"]["documentChanges"];
    let options = json!({ "overwrite": false, "ignoreIfExists": false });
    assert_eq!(steps[0], json!({ "kind": "create", "uri": new, "options": options }));
    assert_eq!(steps[1]["textDocument"]["uri"], new);
    assert_eq!(steps[1]["edits"][0]["newText"], "{\n  // mine\n  \"target\": \"targetless\"\n}\n");

    std::fs::write(home.path().join(".mirror.json"), "{}").expect("written");
    assert_eq!(titled(&actions(&mut editor, &old, &beginning(), &[]), "Convert"), None);
}

#[test]
fn the_terminal_converts_a_file_of_mirrord_once() {
    let home = tempfile::tempdir().expect("a home");
    std::fs::write(home.path().join("mirrord.yaml"), "operator: true\ntarget: pod/a # mine\n").expect("written");
    let convert = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mirror"));
        command.args(["config", "convert", "mirrord.yaml"]).current_dir(home.path()).output().expect("it ran")
    };
    let output = convert();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("operator"), "{output:?}");
    let text = std::fs::read_to_string(home.path().join(".mirror.yaml")).expect("a file");
    assert_eq!(text, "target: pod/a # mine\n");
    let output = convert();
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn a_taken_port_is_told_and_moved() {
    let (home, mut editor) = started();
    let uri = uri(&home, ".mirror.json");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let text = format!(r#"{{"feature": {{"network": {{"incoming": {{"ports": [{port}]}}}}}}}}"#);
    open(&mut editor, &uri, &text);
    let is_told = |params: &Value| params["diagnostics"][0]["code"] == "port-busy";
    let problem = editor.wait_for("textDocument/publishDiagnostics", is_told)["diagnostics"][0].clone();
    assert_eq!(problem["source"], "mirror (machine)");
    let found = actions(&mut editor, &uri, &problem["range"], std::slice::from_ref(&problem));
    let action = titled(&found, "Listen on a free port").expect("offered");
    assert_eq!((&action["kind"], &action["isPreferred"]), (&json!("quickfix"), &json!(true)));
    let edit = action["edit"]["changes"][&uri][0]["newText"].as_str().expect("a text").to_owned();
    assert!(edit.starts_with(&format!("\"listen_ports\": [[{port}, ")), "{edit}");

    drop(listener);
    editor.wait_for("textDocument/publishDiagnostics", |params| params["diagnostics"] == json!([]));
    let found = actions(&mut editor, &uri, &problem["range"], &[]);
    assert_eq!(titled(&found, "Listen on a free port").expect("offered")["kind"], "refactor");
}

#[test]
fn all_formats_complete_and_explain() {
    let (home, mut editor) = started();
    for (name, text, line, character, label) in [
        (".mirror.json", "{\n  \"ag\"\n}", 1, 5, "agent"),
        (".mirror.yaml", "agent:\n  tt", 1, 4, "ttl"),
        (".mirror.toml", "[agent]\ntt", 1, 2, "ttl"),
        ("b.mirror.json", "{\"kube_context\": \"\"}", 0, 18, "eu-prod"),
    ] {
        let uri = uri(&home, name);
        open(&mut editor, &uri, text);
        loop {
            let items = editor.call("textDocument/completion", at(&uri, line, character));
            if items.as_array().is_some_and(|items| items.iter().any(|item| item["label"] == label)) {
                break;
            }
            // Names come once they are known, and problems with them.
            editor.wait_for("textDocument/publishDiagnostics", |params| params["uri"] == uri);
        }
    }
    let uri = uri(&home, "c.mirror.json");
    open(&mut editor, &uri, "{\"agent\": {\"ttl\": 7}}");
    let hover = editor.call("textDocument/hover", at(&uri, 0, 13));
    assert!(hover["contents"]["value"].as_str().is_some_and(|text| text.contains("agent.ttl")), "{hover}");
    let symbols = editor.call("textDocument/documentSymbol", json!({ "textDocument": { "uri": uri } }));
    assert_eq!(symbols[0]["children"][0]["name"], "ttl");
    let options = json!({ "textDocument": { "uri": uri }, "options": { "tabSize": 2, "insertSpaces": true } });
    let edits = editor.call("textDocument/formatting", options);
    assert_eq!(edits[0]["newText"], "{ \"agent\": { \"ttl\": 7 } }\n");
}

#[test]
fn an_older_edit_never_wins() {
    let (home, mut editor) = started();
    let uri = uri(&home, ".mirror.json");
    open(&mut editor, &uri, "{}");
    for round in 0..20 {
        for version in 1..=200 {
            let number = round * 200 + version;
            change(&mut editor, &uri, number + 1, &format!("{{\"k{number}\": {}}}", "1".repeat(number % 50 + 1)));
            // Others come in between.
            if number % 7 == 0 {
                editor.notify("workspace/didChangeConfiguration", json!({ "settings": {} }));
            }
            if number % 11 == 0 {
                editor.ask("textDocument/completion", at(&uri, 0, 1));
            }
        }
        let last = (round + 1) * 200;
        let symbols = editor.call("textDocument/documentSymbol", json!({ "textDocument": { "uri": uri } }));
        assert_eq!(symbols[0]["name"], format!("k{last}"));
    }
    // What is published last is of the last text, too.
    let found = problems(&mut editor, &uri, 4001);
    assert!(found[0]["message"].as_str().is_some_and(|text| text.contains("k4000")), "{found:?}");
}

#[test]
fn a_keystroke_never_waits() {
    let (_silent, home, mut editor) = started_at_a_silent_cluster();
    let uri = uri(&home, ".mirror.json");
    let text = |number: usize| {
        format!(
            "{{\n  \"target\": \"deployment/web{number}\",\n  \"feature\": {{ \"env\": {{ \"include\": [\"A\", \"B\"] }} }},\n  \"agent\": {{ \"ttl\": 1 }}\n}}"
        )
    };
    open(&mut editor, &uri, &text(0));
    for number in 0..300 {
        let began = Instant::now();
        change(&mut editor, &uri, number + 2, &text(number));
        editor.call("textDocument/completion", at(&uri, 1, 20));
        assert!(began.elapsed() < WAIT, "it waits for the cluster: {:?}", began.elapsed());
    }
}
