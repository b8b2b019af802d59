//! `mirror serve` on a real cluster: targets as they come and go, and sessions whose programs an editor starts.

use std::process::Command;

use serde_json::{Value, json};
use tests::{AgentImage, Cluster, Deployment, Editor, Laptop, Running};

/// Exit code where a right is missing.
const PERMISSION: i32 = 77;

/// Serves on a port, tells what it is asked, answers that it is local.
const SERVE: &str = r#"
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print("asked", self.path, flush=True)
        body = b"from laptop\n"
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
print("listens as", os.environ.get("POD_NAME"), "and", os.environ.get("COLOUR"), flush=True)
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
"#;

fn editor(laptop: &Laptop) -> Editor {
    Editor::initialized(laptop.mirror(["serve"]))
}

/// What an editor asks for when it launches Python.
fn wish(laptop: &Laptop, deployment: &Deployment, name: &str) -> Value {
    let configuration = json!({ "program": "serve.py", "env": { "COLOUR": "of the launch" } });
    json!({
        "folder": laptop.home(), "target": deployment.path(), "traffic": "steal", "workDoneToken": "t",
        "launch": { "type": "debugpy", "name": name, "configuration": configuration },
    })
}

/// What the editor does with a plan: starts the program with the environment that it says.
fn launch(laptop: &Laptop, plan: &Value, port: u16) -> Running {
    laptop.write("serve.py", SERVE);
    // Set by the user, not for who becomes the user.
    let mut command: Command = laptop.command("/usr/bin/env");
    for (name, value) in plan["configuration"]["env"].as_object().expect("an environment") {
        command.arg(format!("{name}={}", value.as_str().expect("a text")));
    }
    command.args(["/usr/bin/python3", "serve.py", &port.to_string()]);
    laptop.start(command)
}

fn in_state(state: &'static str) -> impl Fn(&Value) -> bool {
    move |params| params["state"] == state
}

#[test]
fn an_editors_program_answers_the_pods_clients_and_comes_back_after_a_restart() {
    let laptop = Laptop::new();
    let deployment = Deployment::start(&laptop, 8601);
    let mut editor = editor(&laptop);
    let started = editor.call("mirror/session/start", wish(&laptop, &deployment, "serve"));
    let session = started["session"]["session"].clone();
    assert_eq!(started["session"]["state"], "waiting-for-program");
    assert_eq!((&started["session"]["traffic"], &started["reused"]), (&json!("steal"), &json!(false)));
    let environment = &started["plan"]["configuration"]["env"];
    assert_eq!(environment["COLOUR"], "of the launch", "the launch wins over the pod");
    // Python's launches go to a terminal, where people see the variables.
    assert_eq!(environment["POD_NAME"], Value::Null, "the layer sets it");
    editor.wait_for("$/progress", |params| params["value"]["kind"] == "end");

    let mut program = launch(&laptop, &started["plan"], 8601);
    let processes = editor.wait_for("mirror/session/processes", |_| true);
    assert_eq!(processes["processes"][0]["pid"], program.pid());
    assert_eq!(processes["processes"][0]["argv"][1], "serve.py");
    editor.wait_for("mirror/session/state", in_state("active"));
    let said = program.wait_for("listens as shop-");
    assert!(said.contains(" and of the launch"), "the launch wins over the pod: {said}");
    let ports = editor.wait_for("mirror/session/ports", |params| params["ports"][0]["port"] == 8601);
    assert_eq!(ports["ports"][0], json!({ "port": 8601, "local": 8601, "mode": "steal", "filtered": false }));
    assert_eq!(deployment.ask("/who", "a: b"), "from laptop");
    let requests = editor.wait_for("mirror/session/requests", |_| true);
    assert_eq!(requests["requests"][0]["outcome"], "local");

    // The debugger is restarted.
    tests::kill(&[program.pid()]);
    program.wait();
    editor.wait_for("mirror/session/state", in_state("waiting-for-program"));
    assert_eq!(deployment.ask("/who", "a: b"), "from pod");
    let again = editor.call("mirror/session/start", wish(&laptop, &deployment, "serve"));
    assert_eq!((&again["reused"], &again["session"]["session"]), (&json!(true), &session));
    let is_awaited =
        |params: &Value| params["cause"].as_str().is_some_and(|cause| cause.contains("about to be started"));
    editor.wait_for("mirror/session/state", is_awaited);
    let mut program = launch(&laptop, &again["plan"], 8601);
    program.wait_for("listens");
    editor.wait_for("mirror/session/ports", |params| params["ports"][0]["port"] == 8601);
    assert_eq!(deployment.ask("/who", "a: b"), "from laptop");

    editor.call("mirror/session/stop", json!({ "session": session }));
    editor.wait_for("mirror/session/state", in_state("ended"));
    assert_eq!(deployment.ask("/who", "a: b"), "from pod");
    assert_eq!(editor.call("mirror/session/list", json!({}))["sessions"], json!([]));
}

