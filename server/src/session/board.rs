//! What others may know of the session: its state, processes, ports and requests, kept where the host's parts write
//! them and whoever follows the session reads them (`control`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::agent::PassedRequest;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::serve::rpc::{
    Outcome, Port, PortMode, Process, RequestSeen, SessionInfo, SessionState, SessionUpdated, Traffic,
};

/// Events that a slow follower may be behind; then it gets everything anew.
const BEHIND: usize = 1024;

/// Arguments of a process that are kept, and characters of each.
const ARGUMENTS: usize = 64;
const CHARACTERS: usize = 256;

/// Something new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Everything, at first and when events were left out.
    Info(Box<SessionInfo>),
    /// Another state, with its cause.
    State(SessionState, String),
    /// All processes.
    Processes(Vec<Process>),
    /// All ports.
    Ports(Vec<Port>),
    /// One request.
    Request(RequestSeen),
    /// So many requests that are not told.
    Omitted(u64),
    /// Another configuration.
    Updated(SessionUpdated),
    /// Something that the user should know.
    Warning(String),
}

/// The state of the session in one place.
pub(super) struct Board {
    inner: Mutex<Inner>,
    events: broadcast::Sender<Event>,
}

struct Inner {
    info: SessionInfo,
    degraded: Option<String>,
    lost: Option<String>,
    n_requests: u64,
}

/// A process of the host holds one session: warnings from anywhere in it are the session's.
static OF_THIS_PROCESS: OnceLock<Arc<Board>> = OnceLock::new();

