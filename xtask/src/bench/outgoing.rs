//! `cargo xtask bench outgoing`: what a connection through a session costs, next to `kubectl port-forward`.
//!
//! Each round has every way do the same once, in turns, so that a busy moment of the machine meets them alike.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use super::figures::{Goal, print_alone, print_heading, print_pairs, spread};
use super::load::{self, Load};
use super::many;
use super::ways::{Access, Cluster, Distance, Way};
use crate::build;

/// How to measure, and what.
#[derive(Args)]
pub(crate) struct Outgoing {
    /// Counted rounds, after one that is not counted.
    #[arg(short = 'n', long, default_value_t = 7)]
    rounds: usize,
    /// MiB of each bulk transfer.
    #[arg(long, default_value_t = 64)]
    mebibytes: u64,
    /// Connections open at once.
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// Only what has this word in its name: connection, request, transfer, bulk, udp, local, many.
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

/// One command of the load program and what its numbers mean.
struct Case {
    name: &'static str,
    command: String,
    figures: Vec<Figure>,
}

struct Figure {
    name: String,
    /// What the program's number is divided by to be in the unit of `name`.
    divisor: f64,
    /// For the ratio to the port-forward.
    goal: Goal,
    /// For the ratio to the delayed link.
    link_goal: Goal,
}

/// Runs the measurement.
pub(super) fn run(outgoing: &Outgoing) -> Result<()> {
    let mirror = match &outgoing.mirror {
        Some(mirror) => mirror.clone(),
        None => build::mirror("release")?,
    };
    let program = load::compile()?;
    let cluster = Cluster::find()?;
    let label = format!("b{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let wanted = |name: &str| outgoing.only.as_deref().is_none_or(|only| name.contains(only));
    for round_trip in &outgoing.round_trips {
        let cases = cases(*round_trip, outgoing.mebibytes).into_iter().filter(|case| wanted(case.name));
        let cases: Vec<Case> = cases.collect();
        if cases.is_empty() {
            continue;
        }
        let distance = match round_trip {
            0 => Distance::NONE,
            far => Distance { delay: Duration::from_millis(far / 2), rate: outgoing.rate },
        };
        let access = cluster.access(distance)?;
        let mut ways = vec![
            cluster.session(&program, &mirror, &access, &label)?,
            cluster.port_forward(&program, &access)?,
            cluster.link(&program, &access)?,
        ];
        let narrow = if *round_trip > 0 { format!(", {} MiB/s", outgoing.rate) } else { String::new() };
        print_heading(&format!("{round_trip} ms round trip{narrow}"));
        for case in &cases {
            compare(case, &mut ways, outgoing.rounds)?;
        }
        drop(ways);
        cluster.await_end(&label)?;
    }
    let access = cluster.access(Distance::NONE)?;
    if wanted("udp") {
        measure_udp(&cluster, &program, &mirror, &access, outgoing.rounds)?;
    }
    if wanted("local") {
        measure_local(&cluster, &program, &mirror, &access, outgoing.rounds)?;
    }
    if wanted("many") {
        let label = format!("{label}-many");
        let mut session = cluster.session(&program, &mirror, &access, &label)?;
        many::measure(&cluster, &program, &mut session, &label, outgoing.connections)?;
    }
    Ok(())
}

fn cases(round_trip: u64, mebibytes: u64) -> Vec<Case> {
    let far = round_trip > 0;
    let (connections, requests) = if far { (25, 150) } else { (100, 4000) };
    let when_far = |goal| if far { goal } else { Goal::None };
    let percentiles = |what: &str, p50: [Goal; 2], p99: Goal| {
        let figure = |name: &str, [goal, link_goal]: [Goal; 2]| Figure {
            name: format!("{what} {name}, ms"),
            divisor: 1000.0,
            goal,
            link_goal,
        };
        vec![figure("p50", p50), figure("p99", [p99, Goal::None])]
    };
    // Until the peer's first byte: that of a connection which `connect` has truly called open. An echo takes a
    // round trip more, on the plain link too.
    let greeted = [when_far(Goal::AtMost(0.6)), Goal::None];
    let echoed = [Goal::None, when_far(Goal::AtMost(1.1))];
    let request = [Goal::AtMost(1.0), Goal::None];
    let mut cases = vec![
        Case {
            name: "connection",
            command: format!("connect HOST ECHO {connections}"),
            figures: percentiles("connection, echo", echoed, Goal::None),
        },
        Case {
            name: "connection",
            command: format!("greet HOST GREETER {connections}"),
            figures: percentiles("connection, greeted", greeted, Goal::None),
        },
        Case {
            name: "request",
            command: format!("request HOST ECHO {requests}"),
            figures: percentiles("small request", request, Goal::AtMost(1.0)),
        },
        Case {
            name: "request beside a transfer",
            command: format!("beside HOST ECHO {} HTTP", if far { 20 } else { 100 }),
            figures: percentiles("small request beside bulk", [Goal::None; 2], Goal::None),
        },
    ];
    for (direction, streams) in [("down", 1), ("up", 1), ("down", 8), ("up", 8)] {
        let plural = if streams == 1 { "" } else { "s" };
        cases.push(Case {
            name: "bulk",
            command: format!("{direction} HOST HTTP {streams} {}", mebibytes << 20),
            figures: vec![Figure {
                name: format!("bulk {direction}, {streams} stream{plural}, MiB/s"),
                divisor: 1.0,
                goal: if far { Goal::None } else { Goal::AtLeast(0.9) },
                link_goal: when_far(Goal::AtLeast(0.8)),
            }],
        });
    }
    cases
}

/// Measures one case on all ways, in rounds that begin with each of them in turn, and prints its rows.
fn compare(case: &Case, ways: &mut [Way], rounds: usize) -> Result<()> {
    let mut samples: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); case.figures.len()]; ways.len()];
    for round in 0..=rounds {
        for turn in 0..ways.len() {
            let index = (round + turn) % ways.len();
            let numbers = match ways[index].ask(&case.command)? {
                Ok(numbers) => numbers,
                Err(reason) => {
                    println!("{:<38} failed: {reason}", case.name);
                    return Ok(());
                }
            };
            if round > 0 {
                let figures = samples[index].iter_mut().zip(&case.figures);
                figures.zip(numbers).for_each(|((kept, figure), number)| kept.push(number / figure.divisor));
            }
        }
    }
    for (index, figure) in case.figures.iter().enumerate() {
        for (way, goal) in [(1, figure.goal), (2, figure.link_goal)] {
            let name = if way == 1 { figure.name.as_str() } else { "" };
            print_pairs(name, &samples[0][index], &samples[way][index], ways[way].name, goal);
        }
    }
    Ok(())
}

