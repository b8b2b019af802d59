//! A client in another pod's network that asks steadily, each time over a connection of its own.

use std::process::Command;
use std::time::Duration;

use tests::{Cluster, Running, monotonic};

use super::Pods;

/// Tells of each request when it was begun and when it ended, on the clock that all pods share, and what came of it.
const LOAD: &str = r#"
import asyncio, sys, time
address, port, rate, tasks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), set()
# So many at a time: a slow server answers them within the limit, and a session that is frozen for a second holds fewer.
most = 256
async def ask():
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"GET /who HTTP/1.0\r\n\r\n")
        answer = await reader.read()
    finally:
        writer.close()
    return answer.decode().strip().rpartition("\n")[2] or "nothing"
async def ask_and_tell(begun):
    try:
        answer = await asyncio.wait_for(ask(), 10)
    except Exception as error:
        answer = "failed " + type(error).__name__
    print(f"{begun:.6f} {time.monotonic():.6f} {answer}", flush=True)
async def main():
    end, at = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read), time.monotonic()
    while not end.done():
        if len(tasks) < most:
            task = asyncio.create_task(ask_and_tell(time.monotonic()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        # What a busy machine has not come to is left out, not made up for.
        at = max(at + 1 / rate, time.monotonic())
        await asyncio.sleep(at - time.monotonic())
    await asyncio.gather(*tasks)
asyncio.run(main())
"#;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running client.
pub(super) struct Load(Running);

/// A request: when it was begun, when it ended, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) begun: Duration,
    pub(super) ended: Duration,
    pub(super) answer: String,
}

impl Request {
    fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ' ');
        let mut moment = || Some(Duration::from_secs_f64(parts.next()?.parse().ok()?));
        let (begun, ended) = (moment()?, moment()?);
        Some(Self { begun, ended, answer: parts.next()?.to_owned() })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.answer != "from pod" && self.answer != "from laptop"
    }
}

impl Load {
    /// Asks so many times a second.
    pub(super) fn start(pods: &Pods, rate: u32) -> Self {
        let [client] = &Cluster::shared().pod_uids("app=debian")[..] else { panic!("one pod to ask from") };
        let mut command: Command = Cluster::shared().in_network_of(client, "python3");
        command.args(["-c", LOAD, &pods.address, &pods.port.to_string(), &rate.to_string()]);
        let mut load = Self(Running::start(command));
        load.wait_for("from pod");
        load
    }

    /// Waits for an answer.
    #[track_caller]
    pub(super) fn wait_for(&mut self, answer: &str) {
        let asked = monotonic();
        let is_it = |request: Request| {
            assert!(request.begun < asked + PATIENCE, "no request is answered {answer:?}: {request:?}");
            request.begun > asked && request.answer == answer
        };
        self.0.wait_until(answer, |line| Request::read(line).is_some_and(is_it));
    }

    /// Waits until so much time has passed for requests that were begun after `moment`.
    #[track_caller]
    pub(super) fn wait_until(&mut self, moment: Duration) {
        self.0.wait_until("a later request", |line| Request::read(line).is_some_and(|request| request.begun > moment));
    }

    /// All requests.
    pub(super) fn end(mut self) -> Vec<Request> {
        self.0.close_stdin();
        let all: Vec<Request> = self.0.rest().lines().filter_map(Request::read).collect();
        all
    }
}
