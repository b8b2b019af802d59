//! Recorded dialogs: `tests/transcripts/*.jsonl`, which the editors' tests can replay, too.
//!
//! A line is `{"send": MESSAGE}` or `{"expect": MESSAGE}`. What is expected must be there; objects may have more. In both,
//! `${HOME}` is the home of the dialog.

use std::path::Path;

use serde_json::{Value, json};

use crate::editor::Editor;
use crate::helper;

#[test]
fn recorded_dialogs_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the folder").flatten().map(|file| file.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        replay(&file);
    }
}

fn replay(file: &Path) {
    let home = tempfile::tempdir().expect("a home");
    let mut editor = Editor::start(helper(&home));
    let text = std::fs::read_to_string(file).expect("read").replace("${HOME}", &home.path().display().to_string());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("{}:{}", file.display(), number + 1);
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Some(message) = line.get("send") {
            editor.send(message);
            continue;
        }
        let expected = &line["expect"];
        match (expected.get("method"), expected.get("id")) {
            (Some(method), _) => {
                let method = method.as_str().expect("a method");
                editor.wait_for(method, |params| has(params, &expected["params"]));
            }
            (None, Some(id)) => {
                let answer = editor.answer(id);
                assert!(has(&answer, expected), "{place}: expected {expected}\ngot {answer}");
            }
            _ => panic!("{place}: neither an answer nor a notification: {}", json!(expected)),
        }
    }
}

/// Whether everything that is expected is there.
fn has(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(value), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| value.get(name).is_some_and(|value| has(value, expected)))
        }
        (Value::Array(value), Value::Array(expected)) => {
            value.len() == expected.len() && value.iter().zip(expected).all(|(value, expected)| has(value, expected))
        }
        (value, expected) => value == expected,
    }
}
