//! A cluster as one context of a kubeconfig names it, and the requests we make of it.
//!
//! The client is built from a connector of our own because `kube` leaves Nagle's algorithm on: a message
//! in two parts then waits 40 ms for a delayed acknowledgement.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DynamicObject, ListParams, ObjectList};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use serde::{Deserialize, Serialize};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

use super::{contexts, errors, login_path};
use crate::failure::{Class, Failure, Remedy, Result, nearest};

/// How long a TCP and TLS connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one answer of the API server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// What helps who has named none, or one that is not there.
const CHOOSE_CONTEXT: &str = "choose one of them: `kube_context` (--context)";

/// Which cluster, as the user said it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterOptions {
    /// Kubeconfig file; none means `KUBECONFIG`, then `~/.kube/config`, then the pod we run in.
    pub kubeconfig: Option<PathBuf>,
    /// Context; none means the file's current one.
    pub context: Option<String>,
    /// Namespace; none means the context's, then `default`.
    pub namespace: Option<String>,
    /// Do not verify the API server's certificate; none leaves it to the kubeconfig.
    pub accept_invalid_certificates: Option<bool>,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    /// Name of the context, or `in-cluster`.
    pub context: String,
    /// The API server's address.
    pub server: String,
    /// Namespace in which targets are looked for.
    pub namespace: String,
    /// Whether the context looks like one of production.
    pub production: bool,
}

/// What a request does, for messages and for the RBAC rule that permits it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) verb: &'static str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

impl Cluster {
    /// Reads the kubeconfig and prepares the client. Talks to nobody yet, except to an exec credential plugin.
    pub async fn open(options: &ClusterOptions) -> Result<Self> {
        let (mut config, context, production) = load(options).await?;
        if let Some(accept) = options.accept_invalid_certificates {
            config.accept_invalid_certs = accept;
        }
        if let Some(namespace) = &options.namespace {
            config.default_namespace = namespace.clone();
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        // A credential plugin runs here. It may wait for a person, and blocks its thread meanwhile.
        let client = tokio::task::spawn_blocking(move || build_client(config)).await;
        let client = client
            .map_err(|error| {
                Failure::new(Class::Internal, format!("cannot prepare a connection to {server}: {error}"))
            })?
            .map_err(|error| errors::opening(&error, &server, &context))?;
        Ok(Self { client, context, server, namespace, production })
    }

    /// Runs one request with a time limit and explains its failure.
    pub(super) async fn ask<T>(
        &self,
        operation: Operation<'_>,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(ANSWER_TIMEOUT, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(errors::explain(&error, operation, self)),
            Err(_) => Err(errors::timeout(operation, self, ANSWER_TIMEOUT)),
        }
    }

