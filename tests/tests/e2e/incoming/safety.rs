//! Whatever ends, stops or falls silent: the application has its traffic again.

use std::process::Command;
use std::time::{Duration, Instant};

use tests::{Cluster, Laptop, Running, freeze, kill, thaw};

use super::{ASK, Pods, serve};

/// One second, and what a busy machine needs besides.
const SOON: Duration = Duration::from_secs(4);

/// As long as a cut network may hold traffic back.
const CUT: Duration = Duration::from_secs(15);

/// Requests that a busy machine may carry at a time.
const IN_FLIGHT: usize = 10;

/// Makes 200 connections a second, each with a request, and tells those that fail, and how many there were.
const LOAD: &str = r#"
import asyncio, sys
address, port, answers = sys.argv[1], int(sys.argv[2]), 0
async def ask():
    global answers
    try:
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"GET /who HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        if not answer.endswith(b"from pod\n"):
            raise EOFError(answer)
        answers += 1
    except Exception as error:
        print("failed", repr(error), flush=True)
async def main():
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    tasks, at = set(), asyncio.get_running_loop().time()
    print("asks", flush=True)
    while not end.done():
        tasks = {task for task in tasks if not task.done()} | {asyncio.create_task(ask())}
        at += 0.005
        await asyncio.sleep(max(0, at - asyncio.get_running_loop().time()))
    await asyncio.wait(tasks, timeout=5)
    print("answered", answers, flush=True)
asyncio.run(main())
"#;

/// What became of the requests that were made while `body` ran: answers, and what failures said.
fn under_load(laptop: &Laptop, pods: &Pods, body: impl FnOnce()) -> (u32, Vec<String>) {
    let mut command = Command::new(Cluster::shared().kubectl_path());
    command.args(["exec", "-i", "deploy/debian", "-c", "nginx", "--", "timeout", "60"]);
    command.args(["python3", "-c", LOAD, &pods.address, &pods.port.to_string()]);
    let mut load = laptop.start(command);
    load.wait_for("asks");
    body();
    load.close_stdin();
    let said = load.rest();
    let answered = said.lines().find_map(|line| line.strip_prefix("answered ")?.parse().ok());
    let failures = said.lines().filter(|line| line.contains("failed")).map(str::to_owned).collect();
    (answered.unwrap_or_else(|| panic!("{said}")), failures)
}

#[test]
fn a_killed_session_gives_the_traffic_back() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8183);
    let mut program = serve(&laptop, &pods, &["--steal"], &[]);
    assert_eq!(pods.ask("/a"), "from laptop");
    kill(&laptop.hosts());
    let killed = Instant::now();
    while pods.ask("/who") != "from pod" {
        assert!(killed.elapsed() < Duration::from_secs(10), "the pod answers again");
    }
    kill(&[program.pid()]);
    program.wait();
}

/// A frozen agent is passed over once it has not said for a second that it lives.
#[test]
fn an_agent_that_is_frozen_or_killed_holds_no_traffic_back() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8184);
    let mut client = pods.ask_on(&laptop, ASK);
    client.wait_for("from pod");
    let mut program = serve(&laptop, &pods, &["--steal"], &[]);
    client.wait_for("from laptop");
    let uids = Cluster::shared().pod_uids(&laptop.selector());
    let agents = Cluster::shared().agents(&uids);
    freeze(&agents);
    let frozen = Instant::now();
    client.wait_for("from pod");
    assert!(frozen.elapsed() < SOON, "{:?}", frozen.elapsed());
    thaw(&agents);
    client.wait_for("from laptop");
    kill(&agents);
    let killed = Instant::now();
    client.wait_for("from pod");
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    program.wait_for("the session is lost");
    kill(&[program.pid()]);
    program.wait();
}

/// What was accepted for it meanwhile waits, as in a network that is cut.
#[test]
fn a_session_that_is_not_heard_of_holds_no_new_traffic_back() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8194);
    let mut client = pods.ask_on(&laptop, ASK);
    client.wait_for("from pod");
    let _program = serve(&laptop, &pods, &["--steal"], &[]);
    client.wait_for("from laptop");
    let hosts = laptop.hosts();
    freeze(&hosts);
    let frozen = Instant::now();
    client.wait_for("from pod");
    assert!(frozen.elapsed() < CUT, "{:?}", frozen.elapsed());
    thaw(&hosts);
    client.wait_for("from laptop");
}

/// Only what an agent that is killed was carrying at that moment can be lost.
#[test]
fn requests_to_the_application_do_not_fail_whatever_ends() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8195);
    let begin = || {
        let program = serve(&laptop, &pods, &[], &[]);
        let agents = Cluster::shared().agents(&Cluster::shared().pod_uids(&laptop.selector()));
        (program, agents)
    };
    let end = |mut program: Running| {
        kill(&[program.pid()]);
        program.wait();
    };
    let (answered, failures) = under_load(&laptop, &pods, || {
        // A session that comes and goes.
        let (program, _) = begin();
        end(program);
        laptop.wait_hosts_gone();
        // One whose host is killed.
        let (program, _) = begin();
        kill(&laptop.hosts());
        end(program);
        laptop.wait_hosts_gone();
    });
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered > 200, "{answered}");
    let (answered, failures) = under_load(&laptop, &pods, || {
        let (mut program, agents) = begin();
        kill(&agents);
        program.wait_for("the session is lost");
        end(program);
        laptop.wait_hosts_gone();
    });
    assert!(failures.len() <= IN_FLIGHT, "{failures:?}");
    assert!(answered > 100, "{answered}");
}