/// A warning for whoever follows the session.
pub(super) fn warn(text: &str) {
    if let Some(board) = OF_THIS_PROCESS.get() {
        board.tell(Event::Warning(text.trim_start_matches("mirror: ").to_owned()));
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Board {
    /// Begins with what is known when the session stands.
    pub(super) fn new(info: SessionInfo) -> Arc<Self> {
        let inner = Inner { info, degraded: None, lost: None, n_requests: 0 };
        Arc::new(Self { inner: Mutex::new(inner), events: broadcast::channel(BEHIND).0 })
    }

    /// Takes the warnings of this process.
    pub(super) fn take_warnings(self: &Arc<Self>) {
        OF_THIS_PROCESS.set(self.clone()).ok();
    }

    /// All that is known, and what is new from now on.
    pub(super) fn follow(&self) -> (SessionInfo, broadcast::Receiver<Event>) {
        let inner = self.locked();
        (inner.info.clone(), self.events.subscribe())
    }

    pub(super) fn info(&self) -> SessionInfo {
        self.locked().info.clone()
    }

    /// The processes have changed; `waiting` is the cause where there is none.
    pub(super) fn processes(&self, processes: Vec<Process>, waiting: &str) {
        let mut inner = self.locked();
        if inner.info.processes != processes {
            inner.info.processes.clone_from(&processes);
            self.tell(Event::Processes(processes));
        }
        self.judge(&mut inner, waiting);
    }

    /// Something is missing, or no longer. Returns what was before.
    pub(super) fn degraded(&self, cause: Option<String>) -> Option<String> {
        let mut inner = self.locked();
        let before = std::mem::replace(&mut inner.degraded, cause);
        self.judge(&mut inner, "");
        before
    }

    /// The agent cannot be reached any more.
    pub(super) fn lost(&self, cause: String) {
        let mut inner = self.locked();
        inner.lost = Some(cause);
        self.judge(&mut inner, "");
    }

    /// The session is over.
    pub(super) fn ended(&self, cause: String) {
        let mut inner = self.locked();
        self.change(&mut inner, SessionState::Ended, cause);
    }

    fn judge(&self, inner: &mut Inner, waiting: &str) {
        if inner.info.state == SessionState::Ended {
            return;
        }
        let n_processes = inner.info.processes.len();
        let (state, cause) = match (&inner.lost, &inner.degraded, n_processes) {
            (Some(cause), ..) => (SessionState::Lost, cause.clone()),
            (_, _, 0) if waiting.is_empty() => return,
            (_, _, 0) => (SessionState::WaitingForProgram, waiting.to_owned()),
            (_, Some(cause), _) => (SessionState::Degraded, cause.clone()),
            (_, _, 1) => (SessionState::Active, "a process takes part".to_owned()),
            (_, _, count) => (SessionState::Active, format!("{count} processes take part")),
        };
        // The count is told with the processes.
        if inner.info.state != state || state != SessionState::Active {
            self.change(inner, state, cause);
        }
    }

    fn change(&self, inner: &mut Inner, state: SessionState, cause: String) {
        if inner.info.state == state && inner.info.cause.as_ref() == Some(&cause) {
            return;
        }
        inner.info.state = state;
        inner.info.cause = Some(cause.clone());
        tracing::info!(?state, cause, "the session's state");
        self.tell(Event::State(state, cause));
    }

    /// A port of the target leads here.
    pub(super) fn port_opened(&self, port: Port) {
        let mut inner = self.locked();
        inner.info.ports.retain(|known| known.port != port.port);
        inner.info.ports.push(port);
        inner.info.ports.sort_by_key(|port| port.port);
        self.tell(Event::Ports(inner.info.ports.clone()));
    }

    /// A port of the target leads here no longer.
    pub(super) fn port_closed(&self, port: u16) {
        let mut inner = self.locked();
        inner.info.ports.retain(|known| known.port != port);
        self.tell(Event::Ports(inner.info.ports.clone()));
    }

    /// A new request; the number by which its answer is told.
    pub(super) fn request(&self, mut request: RequestSeen) -> u64 {
        let id = {
            let mut inner = self.locked();
            inner.n_requests += 1;
            inner.n_requests
        };
        request.id = id;
        self.tell(Event::Request(request));
        id
    }

    /// What came of a request.
    pub(super) fn request_again(&self, request: RequestSeen) {
        self.tell(Event::Request(request));
    }

    /// Requests that filters have left to the target.
    pub(super) fn passed(&self, requests: Vec<PassedRequest>, omitted: u64) {
        for PassedRequest { port, client, method, path, status, elapsed } in requests {
            let milliseconds = elapsed.as_millis() as u64;
            let seen = seen(port, SocketAddr::new(client, 0), Outcome::Passed);
            self.request(RequestSeen {
                at: seen.at.saturating_sub(milliseconds),
                method: Some(method),
                path: Some(path),
                status: Some(status),
                milliseconds: Some(milliseconds),
                ..seen
            });
        }
        if omitted > 0 {
            self.tell(Event::Omitted(omitted));
        }
    }

    /// Another configuration holds, or is known not to.
    pub(super) fn updated(&self, traffic: Traffic, filtered: bool, updated: SessionUpdated) {
        let mut inner = self.locked();
        if (inner.info.traffic, inner.info.filtered) != (traffic, filtered) {
            (inner.info.traffic, inner.info.filtered) = (traffic, filtered);
            self.tell(Event::Info(Box::new(inner.info.clone())));
        }
        self.tell(Event::Updated(updated));
    }

    fn tell(&self, event: Event) {
        // Nobody may be listening.
        self.events.send(event).ok();
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection or request as it comes.
pub(super) fn seen(port: u16, client: SocketAddr, outcome: Outcome) -> RequestSeen {
    let client = client.ip().to_canonical().to_string();
    RequestSeen { id: 0, at: now(), port, client, method: None, path: None, status: None, milliseconds: None, outcome }
}

/// The port's mode, in the terms of the RPC.
pub(super) fn port_mode(mode: protocol::agent::PortMode) -> PortMode {
    match mode {
        protocol::agent::PortMode::Mirror => PortMode::Mirror,
        protocol::agent::PortMode::Steal => PortMode::Steal,
    }
}

/// What happens to the target's traffic, in the terms of the RPC.
pub(super) fn traffic(mode: Option<protocol::agent::PortMode>) -> Traffic {
    match mode {
        None => Traffic::Off,
        Some(protocol::agent::PortMode::Mirror) => Traffic::Mirror,
        Some(protocol::agent::PortMode::Steal) => Traffic::Steal,
    }
}

/// What `/proc` says of a process that has loaded the layer.
pub(super) fn process(pid: i32, skipped: bool) -> Process {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let command = read("cmdline");
    let shorten = |argument: &[u8]| String::from_utf8_lossy(argument).chars().take(CHARACTERS).collect();
    let words = command.strip_suffix(b"\0").unwrap_or(&command).split(|byte| *byte == 0);
    let status = String::from_utf8_lossy(&read("status")).into_owned();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    Process { pid, parent, argv: words.take(ARGUMENTS).map(shorten).collect(), skipped, since: now() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::serve::rpc::Origin;

    /// A board for tests of what writes on it.
    pub(in crate::session) fn board() -> Arc<Board> {
        Board::new(SessionInfo {
            session: "abc".to_owned(),
            version: "1".to_owned(),
            origin: Origin::Editor,
            state: SessionState::Starting,
            cause: None,
            started: 1,
            folder: None,
            config: None,
            name: "program".to_owned(),
            debugger: None,
            context: "c".to_owned(),
            server: "s".to_owned(),
            namespace: "n".to_owned(),
            production: false,
            target: "pod/a".to_owned(),
            pod: None,
            container: None,
            traffic: Traffic::Off,
            filtered: false,
            processes: Vec::new(),
            ports: Vec::new(),
            log: None,
            grace: 60,
        })
    }

    #[test]
    fn the_state_follows_processes_and_losses() {
        let board = board();
        let (_, mut events) = board.follow();
        let own = process(std::process::id() as i32, false);
        assert!(own.parent.is_some() && !own.argv.is_empty(), "{own:?}");
        board.processes(Vec::new(), "none has started");
        board.processes(vec![own.clone()], "");
        board.degraded(Some("no rights".to_owned()));
        board.degraded(None);
        board.processes(Vec::new(), "all have ended");
        board.lost("cut".to_owned());
        board.processes(vec![own], "");
        board.ended("stopped".to_owned());
        board.processes(Vec::new(), "late");
        let mut states = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let Event::State(state, cause) = event {
                states.push((state, cause));
            }
        }
        let states: Vec<_> = states.iter().map(|(state, cause)| (*state, cause.as_str())).collect();
        assert_eq!(
            states,
            [
                (SessionState::WaitingForProgram, "none has started"),
                (SessionState::Active, "a process takes part"),
                (SessionState::Degraded, "no rights"),
                (SessionState::Active, "a process takes part"),
                (SessionState::WaitingForProgram, "all have ended"),
                (SessionState::Lost, "cut"),
                (SessionState::Ended, "stopped"),
            ]
        );
    }
}
