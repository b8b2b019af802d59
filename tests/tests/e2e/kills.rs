//! Whatever is killed, and whenever: what was not killed lives on, and nothing is left anywhere.
//!
//! A test is a list of sessions, each with a moment in its life and with what is killed then, made of random numbers.
//! A moment is an event, never a time. `MIRROR_TEST_SEED` makes the same choices again; `MIRROR_TEST_LONG` makes many.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Cluster, Laptop, Random, Running, Turn, kill};

/// Answers each line of its input by a request to the cluster, and ends with it.
const PROGRAM: &str = r#"
echo "started ${MIRROR_LAYER_SESSION%%:*}"
while read -r number; do
    if curl -sS -o nothing --max-time 5 http://echo-server/; then echo "answered $number"; else echo "failed $number"; fi
done
echo end"#;

/// Within which an agent's process ends that had a client: it lingers for 10 s.
const AGENT_GONE: Duration = Duration::from_secs(20);

/// Seconds until nothing is left of a session whose agent had a client: Kubernetes collects the Job in its own time.
const AFTER_CONTACT: u32 = 60;

/// The same if the host was killed earlier: the Job's deadline is 60.
const BEFORE_CONTACT: u32 = 120;

/// Events in the order of a session's life.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// A line of progress: its type, and its step if it has one.
    Progress(&'static str, &'static str),
    /// The program began.
    Started,
    /// The cluster shows an object of this kind.
    Object(&'static str),
    /// A request was asked for.
    Asked(u32),
    /// A request was answered.
    Answered(u32),
    /// The program ended.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    /// The session host.
    Host,
    /// `mirror exec`, or what it became.
    Program,
    /// The agent's process.
    Agent,
    /// The agent's pod.
    Pod,
}

/// Moments without a host, with a host but without an agent, before the first contact, and after it.
const BEFORE_HOST: &[Moment] = &[Moment::Progress("begin", "")];
const BEFORE_AGENT: &[Moment] = &[
    Moment::Progress("step-began", "cluster"),
    Moment::Progress("step-began", "target"),
    Moment::Progress("step-began", "agent-created"),
    Moment::Object("jobs"),
    Moment::Object("configmaps"),
];
const STARTING: &[Moment] = &[Moment::Progress("step-began", "agent-ready"), Moment::Object("pods")];
const STANDING: &[Moment] = &[
    Moment::Progress("step-done", "agent-ready"),
    Moment::Progress("ready", ""),
    Moment::Started,
    Moment::Asked(0),
    Moment::Answered(0),
    Moment::Asked(3),
    Moment::Answered(5),
];
const LEAVING: &[Moment] = &[Moment::Ended];

/// One session: when what of it is killed.
#[derive(Debug, Clone)]
struct Plan {
    moment: Moment,
    victims: Vec<Victim>,
    targeted: bool,
    /// The API server is killed, too, in this session or another.
    with_api_server: bool,
}

impl Plan {
    fn random(random: &mut Random) -> Self {
        // As often in the start, where most can go wrong, as later.
        const CHOICE: &[(usize, &[Moment])] =
            &[(1, BEFORE_HOST), (4, BEFORE_AGENT), (4, STARTING), (7, STANDING), (1, LEAVING)];
        let choice: Vec<&[Moment]> = CHOICE.iter().flat_map(|(weight, moments)| vec![*moments; *weight]).collect();
        let moments = random.choose(&choice);
        let possible: &[Victim] = match moments {
            BEFORE_HOST => &[Victim::Program],
            BEFORE_AGENT => &[Victim::Host, Victim::Program],
            STARTING => &[Victim::Host, Victim::Program, Victim::Pod],
            LEAVING => &[Victim::Host, Victim::Agent, Victim::Pod],
            _ => &[Victim::Host, Victim::Program, Victim::Agent, Victim::Pod],
        };
        let mut victims = vec![random.choose(possible)];
        if random.below(3) == 0 {
            let another = random.choose(possible);
            victims.extend((another != victims[0]).then_some(another));
        }
        Self { moment: random.choose(moments), victims, targeted: random.below(3) > 0, with_api_server: false }
    }

