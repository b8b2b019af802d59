//! The sessions that this helper knows. They live in their hosts: a helper that comes later finds them again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};
use tower_lsp::Client;

use super::disk::{Changed, Disk};
use super::problems::Answer;
use super::progress::Progress;
use super::rpc::notification::{
    SessionPortsNotification, SessionProcessesNotification, SessionRequestsNotification, SessionStateNotification,
    SessionUpdatedNotification, SessionWarningNotification,
};
use super::rpc::{
    Nothing, Origin, Problem, RequestSeen, SessionApplied, SessionInfo, SessionList, SessionParams, SessionPorts,
    SessionProcesses, SessionRequests, SessionStart, SessionStarted, SessionState, SessionStateChanged, SessionUpdate,
    SessionUpdated, SessionWarning,
};
use super::starting::{self, Prepared, Unwanted};
use crate::bundle;
use crate::failure::{Class, Failure, Result};
use crate::session::board::Event;
use crate::session::registry::{self, Answer as HostAnswer, Answers, Command, Entry, Plan};

/// How long a host may take to answer what costs it nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the end of a session is waited for.
const END: Duration = Duration::from_secs(10);

/// How long requests are collected, and how many are told at once.
const COLLECT: Duration = Duration::from_millis(100);
const AT_ONCE: usize = 200;

/// The sessions.
pub(super) struct Sessions {
    client: Client,
    disk: Arc<Disk>,
    followed: Mutex<HashMap<String, SessionInfo>>,
}

impl Sessions {
    /// Begins without any. Configurations are taken over when they change on disk, and what others begin is followed.
    pub(super) fn begin(client: Client, disk: Arc<Disk>) -> Arc<Self> {
        let changes = disk.changes();
        let folder = registry::folder().map_err(|error| tracing::warn!(%error, "sessions of others are not followed"));
        let folder = folder.ok().inspect(|folder| disk.follow_all_of(folder.clone()));
        let sessions = Arc::new(Self { client, disk, followed: Mutex::default() });
        tokio::spawn(follow_disk(sessions.clone(), changes, folder));
        sessions
    }

    /// Those that are followed.
    pub(super) fn known(&self) -> Vec<SessionInfo> {
        self.locked().values().cloned().collect()
    }

    pub(super) async fn start(self: &Arc<Self>, params: SessionStart) -> Answer<SessionStarted> {
        let token = params.work_done_token.clone();
        let progress = Progress::begin(&self.client, token, "Starting a session of mirror").await;
        let started = self.start_or_reuse(params, &progress).await;
        progress.end(started.as_ref().map_or_else(|problem| problem.message.as_str(), |_| "the session stands")).await;
        started
    }

    async fn start_or_reuse(self: &Arc<Self>, params: SessionStart, progress: &Progress) -> Answer<SessionStarted> {
        if !Path::new(&params.folder).is_absolute() {
            return Err(Problem::new("usage", format!("the folder {:?} is no absolute path", params.folder)));
        }
        let prepared = prepare(params).await?;
        if let Some(started) = self.reuse(&prepared).await {
            return Ok(started);
        }
        // What could not be used must not be made.
        bundle::layer_path()?;
        let ready = prepared.run(&self.client, progress).await?;
        let entry = registry::entry(&ready.session)?;
        let unwanted = Unwanted(Some(entry.clone()));
        let session = self.follow(&entry).await?;
        let plan = prepared.plan(&ready)?;
        unwanted.wanted();
        Ok(SessionStarted { session, plan, reused: false })
    }

    /// A session of the same folder and launch that still stands: a debugger that is started again comes back to it. One
    /// with another configuration that waits for a program is over.
    async fn reuse(self: &Arc<Self>, prepared: &Prepared) -> Option<SessionStarted> {
        let about = &prepared.start.about;
        for entry in registry::entries() {
            let Ok(info) = self.follow(&entry).await else { continue };
            let is_same = info.folder == about.folder && info.name == about.name && info.debugger == about.debugger;
            let stands =
                matches!(info.state, SessionState::WaitingForProgram | SessionState::Active | SessionState::Degraded);
            if !is_same || info.version != protocol::VERSION {
                continue;
            }
            let Ok(plan) = plan_of(&entry).await else { continue };
            if stands && plan.fingerprint == about.fingerprint && entry.ask_once(Command::Join).await.is_ok() {
                tracing::info!(session = info.session, "a session is used again");
                let plan = prepared.plan(&plan.ready).ok()?;
                return Some(SessionStarted { session: info, plan, reused: true });
            }
            if info.processes.is_empty() {
                self.end(&entry).await.ok();
            }
        }
        None
    }

    pub(super) async fn stop(self: &Arc<Self>, params: &SessionParams) -> Answer<Nothing> {
        self.end(&registry::entry(&params.session)?).await?;
        Ok(Nothing {})
    }

