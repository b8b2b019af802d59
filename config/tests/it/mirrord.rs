//! A file of a mirrord user is read as it is: what means the same is taken over, the rest is a warning with the
//! reason.

use config::{Document, Format, HttpFilter, IncomingMode, Severity, resolve};
use expect_test::expect;

const FILE: &str = r#"{
    // our staging cluster
    "accept_invalid_certificates": false,
    "skip_processes": "bash;node",
    "operator": true,
    "telemetry": false,
    "kube_context": "staging",
    "target": { "path": { "deployment": "checkout", "container": "app" }, "namespace": "shop" },
    "agent": {
        "log_level": "info", "json_log": false, "namespace": "tools",
        "image": { "registry": "registry.local/agent", "tag": "latest" },
        "image_pull_policy": "Always", "image_pull_secrets": [{ "name": "pull" }],
        "ttl": 30, "communication_timeout": 30, "flush_connections": true,
        "tolerations": [{ "key": "dedicated", "operator": "Equal", "value": "dev", "effect": "NoSchedule" }],
        "resources": { "requests": { "cpu": "100m", "memory": "100Mi" }, "limits": { "cpu": 1, "memory": "200Mi" } },
        "metrics": "0.0.0.0:9000", "dns": { "timeout": 4, "attempts": 2 }, "nftables": null
    },
    "feature": {
        "env": {
            "include": "DATABASE_*;PUBLIC_*",
            "override": { "DATABASE_URL": "x", "PORT": "8080" }
        },
        "fs": { "mode": "write", "read_write": ".+\\.json", "read_only": [".+\\.yaml", ".+important"], "local": [".+\\.js"] },
        "network": {
            "incoming": {
                "mode": "steal",
                "http_filter": {
                    "all_of": [{ "header": "^baggage: .*user=me" }, { "path": "^/api" }, { "method": "GET" }],
                    "ports": [8080]
                },
                "port_mapping": [[7777, 8888]],
                "ignore_localhost": false,
                "ignore_ports": [9999],
                "listen_ports": [[80, 8111]],
                "on_concurrent_steal": "abort"
            },
            "outgoing": {
                "tcp": true, "udp": true, "ignore_localhost": false,
                "filter": { "local": ["tcp://1.1.1.0/24:1337", "1.1.5.0/24", "google.com", ":7777"] },
                "unix_streams": "bear.+"
            },
            "dns": { "enabled": true, "filter": { "local": ["1.1.1.0/24:1337", "google.com"] } },
            "ipv6": true
        },
        "copy_target": false, "hostname": true
    },
    "internal_proxy": { "start_idle_timeout": 60 },
    "experimental": { "tcp_ping4_mock": false }
}"#;

#[test]
fn a_real_file_is_read_as_it_is() {
    let document = Document::new("mirrord.json", FILE, Format::Json);
    let resolved = resolve(Some(&document), &|_| None, &[]);
    assert!(!resolved.has_errors());
    let told: Vec<_> = resolved
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.code != "not-in-effect")
        .map(|diagnostic| format!("{} {}", diagnostic.severity, diagnostic.message))
        .collect();
    expect![[r#"
        warning `operator` is ignored: there is no operator in the cluster, every session has an agent of its own
        warning `agent.metrics` is ignored: the agent serves no metrics
        warning `internal_proxy` is ignored: there is no proxy process to tune
        warning `experimental` is ignored: what it switches is either the normal behaviour here or does not exist"#]]
    .assert_eq(&told.join("\n"));
    let config = &resolved.config;
    assert_eq!(config.target.path.as_ref().unwrap().to_string(), "deployment/checkout/container/app");
    assert_eq!(config.agent.image.as_ref().unwrap().0, "registry.local/agent:latest");
    assert_eq!(config.agent.resources.limits["cpu"], "1");
    assert_eq!(config.agent.tolerations[0].effect.as_deref(), Some("NoSchedule"));
    let incoming = &config.feature.network.incoming;
    assert_eq!(incoming.mode, IncomingMode::Steal);
    assert_eq!((incoming.port_mapping[0].first, incoming.port_mapping[0].second), (7777, 8888));
    let Some(HttpFilter::All(parts)) = incoming.http_filter.filter() else { panic!("a composite") };
    assert_eq!(parts[2], HttpFilter::Method("GET".into()));
    assert_eq!(config.feature.env.include.as_deref().unwrap(), ["DATABASE_*", "PUBLIC_*"]);
    assert_eq!(config.skip_processes, ["bash", "node"]);
}

#[test]
fn a_filter_that_would_be_lost_is_an_error() {
    for filter in [r#""header_filter_jq": ".a""#, r#""body_filter": {}"#, r#""any_of": [{"body": {}}]"#] {
        let text = format!(
            r#"{{"feature": {{"network": {{"incoming": {{"mode": "steal", "http_filter": {{{filter}}}}}}}}}}}"#
        );
        let (_, diagnostics) = config::parse(&text, Format::Json);
        assert!(diagnostics.iter().any(|problem| problem.severity == Severity::Error), "{text}");
    }
}
