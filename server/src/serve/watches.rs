//! Targets as they are now: one set of watches for each kubeconfig, context and namespace, shared by all who ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::target::{KINDS, Kind};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clusters::Clusters;
use super::problems::Answer;
use super::rpc::{Place, Problem, TargetContainer, TargetRow, TargetUser, Targets};
use crate::failure::Class;
use crate::kube::client::Cluster;
use crate::kube::list::Row;
use crate::kube::watch::{AgentRow, Change, watch as watch_kind};

/// How long a set of watches that nobody uses is kept, so that a picker opens at once.
const WARM: Duration = Duration::from_secs(300);

/// Sets that are kept at most; the one that was used longest ago goes first.
const MOST: usize = 16;

/// Kubeconfig, context, namespace.
type Key = (Option<String>, String, String);

/// Rows by path.
pub(super) type Rows = BTreeMap<String, Arc<TargetRow>>;

/// All sets of watches.
pub(super) struct Watches {
    clusters: Arc<Clusters>,
    sets: Mutex<Sets>,
}

#[derive(Default)]
struct Sets {
    /// Which state of the kubeconfigs they come of.
    kubeconfigs: u64,
    all: HashMap<Key, Arc<Set>>,
}

/// The watches of one namespace.
pub(super) struct Set {
    context: String,
    namespace: String,
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
    used: Mutex<Instant>,
    /// Ends with the set.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// Shared with those who have looked at it.
    rows: Arc<Rows>,
    /// Who has made an object, by path.
    owners: HashMap<String, String>,
    agents: HashMap<String, AgentRow>,
    /// Kinds whose first list is on its way.
    pending: BTreeSet<&'static str>,
    problems: BTreeMap<&'static str, Problem>,
}

/// What one look at a set shows.
pub(super) struct Snapshot {
    pub(super) rows: Arc<Rows>,
    pub(super) complete: bool,
    pub(super) problems: Vec<Problem>,
}

impl Watches {
    pub(super) fn new(clusters: Arc<Clusters>) -> Arc<Self> {
        Arc::new(Self { clusters, sets: Mutex::default() })
    }

    pub(super) fn clusters(&self) -> &Arc<Clusters> {
        &self.clusters
    }

    /// How many sets there are.
    pub(super) fn count(&self) -> usize {
        locked(&self.sets).all.len()
    }

    /// The set of a place; begins it if need be.
    pub(super) async fn get(&self, place: &Place) -> Answer<Arc<Set>> {
        let cluster = self.clusters.get(place).await?;
        let key = (place.kubeconfig.clone(), cluster.context.clone(), cluster.namespace.clone());
        let mut sets = locked(&self.sets);
        let kubeconfigs = *self.clusters.changes().borrow();
        if std::mem::replace(&mut sets.kubeconfigs, kubeconfigs) != kubeconfigs {
            // Credentials or clusters are others.
            sets.all.clear();
        }
        let sets = &mut sets.all;
        sets.retain(|_, set| Arc::strong_count(set) > 1 || locked(&set.used).elapsed() < WARM);
        while sets.len() >= MOST && !sets.contains_key(&key) {
            let unused = sets.iter().filter(|(_, set)| Arc::strong_count(set) == 1);
            let Some(oldest) = unused.min_by_key(|(_, set)| *locked(&set.used)).map(|(key, _)| key.clone()) else {
                break;
            };
            sets.remove(&oldest);
        }
        let set = sets.entry(key).or_insert_with(|| Arc::new(Set::start(&cluster)));
        *locked(&set.used) = Instant::now();
        Ok(set.clone())
    }
}

impl Set {
    fn start(cluster: &Cluster) -> Self {
        let pending = KINDS.iter().map(|kind| kind.word).collect();
        let state = Arc::new(Mutex::new(State { pending, ..State::default() }));
        let (version, mut tasks) = (watch::Sender::new(0), JoinSet::new());
        for kind in KINDS {
            tasks.spawn(follow(cluster.clone(), kind, state.clone(), version.clone()));
        }
        let (context, namespace) = (cluster.context.clone(), cluster.namespace.clone());
        Self { context, namespace, state, version, used: Mutex::new(Instant::now()), _tasks: tasks }
    }

    /// Changes with every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits for all first lists, for a time.
    pub(super) async fn complete(&self, patience: Duration) {
        let mut changes = self.changes();
        let whole = async { while !locked(&self.state).pending.is_empty() && changes.changed().await.is_ok() {} };
        tokio::time::timeout(patience, whole).await.ok();
    }

