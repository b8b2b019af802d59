//! What cannot be done is said clearly, with an exit code of its class, and leaves nothing behind (the drop of
//! each [`Laptop`] checks that).

use tests::{Cluster, Laptop};

const USAGE: i32 = 64;
const TARGET_NOT_FOUND: i32 = 66;
const CLUSTER_UNREACHABLE: i32 = 69;
const AGENT: i32 = 74;
const TARGET_NOT_READY: i32 = 75;
const PERMISSION: i32 = 77;
const CONFIG: i32 = 78;
const PROGRAM_UNUSABLE: i32 = 126;
const PROGRAM_NOT_FOUND: i32 = 127;

#[test]
fn a_missing_program_is_found_out_before_anything_else() {
    let laptop = Laptop::new();
    laptop.exec("", "no-such-program").exited(PROGRAM_NOT_FOUND).says("command not found: no-such-program");
}

#[test]
fn programs_that_the_layer_cannot_enter_are_named_with_the_reason() {
    let laptop = Laptop::new();
    laptop.write("static.c", "int main(void) { return 0; }");
    for (flags, reason) in [("-static", "statically linked"), ("-static-pie", "statically linked")] {
        let mut compile = laptop.command("cc");
        compile.args([flags, "-o", "program", "static.c"]);
        laptop.run(compile).success();
        laptop.exec("", "./program").exited(PROGRAM_UNUSABLE).says(reason);
    }
}

#[test]
fn a_session_in_a_session_is_refused() {
    let laptop = Laptop::new();
    let mut command = laptop.mirror(["exec", "--", "true"]);
    command.env("MIRROR_LAYER_SESSION", "mirror-x:0:00000000000000000000000000000000");
    laptop.run(command).exited(USAGE).says("already runs in a session");
}

#[test]
fn kubeconfig_problems_say_what_to_do() {
    let laptop = Laptop::new();
    laptop.exec("--kubeconfig /nonexistent", "true").exited(CONFIG).says("no kubeconfig at /nonexistent").says("next:");
    laptop.write("broken", "clusters: [");
    laptop.exec("--kubeconfig broken", "true").exited(CONFIG).says("cannot use the kubeconfig");
    laptop.exec("--context miror", "true").exited(CONFIG).says("did you mean mirror?");
}

#[test]
fn an_api_server_that_is_not_there_is_named() {
    let laptop = Laptop::new();
    let kubeconfig = std::fs::read_to_string(Cluster::shared().user_kubeconfig()).expect("a kubeconfig");
    let elsewhere = kubeconfig.replace(Cluster::shared().api_url(), "https://127.0.0.1:9");
    laptop.write("elsewhere", &elsewhere);
    laptop.exec("--kubeconfig elsewhere", "true").exited(CLUSTER_UNREACHABLE).says("https://127.0.0.1:9").says("next:");
}

#[test]
fn a_server_with_a_certificate_of_somebody_else_is_refused() {
    let laptop = Laptop::new();
    let kubeconfig = std::fs::read_to_string(Cluster::shared().user_kubeconfig()).expect("a kubeconfig");
    let value = |key: &str| {
        let (_, rest) = kubeconfig.split_once(&format!("{key}: ")).expect(key);
        rest.lines().next().expect("a value")
    };
    // Trusts the user's own certificate in place of the cluster's authority.
    let distrustful = kubeconfig.replace(value("certificate-authority-data"), value("client-certificate-data"));
    laptop.write("distrustful", &distrustful);
    laptop
        .exec("--kubeconfig distrustful", "true")
        .exited(CLUSTER_UNREACHABLE)
        .says("no secure connection")
        .says("--accept-invalid-certificates");
    laptop.exec("--kubeconfig distrustful --accept-invalid-certificates", "true").success();
}

#[test]
fn an_api_server_whose_name_nobody_knows_is_told_so() {
    let laptop = Laptop::new();
    let kubeconfig = std::fs::read_to_string(Cluster::shared().user_kubeconfig()).expect("a kubeconfig");
    laptop.write("nameless", &kubeconfig.replace("127.0.0.1", "api.invalid"));
    laptop.exec("--kubeconfig nameless", "true").exited(CLUSTER_UNREACHABLE).says("its name cannot be resolved");
}

#[test]
fn a_missing_credential_plugin_is_named() {
    let laptop = Laptop::new();
    let url = Cluster::shared().api_url();
    laptop.write(
        "plugin",
        &format!(
            r#"{{"apiVersion":"v1","kind":"Config","current-context":"c",
            "clusters":[{{"name":"c","cluster":{{"server":"{url}","insecure-skip-tls-verify":true}}}}],
            "contexts":[{{"name":"c","context":{{"cluster":"c","user":"u"}}}}],
            "users":[{{"name":"u","user":{{"exec":{{"apiVersion":"client.authentication.k8s.io/v1","command":"no-such-plugin","interactiveMode":"Never"}}}}}}]}}"#
        ),
    );
    laptop.exec("--kubeconfig plugin", "true").exited(PERMISSION).says("credential plugin").says("next:");
}

#[test]
fn targets_that_are_not_there_are_answered_with_the_nearest() {
    let laptop = Laptop::new();
    laptop
        .exec("-t deployment/echo-servr", "true")
        .exited(TARGET_NOT_FOUND)
        .says("did you mean deployment/echo-server?");
    laptop.exec("-n othr -t pod/x", "true").exited(TARGET_NOT_FOUND).says("did you mean other?");
    laptop.exec("-t pod/echo-sidecar --container ap", "true").exited(TARGET_NOT_FOUND).says("did you mean app?");
    laptop.exec("-t deploymnt/x", "true").exited(CONFIG).says("deployment");
}

