//! `cargo xtask bench serve`: what a keystroke in a configuration costs, and how soon the picker shows ten thousand pods.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::figures::{Goal, print_alone};
use super::state_folder;
use crate::build;

/// How to measure the helper.
#[derive(Args)]
pub(crate) struct Serve {
    /// Keystrokes that are counted.
    #[arg(short = 'n', long, default_value_t = 1000)]
    keystrokes: usize,
    /// Pods in the namespace that the picker shows.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Keep the namespace with the pods for the next run.
    #[arg(long)]
    keep: bool,
    /// A `mirror` that is built already, instead of the release build.
    #[arg(long)]
    mirror: Option<PathBuf>,
}

/// Where the pods are.
const NAMESPACE: &str = "mirror-bench-pods";

/// Pods in one request to create them, and such requests at a time.
const BATCH: usize = 250;
const AT_ONCE: usize = 4;

/// The longest time that a helper or the cluster may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between keystrokes: nobody types faster, and what is wrong with a text is looked for meanwhile.
const PAUSE: Duration = Duration::from_millis(30);

/// Goals of a keystroke (99th percentile) and of the picker's first frame, in milliseconds.
const KEYSTROKE: Goal = Goal::AtMost(5.0);
const FRAME: Goal = Goal::AtMost(50.0);

/// Runs the measurement.
pub(super) fn run(serve: &Serve) -> Result<()> {
    let mirror = match &serve.mirror {
        Some(mirror) => mirror.clone(),
        None => build::mirror("release")?,
    };
    let kubeconfig = state_folder().join("admin.kubeconfig");
    ensure!(kubeconfig.is_file(), "no cluster: cargo xtask cluster up");
    let _pods = Pods::make(&kubeconfig, serve.pods, serve.keep)?;
    println!("{:<38} {:>9}", "milliseconds", "mirror");
    keystrokes(&mirror, &kubeconfig, "default", serve.keystrokes)?;
    keystrokes(&mirror, &kubeconfig, NAMESPACE, serve.keystrokes)?;
    frames(&mirror, &kubeconfig, serve.pods)
}

/// The pods that no node runs; gone with the value, and with this program when that is interrupted or killed.
struct Pods {
    kubeconfig: PathBuf,
    /// Deletes the namespace as soon as its input ends; none if that is to stay.
    keeper: Option<Child>,
}

impl Drop for Pods {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // This closes its input.
            keeper.wait().ok();
        }
    }
}

