//! `cargo xtask bench start`: from `mirror exec` to the program's first instruction.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use super::figures::spread;
use super::state_folder;
use crate::build;

/// How to measure a start.
#[derive(Args)]
pub(crate) struct Start {
    /// Counted runs of each side, after one that is not counted.
    #[arg(short = 'n', long, default_value_t = 20)]
    runs: usize,
    /// Target; none measures a targetless session.
    #[arg(short, long)]
    target: Option<String>,
}

/// The image that both sides run.
const IMAGE: &str = "mirror.test/debian:1";

/// Steps of a start as `mirror exec --json` names them.
const STEPS: [&str; 4] = ["cluster", "target", "agent-created", "agent-ready"];

/// Runs the measurement.
pub(super) fn run(start: &Start) -> Result<()> {
    let mirror = build::mirror("release")?;
    let kubeconfig = state_folder().join("user.kubeconfig");
    ensure!(kubeconfig.is_file(), "no cluster: cargo xtask cluster up");
    let mut samples = Vec::new();
    let mut baseline = Vec::new();
    for index in 0..=start.runs {
        let sample = measure_mirror(&mirror, &kubeconfig, start.target.as_deref())?;
        let kubectl = measure_kubectl()?;
        if index > 0 {
            samples.push(sample);
            baseline.push(kubectl);
        }
    }
    report(&samples, &baseline);
    Ok(())
}

/// One start, in milliseconds.
struct Sample {
    steps: [f64; STEPS.len()],
    total: f64,
}

/// The program is `date`, which prints the moment at which it runs.
fn measure_mirror(mirror: &Path, kubeconfig: &Path, target: Option<&str>) -> Result<Sample> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let mut command = Command::new(mirror);
    command.args(["exec", "--json"]).args(target.map(|target| format!("--target={target}")));
    let output =
        command.args(["--", "date", "+%s.%N"]).env("KUBECONFIG", kubeconfig).output().context("cannot run mirror")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mirror exec: {}\n{stderr}", output.status);
    let first_instruction: f64 =
        String::from_utf8_lossy(&output.stdout).trim().parse().context("date prints a number")?;
    let lines: Vec<Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let step = |name: &str| {
        let done = lines.iter().find(|line| line["type"] == "step-done" && line["step"] == name);
        done.and_then(|line| line["milliseconds"].as_f64()).with_context(|| format!("no step {name}"))
    };
    let mut steps = [0.0; STEPS.len()];
    for (time, name) in steps.iter_mut().zip(STEPS) {
        *time = step(name)?;
    }
    Ok(Sample { steps, total: (first_instruction - began) * 1000.0 })
}

fn measure_kubectl() -> Result<f64> {
    let kubectl = state_folder().join("kubectl");
    let name = format!("bench-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let began = Instant::now();
    let mut command = Command::new(kubectl);
    command.args(["run", &name, "--rm", "--attach", "--quiet", "--restart=Never", "--image-pull-policy=Never"]);
    command.arg(format!("--image={IMAGE}")).args(["--command", "--", "date", "+%s.%N"]);
    let output = command.stdin(Stdio::null()).output().context("cannot run kubectl")?;
    if !output.status.success() {
        bail!("kubectl run: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn report(samples: &[Sample], baseline: &[f64]) {
    println!("{:<44} {:>9} {:>9} {:>9}", "milliseconds", "min", "median", "max");
    let row = |name: &str, values: Vec<f64>| {
        let [min, median, max] = spread(values);
        println!("{name:<44} {min:>9.1} {median:>9.1} {max:>9.1}");
    };
    for (index, name) in STEPS.iter().enumerate() {
        row(&format!("  {name}"), samples.iter().map(|sample| sample.steps[index]).collect());
    }
    let rest = |sample: &Sample| sample.total - sample.steps.iter().sum::<f64>();
    row("  the rest (two processes, program)", samples.iter().map(rest).collect());
    row("mirror exec to the first instruction", samples.iter().map(|sample| sample.total).collect());
    row("kubectl run --rm, whole", baseline.to_vec());
    let ratios = samples.iter().zip(baseline).map(|(sample, baseline)| sample.total / baseline);
    let [min, median, max] = spread(ratios.collect());
    println!("{:<44} {min:>9.2} {median:>9.2} {max:>9.2}", "ratio of the pairs");
}
