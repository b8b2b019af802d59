//! `cargo xtask bench files`: many small files, a large tree and a large file of a pod, next to `kubectl exec tar` and to
//! one file at a time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::figures::{Goal, print_alone, print_heading, print_pairs, spread};
use super::ways::{Access, Cluster, Distance};
use crate::{build, tidy};

/// How to measure, and what.
#[derive(Args)]
pub(crate) struct Files {
    /// Counted rounds, after one that is not counted.
    #[arg(short = 'n', long, default_value_t = 5)]
    rounds: usize,
    /// MiB of the large file.
    #[arg(long, default_value_t = 500)]
    mebibytes: u64,
    /// Only what has this word in its name: many, tree, big, local.
    #[arg(long)]
    only: Option<String>,
    /// Milliseconds of a round trip to measure at; may be given more than once.
    #[arg(long = "round-trip", default_values_t = [0, 20])]
    round_trips: Vec<u64>,
    /// MiB that a link with a round trip carries in a second, each way; 0 is without limit.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// A `mirror` that is built already, instead of the release build.
    #[arg(long)]
    mirror: Option<PathBuf>,
}

/// What is compared: the program's word, the place in the pod, and the goal in milliseconds at 20 ms.
const CASES: [(&str, &str, f64); 3] =
    [("many", "/bench/many", 1500.0), ("tree", "/bench/tree", 2000.0), ("big", "/bench/big", 0.0)];

/// Runs the measurement.
pub(super) fn run(files: &Files) -> Result<()> {
    let mirror = match &files.mirror {
        Some(mirror) => mirror.clone(),
        None => build::mirror("release")?,
    };
    let cluster = Cluster::find()?;
    let pod = Pod::make(&cluster, files.mebibytes)?;
    let wanted = |name: &str| files.only.as_deref().is_none_or(|only| name.contains(only));
    for round_trip in &files.round_trips {
        let far = *round_trip > 0;
        let distance = match far {
            false => Distance::NONE,
            true => Distance { delay: Duration::from_millis(round_trip / 2), rate: files.rate },
        };
        let access = cluster.access(distance)?;
        let session = Session { mirror: &mirror, access: &access, pod: &pod, max_size: files.mebibytes + 1 };
        print_heading(&format!("{round_trip} ms round trip"));
        for (what, place, limit) in CASES.into_iter().filter(|(what, ..)| wanted(what)) {
            let link = files.mebibytes as f64 / f64::from(files.rate) * 1000.0;
            let goal = match what {
                _ if !far => Goal::None,
                "big" => Goal::AtMost(link / 0.8),
                _ => Goal::AtMost(limit),
            };
            session.compare(what, place, goal, files.rounds)?;
        }
        pod.await_end()?;
    }
    if wanted("local") {
        let access = cluster.access(Distance::NONE)?;
        let session = Session { mirror: &mirror, access: &access, pod: &pod, max_size: files.mebibytes + 1 };
        let (ours, plain) = (session.program("local", "/etc/passwd")?, program(&["local", "/etc/passwd"], None)?);
        println!();
        print_alone("open and close of a local file, ns more", ours - plain, Goal::AtMost(300.0));
    }
    Ok(())
}

/// The pod with the files; it goes with its handle.
struct Pod<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Pod<'a> {
    fn make(cluster: &'a Cluster, mebibytes: u64) -> Result<Self> {
        let name = format!("bench-files-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
        let script = format!(
            "mkdir -p /bench/many; cd /bench/many; for n in $(seq 0 999); do head -c 1000 /dev/urandom > $n; done; \
             for d in $(seq 100); do mkdir -p /bench/tree/$d; cd /bench/tree/$d; for n in $(seq 100); do echo $n > $n; done; done; \
             head -c {mebibytes}M /dev/urandom > /bench/big; touch /bench/ready; exec sleep infinity"
        );
        cluster.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "files", "image": "mirror.test/debian:1", "imagePullPolicy": "IfNotPresent",
                    "command": ["bash", "-c", script],
                    "readinessProbe": {"exec": {"command": ["test", "-e", "/bench/ready"]}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "bench", "mountPath": "/bench"}],
                }],
                "volumes": [{"name": "bench", "emptyDir": {}}],
            },
        }))?;
        let pod = Self { cluster, name };
        cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", &format!("pod/{}", pod.name)])?;
        Ok(pod)
    }

    /// Waits until nothing of a session is left: the way to the API server must not end before.
    fn await_end(&self) -> Result<()> {
        self.cluster.await_end(&self.name)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        self.cluster.kubectl(&["delete", "pod", &self.name, "--wait=false"]).ok();
    }
}