    /// One of which nothing is killed while others around it are.
    fn bystander() -> Self {
        Self { moment: Moment::Answered(3), victims: Vec::new(), targeted: true, with_api_server: false }
    }

    fn had_contact(&self) -> bool {
        ![BEFORE_HOST, BEFORE_AGENT, STARTING].iter().any(|moments| moments.contains(&self.moment))
    }

    /// Seconds within which nothing may be left: who lives removes the Job, else it needs its deadline.
    fn bound(&self) -> u32 {
        let nobody = self.victims.contains(&Victim::Host) || self.with_api_server;
        if nobody && !self.had_contact() { BEFORE_CONTACT } else { AFTER_CONTACT }
    }
}

/// A session on its way to its moment.
struct Life<'p> {
    plan: &'p Plan,
    laptop: Laptop,
    running: Running,
    n_asked: u32,
}

impl<'p> Life<'p> {
    fn start(plan: &'p Plan, laptop: Laptop) -> Self {
        let target: &[&str] = if plan.targeted { &["-t", "deployment/echo-server"] } else { &[] };
        let command = laptop.mirror([&["exec", "--json"], target, &["--", "sh", "-c", PROGRAM]].concat());
        let running = laptop.start(command);
        Self { plan, laptop, running, n_asked: 0 }
    }

    fn ask(&mut self) {
        writeln!(self.running.stdin(), "{}", self.n_asked).expect("the program still reads");
        self.n_asked += 1;
    }

    /// Goes on to the session's moment.
    fn reach(&mut self) {
        match self.plan.moment {
            Moment::Progress(kind, step) => {
                self.running.wait_until(kind, |line| is_progress(line, kind, step));
            }
            Moment::Started => drop(self.running.wait_for("started mirror-")),
            Moment::Object(kind) => {
                Cluster::shared().watch(kind, &self.laptop.selector()).wait_for("/mirror-agent-");
            }
            Moment::Asked(number) => {
                self.running.wait_for("started mirror-");
                self.answered_before(number);
                self.ask();
            }
            Moment::Answered(number) => self.answered_before(number + 1),
            Moment::Ended => {
                self.answered_before(1);
                self.running.close_stdin();
                self.running.wait();
            }
        }
    }

    fn answered_before(&mut self, number: u32) {
        while self.n_asked < number {
            self.ask();
            self.running.wait_for(&format!("answered {}", self.n_asked - 1));
        }
    }

    /// Kills all victims, as good as at once; the program first, which would end when it sees the others' ends.
    fn strike(&self, pod_uids: &[String]) {
        let strikes = |victim| self.plan.victims.contains(&victim);
        let mut pids = Vec::new();
        pids.extend(strikes(Victim::Program).then(|| self.running.pid()));
        pids.extend(strikes(Victim::Host).then(|| self.laptop.hosts()).into_iter().flatten());
        let may_be_gone = self.plan.moment == Moment::Ended || self.plan.with_api_server;
        assert!(!pids.is_empty() || !strikes(Victim::Host) || may_be_gone, "no host to kill");
        pids.extend(strikes(Victim::Agent).then(|| Cluster::shared().agents(pod_uids)).into_iter().flatten());
        kill(&pids);
        if strikes(Victim::Pod) {
            let selector = self.laptop.selector();
            let how = ["delete", "pods", "-l", &selector, "--grace-period=0", "--force", "--wait=false"];
            Cluster::shared().kubectl(&how);
        }
    }

