//! `cargo xtask bench incoming`: what the pod's traffic costs while a session takes it, next to another port of the
//! same server that no session takes. The clients are on the pod's node.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::figures::{Goal, print_alone, print_heading, print_pairs, spread};
use super::load::{self, Load};
use super::many;
use super::taken::{Kind, Pod, Session};
use super::ways::Cluster;
use crate::{build, tidy};

/// How to measure, and what.
#[derive(Args)]
pub(crate) struct Incoming {
    /// Counted rounds, after one that is not counted.
    #[arg(short = 'n', long, default_value_t = 7)]
    rounds: usize,
    /// MiB of each bulk transfer.
    #[arg(long, default_value_t = 128)]
    mebibytes: u64,
    /// Requests of a second at the fixed rate.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Only traffic that has this in its name: unmatched, matched, whole, mirrored.
    #[arg(long)]
    only: Option<String>,
    /// Only cases that have this in their names: keep-alive, connection, bulk, wrk, rate.
    #[arg(long)]
    case: Option<String>,
    /// A `mirror` that is built already, instead of the release build.
    #[arg(long)]
    mirror: Option<PathBuf>,
}

/// Seconds of a round at the fixed rate, and of one of wrk.
const SECONDS: u32 = 3;

/// One kind of traffic: in which session, and what is wanted of it.
struct Traffic {
    name: &'static str,
    kind: Kind,
    /// Its requests have the header that the filter wants.
    is_tagged: bool,
    /// The program answers, not the application.
    is_taken: bool,
}

const TRAFFIC: &[Traffic] = &[
    Traffic { name: "unmatched", kind: Kind::Filter, is_tagged: false, is_taken: false },
    Traffic { name: "matched", kind: Kind::Filter, is_tagged: true, is_taken: true },
    Traffic { name: "stolen whole", kind: Kind::Steal, is_tagged: false, is_taken: true },
    Traffic { name: "mirrored", kind: Kind::Mirror, is_tagged: false, is_taken: false },
];

/// One command and what its numbers mean.
struct Case {
    name: &'static str,
    /// `AT` stands for the address and the port, `TAGGED` for 1 or 0.
    command: String,
    figures: Vec<Figure>,
}

struct Figure {
    name: &'static str,
    /// What the number is divided by to be in the unit of `name`.
    divisor: f64,
    /// For the ratio, where the application answers and where the program does.
    goals: [Goal; 2],
}

/// What carries the commands out.
struct Bench<'c> {
    load: Load,
    pod: Pod<'c>,
    rounds: usize,
    rate: u32,
    cases: Vec<Case>,
}

