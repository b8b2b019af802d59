//! What a session asks of the API server, as the rights that its user needs: which they are for a configuration, which of
//! them are missing, and the manifest that grants them.
//!
//! What is left out on purpose can be missing: Services, nodes and events only make messages and names better.

use std::collections::BTreeMap;
use std::fmt::Write;

use config::Config;
use config::target::{Target, TargetKind, Workload};
use futures_util::future::join_all;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::client::{Cluster, Operation};

/// The group of the objects that grant rights.
const RBAC: &str = "rbac.authorization.k8s.io";

/// What of a configuration decides which rights are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    target: Target,
    /// The agent is a container of the target's pod.
    ephemeral: bool,
    /// The agent comes in an image of its own.
    has_image: bool,
    agent_namespace: Option<String>,
}

/// A right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    namespace: String,
    group: &'static str,
    resource: &'static str,
    /// The only object that is meant.
    name: Option<String>,
    /// Without these no session starts.
    verbs: &'static [&'static str],
    /// These can be missing.
    more: &'static [&'static str],
    why: &'static str,
}

impl Subject {
    /// Reads it off; without a target a session is targetless.
    pub fn of(config: &Config) -> Self {
        Self {
            target: config.target.path.clone().unwrap_or(Target::Targetless),
            ephemeral: config.agent.ephemeral,
            has_image: config.agent.image.is_some(),
            agent_namespace: config.agent.namespace.clone(),
        }
    }

    fn workload(&self) -> Option<&Workload> {
        match &self.target {
            Target::Workload(workload) => Some(workload),
            _ => None,
        }
    }

    fn pod(&self) -> Option<String> {
        self.workload().filter(|workload| workload.kind == TargetKind::Pod).map(|pod| pod.name.clone())
    }
}

/// What a session of the subject needs, with its target in `namespace`.
pub fn needs(subject: &Subject, namespace: &str) -> Vec<Need> {
    let own = |resource, verbs, why| Need {
        namespace: namespace.to_owned(),
        group: "",
        resource,
        name: None,
        verbs,
        more: &[],
        why,
    };
    let mut needs = Vec::new();
    match (&subject.target, subject.workload()) {
        (Target::Targetless, _) if !subject.has_image => {
            needs.push(own("pods", &["list"], "find an image that a node has"));
        }
        (Target::Targetless, _) => {}
        (_, Some(workload)) => {
            let kind = workload.kind.row();
            let target = own(kind.resource, &["get"], "find the target");
            needs.push(Need { group: kind.group, name: Some(workload.name.clone()), ..target });
            if workload.kind != TargetKind::Pod {
                needs.push(own("pods", &["list"], "find the target's pods"));
            }
        }
        (_, None) => needs.push(own("pods", &["list"], "find the target's pods")),
    }
    if subject.target != Target::Targetless {
        let restart = own("pods", &[], "notice that the target's container has been restarted");
        needs.push(Need { more: &["watch"], name: subject.pod(), ..restart });
    }
    needs.extend(needs_of_agent(subject, own));
    needs
}

fn needs_of_agent(
    subject: &Subject,
    own: impl Fn(&'static str, &'static [&'static str], &'static str) -> Need,
) -> Vec<Need> {
    let pod = subject.pod().filter(|_| subject.ephemeral);
    let elsewhere = subject.agent_namespace.as_ref().filter(|_| subject.target != Target::Targetless);
    let there = |need: Need| match elsewhere.filter(|_| !subject.ephemeral) {
        Some(namespace) => Need { namespace: namespace.clone(), ..need },
        None => Need { name: pod.clone(), ..need },
    };
    let mut needs = Vec::new();
    if subject.ephemeral {
        needs.push(there(own("pods/ephemeralcontainers", &["patch"], "put the agent into the target's pod")));
    } else {
        let job = own("jobs", &["create", "patch"], "run the agent");
        needs.push(there(Need { group: "batch", more: &["delete"], ..job }));
        if !subject.has_image {
            needs.push(there(own("configmaps", &["create"], "deliver the agent")));
        }
    }
    needs.push(there(own("pods", &["watch"], "wait for the agent")));
    // A WebSocket begins as a GET; newer servers ask for `create`, too.
    let forward = own("pods/portforward", &["get"], "talk to the agent");
    needs.push(there(Need { more: &["create"], ..forward }));
    needs
}

/// One question to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    namespace: String,
    group: &'static str,
    resource: &'static str,
    name: Option<String>,
    verb: &'static str,
}

impl Question {
    /// What is asked for, in words.
    pub fn words(&self) -> String {
        format!("{} {} in namespace {}", self.verb, self.resource, self.namespace)
    }
}