    /// What is known now of some kinds; none means all.
    pub(super) fn snapshot(&self, kinds: Option<&[String]>) -> Snapshot {
        let state = locked(&self.state);
        let wanted = |kind: &str| kinds.is_none_or(|kinds| kinds.iter().any(|wanted| wanted == kind));
        let of_kinds = || {
            let rows = state.rows.iter().filter(|(_, row)| wanted(&row.kind));
            Arc::new(rows.map(|(path, row)| (path.clone(), row.clone())).collect())
        };
        Snapshot {
            rows: if kinds.is_none() { state.rows.clone() } else { of_kinds() },
            complete: !state.pending.iter().any(|kind| wanted(kind)),
            problems: state
                .problems
                .iter()
                .filter(|(kind, _)| wanted(kind))
                .map(|(_, problem)| problem.clone())
                .collect(),
        }
    }

    /// A snapshot as the RPC has it.
    pub(super) fn targets(&self, snapshot: &Snapshot) -> Targets {
        self.first(snapshot, usize::MAX)
    }

    /// The first of a snapshot's targets; with fewer than all it is not complete.
    pub(super) fn first(&self, snapshot: &Snapshot, most: usize) -> Targets {
        let order = |row: &TargetRow| KINDS.iter().position(|kind| kind.word == row.kind);
        let mut rows: Vec<_> = snapshot.rows.values().map(|row| ((row.owned, order(row), &row.name), row)).collect();
        let complete = snapshot.complete && rows.len() <= most;
        if most < rows.len() {
            rows.select_nth_unstable_by_key(most, |(key, _)| *key);
            rows.truncate(most);
        }
        rows.sort_by_key(|(key, _)| *key);
        Targets {
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            targets: rows.iter().map(|(_, row)| TargetRow::clone(row)).collect(),
            complete,
            problems: snapshot.problems.clone(),
        }
    }
}

async fn follow(cluster: Cluster, kind: &'static Kind, state: Arc<Mutex<State>>, version: watch::Sender<u64>) {
    let mut changes = watch_kind(&cluster, kind, &cluster.namespace);
    let mut fresh: Option<BTreeSet<String>> = None;
    while let Some(change) = changes.next().await {
        let is_over = matches!(change, Change::NoSuchKind);
        apply(&mut locked(&state), kind.word, change, &mut fresh);
        version.send_modify(|version| *version += 1);
        if is_over {
            return;
        }
    }
}

/// `fresh` holds what the list that is on its way has brought.
fn apply(state: &mut State, kind: &'static str, change: Change, fresh: &mut Option<BTreeSet<String>>) {
    let job = |name: &str| format!("job/{name}");
    match change {
        Change::Begin => *fresh = Some(BTreeSet::new()),
        Change::Row(row) => {
            fresh.iter_mut().for_each(|fresh| _ = fresh.insert(row.path.clone()));
            match &row.owner {
                Some(owner) => drop(state.owners.insert(row.path.clone(), owner.clone())),
                None => drop(state.owners.remove(&row.path)),
            }
            let users = state.rows.get(&row.path).map(|known| known.users.clone()).unwrap_or_default();
            Arc::make_mut(&mut state.rows).insert(row.path.clone(), Arc::new(target_row(*row, users)));
        }
        Change::Removed(path) => {
            Arc::make_mut(&mut state.rows).remove(&path);
            state.owners.remove(&path);
            if state.agents.remove(&path).is_some() {
                assign_users(state);
            }
        }
        Change::Agent(agent) => {
            let path = job(&agent.job);
            fresh.iter_mut().for_each(|fresh| _ = fresh.insert(path.clone()));
            state.agents.insert(path, *agent);
            assign_users(state);
        }
        Change::Complete => {
            if let Some(fresh) = fresh.take() {
                let is_gone = |path: &String| path.starts_with(&format!("{kind}/")) && !fresh.contains(path);
                Arc::make_mut(&mut state.rows).retain(|path, _| !is_gone(path));
                state.agents.retain(|path, _| !is_gone(path));
            }
            state.pending.remove(kind);
            state.problems.remove(kind);
            assign_users(state);
        }
        Change::Failed(failure) => {
            tracing::debug!(kind, %failure, "targets are not told");
            // It does not come soon: what is there is all for now.
            state.pending.remove(kind);
            // Who cannot reach the cluster need not read it nine times.
            let is_known = failure.class == Class::ClusterUnreachable
                && state.problems.values().any(|known| known.code == "cluster-unreachable");
            if !is_known {
                state.problems.insert(kind, Problem::from(failure));
            }
        }
        Change::NoSuchKind => {
            state.pending.remove(kind);
            Arc::make_mut(&mut state.rows).retain(|_, row| row.kind != kind);
        }
    }
}