impl Pods {
    fn make(kubeconfig: &Path, wanted: usize, keep: bool) -> Result<Self> {
        let mut pods = Self { kubeconfig: kubeconfig.to_owned(), keeper: None };
        if !keep {
            let status = pods.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).status()?;
            ensure!(status.success(), "the namespace {NAMESPACE} is still there");
            pods.keeper = Some(pods.keeper()?);
        }
        pods.kubectl().args(["create", "namespace", NAMESPACE]).stderr(Stdio::null()).stdout(Stdio::null()).status()?;
        let present = pods.count()?;
        println!("making {} pods that no node runs", wanted.saturating_sub(present));
        let numbers: Vec<usize> = (present..wanted).collect();
        for round in numbers.chunks(BATCH * AT_ONCE) {
            thread::scope(|scope| {
                let batches: Vec<_> = round.chunks(BATCH).map(|batch| scope.spawn(|| pods.make_batch(batch))).collect();
                batches.into_iter().try_for_each(|batch| batch.join().expect("no panic"))
            })?;
        }
        let made = pods.count()?;
        ensure!(made == wanted, "there are {made} pods, not {wanted}: kubectl delete namespace {NAMESPACE}");
        Ok(pods)
    }

    fn keeper(&self) -> Result<Child> {
        let kubectl = self.kubectl();
        // The terminal's signals reach it, too.
        let mut command = Command::new("sh");
        command.args(["-c", r#"trap '' INT TERM HUP; cat; exec "$@""#, "sh"]).arg(kubectl.get_program());
        command.args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot run sh")
    }

    fn kubectl(&self) -> Command {
        let mut command = Command::new(state_folder().join("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn count(&self) -> Result<usize> {
        let mut command = self.kubectl();
        let output = command.args(["get", "pods", "--namespace", NAMESPACE, "--output=name"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().count())
    }

    fn make_batch(&self, numbers: &[usize]) -> Result<()> {
        let mut list = String::new();
        for number in numbers {
            let container =
                json!({ "name": "app", "image": "mirror.test/debian:1", "ports": [{ "containerPort": 80 }] });
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": format!("shop-{number:05}"), "labels": { "app": "shop" } },
                "spec": { "schedulerName": "none", "containers": [container] },
            });
            writeln!(list, "---\n{pod}")?;
        }
        let mut command = self.kubectl();
        command.args(["create", "--namespace", NAMESPACE, "--filename=-"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().context("cannot run kubectl")?;
        child.stdin.take().context("piped")?.write_all(list.as_bytes())?;
        ensure!(child.wait()?.success(), "pods cannot be made");
        Ok(())
    }
}

/// A helper, as an editor has it.
struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    number: u64,
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Helper {
    fn start(mirror: &Path, kubeconfig: &Path) -> Result<Self> {
        let mut command = Command::new(mirror);
        command.arg("serve").env("KUBECONFIG", kubeconfig).stderr(Stdio::null());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run mirror")?;
        let (input, output) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        let mut helper = Self { child, input, output: BufReader::new(output), number: 0 };
        helper.ask("initialize", &json!({ "processId": std::process::id(), "rootUri": null, "capabilities": {} }))?;
        helper.notify("initialized", &json!({}))?;
        Ok(helper)
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let body = message.to_string();
        Ok(write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len())?)
    }

    fn notify(&mut self, method: &str, params: &Value) -> Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    /// The answer, as text: who measures must not measure how long it takes to read it.
    fn ask(&mut self, method: &str, params: &Value) -> Result<Vec<u8>> {
        self.number += 1;
        let id = format!("\"id\":{}}}", self.number);
        let ids = format!("\"id\":{},", self.number);
        self.send(&json!({ "jsonrpc": "2.0", "id": self.number, "method": method, "params": params }))?;
        self.message(|body| {
            let (first, last) = (&body[..body.len().min(100)], &body[body.len().saturating_sub(100)..]);
            let has = |part: &[u8]| [&id, &ids].iter().any(|id| find(part, id.as_bytes()));
            !find(first, b"\"method\"") && (has(first) || has(last))
        })
    }

    /// The next message that is the wanted one.
    fn message(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let began = Instant::now();
        loop {
            ensure!(began.elapsed() < PATIENCE, "the helper does not answer");
            let mut length = 0;
            loop {
                let mut line = String::new();
                ensure!(self.output.read_line(&mut line)? > 0, "the helper has ended");
                match line.trim().split_once(": ") {
                    Some(("Content-Length", value)) => length = value.parse()?,
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            self.output.read_exact(&mut body)?;
            if is_wanted(&body) {
                return Ok(body);
            }
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Types a target's name again and again, with a completion after each letter.
fn keystrokes(mirror: &Path, kubeconfig: &Path, namespace: &str, count: usize) -> Result<()> {
    let mut helper = Helper::start(mirror, kubeconfig)?;
    let uri = "file:///project/.mirror.json";
    let text = |typed: &str| {
        let overrides: String = (0..40).map(|n| format!("      \"VARIABLE_{n}\": \"value {n}\",\n")).collect();
        format!(
            "{{\n  \"target\": {{ \"namespace\": \"{namespace}\", \"path\": \"{typed}\" }},\n  \"feature\": {{\n    \
             \"env\": {{ \"override\": {{\n{overrides}      \"LAST\": \"1\" }} }},\n    \"network\": {{ \"incoming\": \
             {{ \"mode\": \"steal\", \"http_filter\": {{ \"header_filter\": \"x-user: ann\" }} }} }}\n  }}\n}}\n"
        )
    };
    let open = json!({ "uri": uri, "languageId": "mirror", "version": 0, "text": text("") });
    helper.notify("textDocument/didOpen", &json!({ "textDocument": open }))?;
    let before = text("");
    let column =
        before.lines().nth(1).and_then(|line| line.find("\"path\": \"")).context("a line")? + "\"path\": \"".len();
    let name = "deployment/echo-server";
    let type_one = |helper: &mut Helper, index: usize| {
        let typed = &name[..index % name.len() + 1];
        let change = json!({ "textDocument": { "uri": uri, "version": index + 1 }, "contentChanges": [{ "text": text(typed) }] });
        let position = json!({ "line": 1, "character": column + typed.len() });
        let place = json!({ "textDocument": { "uri": uri }, "position": position });
        let began = Instant::now();
        helper.notify("textDocument/didChange", &change)?;
        let answer = helper.ask("textDocument/completion", &place)?;
        anyhow::Ok((began.elapsed(), answer))
    };
    // Until the cluster has answered there is less to offer.
    let began = Instant::now();
    while !find(&type_one(&mut helper, 0)?.1, if namespace == NAMESPACE { b"shop-0" } else { b"echo-server" }) {
        ensure!(began.elapsed() < PATIENCE, "the helper offers no target");
        thread::sleep(Duration::from_millis(100));
    }
    let mut echo = Echo::start()?;
    let (mut times, mut bare) = (Vec::new(), Vec::new());
    for index in 1..=count {
        thread::sleep(PAUSE);
        times.push(milliseconds(type_one(&mut helper, index)?.0));
        // What the machine takes to wake up another process and this one again.
        thread::sleep(PAUSE);
        bare.push(milliseconds(echo.answer()?));
    }
    for (what, mut times, goal) in [
        (format!("a keystroke in {namespace}"), times, KEYSTROKE),
        ("  cat, the same way".to_owned(), bare, Goal::None),
    ] {
        times.sort_by(f64::total_cmp);
        print_alone(&format!("{what}, p50"), times[count / 2], Goal::None);
        print_alone(&format!("{what}, p99"), times[count * 99 / 100], goal);
    }
    Ok(())
}

/// `cat`, which says what is said to it.
struct Echo {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Echo {
    fn start() -> Result<Self> {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run cat")?;
        let (input, output) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        Ok(Self { child, input, output })
    }

    fn answer(&mut self) -> Result<Duration> {
        let (began, text) = (Instant::now(), [b'.'; 2048]);
        self.input.write_all(&text)?;
        self.output.read_exact(&mut [0; 2048])?;
        Ok(began.elapsed())
    }
}

/// Opens the picker, at first and again.
fn frames(mirror: &Path, kubeconfig: &Path, pods: usize) -> Result<()> {
    let mut helper = Helper::start(mirror, kubeconfig)?;
    let place = json!({ "place": { "namespace": NAMESPACE } });
    let began = Instant::now();
    let mut answer = helper.ask("mirror/targets/watch", &place)?;
    print_alone("picker, first answer ever", milliseconds(began.elapsed()), Goal::None);
    let is_whole =
        |answer: &[u8]| Ok::<_, anyhow::Error>(serde_json::from_slice::<Value>(answer)?["result"]["complete"] == true);
    while !is_whole(&answer)? {
        ensure!(began.elapsed() < PATIENCE, "the list is never whole");
        thread::sleep(Duration::from_millis(50));
        answer = helper.ask("mirror/targets/list", &place)?;
    }
    print_alone("picker, whole list", milliseconds(began.elapsed()), Goal::None);
    let (mut times, mut all) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let began = Instant::now();
        let answer = serde_json::from_slice::<Value>(&helper.ask("mirror/targets/watch", &place)?)?;
        times.push(milliseconds(began.elapsed()));
        let mut rows = answer["result"]["targets"]["targets"].as_array().map_or(0, Vec::len);
        ensure!(rows > 0, "the picker shows nothing at first");
        while rows < pods {
            let told = helper.message(|body| find(&body[..body.len().min(100)], b"\"mirror/targets/changed\""))?;
            rows += serde_json::from_slice::<Value>(&told)?["params"]["changed"].as_array().map_or(0, Vec::len);
        }
        all.push(milliseconds(began.elapsed()));
        helper.ask("mirror/targets/unwatch", &json!({ "watch": answer["result"]["watch"] }))?;
    }
    times.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    print_alone(&format!("picker again, {pods} pods, first frame p50"), times[10], FRAME);
    print_alone("  longest", times[19], FRAME);
    print_alone("  all of them, p50", all[10], Goal::None);
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