/// Datagrams have no baseline: `kubectl port-forward` does not carry them.
fn measure_udp(cluster: &Cluster, program: &Path, mirror: &Path, access: &Access, rounds: usize) -> Result<()> {
    let mut session = cluster.session(program, mirror, access, "udp")?;
    println!("\nUDP");
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        match session.ask("udp HOST 7001 200")? {
            Ok(numbers) => {
                p50.extend(numbers.first().map(|number| number / 1000.0));
                p99.extend(numbers.get(1).map(|number| number / 1000.0));
            }
            Err(reason) => {
                println!("  not measured: {reason}");
                return Ok(());
            }
        }
    }
    print_alone("small request p50, ms", spread(p50)[1], Goal::None);
    print_alone("small request p99, ms", spread(p99)[1], Goal::None);
    Ok(())
}

/// The same loop with and without the layer: the difference is the hook's.
fn measure_local(cluster: &Cluster, program: &Path, mirror: &Path, access: &Access, rounds: usize) -> Result<()> {
    const COMMAND: &str = "local - 50000";
    let mut session = cluster.session(program, mirror, access, "local")?;
    let mut plain = Load::native(program)?;
    let mut differences = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let ours = session.ask(COMMAND)?.map_err(anyhow::Error::msg)?;
        let theirs = plain.ask(COMMAND)?.map_err(anyhow::Error::msg)?;
        let pairs = differences.iter_mut().zip(ours.iter().zip(&theirs));
        pairs.filter(|_| round > 0).for_each(|(kept, (ours, theirs))| kept.push(ours - theirs));
    }
    println!("\nA hooked call whose arguments say that it is local, more than the same call without the layer");
    let [connect, sendto] = differences;
    print_alone("connect, ns", spread(connect)[1], Goal::AtMost(50.0));
    print_alone("sendto, ns", spread(sendto)[1], Goal::AtMost(50.0));
    Ok(())
}