#[test]
fn targets_that_are_not_ready_say_why() {
    let laptop = Laptop::new();
    laptop.exec("-t deployment/echo-zero", "true").exited(TARGET_NOT_READY).says("has no pods");
    laptop.exec("-t deployment/echo-unready", "true").exited(TARGET_NOT_READY).says("is not ready");
}

#[test]
fn a_configuration_with_errors_shows_them_all() {
    let laptop = Laptop::new();
    laptop.write(".mirror.json", "{\n  \"targt\": 1,\n  \"agent\": {\"ttl\": \"soon\"}\n}\n");
    let outcome = laptop.exec("", "true").exited(CONFIG).says(".mirror.json:2:3").says("target");
    assert!(outcome.stderr.contains(":3:"), "both problems are shown:\n{}", outcome.stderr);
}

#[test]
fn each_missing_permission_is_named_with_its_rule() {
    let laptop = Laptop::new();
    let rules = [
        ("deployments", "apps", r#""get""#),
        ("pods", "", r#""list""#),
        ("jobs", "batch", r#""create""#),
        ("configmaps", "", r#""create""#),
        ("jobs", "batch", r#""patch""#),
        ("pods", "", r#""watch""#),
        ("pods/portforward", "", r#""create", "get""#),
    ];
    start_rule_by_rule(&laptop, "-t deployment/echo-server", &rules);
    // Who may neither delete nor patch jobs leaves them to their deadline.
    Cluster::shared().wait_gone(&laptop.selector(), 120);
}

/// Starts a session as a user who may nothing: each rule that a message asks for is granted, until it starts.
pub(crate) fn start_rule_by_rule(laptop: &Laptop, options: &str, rules: &[(&str, &str, &str)]) {
    let file = laptop.home().join("kubeconfig");
    let role = laptop.selector().replace("mirror-test=", "limited-");
    Cluster::shared().mint_kubeconfig(&role, &file, &[]);
    let options = format!("--kubeconfig kubeconfig {options}");
    let mut granted = Vec::new();
    for (resource, group, verbs) in rules {
        let rule = format!(r#"{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{verbs}]}}"#);
        laptop.exec(&options, "true").exited(PERMISSION).says(&rule);
        granted.push(rule);
        let (kind, part) = resource.split_once('/').unwrap_or((resource, ""));
        let kind = format!("{kind}.{group}");
        let verb = verbs.split('"').nth(1).expect("a verb");
        let question = format!("{verb} {} --subresource={part}", kind.trim_end_matches('.'));
        Cluster::shared().grant(&manifest(&role, &granted), &role, &question, "yes");
    }
    laptop.exec(&options, "true").success();
    Cluster::shared().kubectl(&["delete", "role,rolebinding", &role]);
}

/// A role with these rules, for the user of the same name.
fn manifest(role: &str, rules: &[String]) -> String {
    let rules = rules.join(",\n  ");
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {role}, namespace: default}}
rules: [{rules}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {role}, namespace: default}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {role}}}]
"
    )
}

#[test]
fn an_expired_certificate_is_told_from_a_missing_permission() {
    let laptop = Laptop::new();
    let file = laptop.home().join("kubeconfig");
    Cluster::shared().mint_kubeconfig("late", &file, &["--expires", "1s"]);
    let mut expired = laptop.command("sh");
    // Ends when the certificate has: kubectl asks until it is refused.
    expired.args(["-c", "until \"$0\" --kubeconfig kubeconfig get pods 2>&1 | grep -q -i -e unauthorized -e expired -e logged; do :; done"]).arg(Cluster::shared().kubectl_path());
    laptop.run(expired).success();
    laptop
        .exec("--kubeconfig kubeconfig -t deployment/echo-server", "true")
        .exited(PERMISSION)
        .says("log in to the cluster again");
}

#[test]
fn pod_security_and_quota_are_shown_in_the_servers_words() {
    let laptop = Laptop::new();
    laptop.exec("-n restricted -t deployment/echo-server", "true").exited(AGENT).says("PodSecurity").says("next:");
    laptop.exec("-n quota -t deployment/echo-server", "true").exited(AGENT).says("quota").says("next:");
}

#[test]
fn an_agent_that_cannot_come_up_is_explained() {
    let laptop = Laptop::new();
    laptop
        .exec("-t deployment/echo-server --agent-image mirror.test/absent:1", "true")
        .exited(AGENT)
        .says("mirror.test/absent:1")
        .says("agent.image");
    let mut starved = laptop.mirror(["exec", "-t", "deployment/echo-server", "--", "true"]);
    starved.env("MIRROR_AGENT_RESOURCES", r#"{"limits": {"memory": "4Mi"}}"#);
    laptop.run(starved).exited(AGENT).says("memory");
    let mut greedy = laptop.mirror(["exec", "-t", "deployment/echo-server", "--", "true"]);
    greedy.env("MIRROR_AGENT_RESOURCES", r#"{"requests": {"cpu": "1000"}, "limits": {}}"#);
    laptop.run(greedy).exited(AGENT).says("cannot be scheduled").says("Insufficient cpu");
}

#[test]
fn two_sessions_at_once_do_not_disturb_each_other() {
    let laptop = Laptop::new();
    let mut first = laptop.start(laptop.mirror(["exec", "-q", "-t", "deployment/echo-server", "--", "cat"]));
    let mut second = laptop.start(laptop.mirror(["exec", "-q", "-t", "deployment/echo-server", "--", "cat"]));
    for running in [&mut first, &mut second] {
        use std::io::Write;
        running.stdin().write_all(b"ready\n").expect("written");
        running.wait_for("ready");
    }
    for running in [&mut first, &mut second] {
        running.close_stdin();
        assert!(running.wait().success());
    }
}