/// Runs the measurement.
pub(super) fn run(incoming: &Incoming) -> Result<()> {
    let mirror = match &incoming.mirror {
        Some(mirror) => mirror.clone(),
        None => build::mirror("release")?,
    };
    let program = load::compile()?;
    let cluster = Cluster::find()?;
    let label = format!("b{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let pod = Pod::start(&cluster, &label)?;
    let load = Load::within(&program, &pod.netns)?;
    let is_wanted = |name: &str| incoming.case.as_deref().is_none_or(|case| name.contains(case));
    let cases = cases(incoming.mebibytes, incoming.rate).into_iter().filter(|case| is_wanted(case.name)).collect();
    let mut bench = Bench { load, pod, rounds: incoming.rounds, rate: incoming.rate, cases };
    for kind in [Kind::Filter, Kind::Steal, Kind::Mirror] {
        let is_wanted = |traffic: &&Traffic| incoming.only.as_deref().is_none_or(|only| traffic.name.contains(only));
        let traffic: Vec<_> = TRAFFIC.iter().filter(|traffic| traffic.kind == kind).filter(is_wanted).collect();
        if traffic.is_empty() {
            continue;
        }
        let session = Session::start(&cluster, &mirror, &bench.pod, &label, kind)?;
        let agent = many::agent_process(&cluster, &label)?;
        for traffic in traffic {
            bench.measure(traffic)?;
            print_alone("agent's memory, MiB", many::memory(agent)?, Goal::AtMost(20.0));
        }
        drop(session);
        cluster.await_end(&label)?;
    }
    Ok(())
}

fn cases(mebibytes: u64, rate: u32) -> Vec<Case> {
    let free = [Goal::None; 2];
    let bytes = mebibytes << 20;
    let bulk = [Goal::AtLeast(0.85), Goal::AtLeast(0.15)];
    let figure = |name, divisor, goals| Figure { name, divisor, goals };
    vec![
        Case {
            name: "keep-alive",
            command: "get AT 1000 TAGGED".to_owned(),
            figures: vec![
                figure("keep-alive p50, ms", 1000.0, [Goal::AtMost(1.4), Goal::AtMost(3.0)]),
                figure("keep-alive p99, ms", 1000.0, [Goal::AtMost(1.5), Goal::AtMost(5.0)]),
            ],
        },
        Case {
            name: "connection",
            command: "new AT 200 TAGGED".to_owned(),
            figures: vec![
                figure("new connection p50, ms", 1000.0, free),
                figure("new connection p99, ms", 1000.0, free),
            ],
        },
        Case {
            name: "bulk",
            command: format!("pull AT {bytes} TAGGED"),
            figures: vec![figure("bulk down, MiB/s", 1.0, bulk)],
        },
        Case {
            name: "bulk",
            command: format!("push AT {bytes} TAGGED"),
            figures: vec![figure("bulk up, MiB/s", 1.0, bulk)],
        },
        Case {
            name: "wrk",
            command: "wrk".to_owned(),
            figures: vec![
                figure("wrk, 16 connections, 1/s", 1.0, free),
                figure("wrk p50, ms", 1000.0, free),
                figure("wrk p99, ms", 1000.0, free),
            ],
        },
        Case { name: "rate", command: format!("rate AT {rate} {SECONDS} TAGGED"), figures: Vec::new() },
    ]
}

impl Bench<'_> {
    fn measure(&mut self, traffic: &Traffic) -> Result<()> {
        let who = self.ask("who AT TAGGED", traffic, true)?;
        ensure!(who == [if traffic.is_taken { 2.0 } else { 1.0 }], "{}: {who:?} answers", traffic.name);
        print_heading(traffic.name);
        for case in std::mem::take(&mut self.cases) {
            let measured = self.rounds(&case, traffic);
            self.cases.push(case);
            let [ours, direct] = measured?;
            let case = &self.cases[self.cases.len() - 1];
            if case.figures.is_empty() {
                self.print_rate(&ours, &direct);
            }
            for (index, figure) in case.figures.iter().enumerate() {
                let column = |rows: &[Vec<f64>]| rows.iter().map(|row| row[index] / figure.divisor).collect::<Vec<_>>();
                let goal = figure.goals[usize::from(traffic.is_taken)];
                print_pairs(figure.name, &column(&ours), &column(&direct), "direct", goal);
            }
        }
        Ok(())
    }

    /// The numbers of each round: of the port that the session takes, and of the other.
    fn rounds(&mut self, case: &Case, traffic: &Traffic) -> Result<[Vec<Vec<f64>>; 2]> {
        let mut samples = [Vec::new(), Vec::new()];
        for round in 0..=self.rounds {
            for turn in 0..2 {
                let index = (round + turn) % 2;
                let numbers = self.ask(&case.command, traffic, index == 0)?;
                if round > 0 {
                    samples[index].push(numbers);
                }
            }
        }
        Ok(samples)
    }

    fn ask(&mut self, command: &str, traffic: &Traffic, is_ours: bool) -> Result<Vec<f64>> {
        let port = if is_ours { Pod::PORT } else { Pod::DIRECT };
        if command == "wrk" {
            return self.wrk(traffic, port);
        }
        let at = format!("{} {port}", self.pod.address);
        let tagged = u8::from(traffic.is_tagged).to_string();
        let answer = self.load.ask(&command.replace("AT", &at).replace("TAGGED", &tagged))?;
        answer.map_err(anyhow::Error::msg).with_context(|| format!("{}: {command}", traffic.name))
    }

    fn wrk(&self, traffic: &Traffic, port: u16) -> Result<Vec<f64>> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.pod.netns)).args(["wrk", "-t1", "-c16", "-d"]).arg(SECONDS.to_string());
        command.arg("-s").arg(tidy::root().join("tests/apps/bench/report.lua"));
        if traffic.is_tagged {
            command.args(["-H", "X-Bench: mine"]);
        }
        let output = command.arg(format!("http://{}:{port}/", self.pod.address)).output().context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().last().unwrap_or_default();
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        let numbers = numbers.with_context(|| format!("wrk says {text:?}"))?;
        ensure!(numbers.last() == Some(&0.0), "{}: wrk: {text}", traffic.name);
        Ok(numbers)
    }

    fn print_rate(&self, ours: &[Vec<f64>], direct: &[Vec<f64>]) {
        let lost = |rows: &[Vec<f64>]| rows.iter().map(|row| row[0]).sum::<f64>();
        let added = |index: usize| {
            let pairs = ours.iter().zip(direct);
            spread(pairs.map(|(ours, direct)| (ours[index] - direct[index]) / 1000.0).collect())[1]
        };
        print_alone(&format!("added p50 at {}/s, ms", self.rate), added(1), Goal::AtMost(1.0));
        print_alone(&format!("added p99 at {}/s, ms", self.rate), added(2), Goal::AtMost(5.0));
        print_alone("lost of these", lost(ours), Goal::AtMost(0.0));
        print_alone("lost of as many direct ones", lost(direct), Goal::None);
    }
}