/// Says at each target whose sessions are there: at the pod, and at those who have made it.
fn assign_users(state: &mut State) {
    let mut users: HashMap<String, Vec<TargetUser>> = HashMap::new();
    for agent in state.agents.values() {
        let user = TargetUser { who: agent.who.clone(), mode: agent.traffic.clone() };
        let mut path = Some(format!("pod/{}", agent.pod));
        // A pod, its ReplicaSet, its Deployment, and one to spare.
        for _ in 0..4 {
            let Some(here) = path else { break };
            path = state.owners.get(&here).cloned();
            users.entry(here).or_default().push(user.clone());
        }
    }
    let changed = |(path, row): (&String, &Arc<TargetRow>)| {
        let now = users.remove(path).unwrap_or_default();
        (row.users != now).then(|| (path.clone(), now))
    };
    let changed: Vec<_> = state.rows.iter().filter_map(changed).collect();
    for (path, users) in changed {
        if let Some(row) = Arc::make_mut(&mut state.rows).get_mut(&path) {
            Arc::make_mut(row).users = users;
        }
    }
}

/// A row as the RPC has it.
pub(super) fn target_row(row: Row, users: Vec<TargetUser>) -> TargetRow {
    let containers = row.containers.into_iter().zip(row.images);
    TargetRow {
        path: row.path,
        kind: row.kind.to_string(),
        name: row.name,
        namespace: row.namespace,
        ready: row.ready,
        available: row.available,
        reason: row.reason,
        containers: containers.map(|(name, image)| TargetContainer { name, image }).collect(),
        ports: row.named_ports,
        labels: row.labels,
        owned: row.owned,
        created: row.created,
        users,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::target::TargetKind;

    fn row(path: &str, owner: Option<&str>) -> Change {
        let (kind, name) = path.split_once('/').expect("a path");
        Change::Row(Box::new(Row {
            path: path.to_owned(),
            kind: TargetKind::from_word(kind).expect("a kind"),
            name: name.to_owned(),
            namespace: "n".to_owned(),
            ready: "1/1".to_owned(),
            available: true,
            reason: None,
            containers: vec!["c".to_owned()],
            ports: Vec::new(),
            images: vec!["i".to_owned()],
            owned: owner.is_some(),
            age: 0,
            created: 0,
            labels: BTreeMap::new(),
            named_ports: Vec::new(),
            owner: owner.map(str::to_owned),
        }))
    }

    #[test]
    fn sessions_are_shown_at_the_pod_and_at_its_owners() {
        let (mut state, mut fresh) = (State::default(), None);
        apply(&mut state, "deployment", row("deployment/web", None), &mut fresh);
        apply(&mut state, "replicaset", row("replicaset/web-1", Some("deployment/web")), &mut fresh);
        apply(&mut state, "pod", row("pod/web-1-x", Some("replicaset/web-1")), &mut fresh);
        let agent = AgentRow {
            job: "mirror-agent-a".to_owned(),
            pod: "web-1-x".to_owned(),
            who: "ann@laptop".to_owned(),
            traffic: "steal".to_owned(),
        };
        apply(&mut state, "job", Change::Agent(Box::new(agent)), &mut fresh);
        for path in ["pod/web-1-x", "replicaset/web-1", "deployment/web"] {
            assert_eq!(state.rows[path].users.len(), 1, "{path}");
        }
        apply(&mut state, "job", Change::Removed("job/mirror-agent-a".to_owned()), &mut fresh);
        assert!(state.rows.values().all(|row| row.users.is_empty()));
    }

    #[tokio::test]
    async fn the_first_of_many_are_those_that_are_chosen_most() {
        let (mut state, mut fresh) = (State::default(), None);
        for (path, owner) in [("pod/b", Some("deployment/c")), ("pod/a", None), ("deployment/c", None)] {
            apply(&mut state, "pod", row(path, owner), &mut fresh);
        }
        let set = Set {
            context: "c".to_owned(),
            namespace: "n".to_owned(),
            state: Arc::new(Mutex::new(state)),
            version: watch::Sender::new(0),
            used: Mutex::new(Instant::now()),
            _tasks: JoinSet::new(),
        };
        let snapshot = set.snapshot(None);
        let first = |most| {
            let targets = set.first(&snapshot, most);
            (targets.targets.into_iter().map(|row| row.path).collect::<Vec<_>>(), targets.complete)
        };
        let all = ["pod/a", "deployment/c", "pod/b"].map(str::to_owned);
        assert_eq!(first(2), (all[..2].to_vec(), false));
        assert_eq!(first(3), (all.to_vec(), true));
    }

    #[test]
    fn a_list_that_begins_anew_removes_what_it_does_not_bring() {
        let (mut state, mut fresh) = (State::default(), None);
        apply(&mut state, "pod", row("pod/a", None), &mut fresh);
        apply(&mut state, "pod", row("pod/b", None), &mut fresh);
        apply(&mut state, "service", row("service/a", None), &mut fresh);
        apply(&mut state, "pod", Change::Begin, &mut fresh);
        apply(&mut state, "pod", row("pod/b", None), &mut fresh);
        assert_eq!(state.rows.len(), 3, "nothing goes before the list is whole");
        apply(&mut state, "pod", Change::Complete, &mut fresh);
        assert_eq!(state.rows.keys().collect::<Vec<_>>(), ["pod/b", "service/a"]);
    }
}