#[test]
fn a_session_survives_its_helper_and_is_found_again() {
    let laptop = Laptop::new();
    let deployment = Deployment::start(&laptop, 8602);
    let mut first = editor(&laptop);
    let started = first.call("mirror/session/start", wish(&laptop, &deployment, "serve"));
    let session = started["session"]["session"].clone();
    let mut program = launch(&laptop, &started["plan"], 8602);
    program.wait_for("listens");
    first.wait_for("mirror/session/state", in_state("active"));
    first.kill();
    assert_eq!(deployment.ask("/who", "a: b"), "from laptop");
    let mut second = editor(&laptop);
    let list = second.call("mirror/session/list", json!({}));
    assert_eq!(list["sessions"][0]["session"], session);
    assert_eq!(list["sessions"][0]["state"], "active");
    assert_eq!(list["sessions"][0]["processes"][0]["pid"], program.pid());
    assert_eq!(list["sessions"][0]["folder"], json!(laptop.home()));
    deployment.ask("/again", "a: b");
    second.wait_for("mirror/session/requests", |_| true);
    let error = second.fails("mirror/session/restart", json!({ "session": "absent" }));
    assert_eq!(error["data"]["code"], "session-not-found");
    second.call("mirror/session/stop", json!({ "session": session }));
    tests::kill(&[program.pid()]);
    program.wait();
}

#[test]
fn a_session_of_a_terminal_is_told_to_editors() {
    let laptop = Laptop::new();
    let mut editor = editor(&laptop);
    let mut program = laptop.start(laptop.mirror(["exec", "-q", "--", "sh", "-c", "read line"]));
    let told = editor.wait_for("mirror/session/state", |_| true);
    let list = editor.call("mirror/session/list", json!({}));
    assert_eq!(
        (&list["sessions"][0]["session"], &list["sessions"][0]["origin"]),
        (&told["session"], &json!("terminal"))
    );
    program.close_stdin();
    program.wait();
    editor.wait_for("mirror/session/state", in_state("ended"));
}

#[test]
fn a_session_ends_when_nobody_comes_back() {
    let laptop = Laptop::new();
    let mut command = laptop.mirror(["serve"]);
    command.env("MIRROR_SESSION_START_TIMEOUT", "2");
    let mut editor = Editor::initialized(command);
    let launch = json!({ "type": "terminal", "name": "shell" });
    let start = json!({ "folder": laptop.home(), "target": "targetless", "launch": launch });
    let started = editor.call("mirror/session/start", start);
    assert!(started["plan"]["set"]["LD_PRELOAD"].is_string(), "{started}");
    let ended = editor.wait_for("mirror/session/state", in_state("ended"));
    assert!(ended["cause"].as_str().is_some_and(|cause| cause.contains("for 2 s")), "{ended}");
}

