//! The configuration files that the client has open, what is wrong with them, and what the cluster says of them.
//!
//! A request is answered from what is here; whatever has to be asked of a cluster is asked by a task for each file, which
//! writes what it has heard to the file's [`Live`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::Target;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tower_lsp::Client;
use tower_lsp::jsonrpc::Request;
use tower_lsp::lsp_types::{
    Diagnostic, DidChangeTextDocumentParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams, Url,
};

use super::language::{self, Around, Live, Parsed};
use super::reviews::{GRANTED, Reviews, Rights};
use super::rpc::{ContextRow, Place, TargetDetails};
use super::targets;
use super::watches::{Set, Watches};
use crate::kube::contexts;
use crate::kube::permissions::Subject;
use crate::machine::ports::Ports;
use crate::settings;

/// How long edits are collected before problems are published.
const SETTLE: Duration = Duration::from_millis(20);

/// How often what the cluster says is looked at again while it changes.
const CALM: Duration = Duration::from_millis(500);

/// How often the ports of this machine are looked at, while a file names some.
const PORTS: Duration = Duration::from_secs(2);

/// How many times longer than the work the pause after it is at least.
const LEISURE: u32 = 20;

/// How long the first answer of a cluster is waited for.
const FIRST: Duration = Duration::from_secs(10);

/// A cluster that cannot be asked is tried again after this.
const AGAIN: Duration = Duration::from_secs(15);

/// A right that the user lacks is asked about again after this: somebody may grant it.
const REVIEW: Duration = Duration::from_secs(5);

/// The open files.
pub(super) struct Documents {
    client: Client,
    watches: Arc<Watches>,
    reviews: Arc<Reviews>,
    open: Mutex<HashMap<Url, Opened>>,
}

struct Opened {
    file: Arc<File>,
    task: JoinHandle<()>,
}

/// One of them.
pub(super) struct File {
    uri: Url,
    text: Mutex<Text>,
    around: Mutex<Around>,
    /// The text is another, or what cluster or machine say.
    changed: Notify,
}

struct Text {
    text: Arc<str>,
    version: i32,
    parsed: Option<Arc<Parsed>>,
}

impl File {
    /// The text as it is now, read.
    pub(super) fn parsed(&self) -> (Arc<Parsed>, i32) {
        let mut text = locked(&self.text);
        let parsed = match &text.parsed {
            Some(parsed) => parsed.clone(),
            None => Arc::new(Parsed::new(&self.uri, &text.text)),
        };
        text.parsed = Some(parsed.clone());
        (parsed, text.version)
    }

    /// What is known of the world around it.
    pub(super) fn around(&self) -> Around {
        locked(&self.around).clone()
    }

    /// Its problems as they are now.
    pub(super) fn diagnostics(&self) -> (Vec<Diagnostic>, i32) {
        let (parsed, version) = self.parsed();
        (language::diagnostics(&parsed, &self.around()), version)
    }

    fn set(&self, text: String, version: i32) {
        *locked(&self.text) = Text { text: text.into(), version, parsed: None };
        self.changed.notify_one();
    }

    fn tell(&self, live: Live) {
        locked(&self.around).live = Arc::new(live);
        self.changed.notify_one();
    }

    fn tell_of_ports(&self, ports: Ports) {
        self.tell_news(|around| &mut around.ports, ports);
    }

    fn tell_of_rights(&self, rights: Rights) {
        self.tell_news(|around| &mut around.rights, rights);
    }

    /// What is asked again and again is mostly the same.
    fn tell_news<T: PartialEq>(&self, place: impl FnOnce(&mut Around) -> &mut Arc<T>, known: T) {
        let known = Arc::new(known);
        let before = std::mem::replace(place(&mut locked(&self.around)), known.clone());
        if before != known {
            self.changed.notify_one();
        }
    }
}

impl Documents {
    pub(super) fn new(client: &Client, watches: Arc<Watches>) -> Arc<Self> {
        Arc::new(Self { client: client.clone(), watches, reviews: Arc::default(), open: Mutex::default() })
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        locked(&self.open).len()
    }

    /// An open file.
    pub(super) fn get(&self, uri: &Url) -> Option<Arc<File>> {
        locked(&self.open).get(uri).map(|opened| opened.file.clone())
    }

    /// Applies an edit, if the message is one. Called in the order in which messages came.
    pub(super) fn apply(&self, request: &Request) {
        fn params<T: DeserializeOwned>(request: &Request) -> Option<T> {
            T::deserialize(request.params()?).ok()
        }
        match request.method() {
            "textDocument/didOpen" => {
                let Some(DidOpenTextDocumentParams { text_document }) = params(request) else { return };
                self.opened(text_document.uri, text_document.text, text_document.version);
            }
            "textDocument/didChange" => {
                let Some(DidChangeTextDocumentParams { text_document, content_changes }) = params(request) else {
                    return;
                };
                let (Some(file), Some(last)) = (self.get(&text_document.uri), content_changes.into_iter().next_back())
                else {
                    return;
                };
                file.set(last.text, text_document.version);
            }
            "textDocument/didClose" => {
                let Some(DidCloseTextDocumentParams { text_document }) = params(request) else { return };
                self.closed(text_document.uri);
            }
            _ => {}
        }
    }

    fn opened(&self, uri: Url, text: String, version: i32) {
        let text = Mutex::new(Text { text: text.into(), version, parsed: None });
        let file = Arc::new(File { uri: uri.clone(), text, around: Mutex::default(), changed: Notify::new() });
        file.changed.notify_one();
        let task = tokio::spawn(follow(self.client.clone(), self.watches.clone(), self.reviews.clone(), file.clone()));
        if let Some(before) = locked(&self.open).insert(uri, Opened { file, task }) {
            before.task.abort();
        }
    }

