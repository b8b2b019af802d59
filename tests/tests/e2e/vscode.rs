//! The extension in a real VS Code in a real browser: installed from its package, driven by keys and clicks, and asked
//! from inside the cluster. The stories are told in `tests/vscode`; their screenshots stay in `target/vscode`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tests::{Cluster, Deployment, Laptop, Turn, kill};

/// The program that is debugged. The breakpoint is on the line that answers.
const SERVER: &str = r#"const http = require("node:http");

const port = Number(process.argv[2]);

function answer(request, response) {
  const caller = request.headers["x-caller"] ?? "nobody";
  const path = request.url.split("?")[0];
  response.end(`from this machine to ${caller}\n`, () => console.log(`answered ${path}`));
}

const token = process.env.SHOP_TOKEN ?? "";
http.createServer(answer).listen(port, () => console.log(`listens on ${port} with a token of ${token.length} letters`));
"#;

/// Line of the breakpoint.
const LINE: usize = 8;

/// Longest time of a story.
const PATIENCE: Duration = Duration::from_secs(600);

/// One for itself: an editor, a browser and a debugger keep a machine busy.
fn laptop() -> Laptop {
    Laptop::during(&Turn::alone())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// Copies a folder with all that is in it.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// A Node project with three launch configurations.
fn project(laptop: &Laptop, port: u16, config: &serde_json::Value) {
    laptop.write("shop/server.js", SERVER);
    laptop.write("shop/.mirror.json", &format!("{config:#}\n"));
    let launch = |name: &str, port: u16| {
        json!({
            "name": name, "type": "node", "request": "launch",
            "program": "${workspaceFolder}/server.js", "args": [port.to_string()],
        })
    };
    let mut in_terminal = launch("in a terminal", port);
    in_terminal["console"] = json!("integratedTerminal");
    in_terminal["mirror"] = json!(true);
    let file = json!({"version": "0.2.0", "configurations": [launch("shop", port), launch("plain", 0), in_terminal]});
    laptop.write("shop/.vscode/launch.json", &format!("{file:#}\n"));
    open_folders(laptop.home());
}

/// The project is the user's own.
fn open_folders(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let is_folder = path.is_dir();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(if is_folder { 0o777 } else { 0o666 }))
            .expect("chmod");
        if is_folder {
            open_folders(&path);
        }
    }
}

/// Tells a story, as the laptop's user. `more` are variables of the editor.
fn tell(laptop: &Laptop, story: &str, target: &str, port: u16, more: &[(&str, &str)]) {
    let name = target.split_once('/').map_or(target, |(_, name)| name);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Where this user may look.
    let (stories, pictures, vsix) =
        (laptop.home().join("stories"), laptop.home().join("pictures"), laptop.home().join("mirror.vsix"));
    copy_folder(&sources.join("vscode"), &stories);
    std::fs::copy(variable("MIRROR_VSIX"), &vsix).expect("the extension is built");
    let facts = json!({
        "modules": variable("MIRROR_EDITOR"), "vsix": vsix, "home": laptop.home(),
        "folder": laptop.home().join("shop"), "pictures": pictures, "target": target, "line": LINE,
        "mirror": laptop.mirror_path(), "libraries": Cluster::shared().libraries(), "port": port.to_string(),
        "url": format!("http://{name}:{port}"), "kubectl": Cluster::shared().kubectl_path(),
    });
    let file = laptop.write("story.json", &facts.to_string());
    let mut command = laptop.command("timeout");
    command.args(["--kill-after=20", &PATIENCE.as_secs().to_string(), "node"]);
    command.arg(stories.join("stories").join(format!("{story}.mjs"))).arg(file);
    command.envs(more.iter().copied());
    let outcome = laptop.run(command);
    let kept = sources.join("../target/vscode").join(story);
    std::fs::remove_dir_all(&kept).ok();
    copy_folder(&pictures, &kept);
    if !outcome.status.success() {
        kill(&laptop.processes());
    }
    outcome.success();
    laptop.wait_idle(Duration::from_secs(60));
}