#[test]
fn a_start_that_is_cancelled_leaves_nothing() {
    let laptop = Laptop::new();
    let deployment = Deployment::start(&laptop, 8603);
    let mut editor = editor(&laptop);
    for step in ["connecting to the cluster", "creating the agent", "waiting for the agent"] {
        let id = editor.ask("mirror/session/start", wish(&laptop, &deployment, step));
        editor.wait_for("$/progress", |params| params["value"]["message"] == step);
        editor.notify("$/cancelRequest", json!({ "id": id }));
        let answer = editor.answer(&json!(id));
        let session = &answer["result"]["session"]["session"];
        if step == "waiting for the agent" && session.is_string() {
            // The agent was ready when the request came.
            editor.call("mirror/session/stop", json!({ "session": session }));
            let is_it = |params: &Value| params["session"] == *session && in_state("ended")(params);
            editor.wait_for("mirror/session/state", is_it);
        } else {
            assert_eq!(answer["error"]["code"], -32800, "{answer}");
        }
        laptop.wait_hosts_gone();
    }
    Cluster::shared().wait_gone(&laptop.selector(), 60);
    assert_eq!(editor.call("mirror/session/list", json!({}))["sessions"], json!([]));
}

#[test]
fn filtered_requests_are_told_with_their_answers_and_two_sessions_stand_at_once() {
    let laptop = Laptop::new();
    let one = Deployment::start(&laptop, 8604);
    let text =
        r#"{"feature": {"network": {"incoming": {"mode": "steal", "http_filter": {"header_filter": "x-user: ann"}}}}}"#;
    laptop.write(".mirror.json", text);
    let mut editor = editor(&laptop);
    let mut filtered = wish(&laptop, &one, "filtered");
    filtered.as_object_mut().expect("an object").remove("traffic");
    let first = editor.call("mirror/session/start", filtered);
    let launch_of = json!({ "type": "node", "name": "other" });
    let other = editor
        .call("mirror/session/start", json!({ "folder": laptop.home(), "target": "targetless", "launch": launch_of }));
    assert_ne!(first["session"]["session"], other["session"]["session"]);
    assert_eq!(editor.call("mirror/session/list", json!({}))["sessions"].as_array().map(Vec::len), Some(2));
    let mut program = launch(&laptop, &first["plan"], 8604);
    program.wait_for("listens");
    editor.wait_for("mirror/session/ports", |params| params["ports"][0]["filtered"] == true);
    assert_eq!(one.ask("/who", "x-user: bob"), "from pod");
    assert_eq!(one.ask("/mine?token=secret", "x-user: ann"), "from laptop");
    let is_answered = |request: &&Value| request["status"] == 200 && request["outcome"] == "local";
    let answered = |params: &Value| params["requests"].as_array()?.iter().find(is_answered).cloned();
    let told = editor.wait_for("mirror/session/requests", |params| answered(params).is_some());
    let request = answered(&told);
    let request = request.expect("there is one");
    assert_eq!((&request["method"], &request["path"]), (&json!("GET"), &json!("/mine")));
    for session in [&first, &other] {
        editor.call("mirror/session/stop", json!({ "session": session["session"]["session"] }));
    }
    tests::kill(&[program.pid()]);
    program.wait();
}