    fn closed(&self, uri: Url) {
        let Some(opened) = locked(&self.open).remove(&uri) else { return };
        opened.task.abort();
        let client = self.client.clone();
        tokio::spawn(async move {
            // What it was about to publish must not come after this.
            opened.task.await.ok();
            client.publish_diagnostics(uri, Vec::new(), None).await;
        });
    }
}

/// What a file wants to know of which cluster.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    place: Place,
    target: Option<Target>,
    subject: Subject,
}

fn wish(parsed: &Parsed) -> Wish {
    let mut config = parsed.resolved().config.clone();
    let folder = std::path::Path::new(&parsed.document.name).parent().unwrap_or(std::path::Path::new("/"));
    settings::rebase(&mut config, folder);
    let subject = Subject::of(&config);
    let place =
        Place { kubeconfig: config.kubeconfig, context: config.kube_context, namespace: config.target.namespace };
    Wish { place, subject, target: config.target.path }
}

/// Ends with what holds it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publishes the problems of a file, and has the cluster asked about it.
async fn follow(client: Client, watches: Arc<Watches>, reviews: Arc<Reviews>, file: Arc<File>) {
    let mut looking: Option<(Wish, Task)> = None;
    let mut next: Option<(Wish, Instant)> = None;
    let _ports = Task(tokio::spawn(look_at_ports(file.clone())));
    loop {
        let due = async {
            match &next {
                Some((_, due)) => sleep_until(*due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = file.changed.notified() => {}
            () = due => {
                let look = |wish: Wish| tokio::spawn(look(watches.clone(), reviews.clone(), file.clone(), wish));
                looking = next.take().map(|(wish, _)| (wish.clone(), Task(look(wish))));
                continue;
            }
        }
        tokio::time::sleep(SETTLE).await;
        let (diagnostics, version) = file.diagnostics();
        client.publish_diagnostics(file.uri.clone(), diagnostics, Some(version)).await;
        let wish = wish(&file.parsed().0);
        next = match (&looking, next) {
            (Some((known, _)), _) if *known == wish => None,
            (_, Some((pending, due))) if pending == wish => Some((pending, due)),
            // Who still writes a name asks nothing: what is known of the place goes on being told.
            (Some((known, _)), _) if known.place == wish.place => Some((wish, Instant::now() + CALM)),
            _ => Some((wish, Instant::now())),
        };
    }
}

/// Asks this machine about the ports in a file, and tells the file.
async fn look_at_ports(file: Arc<File>) {
    let mut ticks = tokio::time::interval(PORTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let wanted = language::wanted(&file.parsed().0);
        let looked = match wanted.is_empty() {
            true => Ok(Ports::default()),
            false => tokio::task::spawn_blocking(move || Ports::look(&wanted)).await,
        };
        if let Ok(ports) = looked {
            file.tell_of_ports(ports);
        }
    }
}

/// Asks the cluster, and tells the file.
async fn look(watches: Arc<Watches>, reviews: Arc<Reviews>, file: Arc<File>, wish: Wish) {
    let mut kubeconfigs = watches.clusters().changes();
    loop {
        kubeconfigs.borrow_and_update();
        let kubeconfig = wish.place.kubeconfig.as_deref().map(settings::expand_home);
        let rows = tokio::task::spawn_blocking(move || contexts::contexts(kubeconfig.as_deref())).await;
        let rows = rows.ok().and_then(Result::ok).unwrap_or_default();
        let told = async {
            match watches.get(&wish.place).await {
                Ok(set) => tell(&watches, &file, &wish, &rows, &set).await,
                Err(problem) => {
                    tracing::debug!(problem.message, "a configuration is not compared with the cluster");
                    file.tell(Live::new(&rows, &[], None, None));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let reviewed = async {
            // Who still writes asks nothing.
            tokio::time::sleep(CALM).await;
            loop {
                let rights = reviews.of(&watches, &wish.place, &wish.subject).await;
                let pause = if rights.missing.is_empty() { GRANTED } else { REVIEW };
                file.tell_of_rights(rights);
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = told => {}
            () = reviewed => {}
            _ = kubeconfigs.changed() => {}
        }
    }
}

async fn tell(watches: &Watches, file: &File, wish: &Wish, rows: &[ContextRow], set: &Set) {
    let namespaces = async {
        let cluster = watches.clusters().get(&wish.place).await.ok()?;
        contexts::namespaces(&cluster).await.ok()
    };
    let ((), namespaces) = tokio::join!(set.complete(FIRST), namespaces);
    let namespaces = namespaces.unwrap_or_default();
    let mut changes = set.changes();
    let (mut details, mut of) = (None, None);
    loop {
        changes.borrow_and_update();
        let snapshot = set.snapshot(None);
        let row = wish.target.as_ref().and_then(|target| snapshot.rows.get(&path(target)?).cloned());
        if row != of {
            details = match &row {
                Some(_) => detailed(watches, wish).await,
                None => None,
            };
            of = row;
        }
        let began = Instant::now();
        file.tell(Live::new(rows, &namespaces, Some(set.targets(&snapshot)), details.clone()));
        let took = began.elapsed();
        if changes.changed().await.is_err() {
            return;
        }
        // Large lists are put together less often.
        tokio::time::sleep(CALM.max(took * LEISURE)).await;
    }
}

async fn detailed(watches: &Watches, wish: &Wish) -> Option<TargetDetails> {
    let cluster = watches.clusters().get(&wish.place).await.ok()?;
    targets::details_of(&cluster, wish.target.as_ref()?, Vec::new()).await.ok()
}

fn path(target: &Target) -> Option<String> {
    match target {
        Target::Workload(workload) => Some(format!("{}/{}", workload.kind, workload.name)),
        _ => None,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