/// How the program gets at the pod.
struct Session<'a> {
    mirror: &'a Path,
    access: &'a Access,
    pod: &'a Pod<'a>,
    max_size: u64,
}

impl Session<'_> {
    fn compare(&self, what: &str, place: &str, goal: Goal, rounds: usize) -> Result<()> {
        let (mut ours, mut tar, mut one) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let times = (self.program(what, place)?, self.tar(place)?);
            let single = if what == "many" && round <= 1 { Some(self.one_by_one(place)?) } else { None };
            if round > 0 {
                ours.push(times.0);
                tar.push(times.1);
                one.extend(single);
            }
        }
        print_pairs(&format!("{what}, ms"), &ours, &tar, "tar", Goal::None);
        if !one.is_empty() {
            print_pairs("", &ours[..one.len()], &one, "one", Goal::None);
        }
        print_alone(&format!("{what}, ms"), spread(ours)[1], goal);
        Ok(())
    }

    /// In a session of its own.
    fn program(&self, what: &str, place: &str) -> Result<f64> {
        let config = json!({
            "feature": {"fs": {
                "mode": "localwithoverrides", "read_only": ["^/bench/"], "max_file_size": format!("{}MiB", self.max_size),
            }},
            "agent": {"labels": {"mirror.test/bench": self.pod.name}},
        });
        let file = build::target_folder()?.join("bench-files.json");
        std::fs::write(&file, config.to_string()).with_context(|| format!("write {}", file.display()))?;
        let mut command = Command::new(self.mirror);
        command.args(["exec", "--quiet", "-f"]).arg(&file).arg(format!("--target=pod/{}", self.pod.name)).arg("--");
        command.env("KUBECONFIG", &self.access.kubeconfig);
        program(&[what, place], Some(command))
    }

    fn tar(&self, place: &str) -> Result<f64> {
        let began = Instant::now();
        let mut command = self.exec(&["tar", "cf", "-", place]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("cannot run kubectl")?;
        ensure!(status.success(), "kubectl exec tar: {status}");
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    }

    fn one_by_one(&self, place: &str) -> Result<f64> {
        let kubectl = self.exec(&[]);
        let words = [kubectl.get_program()].into_iter().chain(kubectl.get_args());
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let mut command = Command::new("env");
        command.env("KUBECONFIG", &self.access.kubeconfig);
        let arguments: Vec<&str> = ["one", place].into_iter().chain(words.iter().map(String::as_str)).collect();
        program(&arguments, Some(command))
    }

    fn exec(&self, command: &[&str]) -> Command {
        let mut kubectl = self.pod.cluster.kubectl_command();
        kubectl.env("KUBECONFIG", &self.access.kubeconfig).args(["exec", "-i", &self.pod.name, "--"]).args(command);
        kubectl
    }
}

/// Runs the program behind a command, if there is one; the number that it prints.
fn program(arguments: &[&str], before: Option<Command>) -> Result<f64> {
    let script = tidy::root().join("tests/apps/bench/files.py");
    let mut command = before.unwrap_or_else(|| Command::new("env"));
    let output =
        command.arg("/usr/bin/python3").arg(script).args(arguments).output().context("cannot run a program")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().with_context(|| format!("{command:?} prints no number"))
}
