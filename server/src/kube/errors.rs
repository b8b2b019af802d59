//! Turns the errors of the `kube` crate into failures that say what was tried and what to do.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{KubeconfigError, LoadDataError};
use kube::core::Status;

use super::client::{Cluster, Operation};
use crate::failure::{Class, Failure, Remedy};

/// The kubeconfig cannot be used.
pub(super) fn kubeconfig(error: &KubeconfigError, path: Option<&Path>) -> Failure {
    let of = path.map(|path| format!(" {}", path.display())).unwrap_or_default();
    let missing = match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(source, _) => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    if missing {
        let looked = match error {
            KubeconfigError::ReadConfig(_, path) => format!("no kubeconfig at {}", path.display()),
            _ => "no kubeconfig found".to_owned(),
        };
        return Failure::new(Class::Config, looked)
            .next("name one with `kubeconfig` (--kubeconfig FILE) or KUBECONFIG, or create a cluster first (minikube start, kind create cluster)");
    }
    let failure = Failure::new(Class::Config, format!("cannot use the kubeconfig{of}: {error}"));
    match error {
        KubeconfigError::LoadContext(_) | KubeconfigError::LoadClusterOfContext(_) => failure.next(
            "compare with `kubectl config view`: the context names a cluster or user that the file does not have",
        ),
        KubeconfigError::LoadClientCertificate(LoadDataError::ReadFile(..))
        | KubeconfigError::LoadClientKey(LoadDataError::ReadFile(..))
        | KubeconfigError::LoadCertificateAuthority(LoadDataError::ReadFile(..)) => {
            failure.next("the file that the kubeconfig names is missing or not readable: log in to the cluster again")
        }
        _ => failure.next("check the file with `kubectl config view`"),
    }
}

/// The client could not be made: credentials, certificates.
pub(super) fn opening(error: &kube::Error, server: &str, context: &str) -> Failure {
    match error {
        kube::Error::Auth(auth) => credentials(auth, context),
        kube::Error::InferKubeconfig(error) => kubeconfig(error, None),
        other => {
            Failure::new(Class::Config, format!("cannot prepare a connection to {server} (context {context}): {other}"))
                .next("check the certificates and keys of this context with `kubectl config view`")
        }
    }
}

/// Credentials could not be had. The plugin's command line is not shown: `kube` gives it with its variables.
fn credentials(error: &AuthError, context: &str) -> Failure {
    match error {
        AuthError::AuthExecStart(source) => Failure::new(
            Class::Permission,
            "the credential plugin that the kubeconfig names cannot be run; it may not be installed",
        )
        .detail(source.to_string())
        .next(
            "install it, or put its folder into PATH (`kubectl config view` shows its name under users.*.exec.command)",
        ),
        AuthError::AuthExecRun { out, .. } => {
            let words = String::from_utf8_lossy(&out.stderr);
            let message = format!("the credential plugin of context {context} failed ({})", out.status);
            let failure = Failure::new(Class::Permission, message);
            words
                .lines()
                .take(5)
                .fold(failure, |failure, line| failure.detail(line.to_owned()))
                .next("log in to the cluster again, then repeat (a plugin cannot ask for a password here: let kubectl run it first)")
                .remedy(log_in(context))
        }
        other => Failure::new(Class::Permission, format!("cannot get credentials for the cluster: {other}"))
            .next("log in to the cluster again, then repeat")
            .remedy(log_in(context)),
    }
}

/// Whatever asks the API server runs the credential plugin, at a terminal with all its questions.
fn log_in(context: &str) -> Remedy {
    let quoted = format!("'{}'", context.replace('\'', r"'\''"));
    Remedy::LogIn(format!("kubectl --context {quoted} get --raw /readyz"))
}

/// The API server did not answer in time.
pub(super) fn timeout(operation: Operation<'_>, cluster: &Cluster, limit: Duration) -> Failure {
    Failure::new(
        Class::ClusterUnreachable,
        format!("no answer from {} within {} s ({})", cluster.server, limit.as_secs(), describe(operation)),
    )
    .next("check the network or VPN to the cluster: kubectl get --raw /readyz")
}

/// A request failed.
pub(super) fn explain(error: &kube::Error, operation: Operation<'_>, cluster: &Cluster) -> Failure {
    match error {
        kube::Error::Api(status) => refused(status, operation, cluster),
        kube::Error::Auth(auth) => credentials(auth, &cluster.context),
        other => transport(other, operation, cluster),
    }
}