/// The questions whose answers must all be yes.
pub fn questions(needs: &[Need]) -> Vec<Question> {
    let of_need = |need: &Need| {
        let need = need.clone();
        need.verbs.iter().map(move |verb| Question {
            namespace: need.namespace.clone(),
            group: need.group,
            resource: need.resource,
            name: need.name.clone(),
            verb,
        })
    };
    let mut questions: Vec<Question> = needs.iter().flat_map(of_need).collect();
    questions.sort();
    questions.dedup();
    questions
}

/// Asks them at once; none where there is no answer.
pub async fn review(cluster: &Cluster, questions: &[Question]) -> Vec<Option<bool>> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = |question: &Question| {
        let (resource, subresource) = match question.resource.split_once('/') {
            Some((resource, part)) => (resource, Some(part.to_owned())),
            None => (question.resource, None),
        };
        let attributes = ResourceAttributes {
            namespace: Some(question.namespace.clone()),
            group: Some(question.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            name: question.name.clone(),
            verb: Some(question.verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api = api.clone();
        async move {
            let answered = cluster.ask(asking("selfsubjectaccessreviews", "authorization.k8s.io"), async {
                api.create(&PostParams::default(), &review).await
            });
            answered.await.ok()?.status.map(|status| status.allowed)
        }
    };
    join_all(questions.iter().map(answer)).await
}

/// What the cluster calls the user; none where it does not say.
pub async fn user(cluster: &Cluster) -> Option<String> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let params = PostParams::default();
    let asked = SelfSubjectReview::default();
    let request = api.create(&params, &asked);
    let review = cluster.ask(asking("selfsubjectreviews", "authentication.k8s.io"), request).await.ok()?;
    review.status?.user_info?.username
}

fn asking(resource: &'static str, group: &'static str) -> Operation<'static> {
    Operation { verb: "create", group, resource, namespace: None, name: None }
}

/// The rule of one resource, with the reasons.
#[derive(Default)]
struct Rule {
    verbs: Vec<&'static str>,
    whys: Vec<&'static str>,
}

/// A manifest that grants the rights to `user`: a Role and a RoleBinding for each namespace.
pub fn manifest(subject: &Subject, namespace: &str, user: Option<&str>) -> String {
    let needs = needs(subject, namespace);
    let mut namespaces: Vec<&str> = needs.iter().map(|need| need.namespace.as_str()).collect();
    namespaces.dedup();
    namespaces.sort_unstable();
    namespaces.dedup();
    let agent = match (subject.ephemeral, subject.has_image) {
        (true, _) => "with the agent in the target's pod",
        (false, true) => "with the agent in a Job, from an image",
        (false, false) => "with the agent in a Job",
    };
    let mut text = format!("# What a user of mirror needs for {} in namespace {namespace}, {agent}.\n", subject.target);
    if user.is_none() {
        text.push_str("# Put the user's name where USER stands: `kubectl auth whoami` shows it.\n");
    }
    if subject.workload().is_some_and(|workload| workload.kind == TargetKind::Rollout) {
        text.push_str("# A Rollout with a workloadRef needs `get` on what that names, too.\n");
    }
    let name = name(subject);
    for namespace in namespaces {
        role(&mut text, &name, namespace, &rules(&needs, namespace));
        let (user, quoted) = (user.unwrap_or("USER"), quote(namespace));
        // One for each user, so that nobody loses what another one gets.
        let binding = quote(&format!("{name}-{}", user.replace(['/', '%'], "-")));
        let user = quote(user);
        let _ = write!(
            text,
            "---\napiVersion: {RBAC}/v1\nkind: RoleBinding\nmetadata:\n  name: {binding}\n  namespace: {quoted}\n\
             roleRef:\n  apiGroup: {RBAC}\n  kind: Role\n  name: {name}\n\
             subjects:\n- apiGroup: {RBAC}\n  kind: User\n  name: {user}\n"
        );
    }
    text
}

/// Names of targets are longer than names of roles may be good for, but never wrong in them.
fn name(subject: &Subject) -> String {
    match subject.workload() {
        Some(workload) => format!("mirror-{}-{}", workload.kind, workload.name),
        None if subject.target == Target::Targetless => "mirror-targetless".to_owned(),
        None => "mirror-label".to_owned(),
    }
}

/// As YAML takes it, whatever it is.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Group, resource, the only object.
type Key<'a> = (&'static str, &'static str, Option<&'a str>);

