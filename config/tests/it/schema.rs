//! The committed generated files are those that the table gives. `UPDATE=1` writes them.

use std::path::Path;

use serde_json::json;

use crate::validator::Schema;

fn check(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expected, "{name} is out of date: run the tests of `config` with UPDATE=1");
}

#[test]
fn generated_files_are_up_to_date() {
    check("schemas/config.schema.json", &config::generate::schema());
    check("docs/configuration.md", &config::generate::docs());
}

#[test]
fn the_schema_takes_good_files_and_refuses_bad_ones() {
    let schema = Schema::generated();
    for good in [
        json!({}),
        json!({ "$schema": "x", "target": "pod/a" }),
        json!({ "target": { "path": { "pod": "a" }, "namespace": "b" }, "feature": { "network": false, "fs": "read" } }),
        json!({ "target": { "deployment": "a" } }),
        json!({ "operator": true, "feature": { "copy_target": { "enabled": true } } }),
    ] {
        assert!(schema.accepts(&good), "{good}");
    }
    for bad in [
        json!([]),
        json!({ "agnet": {} }),
        json!({ "agent": { "ttl": -1 } }),
        json!({ "feature": { "fs": "raed" } }),
        json!({ "feature": { "network": { "incoming": { "ports": [70000] } } } }),
        json!({ "target": { "deploymnet": "a" } }),
    ] {
        assert!(!schema.accepts(&bad), "{bad}");
    }
}