/// Whether an object was refused for what it is (Pod Security, a policy), not for who made it.
pub(super) fn is_not_admitted(status: &Status) -> bool {
    let is_for_the_user = status.message.contains("cannot patch resource");
    status.code == 403 && !is_for_the_user
}

fn describe(operation: Operation<'_>) -> String {
    let name = operation.name.map(|name| format!(" {name}")).unwrap_or_default();
    let place = operation.namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    format!("{} {}{name}{place}", operation.verb, operation.resource)
}

fn refused(status: &Status, operation: Operation<'_>, cluster: &Cluster) -> Failure {
    let what = describe(operation);
    match status.code {
        401 => Failure::new(
            Class::Permission,
            format!("{} does not accept your credentials (context {})", cluster.server, cluster.context),
        )
        .detail(status.message.clone())
        .next("they may have expired: log in to the cluster again")
        .remedy(log_in(&cluster.context)),
        403 if status.message.contains("exceeded quota") => Failure::new(
            Class::Agent,
            format!("a quota of the cluster does not allow to {what}"),
        )
        .detail(status.message.clone())
        .next("ask for a larger quota, or choose another namespace: `agent.namespace`, or `target.namespace` (-n)"),
        403 => forbidden(status, operation),
        404 if operation.namespace.is_some() && status.message.starts_with("namespaces ") => Failure::new(
            Class::TargetNotFound,
            format!("there is no namespace {}", operation.namespace.unwrap_or_default()),
        )
        .next("list them with `kubectl get namespaces`, choose one: `target.namespace` (-n)"),
        429 | 502..=504 => Failure::new(
            Class::ClusterUnreachable,
            format!("{} is overloaded or not ready ({}), asked to {what}", cluster.server, status.code),
        )
        .detail(status.message.clone())
        .next("try again in a moment"),
        404 => Failure::new(Class::TargetNotFound, format!("cannot {what}: not found")).detail(status.message.clone()),
        _ => Failure::new(Class::Agent, format!("the cluster refused to {what} ({})", status.code))
            .detail(status.message.clone()),
    }
}

/// Names the missing permission and the rule that would give it.
fn forbidden(status: &Status, operation: Operation<'_>) -> Failure {
    let kind = if operation.namespace.is_some() { "Role" } else { "ClusterRole" };
    // A WebSocket request begins as a GET: which verb guards it depends on the server's version.
    let asked =
        status.message.split_once(" cannot ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or(operation.verb);
    let other = if asked == operation.verb { String::new() } else { format!(r#", "{asked}""#) };
    let rule = format!(
        r#"{{apiGroups: ["{}"], resources: ["{}"], verbs: ["{}"{other}]}}"#,
        operation.group, operation.resource, operation.verb
    );
    Failure::new(Class::Permission, format!("you are not permitted to {}", describe(operation)))
        .detail(status.message.clone())
        .next(format!("ask for a {kind} with the rule {rule}"))
        .remedy(Remedy::Grant(rule))
}

/// Everything below HTTP: names, connections, certificates.
fn transport(error: &kube::Error, operation: Operation<'_>, cluster: &Cluster) -> Failure {
    let chain = chain(error);
    if let Some(auth) = find::<AuthError>(error) {
        return credentials(auth, &cluster.context);
    }
    let text = chain.last().cloned().unwrap_or_else(|| error.to_string());
    let lower = chain.join(": ").to_lowercase();
    let at = format!("{} (context {})", cluster.server, cluster.context);
    if lower.contains("certificate") || lower.contains("tls") {
        return Failure::new(Class::ClusterUnreachable, format!("no secure connection to {at}: {text}"))
            .next("the kubeconfig's certificate-authority does not fit this server: fetch a new kubeconfig, or set `accept_invalid_certificates` (--accept-invalid-certificates) for a test cluster");
    }
    let failure = Failure::new(
        Class::ClusterUnreachable,
        format!("cannot reach the API server {at} to {}: {text}", describe(operation)),
    );
    if lower.contains("dns") || lower.contains("lookup") {
        return failure.next("its name cannot be resolved: check the network or VPN, and `kubectl config view`");
    }
    failure
        .next("is the cluster running? try `kubectl get --raw /readyz`, or another context: `kube_context` (--context)")
}

fn chain(error: &dyn StdError) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