#[test]
fn an_edited_configuration_is_applied_or_says_that_a_restart_is_needed() {
    let laptop = Laptop::new();
    let mut editor = editor(&laptop);
    let start = json!({ "folder": laptop.home(), "target": "deployment/echo-server", "launch": { "type": "node", "name": "a" } });
    let started = editor.call("mirror/session/start", start);
    let session = json!({ "session": started["session"]["session"] });
    laptop.write(".mirror.json", r#"{"feature": {"env": {"override": {"COLOUR": "red"}}}}"#);
    let updated = editor.call("mirror/session/update", session.clone());
    assert_eq!(updated, json!({ "applied": [], "forNewProcesses": ["feature.env"], "needsRestart": [] }));
    laptop.write(".mirror.json", r#"{"feature": {"env": {"override": {"COLOUR": "red"}}, "network": {"dns": false}}}"#);
    let updated = editor.call("mirror/session/update", session.clone());
    assert_eq!(updated["needsRestart"], json!(["feature.network.dns.enabled"]));
    let again = editor.call("mirror/session/restart", session);
    assert_eq!(again["plan"]["set"]["COLOUR"], "red");
    assert_ne!(again["session"]["session"], started["session"]["session"]);
    editor.call("mirror/session/stop", json!({ "session": again["session"]["session"] }));
}

#[test]
fn a_configuration_that_is_saved_holds_for_the_next_request() {
    let laptop = Laptop::new();
    let deployment = Deployment::start(&laptop, 8606);
    let save = |incoming: Value| {
        let network = json!({ "incoming": incoming });
        laptop.write(".mirror.json", &json!({ "feature": { "network": network } }).to_string());
    };
    let only = |user: &str| json!({ "mode": "steal", "http_filter": { "header_filter": format!("x-user: {user}") } });
    save(only("ann"));
    let mut editor = editor(&laptop);
    let mut start = wish(&laptop, &deployment, "serve");
    start.as_object_mut().expect("an object").remove("traffic");
    let started = editor.call("mirror/session/start", start);
    let mut program = launch(&laptop, &started["plan"], 8606);
    program.wait_for("listens");
    editor.wait_for("mirror/session/ports", |params| params["ports"][0]["filtered"] == true);
    let answers = |ann: &str, bob: &str| {
        assert_eq!(
            (deployment.ask("/who", "x-user: ann"), deployment.ask("/who", "x-user: bob")),
            (ann.into(), bob.into())
        );
    };
    let (laptops, pods) = ("from laptop", "from pod");
    answers(laptops, pods);
    // What the filter leaves to the pod is told, too.
    let is_passed =
        |request: &Value| request["outcome"] == "passed" && request["path"] == "/who" && request["status"] == 200;
    editor.wait_for("mirror/session/requests", |params| {
        params["requests"].as_array().is_some_and(|all| all.iter().any(is_passed))
    });
    let incoming = "feature.network.incoming";
    let mut saved = |value: Value, keys: &[&str]| {
        save(value);
        let told = editor.wait_for("mirror/session/updated", |_| true);
        let keys: Vec<String> = keys.iter().map(|key| format!("{incoming}.{key}")).collect();
        assert_eq!(told["updated"], json!({ "applied": keys, "forNewProcesses": [], "needsRestart": [] }));
        (told["traffic"].clone(), told["filtered"].clone())
    };
    assert_eq!(saved(only("bob"), &["http_filter"]), (json!("steal"), json!(true)));
    answers(pods, laptops);
    assert_eq!(saved(json!("steal"), &["http_filter"]), (json!("steal"), json!(false)));
    answers(laptops, laptops);
    saved(json!({ "mode": "steal", "port_mapping": [[8606, 9606]] }), &["port_mapping"]);
    answers(pods, pods);
    saved(json!({ "mode": "mirror" }), &["mode", "port_mapping"]);
    answers(pods, pods);
    program.wait_for("asked /who");
    assert_eq!(saved(json!("off"), &["mode"]), (json!("off"), json!(false)));
    answers(pods, pods);
    save(json!("steal"));
    let told = editor.wait_for("mirror/session/updated", |_| true);
    assert_eq!(told["updated"]["needsRestart"], json!([format!("{incoming}.mode")]));
    editor.call("mirror/session/stop", json!({ "session": started["session"]["session"] }));
    tests::kill(&[program.pid()]);
    program.wait();
}

#[test]
fn targets_are_watched_as_they_come_and_go() {
    let laptop = Laptop::new();
    let mut editor = editor(&laptop);
    let watched = editor.call("mirror/targets/watch", json!({}));
    let deployment = Deployment::start(&laptop, 8605);
    let path = deployment.path();
    let has = |params: &Value| {
        let rows = params["changed"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["path"] == path.as_str() && row["available"] == true)
    };
    let changed = editor.wait_for("mirror/targets/changed", |params| has(params).is_some());
    assert_eq!(changed["watch"], watched["watch"]);
    let row = has(&changed).expect("there is one");
    assert_eq!((&row["ready"], &row["containers"][0]["name"]), (&json!("1/1"), &json!("shop")));
    assert_eq!(row["ports"][0], json!({ "port": 8605, "name": "http", "protocol": "TCP" }));
    let details = editor.call("mirror/targets/details", json!({ "target": path }));
    let variables = details["containers"][0]["variables"].as_array().expect("a list");
    assert!(variables.contains(&json!({ "name": "COLOUR", "source": "value" })), "{variables:?}");
    assert!(!details.to_string().contains("green"), "values are not told");
    assert_eq!(details["pods"].as_array().map(Vec::len), Some(1));

    // Somebody's session is shown where it is.
    let started = editor.call("mirror/session/start", wish(&laptop, &deployment, "serve"));
    let is_used = |params: &Value| {
        let rows = params["changed"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["path"] == path.as_str() && row["users"][0]["mode"] == "steal")
    };
    editor.wait_for("mirror/targets/changed", is_used);
    editor.call("mirror/session/stop", json!({ "session": started["session"]["session"] }));
    drop(deployment);
    let is_gone = |params: &Value| params["removed"].as_array().is_some_and(|all| all.contains(&json!(path)));
    editor.wait_for("mirror/targets/changed", is_gone);
    let list = editor.call("mirror/targets/list", json!({ "kinds": ["deploy"] }));
    assert!(list["targets"].as_array().is_some_and(|all| all.iter().all(|row| row["kind"] == "deployment")), "{list}");
    let names = editor.call("mirror/namespaces/list", json!({}));
    assert!(names["namespaces"].as_array().is_some_and(|all| !all.is_empty()), "{names}");
}

#[test]
fn a_configuration_is_compared_with_the_cluster() {
    let laptop = Laptop::new();
    let mut editor = editor(&laptop);
    let uri = format!("file://{}/.mirror.json", laptop.home().display());
    let text = "{\"target\": \"deployment/echo-servr\"}";
    let document = json!({ "uri": uri, "languageId": "json", "version": 1, "text": text });
    editor.notify("textDocument/didOpen", json!({ "textDocument": document }));
    let told = editor
        .wait_for("textDocument/publishDiagnostics", |params| params["diagnostics"][0]["code"] == "target-not-found");
    let problem = told["diagnostics"][0].clone();
    assert_eq!(problem["data"]["nearest"], "deployment/echo-server");
    let context = json!({ "diagnostics": [problem] });
    let actions = editor.call(
        "textDocument/codeAction",
        json!({ "textDocument": { "uri": uri }, "range": problem["range"], "context": context }),
    );
    assert_eq!(actions[0]["edit"]["changes"][&uri][0]["newText"], "\"deployment/echo-server\"");
    let place = json!({ "textDocument": { "uri": uri }, "position": { "line": 0, "character": 12 } });
    let items = editor.call("textDocument/completion", place);
    let labels: Vec<_> = items.as_array().expect("a list").iter().map(|item| item["label"].clone()).collect();
    assert!(labels.contains(&json!("deployment/echo-server")), "{labels:?}");
    let change = json!({ "textDocument": { "uri": uri, "version": 2 }, "contentChanges": [{ "text": text.replace("servr", "server") }] });
    editor.notify("textDocument/didChange", change);
    editor.wait_for("textDocument/publishDiagnostics", |params| {
        params["version"] == 2 && params["diagnostics"] == json!([])
    });
}

fn rights_problem(published: &Value) -> Option<Value> {
    let all = published["diagnostics"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|problem| problem["code"] == "rights-missing")
}

/// Opens a configuration and returns the text that grants what it needs, as soon as the problem is told.
fn rights_shown(editor: &mut Editor, laptop: &Laptop, text: &str) -> String {
    let uri = format!("file://{}", laptop.write(".mirror.json", text).display());
    let document = json!({ "uri": uri, "languageId": "json", "version": 1, "text": text });
    editor.notify("textDocument/didOpen", json!({ "textDocument": document }));
    let told = editor.wait_for("textDocument/publishDiagnostics", |params| rights_problem(params).is_some());
    let problem = rights_problem(&told).expect("it is there");
    let params =
        json!({ "textDocument": { "uri": uri }, "range": problem["range"], "context": { "diagnostics": [problem] } });
    let actions = editor.call("textDocument/codeAction", params).as_array().cloned().unwrap_or_default();
    let show = actions.iter().find(|action| action["command"]["command"] == "mirror.showText").expect("offered");
    assert_eq!(show["kind"], "quickfix");
    show["command"]["arguments"][1].as_str().expect("a text").to_owned()
}

#[test]
fn the_rights_that_a_configuration_needs_suffice_and_none_of_them_is_too_much() {
    let laptop = Laptop::new();
    let user = laptop.selector().replace("mirror-test=", "shown-");
    Cluster::shared().mint_kubeconfig(&user, &laptop.home().join("kubeconfig"), &[]);
    let mut command = laptop.mirror(["serve"]);
    command.env("KUBECONFIG", laptop.home().join("kubeconfig"));
    let mut editor = Editor::initialized(command);
    let manifest = rights_shown(&mut editor, &laptop, r#"{"target": "deployment/echo-server"}"#);
    // Other tests have the same target.
    let manifest = manifest.replace("mirror-deployment-echo-server", &user);
    assert!(manifest.contains(&format!("name: \"{user}\"")), "{manifest}");
    let options = "--kubeconfig kubeconfig";

    Cluster::shared().grant(&manifest, &user, "create jobs.batch", "yes");
    laptop.exec(options, "true").success();
    editor.wait_for("textDocument/publishDiagnostics", |params| rights_problem(params).is_none());
    for (question, with, without) in [
        ("get deployments.apps/echo-server", "[\"get\"]", "[\"update\"]"),
        ("list pods", "\"list\", \"watch\"", "\"watch\""),
        ("create jobs.batch", "\"create\", \"patch\"", "\"patch\""),
        ("create configmaps", "[\"create\"]", "[\"update\"]"),
        ("patch jobs.batch", "\"create\", \"patch\"", "\"create\""),
        ("watch pods", "\"list\", \"watch\"", "\"list\""),
        ("get pods --subresource=portforward", "\"get\", \"create\"", "\"create\""),
    ] {
        assert_eq!(manifest.matches(with).count(), 1, "{with} in {manifest}");
        Cluster::shared().grant(&manifest.replace(with, without), &user, question, "no");
        laptop.exec(options, "true").exited(PERMISSION);
    }
    editor.wait_for("textDocument/publishDiagnostics", |params| rights_problem(params).is_some());
    Cluster::shared().kubectl(&["delete", "role", &user]);
    Cluster::shared().kubectl(&["delete", "rolebinding", &format!("{user}-{user}")]);
}

#[test]
fn the_rights_for_an_agent_in_the_targets_pod_suffice() {
    let laptop = Laptop::new();
    let image = AgentImage::save(&laptop);
    let user = laptop.selector().replace("mirror-test=", "shown-");
    Cluster::shared().mint_kubeconfig(&user, &laptop.home().join("kubeconfig"), &[]);
    let deployment = Deployment::start(&laptop, 8606);
    let arguments = ["get", "pod", "-l", &format!("app={}", deployment.name()), "-o", "name"];
    let pod = Cluster::shared().kubectl(&arguments);
    laptop.write(
        ".mirror.json",
        &json!({ "target": pod.trim(), "agent": { "ephemeral": true, "image": image.name } }).to_string(),
    );
    let rights = laptop.mirror(["config", "rights", "--kubeconfig", "kubeconfig", "--user", &user]);
    let manifest = laptop.run(rights).success().stdout;
    assert!(!manifest.contains("jobs") && !manifest.contains("\"list\""), "{manifest}");
    let question = format!("patch {} --subresource=ephemeralcontainers", pod.trim());
    Cluster::shared().grant(&manifest, &user, "patch pods --subresource=ephemeralcontainers", "no");
    Cluster::shared().grant(&manifest, &user, &question, "yes");
    laptop.exec("--kubeconfig kubeconfig", "true").success();
    let less = manifest.replace("\"patch\"", "\"update\"");
    Cluster::shared().grant(&less, &user, &question, "no");
    laptop.exec("--kubeconfig kubeconfig", "true").exited(PERMISSION);
    Cluster::shared().kubectl(&["delete", "-f", &laptop.write("rights.yaml", &manifest).display().to_string()]);
}