    /// Ends a session and waits for it.
    async fn end(self: &Arc<Self>, entry: &Entry) -> Result<()> {
        entry.ask_once(Command::Stop).await?;
        let gone = async {
            while registry::entry(&entry.session).is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(END, gone).await.map_err(|_| {
            Failure::new(Class::Internal, format!("session {} does not end", entry.session))
                .next("its log may say why; the cluster ends its agent by itself")
        })
    }

    pub(super) async fn list(self: &Arc<Self>) -> SessionList {
        let entries = registry::entries();
        let all = entries.iter().map(|entry| timeout(PATIENCE, self.follow(entry)));
        let answered = futures_util::future::join_all(all).await;
        let mut sessions: Vec<SessionInfo> = answered.into_iter().flatten().flatten().collect();
        sessions.retain(|session| session.state != SessionState::Ended);
        sessions.sort_by_key(|session| session.started);
        SessionList { sessions }
    }

    pub(super) async fn restart(self: &Arc<Self>, params: &SessionParams) -> Answer<SessionStarted> {
        let entry = registry::entry(&params.session)?;
        let request = request_of(&entry).await?;
        // What cannot be started again must not be ended.
        prepare(request.clone()).await?;
        self.end(&entry).await?;
        self.start(request).await
    }

    pub(super) async fn update(&self, params: &SessionUpdate) -> Answer<SessionUpdated> {
        let entry = registry::entry(&params.session)?;
        let request = request_of(&entry).await?;
        let spec = tokio::task::spawn_blocking(move || starting::spec(&request)).await;
        let (spec, fingerprint) = spec.map_err(|error| Failure::new(Class::Internal, error.to_string()))??;
        match entry.ask_once(Command::Update { spec, fingerprint }).await? {
            HostAnswer::Updated(updated) => Ok(updated),
            _ => Err(unexpected(&entry).into()),
        }
    }

    /// What a session is, and notifications about it from now on.
    async fn follow(self: &Arc<Self>, entry: &Entry) -> Result<SessionInfo> {
        if let Some(info) = self.locked().get(&entry.session) {
            return Ok(info.clone());
        }
        let mut answers = entry.ask(Command::Follow).await?;
        let first = timeout(PATIENCE, answers.next()).await.map_err(|_| unexpected(entry))??;
        let Some(HostAnswer::Event(Event::Info(info))) = first else { return Err(registry::gone(&entry.session)) };
        info.config.iter().for_each(|config| self.disk.follow(PathBuf::from(config)));
        // Somebody may have been faster.
        if self.locked().insert(entry.session.clone(), (*info).clone()).is_none() {
            tokio::spawn(hand_on(self.clone(), entry.session.clone(), answers));
        }
        Ok(*info)
    }

    /// Follows the sessions that have begun since, and tells of them.
    async fn find_new(self: &Arc<Self>) {
        for entry in registry::entries() {
            let is_known = self.locked().contains_key(&entry.session);
            if !is_known && let Ok(Ok(info)) = timeout(PATIENCE, self.follow(&entry)).await {
                tell(self, &entry.session, Event::State(info.state, info.cause.unwrap_or_default())).await;
            }
        }
    }

    fn change(&self, session: &str, change: impl FnOnce(&mut SessionInfo)) {
        if let Some(info) = self.locked().get_mut(session) {
            change(info);
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, SessionInfo>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn prepare(params: SessionStart) -> Answer<Prepared> {
    let prepared = tokio::task::spawn_blocking(move || Prepared::new(&params)).await;
    prepared.map_err(|error| Failure::new(Class::Internal, format!("cannot prepare a session: {error}")))?
}

async fn plan_of(entry: &Entry) -> Result<Plan> {
    match timeout(PATIENCE, entry.ask_once(Command::Plan)).await.map_err(|_| unexpected(entry))?? {
        HostAnswer::Plan(plan) => Ok(*plan),
        _ => Err(unexpected(entry)),
    }
}

/// What a session was asked for.
async fn request_of(entry: &Entry) -> Result<SessionStart> {
    let plan = plan_of(entry).await?;
    serde_json::from_str(&plan.request).map_err(|_| {
        Failure::new(Class::Usage, format!("session {} was started by mirror exec", entry.session))
            .next("end its program and start it again in its terminal")
    })
}

fn unexpected(entry: &Entry) -> Failure {
    Failure::new(Class::Internal, format!("the host of session {} does not answer", entry.session))
}

/// Tells of sessions that somebody begins: their files are in `folder`. Has sessions take over their configurations when
/// these change. The host tells what came of it; what is wrong with a configuration is told where it is edited.
async fn follow_disk(sessions: Arc<Sessions>, mut changes: broadcast::Receiver<Changed>, folder: Option<PathBuf>) {
    loop {
        let changed = match changes.recv().await {
            Ok(changed) => changed,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if changed.iter().any(|path| path.parent() == folder.as_deref()) {
            sessions.find_new().await;
        }
        let is_concerned = |info: &SessionInfo| {
            info.origin == Origin::Editor
                && info.config.as_ref().is_some_and(|config| changed.contains(Path::new(config)))
        };
        for info in sessions.known().into_iter().filter(is_concerned) {
            let params = SessionUpdate { session: info.session };
            if let Err(problem) = sessions.update(&params).await {
                tracing::info!(params.session, problem.message, "a changed configuration is not taken over");
            }
        }
    }
}

/// Hands the events of one session on to the client until its host ends.
async fn hand_on(sessions: Arc<Sessions>, session: String, mut answers: Answers) {
    let client = &sessions.client;
    let mut requests = Collected::default();
    loop {
        let next = tokio::select! {
            next = answers.next() => next,
            () = requests.due() => {
                requests.tell(&session, client).await;
                continue;
            }
        };
        let Ok(Some(HostAnswer::Event(event))) = next else { break };
        match event {
            Event::Request(request) => requests.add(request),
            Event::Omitted(count) => requests.omit(count),
            event => {
                requests.tell(&session, client).await;
                tell(&sessions, &session, event).await;
            }
        }
    }
    requests.tell(&session, client).await;
    let state = sessions.locked().get(&session).map(|info| info.state);
    if state.is_some_and(|state| state != SessionState::Ended) {
        let cause = "its host has ended without a word: its log may say why".to_owned();
        tell(&sessions, &session, Event::State(SessionState::Ended, cause)).await;
    }
    sessions.locked().remove(&session);
}

async fn tell(sessions: &Sessions, session: &str, event: Event) {
    let client = &sessions.client;
    let name = session.to_owned();
    match event {
        Event::State(state, cause) => {
            sessions.change(session, |info| (info.state, info.cause) = (state, Some(cause.clone())));
            let change = SessionStateChanged { session: name, state, cause };
            client.send_notification::<SessionStateNotification>(change).await;
        }
        Event::Processes(processes) => {
            sessions.change(session, |info| info.processes.clone_from(&processes));
            let change = SessionProcesses { session: name, processes };
            client.send_notification::<SessionProcessesNotification>(change).await;
        }
        Event::Ports(ports) => {
            sessions.change(session, |info| info.ports.clone_from(&ports));
            client.send_notification::<SessionPortsNotification>(SessionPorts { session: name, ports }).await;
        }
        Event::Warning(text) => {
            let warning = SessionWarning { session: Some(name), problem: Problem::new("warning", text) };
            client.send_notification::<SessionWarningNotification>(warning).await;
        }
        Event::Updated(updated) => {
            let known = sessions.locked().get(session).map(|info| (info.traffic, info.filtered));
            let Some((traffic, filtered)) = known else { return };
            let change = SessionApplied { session: name, traffic, filtered, updated };
            client.send_notification::<SessionUpdatedNotification>(change).await;
        }
        // Events were left out: everything anew.
        Event::Info(info) => {
            let (state, cause) = (info.state, info.cause.clone().unwrap_or_default());
            let (processes, ports) = (info.processes.clone(), info.ports.clone());
            sessions.change(session, |known| *known = *info);
            for event in [Event::State(state, cause), Event::Processes(processes), Event::Ports(ports)] {
                Box::pin(tell(sessions, session, event)).await;
            }
        }
        Event::Request(_) | Event::Omitted(_) => {}
    }
}

/// Requests that are not told yet.
#[derive(Default)]
struct Collected {
    requests: Vec<RequestSeen>,
    omitted: u64,
    since: Option<Instant>,
}

impl Collected {
    fn add(&mut self, request: RequestSeen) {
        self.since.get_or_insert_with(Instant::now);
        // An answer replaces what was to be told of its request.
        if let Some(known) = self.requests.iter_mut().find(|known| known.id == request.id) {
            *known = request;
        } else if self.requests.len() < AT_ONCE {
            self.requests.push(request);
        } else {
            self.omitted += 1;
        }
    }

    fn omit(&mut self, count: u64) {
        self.since.get_or_insert_with(Instant::now);
        self.omitted += count;
    }

    async fn due(&self) {
        match self.since {
            Some(since) => sleep_until(since + COLLECT).await,
            None => std::future::pending().await,
        }
    }

    async fn tell(&mut self, session: &str, client: &Client) {
        let Self { requests, omitted, since } = std::mem::take(self);
        if since.is_some() {
            let told = SessionRequests { session: session.to_owned(), requests, omitted };
            client.send_notification::<SessionRequestsNotification>(told).await;
        }
    }
}
