//! What is said about mistakes: `check(input, expected)` with the diagnostics as text.

use config::{Document, Format, OptionValue, Severity, resolve};
use expect_test::{Expect, expect};

/// `severity code line:column message`, a line each.
pub(crate) fn told(text: &str, format: Format) -> String {
    let document = Document::new("t", text, format);
    let resolved = resolve(Some(&document), &|_| None, &[]);
    let mut out = String::new();
    for diagnostic in resolved.diagnostics.iter().filter(|diagnostic| diagnostic.code != "not-in-effect") {
        let place = config::render::place(&diagnostic.origin, Some(&document));
        let place = place.strip_prefix("t:").unwrap_or(&place);
        out.push_str(&format!("{} {} {place} {}\n", diagnostic.severity, diagnostic.code, diagnostic.message));
    }
    out
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&told(text, Format::Json));
}

#[test]
fn unknown_keys_name_the_nearest() {
    check(
        r#"{"agnet": {}, "agent": {"tll": 1}, "incoming": "steal", "banana": 1}"#,
        expect![[r#"
            error unknown-key 1:2 unknown key `agnet`; did you mean `agent`
            error unknown-key 1:25 unknown key `tll` in `agent`; did you mean `ttl`
            error unknown-key 1:36 unknown key `incoming`; it belongs at `feature.network.incoming`
            error unknown-key 1:57 unknown key `banana`
        "#]],
    );
}

#[test]
fn wrong_types_and_ranges() {
    check(
        r#"{
  "agent": {"ttl": "soon", "startup_timeout": 0, "ephemeral": "true", "dns": {"attempts": 1.5}},
  "feature": {
    "fs": {"mode": "raed", "max_file_size": -1},
    "network": {"outgoing": {"connect_wait": "1h"}, "incoming": {"ports": [80, 0, "x"], "port_mapping": [[1], [1, 2]]}}
  },
  "target": 5, "kube_context": ["a"]
}"#,
        expect![[r#"
            error invalid-duration 2:20 `agent.ttl` is "soon": it must be a number of seconds or text such as `30s`
            error out-of-range 2:47 `agent.startup_timeout` is 0s: it must be from 1s to 24h
            error wrong-type 2:63 `agent.ephemeral` must be true or false, not text: write true without quotes
            error wrong-type 2:91 `agent.dns.attempts` must be a whole number from 1 to 100, not a number with a fraction
            error unknown-value 4:20 `feature.fs.mode` is "raed": it must be "local" or "localwithoverrides" or "read" or "write"; did you mean `read`
            error invalid-size 4:45 `feature.fs.max_file_size` is -1: it must be a number of bytes or text such as `256MiB`
            error out-of-range 5:46 `feature.network.outgoing.connect_wait` is 1h: it must be from 0s to 10s
            error out-of-range 5:80 `feature.network.incoming.ports` is 0: it must be a whole number from 1 to 65535
            error wrong-type 5:83 `feature.network.incoming.ports` must be a whole number from 1 to 65535, not text
            error wrong-type 5:106 `feature.network.incoming.port_mapping` must be a pair in brackets, each a whole number from 1 to 65535, not a list
            error wrong-type 7:13 `target` must be an object, or the value of `path` alone, not a number
            error wrong-type 7:32 `kube_context` must be text, not a list
        "#]],
    );
}

#[test]
fn texts_are_checked() {
    check(
        r#"{
  "target": {"path": "deploymnet/web", "namespace": "Prod"},
  "agent": {"resources": {"limits": {"cpu": "1 core", "memory": 5}}, "labels": {"a b": "c", "d": "e f"}},
  "feature": {
    "env": {"mapping": {"(": "x"}},
    "fs": {"local": "[a"},
    "network": {
      "outgoing": {"filter": {"remote": ["db:99999", "http://x"]}},
      "incoming": {"http_filter": {"header_filter": "x(?=y)"}}
    }
  }
}"#,
        expect![[r#"
            error invalid-target 2:22 `deploymnet` is no kind of target: use one of pod, deployment, statefulset, daemonset, replicaset, job, cronjob, service, rollout, label; did you mean `deployment/web`
            error invalid-kubernetes-name 2:53 `Prod` is no Kubernetes name: 1 to 63 of a-z, 0-9 and -, first and last a letter or digit
            error invalid-quantity 3:45 `1 core` is no quantity: write a number with a unit such as `500m`, `1`, `64Mi`
            error invalid-label-key 3:81 `a b` is no label key: write `name` or `domain/name`, the name with at most 63 letters, digits, -, _ and .
            error invalid-label-value 3:98 `e f` is no label value: at most 63 letters, digits, -, _ and ., first and last a letter or digit
            error invalid-regular-expression 5:25 `(` is no regular expression: unclosed group
            error invalid-regular-expression 6:21 `[a` is no regular expression: unclosed character class
            error invalid-address-filter 8:42 `db:99999` has the port `99999`: write a number from 1 to 65535
            error invalid-address-filter 8:54 `http://x` begins with `http://`: only tcp:// and udp:// are known
            error invalid-regular-expression 9:53 `x(?=y)` looks ahead or behind, which is not supported: use several filters with `all_of` and `not`
        "#]],
    );
}

#[test]
fn duplicate_keys_are_told_with_the_first_place() {
    check(
        r#"{"agent": {"ttl": 1, "ttl": 2}, "feature": {"env": {"override": {"A": "1", "A": "2"}}}}"#,
        expect![[r#"
        error duplicate-key 1:22 `agent.ttl` is written twice: keep one of them
        error duplicate-key 1:76 `feature.env.override.A` is written twice: keep one of them
    "#]],
    );
}

#[test]
fn templates_are_not_expanded() {
    check(
        r#"{"target": "pod/{{ get_env(name=\"P\") }}", "kube_context": {% if x %}, "feature": {"env": {"override": {"T": "{{ x }}"}}}}"#,
        expect![[r#"
            error template-not-supported 1:12 templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable
            error template-not-supported 1:61 templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable
            warning template-not-supported 1:111 templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable
        "#]],
    );
    expect![[r#"
        error template-not-supported 1:9 templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable
    "#]].assert_eq(&told("target: {{ get_env(name=\"P\") }}\n", Format::Yaml));
    expect![[r#"
        error template-not-supported 1:10 templates are not expanded: write the value itself, or leave the key out and set its MIRROR_ variable
    "#]].assert_eq(&told("target = {{ x }}\n", Format::Toml));
}

#[test]
fn rules_across_keys() {
    check(
        r#"{"target": "targetless", "feature": {"network": {"incoming": "steal"}}}"#,
        expect![[r#"
        error steal-needs-target 1:62 there is nothing to steal from without a target: name a target, or set the mode to "off"
    "#]],
    );
    check(
        r#"{"feature": {"env": {"include": "A", "exclude": ["B"], "unset": "p", "override": {"P": 1}}}}"#,
        expect![[r#"
        error exclusive-keys 1:49 `feature.env.include` and `feature.env.exclude` exclude each other: keep one of them
        warning no-effect 1:82 `P` is in `override` and in `unset`: it will not be set
    "#]],
    );
    check(
        r#"{"feature": {"network": {"incoming": {
            "mode": "steal", "ports": 80, "ignore_ports": [81], "port_mapping": [[1, 2], [1, 3], [4, 4]],
            "on_pause": "pass", "hold": 5,
            "http_filter": {"header_filter": "a", "path_filter": "b", "any_of": [], "ports": [82]}
        }}}, "target": "pod/x"}"#,
        expect![[r#"
            error exclusive-keys 2:59 `ports` and `ignore_ports` exclude each other: keep one of them
            error duplicate-port 2:81 port 1 occurs twice on the same side: keep one of the pairs
            warning no-effect 2:81 port 4 is mapped to itself: remove the pair
            warning no-effect 3:41 `feature.network.incoming.hold` has no effect: `on_pause` is "pass"
            error exclusive-keys 4:66 `header_filter` and `path_filter` are two filters: combine them with `all_of` or `any_of`
            error empty-filter 4:81 `any_of` combines no filter: write at least one, or remove it
            warning no-effect 4:94 port 82 is filtered but not taken: see `ports` and `ignore_ports`
        "#]],
    );
    check(
        r#"{"feature": {"network": {"incoming": {"http_filter": {"not": {"all_of": []}}}}}}"#,
        expect![[r#"
            error empty-filter 1:62 `not` combines no filter: write at least one, or remove it
        "#]],
    );
    check(
        r#"{"feature": {"network": {"dns": false, "outgoing": {"filter": {"remote": ["db", "10.0.0.0/8"]}}}}}"#,
        expect![[r#"
            warning name-filter-needs-dns 1:63 `db` is a name that only the cluster knows, and `feature.network.dns.enabled` is false
        "#]],
    );
    check(
        r#"{"target": "targetless", "agent": {"ephemeral": true, "namespace": "x"}, "skip_build_tools": false, "skip_extra_build_tools": "x"}"#,
        expect![[r#"
            error ephemeral-needs-target 1:49 an ephemeral agent lives in the target's pod: name a target, or remove `agent.ephemeral`
            error ephemeral-needs-image 1:49 an ephemeral agent cannot be sent along: set `agent.image` to an image that contains it
            warning no-effect 1:68 `agent.namespace` has no effect: an ephemeral agent lives in the target's pod
            warning no-effect 1:127 `skip_extra_build_tools` has no effect: `skip_build_tools` is false
        "#]],
    );
    check(
        r#"{"target": "pod/x", "agent": {"ephemeral": true, "image": "x", "ttl": 3, "privileged": true, "disabled_capabilities": ["BPF"]}}"#,
        expect![[r#"
            warning no-effect 1:71 `agent.ttl` has no effect: an ephemeral agent is a container of the target's pod
            warning no-effect 1:119 `agent.disabled_capabilities` has no effect: a privileged container has every capability
        "#]],
    );
    check(
        r#"{"target": "targetless", "agent": {"privileged": true}}"#,
        expect![[r#"
            warning no-effect 1:50 `agent.privileged` has no effect: an agent without a target has no capabilities
        "#]],
    );
    check(
        r#"{"target": "pod/x", "agent": {"node_selector": {"a": "b"}}, "feature": {"fs": {"mode": "local", "not_found": "x"}}}"#,
        expect![[r#"
        warning no-effect 1:48 `agent.node_selector` has no effect: the agent runs on the target's node
        warning no-effect 1:110 `feature.fs.not_found` has no effect: `feature.fs.mode` is "local": use "localwithoverrides"
    "#]],
    );
}

#[test]
fn listeners_are_moved_from_a_bounded_number_of_ports() {
    let file = |count: usize| {
        let pairs: Vec<_> = (1..=count).map(|port| format!("[{port}, {}]", port + 1000)).collect();
        format!(r#"{{"feature": {{"network": {{"incoming": {{"listen_ports": [{}]}}}}}}}}"#, pairs.join(", "))
    };
    check(&file(16), expect![[""]]);
    check(
        &file(17),
        expect![[r#"
        error too-many 1:55 17 pairs are more than 16: leave some out
    "#]],
    );
}

#[test]
fn objects_inside_lists_are_checked() {
    check(
        r#"{
  "agent": {"tolerations": [{"operator": "Exist", "kye": "x"}], "image": {"tag": "1"}, "image_pull_secrets": [{}, "good"]},
  "target": {"deployment": "web", "pod": "x"},
  "feature": {"network": {"outgoing": {"filter": {"remote": "a", "local": "b"}}, "incoming": {"http_filter": {
    "all_of": [{"header": "a", "path": "b"}, {"body": {}}, {}, "x"]}}}}
}"#,
        expect![[r#"
            error unknown-value 2:42 `toleration.operator` is "Exist": it must be "Equal" or "Exists"; did you mean `Exists`
            error unknown-key 2:51 unknown key `kye` in `toleration`; did you mean `key`
            error invalid-object 2:74 `agent.image`: `registry` is missing: it is the image name without the tag
            error invalid-object 2:111 `agent.image_pull_secrets`: `name` is missing: it is the name of the pull secret
            error invalid-object 3:13 `target.path`: a target is one object: keep one of its kinds
            error invalid-object 4:50 `feature.network.outgoing.filter`: `remote` and `local` exclude each other: keep one of them
            error invalid-object 5:16 `feature.network.incoming.http_filter.all_of`: one filter has one kind: combine several with `all_of` or `any_of`
            error unsupported-key 5:47 `filter.body` is not supported: it would take requests that it should leave alone, so the file is refused: use the other filters
            error invalid-object 5:60 `feature.network.incoming.http_filter.all_of`: it is empty: write a filter such as `"header": "x-user: me"`, or remove it
            error wrong-type 5:64 `feature.network.incoming.http_filter.all_of` must be an object (filter), not text
        "#]],
    );
}

#[test]
fn keys_without_effect_are_told_unless_they_ask_for_nothing() {
    let (_, diagnostics) = config::parse(
        r#"{"feature": {"fs": "read", "hostname": false, "network": {"outgoing": {"udp": true, "tcp": true}}}}"#,
        Format::Json,
    );
    let told: Vec<_> =
        diagnostics.iter().map(|diagnostic| (diagnostic.severity, diagnostic.message.as_str())).collect();
    for (severity, message) in &told {
        assert_eq!(*severity, Severity::Warning);
        assert!(message.ends_with("is accepted but not in effect yet"), "{message}");
    }
    let (_, diagnostics) = config::parse(r#"{"feature": {"fs": "local", "network": false}}"#, Format::Json);
    assert_eq!(diagnostics, []);
}

#[test]
fn problems_are_bounded() {
    let text = format!("{{{}}}", "\"x\": 1,".repeat(10_000));
    let (_, diagnostics) = config::parse(&text, Format::Json);
    assert_eq!(diagnostics.len(), config::diagnostic::MAX_DIAGNOSTICS + 1);
    assert_eq!(diagnostics.last().unwrap().code, "too-many-problems");
}

#[test]
fn rendered_for_a_terminal() {
    let document =
        Document::new("dir/.mirror.json", "{\n\t\"agent\": {\"tll\": 1},\n  \"ttl\": 5, \"ttl\": 6\n}", Format::Json);
    let options = [OptionValue { key: "target.path".into(), value: "web".into(), option: "--target".into() }];
    let resolved = resolve(Some(&document), &|name| (name == "MIRROR_AGENT_TTL").then(|| "x".to_owned()), &options);
    let text = config::render::render(&resolved.diagnostics, Some(&document), config::render::Colour::Never);
    expect![[r#"
        error[unknown-key]: unknown key `tll` in `agent`; did you mean `ttl`
          --> dir/.mirror.json:2:12
           |
         2 |  "agent": {"tll": 1},
           |            ^^^^^

        error[unknown-key]: unknown key `ttl`; it belongs at `agent.ttl`
          --> dir/.mirror.json:3:3
           |
         3 |   "ttl": 5, "ttl": 6
           |   ^^^^^

        error[duplicate-key]: `ttl` is written twice: keep one of them
          --> dir/.mirror.json:3:13
           |
         3 |   "ttl": 5, "ttl": 6
           |             ^^^^^
          = dir/.mirror.json:3:3: first written here

        error[unknown-key]: unknown key `ttl`; it belongs at `agent.ttl`
          --> dir/.mirror.json:3:13
           |
         3 |   "ttl": 5, "ttl": 6
           |             ^^^^^

        error[invalid-duration]: `agent.ttl` is "x": it must be a number of seconds or text such as `30s`
          --> variable MIRROR_AGENT_TTL

        error[invalid-target]: `web` has no kind: write KIND/NAME such as `deployment/web`
          --> option --target

        6 errors
    "#]]
    .assert_eq(&text);
    let json = config::render::to_json(&resolved.diagnostics[..1], Some(&document));
    expect![[r#"[{"code":"unknown-key","severity":"error","message":"unknown key `tll` in `agent`; did you mean `ttl`","key":"agent.tll","nearest":"ttl","file":"dir/.mirror.json","line":2,"column":12,"endLine":2,"endColumn":17}]"#]].assert_eq(&json.to_string());
}

#[test]
fn long_lines_are_cut_and_colours_are_the_callers_choice() {
    let long = Document::new("l", format!("{{{}\"tagret\": 1}}", " ".repeat(5000)), Format::Json);
    let resolved = resolve(Some(&long), &|_| None, &[]);
    expect![[r#"
        [31;1merror[unknown-key][0m: [1munknown key `tagret`; did you mean `target`[0m
          [34;1m-->[0m l:1:5002
           [34;1m|[0m
         [34;1m1[0m [34;1m|[0m …                                        "tagret": 1}
           [34;1m|[0m                                          [31;1m^^^^^^^^[0m

        1 error
    "#]]
    .assert_eq(&config::render::render(&resolved.diagnostics, Some(&long), config::render::Colour::Always));
}
