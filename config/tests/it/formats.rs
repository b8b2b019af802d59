//! The three formats: the same tree, true places, and no text that breaks them.

use config::syntax::{Node, Value, parse};
use config::{Config, Format};
use expect_test::expect;

use crate::diagnostics::told;

const JSON: &str = r#"{
  // with a comment
  "target": { "path": "deployment/web/container/app", "namespace": "shop" },
  "agent": { "ttl": 5, "labels": { "team": "a" }, "tolerations": [] },
  "feature": { "env": { "override": { "NÄME": "wert" }, "exclude": ["A_*"] }, "network": { "outgoing": { "tcp": false } } },
}
"#;

const YAML: &str = "\
# with a comment
target:
  path: deployment/web/container/app
  namespace: \"shop\"
agent: { ttl: 5, labels: { team: a }, tolerations: [] }
feature:
  env:
    override: { NÄME: wert }
    exclude:
      - A_*
  network: &net
    outgoing:
      tcp: false
";

const TOML: &str = "\
# with a comment
target = { path = \"deployment/web/container/app\", namespace = \"shop\" }
[agent]
ttl = 5
tolerations = []
labels.team = \"a\"
[feature.env]
override = { \"NÄME\" = \"wert\" }
exclude = [\"A_*\"]
[feature.network.outgoing]
tcp = false
";

const ALL: [(Format, &str); 3] = [(Format::Json, JSON), (Format::Yaml, YAML), (Format::Toml, TOML)];

fn read(text: &str, format: Format) -> Config {
    let (config, diagnostics) = config::parse(text, format);
    assert_eq!(diagnostics, [], "{format:?}");
    config
}

#[test]
fn the_same_configuration_in_all_formats() {
    let expected = read(JSON, Format::Json);
    assert_eq!(expected.target.path.as_ref().unwrap().to_string(), "deployment/web/container/app");
    assert_eq!(expected.agent.ttl.as_secs(), 5);
    assert_eq!(expected.agent.tolerations, []);
    assert_eq!(expected.feature.env.overrides["NÄME"], "wert");
    assert_eq!(expected.feature.env.exclude, ["A_*"]);
    assert!(!expected.feature.network.outgoing.tcp);
    for (format, text) in ALL {
        assert_eq!(read(text, format), expected, "{format:?}");
    }
}

#[test]
fn a_byte_order_mark_and_crlf_change_nothing() {
    let expected = read(JSON, Format::Json);
    for (format, text) in ALL {
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(read(&text, format), expected, "{format:?}");
        let (root, _) = parse(&text, format);
        let key = &root.members()[0];
        assert!(text[key.key_span.start..key.key_span.end].trim_matches('"') == "target", "{format:?}");
    }
}

/// Every key and every scalar stands where its span says.
fn assert_places(text: &str, node: &Node, format: Format) {
    let source = &text[node.span.start..node.span.end];
    match &node.value {
        Value::Object(members) => {
            for member in members {
                let key = &text[member.key_span.start..member.key_span.end];
                assert_eq!(key.trim_matches('"'), member.key, "{format:?}");
                assert_places(text, &member.value, format);
            }
        }
        Value::Array(elements) => {
            assert!(source.contains("A_*") || source == "[]", "{format:?} {source}");
            elements.iter().for_each(|element| assert_places(text, element, format));
        }
        Value::String(value) => assert_eq!(source.trim_matches('"'), value, "{format:?}"),
        Value::Integer(value) => assert_eq!(source, value.to_string(), "{format:?}"),
        Value::Bool(value) => assert_eq!(source, value.to_string(), "{format:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn spans_are_the_places_of_keys_and_values() {
    for (format, text) in ALL {
        assert_places(text, &parse(text, format).0, format);
    }
}

#[test]
fn problems_have_the_same_place_in_all_formats() {
    expect![[r#"
        error unknown-key 3:3 unknown key `tll` in `agent`; did you mean `ttl`
        error invalid-duration 3:20 `agent.ttl` is "x": it must be a number of seconds or text such as `30s`
    "#]]
    .assert_eq(&told("{\n \"agent\": {\n  \"tll\": 1, \"ttl\": \"x\"}}", Format::Json));
    expect![[r#"
        error unknown-key 2:3 unknown key `tll` in `agent`; did you mean `ttl`
        error invalid-duration 3:8 `agent.ttl` is "x": it must be a number of seconds or text such as `30s`
    "#]]
    .assert_eq(&told("agent:\n  tll: 1\n  ttl: x\n", Format::Yaml));
    expect![[r#"
        error unknown-key 2:1 unknown key `tll` in `agent`; did you mean `ttl`
        error invalid-duration 3:7 `agent.ttl` is "x": it must be a number of seconds or text such as `30s`
    "#]]
    .assert_eq(&told("[agent]\ntll = 1\nttl = \"x\"\n", Format::Toml));
}

#[test]
fn broken_syntax_is_told() {
    expect![[r#"
        error wrong-type 2:8 `agent.ttl` must be a number of seconds or text such as `30s`, not a list
        error syntax 3:1 this is not YAML: while parsing a flow sequence, expected ',' or ']'
    "#]]
    .assert_eq(&told("agent:\n  ttl: [1\n", Format::Yaml));
    expect![[r#"
        error duplicate-key 3:3 `agent.ttl` is written twice: keep one of them
        error syntax 4:1 a second document: one file is one configuration
    "#]]
    .assert_eq(&told("agent:\n  ttl: 1\n  ttl: 2\n---\nx: 1\n", Format::Yaml));
    expect![[r#"
        error unknown-key 1:1 unknown key `a`
        error syntax 2:3 a key must be text
    "#]]
    .assert_eq(&told("a: &a [x]\n? [b]\n: *a\n", Format::Yaml));
    expect![[r#"
        error syntax 2:7 this is not TOML: string values must be quoted, expected literal string
        error invalid-duration 2:7 `agent.ttl` is "": it must be a number of seconds or text such as `30s`
        error syntax 3:1 this is not TOML: duplicate key
        error unknown-key 4:1 unknown key `x` in `agent`
        error syntax 4:5 no key takes a date: write it as text, in quotes
    "#]]
    .assert_eq(&told("[agent]\nttl = \nttl = 1\nx = 2020-01-01\n", Format::Toml));
    expect![[r#"
        error wrong-type 1:1 the configuration is a list: write an object with keys
    "#]]
    .assert_eq(&told("[1, 2]", Format::Json));
    expect![[r#"
        error wrong-type 1:1 the configuration is text: write an object with keys
    "#]]
    .assert_eq(&told("just text", Format::Yaml));
}

#[test]
fn empty_files_are_empty_configurations() {
    for format in [Format::Json, Format::Yaml, Format::Toml] {
        for text in ["", " \r\n\t", "\u{feff}"] {
            assert_eq!(read(text, format), Config::default());
        }
    }
    assert_eq!(read("# nothing\n", Format::Yaml), Config::default());
    assert_eq!(told("// nothing\n", Format::Json), "error syntax 2:1 a value is missing at the end of the text\n");
}

#[test]
fn yaml_aliases_do_not_explode() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..='j').zip('a'..) {
        let list = format!("*{before}, ").repeat(9);
        text.push_str(&format!("{name}: &{name} [{list}]\n"));
    }
    let (_, diagnostics) = parse(&text, Format::Yaml);
    assert!(diagnostics[0].message.starts_with("more than 100000 values"));
}

/// A small pseudo-random generator: tests are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn no_text_panics() {
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", ":", ",", "\"", "'", "\\", "\\u", "\\ud83d", "//", "/*", "*/", "{{", "}}", "{%", "\n",
        "\r", " ", "\t", "ä", "€", "😀", "\u{feff}", "\0", "1", "-", "e9", "true", "null", "target", "agent", "ttl",
        "feature", "network", "incoming", "=", "#", "- ", "&a ", "*a", "? ", "| ", "> ", "!!", "---\n", "[[", "\"\"\"",
        "0x", "é",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..6_000 {
        let n_pieces = 1 + random.below(24);
        let mut text: String = (0..n_pieces).map(|_| PIECES[random.below(PIECES.len())]).collect();
        if round % 3 == 0 {
            let source = ALL[random.below(3)].1;
            let mut at = random.below(source.len());
            while !source.is_char_boundary(at) {
                at -= 1;
            }
            text = format!("{}{text}{}", &source[..at], &source[at..]);
        }
        for format in [Format::Json, Format::Yaml, Format::Toml] {
            let document = config::Document::new("t", text.as_str(), format);
            let resolved = config::resolve(Some(&document), &|_| None, &[]);
            config::render::render(&resolved.diagnostics, Some(&document), config::render::Colour::Never);
            for offset in 0..=text.len() {
                config::syntax::cursor::at(&document.root, offset);
            }
        }
    }
}
