//! Whatever ends, stops or falls silent: the application has its traffic again.

use std::time::{Duration, Instant};

use tests::{Cluster, Laptop, Running, Turn, freeze, kill, monotonic, thaw};

use super::load::{Load, Request};
use super::{Pods, serve};
use crate::kills::say;

/// Requests that are begun so long after a kill, a freeze or a clean end are the application's.
const SOON: Duration = Duration::from_secs(1);

/// The same where the network is cut without a word.
const CUT: Duration = Duration::from_secs(15);

/// Requests a second that are the application's: many, of which none is lost. Those that a single program is to answer
/// on this machine are fewer.
const RATE: u32 = 200;
const FEW: u32 = 50;

/// What is done to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Program,
    Host,
    Agent,
    HostAndAgent,
    AgentFreezes,
    HostFreezes,
}

impl Blow {
    /// Strikes, and says when.
    fn strike(self, laptop: &Laptop, program: &Running) -> (Duration, Vec<i32>) {
        let agents = Cluster::shared().agents(&Cluster::shared().pod_uids(&laptop.selector()));
        assert_eq!(agents.len(), 1);
        let hosts = laptop.hosts();
        match self {
            Self::Program => kill(&[program.pid()]),
            Self::Host => kill(&hosts),
            Self::Agent => kill(&agents),
            Self::HostAndAgent => kill(&[hosts, agents].concat()),
            Self::AgentFreezes => freeze(&agents),
            Self::HostFreezes => freeze(&hosts),
        }
        let struck = monotonic();
        let frozen = match self {
            Self::AgentFreezes => Cluster::shared().agents(&Cluster::shared().pod_uids(&laptop.selector())),
            Self::HostFreezes => laptop.hosts(),
            _ => Vec::new(),
        };
        (struck, frozen)
    }

    fn limit(self) -> Duration {
        if self == Self::HostFreezes { CUT } else { SOON }
    }
}

fn stop(mut program: Running) {
    kill(&[program.pid()]);
    program.wait();
}

/// How many requests failed, and how long after the blow the last was begun that the application has not answered.
fn tell(blow: Blow, requests: &[Request], struck: Duration) {
    let failed = requests.iter().filter(|request| request.has_failed()).count();
    let others = requests.iter().filter(|request| request.begun > struck && request.answer != "from pod");
    let last = others.map(|request| request.begun.saturating_sub(struck)).max();
    say(&format!("{blow:?}: {failed} of {} failed; the last of others after {last:?}", requests.len()));
}

/// Requests that were begun after `moment` are the application's.
#[track_caller]
fn assert_given_back(requests: &[Request], moment: Duration) {
    let strays = requests.iter().filter(|request| request.begun > moment && request.answer != "from pod");
    let strays: Vec<_> = strays.map(|request| (request.begun.saturating_sub(moment), &request.answer)).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

/// These are about times and lost requests under load, which other tests would add.
#[test]
fn stolen_traffic_is_given_back_whatever_ends_or_freezes() {
    let turn = Turn::alone();
    for (number, blow) in
        [Blow::Program, Blow::Host, Blow::Agent, Blow::HostAndAgent, Blow::AgentFreezes, Blow::HostFreezes]
            .into_iter()
            .enumerate()
    {
        let laptop = Laptop::during(&turn);
        let pods = Pods::start(&laptop, 8220 + number as u16);
        let mut load = Load::start(&pods, FEW);
        let program = serve(&laptop, &pods, &["--steal"], &[]);
        load.wait_for("from laptop");
        let (struck, frozen) = blow.strike(&laptop, &program);
        load.wait_until(struck + blow.limit() + SOON);
        if !frozen.is_empty() {
            // What is alive again goes on as before.
            let thawed = monotonic();
            thaw(&frozen);
            load.wait_for("from laptop");
            let requests = load.end();
            let before: Vec<_> = requests.iter().filter(|request| request.begun < thawed).cloned().collect();
            tell(blow, &before, struck);
            assert_given_back(&before, struck + blow.limit());
        } else {
            let requests = load.end();
            tell(blow, &requests, struck);
            assert_given_back(&requests, struck + SOON);
        }
        stop(program);
    }
}

#[test]
fn requests_to_the_application_do_not_fail_whatever_ends_or_freezes() {
    let turn = Turn::alone();
    for (number, blow) in
        [Blow::Program, Blow::Host, Blow::Agent, Blow::HostAndAgent, Blow::AgentFreezes, Blow::HostFreezes]
            .into_iter()
            .enumerate()
    {
        let laptop = Laptop::during(&turn);
        let pods = Pods::start(&laptop, 8230 + number as u16);
        let mut load = Load::start(&pods, RATE);
        let program = serve(&laptop, &pods, &[], &[]);
        load.wait_for("from pod");
        let (struck, frozen) = blow.strike(&laptop, &program);
        load.wait_until(struck + blow.limit() + SOON);
        thaw(&frozen);
        let requests = load.end();
        tell(blow, &requests, struck);
        let failed: Vec<_> = requests.iter().filter(|request| request.has_failed()).collect();
        // Only what an agent carries that is killed or frozen can be lost: what is in flight then.
        let is_in_flight = |request: &&Request| request.begun < struck + SOON && request.ended > struck;
        match blow {
            Blow::Program | Blow::Host | Blow::HostFreezes => assert!(failed.is_empty(), "{failed:?}"),
            Blow::Agent | Blow::HostAndAgent | Blow::AgentFreezes => {
                assert!(failed.iter().all(is_in_flight), "{failed:?}");
            }
        }
        stop(program);
    }
}

/// The way to the agent leads through both.
#[test]
fn traffic_is_given_back_when_the_api_server_or_the_kubelet_ends() {
    let turn = Turn::alone();
    let laptop = Laptop::during(&turn);
    let pods = Pods::start(&laptop, 8240);
    let node = Cluster::shared().kubectl(&["get", "pod", &pods.server, "-o", "jsonpath={.spec.nodeName}"]);
    let mut load = Load::start(&pods, FEW);
    let mut program = serve(&laptop, &pods, &["--steal"], &[]);
    load.wait_for("from laptop");
    Cluster::shared().task(&["restart", &format!("{node}/kubelet")]);
    let restarted = monotonic();
    program.wait_for("the session is lost");
    load.wait_until(restarted + 2 * SOON);
    stop(program);
    laptop.wait_hosts_gone();
    // The new kubelet has to find out about its pods.
    let begun = Instant::now();
    while !Cluster::shared().try_kubectl(&["exec", &pods.server, "--", "true"]).status.success() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the kubelet works again");
    }
    let pod = format!("pod/{}", pods.server);
    Cluster::shared().kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=120s"]);
    let mut program = serve(&laptop, &pods, &["--steal"], &[]);
    load.wait_for("from laptop");
    let outage = Cluster::shared().stop_api_server();
    let stopped = monotonic();
    program.wait_for("the session is lost");
    load.wait_until(stopped + 2 * SOON);
    let requests = load.end();
    drop(outage);
    assert_given_back(&requests, stopped + SOON);
    let until_next: Vec<_> = requests.iter().filter(|request| request.begun < restarted + 2 * SOON).cloned().collect();
    assert_given_back(&until_next, restarted + SOON);
    stop(program);
    turn.share();
}