    /// What was not killed ends by itself: the program with success, `mirror exec` with a reason.
    fn end(&mut self) -> String {
        if self.plan.victims.contains(&Victim::Program) {
            assert_eq!(self.running.wait().signal(), Some(9), "{:?}", self.plan);
            return self.running.rest();
        }
        if self.plan.moment != Moment::Ended {
            // Who ends with a failure does not read it any more.
            writeln!(self.running.stdin(), "after").ok();
        }
        self.running.close_stdin();
        let output = self.running.rest();
        let status = self.running.wait();
        let started = output.lines().any(|line| is_progress(line, "ready", ""));
        let fine = match started {
            true => status.success() && output.lines().any(|line| line == "end"),
            false => {
                output.lines().any(|line| is_progress(line, "failed", "")) && matches!(status.code(), Some(64..=78))
            }
        };
        assert!(fine, "{:?}: {status}\n{output}", self.plan);
        assert!(output.matches("the session is lost").count() <= 1, "{output}");
        if self.plan.victims.is_empty() && !self.plan.with_api_server {
            assert!(output.contains("answered after"), "{output}");
        }
        output
    }

    /// Waits until nothing is left in the cluster or on this machine; `since` is the end of the last that could
    /// have removed it.
    fn vanish(&self, output: &str, pod_uids: &[String], since: Instant) -> String {
        let bound = self.plan.bound();
        Cluster::shared().wait_agents_gone(pod_uids, AGENT_GONE);
        self.laptop.wait_idle(Duration::from_secs(bound.into()));
        Cluster::shared().wait_gone(&self.laptop.selector(), bound);
        let took = since.elapsed();
        assert!(took.as_secs() <= bound.into(), "{:?}: {took:?} is more than {bound} s", self.plan);
        if let Some(session) = output.lines().find_map(|line| line.strip_prefix("started ")) {
            let sockets = std::fs::read_to_string("/proc/net/unix").expect("the sockets");
            assert!(!sockets.contains(&format!("@{session}")), "{session} is left\n{sockets}");
        }
        format!("{:5.1} s of {bound} until nothing was left: {:?}", took.as_secs_f32(), self.plan)
    }
}

fn is_progress(line: &str, kind: &str, step: &str) -> bool {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
    line["type"] == kind && line["step"].as_str().unwrap_or_default() == step
}

/// One whole life; `over` hears of its end, before all is cleaned up.
fn live(plan: &Plan, over: &Sender<()>) -> (String, String) {
    let mut life = Life::start(plan, Laptop::new());
    life.reach();
    let agent_is_a_victim = plan.victims.contains(&Victim::Agent);
    let mut pod_uids = if agent_is_a_victim { Cluster::shared().pod_uids(&life.laptop.selector()) } else { Vec::new() };
    let struck = Instant::now();
    life.strike(&pod_uids);
    if plan.had_contact() && !agent_is_a_victim {
        pod_uids = Cluster::shared().pod_uids(&life.laptop.selector());
    }
    let output = life.end();
    let since = if plan.victims.contains(&Victim::Host) { struck } else { Instant::now() };
    over.send(()).expect("the test waits");
    (life.vanish(&output, &pod_uids, since), life.laptop.selector())
}

/// Late ones: what was on its way to the API server when its sender was killed.
fn nothing_came_later(selectors: &[String]) {
    let labels: Vec<&str> = selectors.iter().filter_map(|selector| selector.split('=').nth(1)).collect();
    Cluster::shared().wait_gone(&format!("mirror-test in ({})", labels.join(",")), BEFORE_CONTACT);
}

fn is_long() -> bool {
    std::env::var_os("MIRROR_TEST_LONG").is_some()
}

