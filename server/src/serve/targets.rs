//! The methods about contexts, namespaces and targets.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::Target;
use config::target::KINDS;
use tokio::task::AbortHandle;
use tower_lsp::Client;

use super::problems::Answer;
use super::rpc::notification::TargetsChangedNotification;
use super::rpc::{
    Contexts, ContextsParams, NamespaceRow, Namespaces, Nothing, Place, Problem, TargetDetails, TargetParams,
    TargetRow, TargetUser, Targets, TargetsChanged, TargetsParams, Unwatch, Watched,
};
use super::watches::{Rows, Set, Watches, target_row};
use crate::failure::{Class, Failure, nearest};
use crate::kube::client::Cluster;
use crate::kube::{contexts, details};
use crate::settings;

/// How long `mirror/targets/list` waits for a first list.
const LIST: Duration = Duration::from_secs(10);

/// How long `mirror/targets/watch` does: small clusters are told whole.
const FIRST: Duration = Duration::from_millis(40);

/// Targets that are told at once: a picker shows its first rows before it has heard of ten thousand pods.
const AT_ONCE: usize = 500;

/// How long changes are collected before they are told.
const COLLECT: Duration = Duration::from_millis(50);

/// A watch whose cluster could not be opened tries again after this.
const AGAIN: Duration = Duration::from_secs(15);

/// Watches that clients have at a time.
const MOST: usize = 64;

/// The watches that clients have asked for.
pub(super) struct Subscriptions {
    client: Client,
    watches: Arc<Watches>,
    tasks: Mutex<HashMap<String, AbortHandle>>,
    count: AtomicU64,
}

impl Subscriptions {
    pub(super) fn new(client: Client, watches: Arc<Watches>) -> Self {
        Self { client, watches, tasks: Mutex::default(), count: AtomicU64::new(0) }
    }

    pub(super) async fn list(&self, params: TargetsParams) -> Answer<Targets> {
        let kinds = kinds(params.kinds.as_deref())?;
        let set = self.watches.get(&params.place).await?;
        set.complete(LIST).await;
        Ok(set.targets(&set.snapshot(kinds.as_deref())))
    }

    pub(super) async fn watch(&self, params: TargetsParams) -> Answer<Watched> {
        let kinds = kinds(params.kinds.as_deref())?;
        let set = self.watches.get(&params.place).await?;
        set.complete(FIRST).await;
        let snapshot = set.snapshot(kinds.as_deref());
        let targets = set.first(&snapshot, AT_ONCE);
        let watch = self.count.fetch_add(1, Ordering::Relaxed).to_string();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|_, task| !task.is_finished());
        if tasks.len() >= MOST {
            return Err(Problem::new("usage", format!("there are {MOST} watches already")).next("end one of them"));
        }
        let mut told = Told { rows: snapshot.rows, complete: targets.complete, problems: snapshot.problems };
        if told.rows.len() > targets.targets.len() {
            let known = |row: &TargetRow| Some((row.path.clone(), told.rows.get(&row.path)?.clone()));
            told.rows = Arc::new(targets.targets.iter().filter_map(known).collect());
        }
        let (watches, client) = (self.watches.clone(), self.client.clone());
        let subscription = Subscription { watch: watch.clone(), place: params.place, kinds, told };
        tasks.insert(watch.clone(), tokio::spawn(subscription.run(set, watches, client)).abort_handle());
        Ok(Watched { watch, targets })
    }

    pub(super) fn unwatch(&self, params: &Unwatch) -> Answer<Nothing> {
        let task = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&params.watch);
        match task {
            Some(task) => {
                task.abort();
                Ok(Nothing {})
            }
            None => Err(Problem::new("usage", format!("there is no watch {:?}", params.watch))),
        }
    }

    pub(super) async fn details(&self, params: TargetParams) -> Answer<TargetDetails> {
        let cluster = self.watches.clusters().get(&params.place).await?;
        let target: Target = params
            .target
            .parse()
            .map_err(|error| Failure::new(Class::Usage, format!("{:?} is no target: {error}", params.target)))?;
        let set = self.watches.get(&params.place).await?;
        let users = set.snapshot(None).rows.get(&params.target).map(|row| row.users.clone());
        details_of(&cluster, &target, users.unwrap_or_default()).await
    }

    pub(super) async fn namespaces(&self, place: Place) -> Answer<Namespaces> {
        let cluster = self.watches.clusters().get(&place).await?;
        let (names, problem) = match contexts::namespaces(&cluster).await {
            Ok(names) => (names, None),
            Err(failure) => (known(&place), Some(Problem::from(failure))),
        };
        let mut names: BTreeSet<String> = names.into_iter().collect();
        names.insert(cluster.namespace.clone());
        let default = self.watches.clusters().get(&Place { namespace: None, ..place }).await?.namespace;
        let row = |name: String| NamespaceRow { current: name == default, name };
        Ok(Namespaces { context: cluster.context, namespaces: names.into_iter().map(row).collect(), problem })
    }

    pub(super) fn contexts(&self, params: &ContextsParams) -> Answer<Contexts> {
        let kubeconfig = params.kubeconfig.as_deref().map(settings::expand_home);
        self.watches.clusters().follow(kubeconfig.as_deref());
        let files = contexts::files(kubeconfig.as_deref()).iter().map(|file| file.display().to_string()).collect();
        Ok(Contexts { contexts: contexts::contexts(kubeconfig.as_deref())?, files })
    }
}

