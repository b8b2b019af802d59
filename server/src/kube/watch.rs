//! Targets as they come, change and go: one watch of one kind in one namespace.

use std::time::Duration;

use config::target::{Kind, TargetKind};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{Api, DynamicObject, ObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};

use super::client::{Cluster, Operation};
use super::errors;
use super::kinds::{Pods, pods, resource};
use super::list::{Row, is_agent, pod_row, workload_row};
use crate::failure::{Class, Failure};

/// How long is waited after a failure, doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Name of the annotations by which an agent's Job says whose session it is.
const OWNER: &str = "mirror/owner";
const TARGET: &str = "mirror/target";
const TRAFFIC: &str = "mirror/traffic";

/// What a watch tells.
#[derive(Debug)]
pub enum Change {
    /// The list begins anew: what it does not bring is gone.
    Begin,
    /// A target is new or has changed.
    Row(Box<Row>),
    /// A target, or an agent's Job, is gone.
    Removed(String),
    /// Somebody's session is there, by its Job.
    Agent(Box<AgentRow>),
    /// The list is whole.
    Complete,
    /// The list cannot be had now.
    Failed(Failure),
    /// The cluster has no such kind.
    NoSuchKind,
}

/// An agent's Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Name of the Job.
    pub job: String,
    /// The pod whose place the session takes, in the watch's namespace.
    pub pod: String,
    /// Who runs the session.
    pub who: String,
    /// `off`, `mirror` or `steal`.
    pub traffic: String,
}

/// Watches one kind in one namespace, for as long as the stream is read. Failures are told, and it is tried again with
/// growing pauses.
pub fn watch(cluster: &Cluster, kind: &'static Kind, namespace: &str) -> BoxStream<'static, Change> {
    match pods(kind.kind) {
        Pods::Itself => {
            let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
            changes(cluster, kind, namespace, watcher(api, watcher::Config::default()), |pod: Pod| {
                Some(Change::Row(Box::new(pod_row(&pod))))
            })
            .boxed()
        }
        Pods::Selector | Pods::Map | Pods::OwnedJobs => {
            let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource(kind));
            changes(cluster, kind, namespace, watcher(api, watcher::Config::default()), move |object: DynamicObject| {
                Some(Change::Row(Box::new(workload_row(kind, &object))))
            })
            .boxed()
        }
    }
}

fn changes<K>(
    cluster: &Cluster,
    kind: &'static Kind,
    namespace: &str,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    row: impl Fn(K) -> Option<Change> + Send + 'static,
) -> impl Stream<Item = Change> + Send + 'static
where
    K: Resource + Clone + Send + 'static,
{
    let (cluster, namespace) = (cluster.clone(), namespace.to_owned());
    let one = move |object: K| match is_agent(object.meta().name.as_deref()) {
        true if kind.kind == TargetKind::Job => agent(object.meta()).map(|agent| Change::Agent(Box::new(agent))),
        true => None,
        false => row(object),
    };
    calmly(events).filter_map(move |event| {
        let change = match event {
            Ok(Event::Init) => Some(Change::Begin),
            Ok(Event::InitApply(object) | Event::Apply(object)) => one(object),
            Ok(Event::InitDone) => Some(Change::Complete),
            Ok(Event::Delete(object)) => {
                object.meta().name.as_ref().map(|name| Change::Removed(format!("{}/{name}", kind.word)))
            }
            Err(error) => Some(failed(&cluster, kind, &namespace, &error)),
        };
        std::future::ready(change)
    })
}

/// Waits after failures, longer and longer until a list is whole: each attempt begins with a success
/// ([`Event::Init`]), which does not count.
fn calmly<K: Send + 'static>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static {
    stream::unfold((events.boxed(), Duration::ZERO, false), async |(mut events, mut pause, is_due)| {
        if is_due {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        match &event {
            Err(_) => pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => pause = Duration::ZERO,
        }
        let is_due = event.is_err();
        Some((event, (events, pause, is_due)))
    })
}

fn failed(cluster: &Cluster, kind: &'static Kind, namespace: &str, error: &watcher::Error) -> Change {
    let operation =
        |verb| Operation { verb, group: kind.group, resource: kind.resource, namespace: Some(namespace), name: None };
    let failure = match error {
        watcher::Error::InitialListFailed(error) => errors::explain(error, operation("list"), cluster),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            errors::explain(error, operation("watch"), cluster)
        }
        watcher::Error::WatchError(status) => {
            errors::explain(&kube::Error::Api(status.clone()), operation("watch"), cluster)
        }
        watcher::Error::NoResourceVersion => Failure::new(
            Class::ClusterUnreachable,
            format!("{} does not tell how to watch {}", cluster.server, kind.resource),
        ),
    };
    if failure.class == Class::TargetNotFound { Change::NoSuchKind } else { Change::Failed(failure) }
}

/// What an agent's Job says of its session; none without a target.
fn agent(meta: &ObjectMeta) -> Option<AgentRow> {
    let annotation = |name: &str| meta.annotations.as_ref()?.get(name).cloned();
    let target = annotation(TARGET)?;
    let mut words = target.split('/');
    let pod = words.find(|word| *word == "pod").and_then(|_| words.next())?;
    Some(AgentRow {
        job: meta.name.clone()?,
        pod: pod.to_owned(),
        who: annotation(OWNER).unwrap_or_default(),
        traffic: annotation(TRAFFIC).unwrap_or_else(|| "off".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_fails_again_and_again_is_asked_less_and_less() {
        let attempt = |_| stream::iter([Ok(Event::<()>::Init), Err(watcher::Error::NoResourceVersion)]);
        let began = tokio::time::Instant::now();
        let failures = calmly(stream::iter(0..20).flat_map(attempt)).filter(|event| std::future::ready(event.is_err()));
        assert_eq!(failures.count().await, 20);
        // 0.8 + 1.6 + … + 25.6 s, then 30 s each, also after the last.
        assert_eq!(began.elapsed().as_secs(), 50 + 14 * 30);
        let whole = |_| stream::iter([Err(watcher::Error::NoResourceVersion), Ok(Event::<()>::InitDone)]);
        let began = tokio::time::Instant::now();
        assert_eq!(calmly(stream::iter(0..5).flat_map(whole)).count().await, 10);
        assert_eq!(began.elapsed(), FIRST_PAUSE * 5);
    }
}
