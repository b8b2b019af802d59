//! Every key of the table in its valid and invalid shapes, generated from the table.

use config::keys::{self, Key, Shape, Short};
use config::{Format, Severity};
use serde_json::{Value, json};

use crate::validator::Schema;

/// Values that a shape takes.
pub(crate) fn good(shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Bool => vec![json!(true), json!(false)],
        Shape::Integer { min, max } => vec![json!(min), json!(max)],
        Shape::Duration { min, unit, .. } => {
            vec![json!(min.div_ceil(unit.milliseconds())), json!("5s")]
        }
        Shape::Size => vec![json!(0), json!("64KiB")],
        Shape::Text(kind) | Shape::Scalar(kind) => vec![json!(sample(kind.name))],
        Shape::Secret => vec![json!("x"), json!(1), json!(true)],
        Shape::OneOf(choices) => choices.iter().map(|choice| json!(choice.word)).collect(),
        Shape::List(element) => {
            let elements = good(element);
            let mut all = vec![json!([]), json!(elements)];
            if !matches!(element, Shape::Pair(_)) {
                all.push(elements[0].clone());
            }
            all
        }
        Shape::Map { key, value } => vec![json!({}), json!({ sample(key.name): good(value)[0] })],
        Shape::Pair(element) => vec![json!([good(element)[0], good(element)[1]])],
        Shape::Record("$target") => vec![
            json!({ "deployment": "web" }),
            json!({ "stateful_set": "db", "container": "app" }),
            json!({ "labels": { "app": "web" } }),
        ],
        Shape::Record("$filter") => vec![
            json!({ "header": "a" }),
            json!({ "not": { "any_of": [{ "path": "a" }, { "method": "GET" }, { "query": "q" }] } }),
        ],
        Shape::Record("$sides") => vec![json!({ "remote": ["a:1"] }), json!({ "local": "10.0.0.0/8" }), json!({})],
        Shape::Record("$image") => vec![json!({ "registry": "a/b" }), json!({ "registry": "a/b", "tag": "1" })],
        Shape::Record("$secret") => vec![json!({ "name": "a" })],
        Shape::Record("$toleration") => vec![
            json!({}),
            json!({ "key": "a", "operator": "Equal", "value": "b",
            "effect": "NoExecute", "tolerationSeconds": 5 }),
        ],
        Shape::Record("$profile") => vec![json!({ "type": "Unconfined" })],
        Shape::Record(name) => panic!("add a sample for {name}"),
        Shape::Either(shapes) => shapes.iter().flat_map(good).collect(),
        Shape::Section(shorts) => {
            let bools = shorts.iter().filter(|short| matches!(short, Short::Bool { .. }));
            let mut all: Vec<_> = bools.flat_map(|_| [json!(true), json!(false)]).collect();
            all.push(json!({}));
            all
        }
    }
}

fn sample(kind: &str) -> &'static str {
    match kind {
        "target" => "pod/web/container/app",
        "address filter" => "tcp://db:5432",
        "quantity" => "64Mi",
        "HTTP method" => "GET",
        _ => "a",
    }
}

/// Values that no key of the shape takes.
fn bad(shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Section(_) | Shape::Map { .. } | Shape::Record(_) => {
            vec![json!(5), json!({ "no such": { "key": 1 } })]
        }
        Shape::OneOf(_) => vec![json!("no such word"), json!(true)],
        Shape::List(_) | Shape::Pair(_) => vec![json!([[[]]]), json!([null])],
        _ => vec![json!([[1, 2, 3]]), json!({ "no such": 1 })],
    }
}

/// The whole file that sets one key.
fn file(key: &Key, value: &Value) -> Value {
    key.path.rsplit('.').fold(value.clone(), |value, name| json!({ name: value }))
}

fn errors(file: &Value) -> Vec<String> {
    let (_, diagnostics) = config::parse(&file.to_string(), Format::Json);
    let errors = diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    // Rules between keys are tested on their own.
    let shape_codes = |code: &str| !matches!(code, "ephemeral-needs-image" | "empty-filter");
    errors.filter(|diagnostic| shape_codes(&diagnostic.code)).map(|diagnostic| diagnostic.message).collect()
}

fn file_keys() -> impl Iterator<Item = &'static Key> {
    keys::all().filter(|key| !key.path.is_empty() && !key.path.starts_with('$'))
}

#[test]
fn every_key_takes_its_good_values_and_the_schema_agrees() {
    let schema = Schema::generated();
    for key in file_keys() {
        for value in good(&key.shape).into_iter().chain([Value::Null]) {
            let file = file(key, &value);
            assert_eq!(errors(&file), Vec::<String>::new(), "{file}");
            assert!(schema.accepts(&file), "the schema refuses {file}");
        }
    }
}

#[test]
fn every_key_refuses_bad_values_and_the_schema_agrees() {
    let schema = Schema::generated();
    for key in file_keys() {
        for value in bad(&key.shape) {
            let file = file(key, &value);
            let is_free = matches!(key.shape, Shape::Map { .. }) && value.is_object();
            assert!(!errors(&file).is_empty(), "{file}");
            assert!(is_free || !schema.accepts(&file), "the schema takes {file}");
        }
    }
}

#[test]
fn good_values_reach_the_model() {
    // A value that the check takes and the model does not would silently become the default.
    for key in file_keys().filter(|key| !key.is_section()) {
        let values = good(&key.shape);
        let configs: Vec<_> = values
            .iter()
            .map(|value| config::parse(&file(key, value).to_string(), Format::Json).0)
            .map(|config| serde_json::to_string(&config).unwrap())
            .collect();
        let default = serde_json::to_string(&config::Config::default()).unwrap();
        assert!(configs.iter().any(|config| *config != default), "{} has no effect on the model", key.path);
    }
}

#[test]
fn defaults_fit() {
    let default = config::Config::default();
    assert_eq!(default.agent.ttl.as_secs(), 1);
    assert_eq!(default.feature.network.outgoing.connect_wait.as_millis(), 50);
    assert_eq!(default.feature.fs.max_file_size, 256 << 20);
    for key in file_keys().filter(|key| !key.is_section()) {
        let file = file(key, &serde_json::from_str(key.default).unwrap());
        assert_eq!(config::parse(&file.to_string(), Format::Json).0, default, "{}", key.path);
    }
    let text = serde_json::to_string(&default).unwrap();
    assert_eq!(serde_json::from_str::<config::Config>(&text).unwrap(), default);
}
