//! Options over variables over the file over defaults, and who set what.

use config::{Document, Format, OptionValue, Origin, Resolved, resolve};
use expect_test::expect;

fn option(key: &str, value: &str, option: &str) -> OptionValue {
    OptionValue { key: key.to_owned(), value: value.to_owned(), option: option.to_owned() }
}

fn layered(file: &str, variables: &[(&str, &str)], options: &[OptionValue]) -> Resolved {
    let document = Document::new("f.json", file, Format::Json);
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    resolve(Some(&document), &variable, options)
}

fn told(resolved: &Resolved) -> Vec<String> {
    let problems = resolved.diagnostics.iter().filter(|diagnostic| diagnostic.code != "not-in-effect");
    problems.map(|problem| format!("{} {}", config::render::place(&problem.origin, None), problem.message)).collect()
}

#[test]
fn the_later_layer_wins_key_by_key() {
    let resolved = layered(
        r#"{"target": {"path": "pod/a", "namespace": "file"}, "agent": {"ttl": 2, "startup_timeout": 20}, "feature": {"network": false}}"#,
        &[
            ("MIRROR_AGENT_TTL", "3"),
            ("MIRROR_TARGET", "deploy/b"),
            ("MIRROR_NETWORK_OUTGOING_TCP", "yes"),
            ("MIRROR_NETWORK_INCOMING", "steal"),
            ("MIRROR_AGENT_LOG_LEVEL", " "),
        ],
        &[option("agent.ttl", "4s", "--agent-ttl"), option("feature.env.include", "A;B_*", "--include")],
    );
    assert_eq!(told(&resolved), Vec::<String>::new());
    let config = &resolved.config;
    assert_eq!(config.agent.ttl.as_secs(), 4);
    assert_eq!(config.agent.startup_timeout.as_secs(), 20);
    assert_eq!(config.target.path.as_ref().unwrap().to_string(), "deployment/b");
    assert_eq!(config.target.namespace.as_deref(), Some("file"));
    assert_eq!(config.feature.network.incoming.mode, config::IncomingMode::Steal);
    assert!(config.feature.network.outgoing.tcp && !config.feature.network.outgoing.udp);
    assert_eq!(config.feature.env.include.as_deref(), Some(["A".to_owned(), "B_*".to_owned()].as_slice()));
    assert_eq!(resolved.origin("agent.ttl"), Origin::Option("--agent-ttl".into()));
    assert_eq!(resolved.origin("target.path"), Origin::Variable("MIRROR_TARGET".into()));
    assert_eq!(resolved.origin("agent.log_level"), Origin::Default);
    assert!(matches!(resolved.origin("agent.startup_timeout"), Origin::File(_)));
}

#[test]
fn variables_take_lists_maps_pairs_and_json() {
    let resolved = layered(
        "{}",
        &[
            ("MIRROR_SKIP_PROCESSES", "a; b ;"),
            ("MIRROR_ENV_OVERRIDE", "A=1;B=x=y"),
            ("MIRROR_ENV_MAPPING", r#"{"^A(.)$": "x{1}"}"#),
            ("MIRROR_NETWORK_INCOMING_PORT_MAPPING", "80:8080;81:8081"),
            ("MIRROR_NETWORK_INCOMING_PORTS", "[80, 81]"),
            ("MIRROR_AGENT", r#"{"ttl": 9, "image": "a:1"}"#),
            ("MIRROR_TARGET", r#"{"path": {"pod": "p", "container": "c"}}"#),
            ("MIRROR_NETWORK_DNS", "off"),
            ("MIRROR_KUBECONFIG", "[odd]"),
        ],
        &[],
    );
    assert_eq!(told(&resolved), Vec::<String>::new());
    let config = &resolved.config;
    assert_eq!(config.skip_processes, ["a", "b"]);
    assert_eq!(config.feature.env.overrides["B"], "x=y");
    assert_eq!(config.feature.env.mapping["^A(.)$"], "x{1}");
    assert_eq!(config.feature.network.incoming.port_mapping[1].second, 8081);
    assert_eq!(config.feature.network.incoming.ports.as_deref(), Some([80, 81].as_slice()));
    assert_eq!((config.agent.ttl.as_secs(), config.agent.image.as_ref().unwrap().0.as_str()), (9, "a:1"));
    assert_eq!(config.target.path.as_ref().unwrap().to_string(), "pod/p/container/c");
    assert!(!config.feature.network.dns.enabled);
    assert_eq!(config.kubeconfig.as_deref(), Some("[odd]"));
}

#[test]
fn problems_in_variables_and_options_name_them() {
    let resolved = layered(
        r#"{"agent": {"ttl": 2}}"#,
        &[
            ("MIRROR_AGENT_TTL", "soon"),
            ("MIRROR_NETWORK_INCOMING_PORTS", "80;x"),
            ("MIRROR_AGENT", r#"{"tll": 1"#),
            ("MIRROR_FS", "raed"),
        ],
        &[option("target.path", "deploymnet/x", "-t"), option("nope", "1", "--nope")],
    );
    assert!(resolved.has_errors());
    assert_eq!(resolved.config.agent.ttl.as_secs(), 2, "a wrong value leaves the layer below in force");
    expect![[r#"
        variable MIRROR_AGENT `{` is not closed: add `}`
        variable MIRROR_AGENT unknown key `tll` in `agent`; did you mean `ttl`
        variable MIRROR_AGENT_TTL `agent.ttl` is "soon": it must be a number of seconds or text such as `30s`
        variable MIRROR_FS `feature.fs.mode` is "raed": it must be "local" or "localwithoverrides" or "read" or "write"; did you mean `read`
        variable MIRROR_NETWORK_INCOMING_PORTS `feature.network.incoming.ports` must be a whole number from 1 to 65535, not text
        option --nope unknown key `nope`
        option -t `deploymnet` is no kind of target: use one of pod, deployment, statefulset, daemonset, replicaset, job, cronjob, service, rollout, label; did you mean `deployment/x`"#]].assert_eq(&told(&resolved).join("\n"));
}

#[test]
fn effective_values_hide_secrets() {
    let resolved =
        layered(r#"{"feature": {"env": {"override": {"PASSWORD": "hunter2"}}}, "agent": {"ttl": 7}}"#, &[], &[]);
    let effective = resolved.effective();
    let value = |key: &str| effective.iter().find(|line| line.key == key).unwrap().value.clone();
    assert_eq!(value("feature.env.override"), r#"{"PASSWORD": "***"}"#);
    assert_eq!(value("agent.ttl"), "\"7s\"");
    assert_eq!(value("feature.network.outgoing.connect_wait"), "\"50ms\"");
    assert_eq!(value("kube_context"), "null");
    assert!(!format!("{:?}", resolved.config).contains("hunter2"));
}