/// Shown when the test fails, or with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the test harness keeps it for who wants to know")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[test]
fn nothing_is_left_whatever_is_killed_whenever() {
    let mut random = Random::new();
    say(&format!("MIRROR_TEST_SEED={}", random.seed()));
    let mut n_left = if is_long() { 50 } else { 8 };
    let mut rounds = Vec::new();
    while n_left > 0 {
        let n_killed = (1 + random.below(3)).min(n_left);
        let mut round: Vec<Plan> = (0..n_killed).map(|_| Plan::random(&mut random)).collect();
        if n_killed < 3 && random.below(2) == 0 {
            round.push(Plan::bystander());
        }
        n_left -= n_killed;
        rounds.push(round);
    }
    thread::scope(|scope| {
        let mut lives = Vec::new();
        for round in &rounds {
            // The next round begins when this one's sessions are over; their traces may take a minute.
            let (over, ends) = channel();
            lives.extend(round.iter().map(|plan| begin(scope, plan, over.clone())));
            drop(over);
            if !all_come(&ends, round.len()) {
                break;
            }
        }
        let told: Vec<(String, String)> =
            lives.into_iter().map(|life| life.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
        told.iter().for_each(|(line, _)| say(line));
        nothing_came_later(&told.into_iter().map(|(_, selector)| selector).collect::<Vec<_>>());
    });
}

fn begin<'s>(
    scope: &'s Scope<'s, '_>,
    plan: &'s Plan,
    over: Sender<()>,
) -> thread::ScopedJoinHandle<'s, (String, String)> {
    scope.spawn(move || live(plan, &over))
}

/// False when one of them will never come, because its thread failed.
fn all_come(ends: &Receiver<()>, n_expected: usize) -> bool {
    ends.iter().take(n_expected).count() == n_expected
}

/// Two sessions stand, a third one is anywhere in its life: the API server is killed, and some of the sessions' parts
/// with it.
#[test]
fn nothing_is_left_when_the_api_server_is_killed_as_well() {
    let mut random = Random::new();
    say(&format!("MIRROR_TEST_SEED={}", random.seed()));
    let n_rounds = if is_long() { 6 } else { 1 };
    let mut selectors = Vec::new();
    for _ in 0..n_rounds {
        let standing = [&[][..], &[Victim::Agent], &[Victim::Host], &[Victim::Program]];
        let mut plans: Vec<Plan> =
            (0..2).map(|_| Plan { victims: random.choose(&standing).to_vec(), ..Plan::bystander() }).collect();
        let moments = [BEFORE_AGENT, STARTING, STANDING];
        let moment = {
            let moments = random.choose(&moments);
            random.choose(moments)
        };
        let victims = random.choose(&[&[][..], &[Victim::Host], &[Victim::Program]]).to_vec();
        plans.push(Plan { moment, victims, ..Plan::bystander() });
        plans.iter_mut().for_each(|plan| plan.with_api_server = true);
        selectors.extend(without_api_server(&plans));
    }
    nothing_came_later(&selectors);
}

fn without_api_server(plans: &[Plan]) -> Vec<String> {
    let turn = Turn::alone();
    let cluster = Cluster::shared();
    let mut lives = Vec::new();
    for plan in plans {
        let mut life = Life::start(plan, Laptop::during(&turn));
        life.reach();
        let pods =
            if plan.victims.contains(&Victim::Agent) { cluster.pod_uids(&life.laptop.selector()) } else { Vec::new() };
        lives.push((life, pods));
    }
    // A program that is starting would end by itself without the API server.
    let (before, after): (Vec<_>, Vec<_>) =
        lives.iter().partition(|(life, _)| life.plan.victims.contains(&Victim::Program));
    before.iter().for_each(|(life, pods)| life.strike(pods));
    let outage = cluster.stop_api_server();
    after.iter().for_each(|(life, pods)| life.strike(pods));
    let down = Instant::now();
    drop(outage);
    say(&format!("{:5.1} s without a cluster that works", down.elapsed().as_secs_f32()));
    turn.share();
    let since = Instant::now();
    let outputs: Vec<String> = lives.iter_mut().map(|(life, _)| life.end()).collect();
    for ((life, pods), output) in lives.iter().zip(outputs) {
        say(&life.vanish(&output, pods, since));
    }
    lives.iter().map(|(life, _)| life.laptop.selector()).collect()
}