#[test]
fn a_breakpoint_is_hit_by_a_request_of_the_cluster() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8391);
    let filter = json!({"header_filter": "^x-caller: "});
    let incoming = json!({"mode": "steal", "http_filter": filter});
    project(&laptop, deployment.port(), &json!({"feature": {"network": {"incoming": incoming}}}));
    tell(&laptop, "breakpoint", &deployment.path(), deployment.port(), &[]);
}

#[test]
fn live_targets_are_completed_and_a_wrong_name_is_marked_and_fixed() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8392);
    project(&laptop, deployment.port(), &json!({}));
    tell(&laptop, "language", &deployment.path(), deployment.port(), &[]);
}

#[test]
fn an_edited_configuration_holds_when_it_is_saved_and_a_terminal_shows_no_values_of_the_pod() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8398);
    let target = deployment.path();
    let incoming = json!({"mode": "steal", "http_filter": {"header_filter": "^x-caller: ann$"}});
    project(&laptop, deployment.port(), &json!({"target": target, "feature": {"network": {"incoming": incoming}}}));
    tell(&laptop, "edits", &target, deployment.port(), &[]);
}

#[test]
fn a_session_outlives_its_helper_and_its_window() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8393);
    let target = deployment.path();
    project(&laptop, deployment.port(), &json!({"target": target, "feature": {"network": {"incoming": "steal"}}}));
    tell(&laptop, "recovery", &target, deployment.port(), &[]);
}

#[test]
fn a_start_that_is_cancelled_leaves_nothing() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8397);
    let target = deployment.path();
    project(&laptop, deployment.port(), &json!({"target": target}));
    let slow = Cluster::shared().task(&["delay", "--ms", "400"]);
    let slow = std::fs::read_to_string(String::from_utf8_lossy(&slow.stdout).trim()).expect("a kubeconfig");
    let slow = laptop.write("slow.kubeconfig", &slow).display().to_string();
    tell(&laptop, "cancel", &target, deployment.port(), &[("KUBECONFIG", &slow)]);
    Cluster::shared().task(&["delay", "--ms", "0"]);
}

#[test]
fn a_cluster_that_does_not_answer_is_told_and_plain_launches_go_on() {
    let laptop = laptop();
    project(&laptop, 8394, &json!({"target": "deployment/shop"}));
    let text = std::fs::read_to_string(Cluster::shared().user_kubeconfig()).expect("a kubeconfig");
    // Nobody listens on port 1.
    let down = laptop.write("down.kubeconfig", &text.replace(Cluster::shared().api_url(), "https://127.0.0.1:1"));
    let down = down.display().to_string();
    tell(&laptop, "down", "deployment/shop", 8394, &[("KUBECONFIG", &down)]);
}

#[test]
fn debugpy_stops_at_a_request_of_the_cluster_under_the_launch_plan() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8395);
    project(&laptop, deployment.port(), &json!({"feature": {"network": {"incoming": "steal"}}}));
    tell(&laptop, "python", &deployment.path(), deployment.port(), &[]);
}

#[test]
fn jdb_stops_at_a_request_of_the_cluster_under_the_launch_plan() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8396);
    project(&laptop, deployment.port(), &json!({"feature": {"network": {"incoming": "steal"}}}));
    tell(&laptop, "java", &deployment.path(), deployment.port(), &[]);
}

#[test]
fn js_debug_stops_at_a_request_of_the_cluster_under_the_launch_plan() {
    let laptop = laptop();
    let deployment = Deployment::start(&laptop, 8399);
    project(&laptop, deployment.port(), &json!({"feature": {"network": {"incoming": "steal"}}}));
    tell(&laptop, "node", &deployment.path(), deployment.port(), &[]);
}