/// One target with everything that is of use in a configuration.
pub(super) async fn details_of(cluster: &Cluster, target: &Target, users: Vec<TargetUser>) -> Answer<TargetDetails> {
    let found = details::details(cluster, target).await?;
    Ok(TargetDetails {
        target: target_row(found.row, users),
        pods: found.pods,
        containers: found.containers,
        services: found.services,
        problems: found.failures.into_iter().map(Problem::from).collect(),
    })
}

/// The namespaces that the kubeconfig names for contexts of the same cluster.
fn known(place: &Place) -> Vec<String> {
    let kubeconfig = place.kubeconfig.as_deref().map(settings::expand_home);
    let Ok(rows) = contexts::contexts(kubeconfig.as_deref()) else { return Vec::new() };
    let own = rows.iter().find(|row| place.context.as_ref().map_or(row.current, |name| *name == row.name));
    let cluster = own.and_then(|row| row.cluster.clone());
    rows.into_iter().filter(|row| row.cluster == cluster).map(|row| row.namespace).collect()
}

/// The kinds' own words; their aliases are understood.
fn kinds(wanted: Option<&[String]>) -> Answer<Option<Vec<String>>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let word = |word: &String| {
        let kind = config::TargetKind::from_word(word).map(|kind| kind.row().word.to_owned());
        kind.ok_or_else(|| {
            let problem = Problem::new("usage", format!("{word:?} is no kind of target"));
            match nearest(word, KINDS.iter().map(|kind| kind.word)).first() {
                Some(near) => problem.next(format!("did you mean {near}?")),
                None => problem,
            }
        })
    };
    wanted.iter().map(word).collect::<Answer<Vec<_>>>().map(Some)
}

/// What a client knows.
struct Told {
    rows: Arc<Rows>,
    complete: bool,
    problems: Vec<Problem>,
}

/// One client's watch.
struct Subscription {
    watch: String,
    place: Place,
    kinds: Option<Vec<String>>,
    told: Told,
}

impl Subscription {
    async fn run(mut self, set: Arc<Set>, watches: Arc<Watches>, client: Client) {
        let mut kubeconfigs = watches.clusters().changes();
        let mut set = Some(set);
        // What is shown first does not share the processor with the rest.
        tokio::time::sleep(COLLECT).await;
        loop {
            match set.take() {
                Some(set) => {
                    tokio::select! {
                        () = self.tell(&set, &client) => {}
                        _ = kubeconfigs.changed() => {}
                    }
                }
                None => {
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        _ = kubeconfigs.changed() => {}
                    }
                }
            }
            match watches.get(&self.place).await {
                Ok(opened) => set = Some(opened),
                Err(problem) => {
                    let rows = self.told.rows.clone();
                    self.tell_changes(Told { rows, complete: true, problems: vec![problem] }, &client).await;
                }
            }
        }
    }

    async fn tell(&mut self, set: &Set, client: &Client) {
        let mut changes = set.changes();
        loop {
            let now = set.snapshot(self.kinds.as_deref());
            // A list that has just begun has lost nothing.
            let mut rows = now.rows.clone();
            if !now.complete {
                let lost = self.told.rows.iter().filter(|(path, _)| !now.rows.contains_key(*path));
                let lost: Vec<_> = lost.map(|(path, row)| (path.clone(), row.clone())).collect();
                if !lost.is_empty() {
                    Arc::make_mut(&mut rows).extend(lost);
                }
            }
            self.tell_changes(Told { rows, complete: now.complete, problems: now.problems }, client).await;
            if changes.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(COLLECT).await;
        }
    }

    async fn tell_changes(&mut self, now: Told, client: &Client) {
        let is_new = |(path, row): &(&String, &Arc<TargetRow>)| {
            self.told.rows.get(*path).is_none_or(|known| !Arc::ptr_eq(known, row) && **known != ***row)
        };
        let changed: Vec<_> = now.rows.iter().filter(is_new).map(|(_, row)| (**row).clone()).collect();
        let removed: Vec<_> = self.told.rows.keys().filter(|path| !now.rows.contains_key(*path)).cloned().collect();
        let is_same = now.complete == self.told.complete && now.problems == self.told.problems;
        let mut change = TargetsChanged {
            watch: self.watch.clone(),
            changed: Vec::new(),
            removed,
            complete: false,
            problems: now.problems.clone(),
        };
        let mut rest = changed.as_slice();
        while let Some((first, more)) = rest.split_at_checked(AT_ONCE).filter(|(_, more)| !more.is_empty()) {
            change.changed = first.to_vec();
            client.send_notification::<TargetsChangedNotification>(change.clone()).await;
            change.removed.clear();
            rest = more;
        }
        if !(rest.is_empty() && change.removed.is_empty() && is_same) {
            (change.changed, change.complete) = (rest.to_vec(), now.complete);
            client.send_notification::<TargetsChangedNotification>(change).await;
        }
        self.told = now;
    }
}
