//! What a kubeconfig says without asking anybody: contexts, namespaces, files.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;

use super::client::{Cluster, Operation};
use super::errors;
use crate::failure::Result;
use crate::serve::rpc::ContextRow;

/// Words that a name has which is one of production.
const PRODUCTION: &[&str] = &["prod", "production", "prd", "live"];

/// The files that are read: the one that is named, else those of `KUBECONFIG`, else that of the home folder.
pub fn files(named: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = named {
        return vec![path.to_owned()];
    }
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        return std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
    }
    directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".kube/config")).into_iter().collect()
}

/// The contexts, the current one first, the others by name.
pub fn contexts(named: Option<&Path>) -> Result<Vec<ContextRow>> {
    let kubeconfig = match named {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    Ok(rows(&kubeconfig.map_err(|error| errors::kubeconfig(&error, named))?))
}

pub(super) fn rows(kubeconfig: &Kubeconfig) -> Vec<ContextRow> {
    let current = kubeconfig.current_context.clone().unwrap_or_default();
    let mut rows: Vec<ContextRow> = kubeconfig
        .contexts
        .iter()
        .map(|named| {
            let context = named.context.as_ref();
            let cluster = context.map(|context| context.cluster.clone());
            let entry = kubeconfig.clusters.iter().find(|entry| Some(&entry.name) == cluster.as_ref());
            let namespace = context.and_then(|context| context.namespace.clone()).filter(|name| !name.is_empty());
            let namespace = namespace.unwrap_or_else(|| "default".to_owned());
            let texts = [named.name.as_str(), cluster.as_deref().unwrap_or_default(), namespace.as_str()];
            let production = texts.into_iter().any(looks_like_production);
            ContextRow {
                production,
                server: entry.and_then(|entry| entry.cluster.as_ref()?.server.clone()),
                user: context.and_then(|context| context.user.clone()),
                current: named.name == current,
                name: named.name.clone(),
                cluster,
                namespace,
            }
        })
        .collect();
    rows.sort_by(|a, b| b.current.cmp(&a.current).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// Whether a context is the one that is named, or else the current one.
pub fn is_meant(row: &ContextRow, named: Option<&str>) -> bool {
    named.map_or(row.current, |name| row.name == name)
}

/// Whether a name has the word for production in it.
pub fn looks_like_production(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split(|letter: char| !letter.is_ascii_alphabetic()).any(|word| PRODUCTION.contains(&word))
}

/// The names of the cluster's namespaces.
pub async fn namespaces(cluster: &Cluster) -> Result<Vec<String>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let operation = Operation { verb: "list", group: "", resource: "namespaces", namespace: None, name: None };
    let list = cluster.ask(operation, api.list_metadata(&ListParams::default())).await?;
    let mut names: Vec<String> = list.items.into_iter().filter_map(|item| item.metadata.name).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_is_known_by_a_word_of_its_own() {
        for (name, expected) in [
            ("prod", true),
            ("eu-prod-1", true),
            ("gke_acme_production", true),
            ("PROD2", true),
            ("product-catalog", false),
            ("reproduce", false),
            ("minikube", false),
            ("live", true),
            ("deliver", false),
        ] {
            assert_eq!(looks_like_production(name), expected, "{name}");
        }
    }

    #[test]
    fn contexts_are_listed_with_the_current_one_first() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = r#"{"apiVersion":"v1","kind":"Config","current-context":"b","contexts":[
            {"name":"a","context":{"cluster":"c","user":"u","namespace":"prod"}},
            {"name":"b","context":{"cluster":"c","user":"u"}}],
            "clusters":[{"name":"c","cluster":{"server":"https://example.org"}}]}"#;
        std::fs::write(file.path(), text).expect("written");
        let rows = contexts(Some(file.path())).expect("read");
        let shown: Vec<_> =
            rows.iter().map(|row| (row.name.as_str(), row.namespace.as_str(), row.production)).collect();
        assert_eq!(shown, [("b", "default", false), ("a", "prod", true)]);
        assert_eq!(rows[0].server.as_deref(), Some("https://example.org"));
        assert!(contexts(Some(Path::new("/nonexistent"))).is_err());
    }
}