    /// Like [`Self::ask`] for one object; absence is `None`.
    pub(super) async fn find<T>(
        &self,
        operation: Operation<'_>,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Option<T>> {
        let found = async {
            match request.await {
                Ok(value) => Ok(Some(value)),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.ask(operation, found).await
    }

    /// Lists all objects of a typed kind.
    pub(super) async fn list<K>(&self, api: &Api<K>, namespace: Option<&str>, params: ListParams) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut all = Vec::new();
        self.each(api, namespace, params, |object| {
            all.push(object);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(all)
    }

    /// Visits the objects of a typed kind, page by page, until `visit` breaks off.
    pub(super) async fn each<K>(
        &self,
        api: &Api<K>,
        namespace: Option<&str>,
        params: ListParams,
        visit: impl FnMut(K) -> ControlFlow<()>,
    ) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.each_of_pages(api, &K::group(&()), &K::plural(&()), namespace, params, visit).await
    }

    /// Visits all objects of a kind that is known by name only, page by page.
    pub(super) async fn each_dynamic(
        &self,
        api: &Api<DynamicObject>,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
        mut visit: impl FnMut(DynamicObject),
    ) -> Result<()> {
        let visit = |object| {
            visit(object);
            ControlFlow::Continue(())
        };
        self.each_of_pages(api, group, resource, namespace, ListParams::default(), visit).await
    }

    /// Holds one page at a time: thousands of whole objects are hundreds of megabytes.
    async fn each_of_pages<K>(
        &self,
        api: &Api<K>,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
        params: ListParams,
        mut visit: impl FnMut(K) -> ControlFlow<()>,
    ) -> Result<()>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let operation = Operation { verb: "list", group, resource, namespace, name: None };
        let mut params = params.limit(PAGE);
        loop {
            let page: ObjectList<K> = self.ask(operation, api.list(&params)).await?;
            if page.items.into_iter().try_for_each(&mut visit).is_break() {
                return Ok(());
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}

/// Finds the configuration, the name of its context, and whether that looks like one of production.
async fn load(options: &ClusterOptions) -> Result<(Config, String, bool)> {
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(|error| errors::kubeconfig(&error, Some(path)))?,
        None => match Kubeconfig::read() {
            Ok(kubeconfig) => kubeconfig,
            Err(error) => {
                return match Config::incluster() {
                    Ok(config) if options.context.is_none() => Ok((config, "in-cluster".to_owned(), false)),
                    _ => Err(errors::kubeconfig(&error, None)),
                };
            }
        },
    };
    let context = choose_context(&kubeconfig, options)?;
    let production = contexts::rows(&kubeconfig).iter().any(|row| row.name == context && row.production);
    let kubeconfig = with_plugins(kubeconfig).await?;
    let wanted = KubeConfigOptions { context: Some(context.clone()), cluster: None, user: None };
    match Config::from_custom_kubeconfig(kubeconfig, &wanted).await {
        Ok(config) => Ok((config, context, production)),
        Err(error) => Err(errors::kubeconfig(&error, options.kubeconfig.as_deref())),
    }
}

/// A shell may have to be asked where credential plugins are.
async fn with_plugins(mut kubeconfig: Kubeconfig) -> Result<Kubeconfig> {
    let found = tokio::task::spawn_blocking(move || {
        login_path::find_plugins(&mut kubeconfig);
        kubeconfig
    });
    found.await.map_err(|error| Failure::new(Class::Internal, format!("cannot look for credential plugins: {error}")))
}

fn choose_context(kubeconfig: &Kubeconfig, options: &ClusterOptions) -> Result<String> {
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let Some(wanted) = options.context.as_ref().or(kubeconfig.current_context.as_ref()).filter(|name| !name.is_empty())
    else {
        let failure = Failure::new(Class::Config, "the kubeconfig names no current context");
        return Err(offer(failure, "contexts", &names).next(CHOOSE_CONTEXT).remedy(Remedy::PickTarget));
    };
    if names.contains(&wanted.as_str()) {
        return Ok(wanted.clone());
    }
    let near = nearest(wanted, names.iter().copied());
    let failure = Failure::new(Class::Config, format!("the kubeconfig has no context {wanted:?}"));
    let failure = offer(failure, "contexts", &names).remedy(Remedy::PickTarget);
    Err(match near.first() {
        Some(name) => failure.next(format!("did you mean {name}?")),
        None => failure.next(CHOOSE_CONTEXT),
    })
}

/// Adds a line that lists what there is.
pub(super) fn offer(failure: Failure, what: &str, names: &[&str]) -> Failure {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return failure.detail(format!("{what} there are: none"));
    }
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    failure.detail(format!("{what} there are: {shown}{tail}"))
}

fn build_client(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let https = config.rustls_https_connector_with_connector(connector)?;
    let namespace = config.default_namespace.clone();
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        // An API server that is busy or changes its leader says 429, 503 or 504: it is asked three times more.
        .layer(RetryLayer::new(RetryPolicy::default()))
        .map_err(Into::<tower::BoxError>::into)
        .service(HyperClient::builder(TokioExecutor::new()).build::<_, Body>(https));
    Ok(ClientBuilder::new(service, namespace).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_context_is_answered_with_the_nearest_name() {
        let text = r#"{"apiVersion":"v1","kind":"Config","contexts":[{"name":"minikube","context":{"cluster":"c","user":"u"}}]}"#;
        let kubeconfig: Kubeconfig = serde_json::from_str(text).expect("a kubeconfig");
        let options = ClusterOptions { context: Some("minikub".to_owned()), ..ClusterOptions::default() };
        let failure = choose_context(&kubeconfig, &options).expect_err("unknown");
        assert_eq!(failure.class, Class::Config);
        assert_eq!(failure.next.as_deref(), Some("did you mean minikube?"));
        let failure = choose_context(&kubeconfig, &ClusterOptions::default()).expect_err("no current context");
        assert_eq!(failure.details, ["contexts there are: minikube"]);
    }
}