fn rules<'a>(needs: &'a [Need], namespace: &str) -> Vec<(Key<'a>, Rule)> {
    let here = || needs.iter().filter(|need| need.namespace == namespace);
    let is_for_all = |need: &Need, verb: &str| {
        let others = || here().filter(|other| other.name.is_none());
        let same = |other: &&Need| (other.group, other.resource) == (need.group, need.resource);
        need.name.is_some()
            && others().filter(same).any(|other| other.verbs.contains(&verb) || other.more.contains(&verb))
    };
    let mut rules: BTreeMap<Key<'a>, Rule> = BTreeMap::new();
    for need in here() {
        for verb in need.verbs.iter().chain(need.more).filter(|verb| !is_for_all(need, verb)) {
            let rule = rules.entry((need.group, need.resource, need.name.as_deref())).or_default();
            if !rule.verbs.contains(verb) {
                rule.verbs.push(verb);
            }
            if !rule.whys.contains(&need.why) {
                rule.whys.push(need.why);
            }
        }
    }
    rules.into_iter().collect()
}

fn role(text: &mut String, name: &str, namespace: &str, rules: &[(Key<'_>, Rule)]) {
    let _ = write!(
        text,
        "---\napiVersion: {RBAC}/v1\nkind: Role\nmetadata:\n  name: {name}\n  namespace: {}\nrules:\n",
        quote(namespace)
    );
    for ((group, resource, only), rule) in rules {
        let _ = writeln!(text, "# {}", rule.whys.join("; "));
        let _ = writeln!(text, "- apiGroups: [\"{group}\"]\n  resources: [\"{resource}\"]");
        if let Some(only) = only {
            let _ = writeln!(text, "  resourceNames: [{}]", quote(only));
        }
        let _ = writeln!(text, "  verbs: [\"{}\"]", rule.verbs.join("\", \""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        let (config, problems) = config::parse(text, config::Format::Json);
        assert!(!config::has_errors(&problems), "{problems:?}");
        Subject::of(&config)
    }

    fn shown(text: &str) -> Vec<String> {
        let needs = needs(&subject(text), "shop");
        let mut namespaces: Vec<_> = needs.iter().map(|need| need.namespace.clone()).collect();
        namespaces.sort();
        namespaces.dedup();
        let line = |namespace: &str, (group, resource, only): &Key<'_>, rule: &Rule| {
            let only = only.map(|only| format!("={only}")).unwrap_or_default();
            let group = if group.is_empty() { String::new() } else { format!(".{group}") };
            format!("{namespace} {resource}{group}{only} {}", rule.verbs.join(","))
        };
        let of = |namespace: &String| {
            rules(&needs, namespace).iter().map(|(key, rule)| line(namespace, key, rule)).collect::<Vec<_>>()
        };
        namespaces.iter().flat_map(of).collect()
    }

    #[test]
    fn each_configuration_needs_what_it_uses_and_no_more() {
        assert_eq!(
            shown(r#"{"target": "deployment/web"}"#),
            [
                "shop configmaps create",
                "shop pods list,watch",
                "shop pods/portforward get,create",
                "shop deployments.apps=web get",
                "shop jobs.batch create,patch,delete",
            ]
        );
        assert_eq!(
            shown(r#"{"target": "pod/web-1", "agent": {"ephemeral": true, "image": "a"}}"#),
            [
                "shop pods=web-1 get,watch",
                "shop pods/ephemeralcontainers=web-1 patch",
                "shop pods/portforward=web-1 get,create",
            ]
        );
        assert_eq!(
            shown(r#"{"target": "pod/web-1", "agent": {"namespace": "agents", "image": "a"}}"#),
            [
                "agents pods watch",
                "agents pods/portforward get,create",
                "agents jobs.batch create,patch,delete",
                "shop pods=web-1 get,watch",
            ]
        );
        assert_eq!(
            shown(r#"{"target": "targetless"}"#),
            [
                "shop configmaps create",
                "shop pods list,watch",
                "shop pods/portforward get,create",
                "shop jobs.batch create,patch,delete",
            ]
        );
    }

    #[test]
    fn only_what_must_not_be_missing_is_asked_about() {
        let questions = questions(&needs(&subject(r#"{"target": "deployment/web"}"#), "shop"));
        let words: Vec<_> = questions.iter().map(Question::words).collect();
        assert_eq!(words.len(), 7, "{words:?}");
        assert!(words.contains(&"create jobs in namespace shop".to_owned()));
        assert!(!words.contains(&"delete jobs in namespace shop".to_owned()));
    }

    #[test]
    fn the_manifest_names_the_user() {
        let subject = subject(r#"{"target": "deployment/web"}"#);
        let text = manifest(&subject, "shop", Some("ann: x"));
        assert!(text.contains("  name: \"ann: x\"\n") && text.contains("resourceNames: [\"web\"]"), "{text}");
        let (_, problems) = config::syntax::parse(text.split("---\n").nth(1).expect("a role"), config::Format::Yaml);
        assert_eq!(problems, []);
        assert!(manifest(&subject, "shop", None).contains("kubectl auth whoami"));
    }
}
