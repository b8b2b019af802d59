//! `mirror config rights`: the Role and RoleBinding that a configuration needs, as YAML.

use crate::cli::Source;
use crate::failure::{Class, Failure, Result};
use crate::kube::contexts;
use crate::kube::permissions::{Subject, manifest};
use crate::settings;

/// Runs the command. Asks no cluster: the namespace is the configuration's, else the context's.
pub fn run(source: &Source, target: Option<&str>, user: Option<&str>) -> Result<()> {
    let option = target.map(|target| settings::option("target.path", target, "--target"));
    let loaded = settings::load(source, option.into_iter().collect())?;
    let config = loaded.valid()?;
    let options = settings::cluster_options(config);
    let namespace = match options.namespace {
        Some(namespace) => namespace,
        None => {
            let rows = contexts::contexts(options.kubeconfig.as_deref())?;
            let is_meant = |row: &&_| contexts::is_meant(row, options.context.as_deref());
            let row = rows.iter().find(is_meant).ok_or_else(|| {
                Failure::new(Class::Config, "the kubeconfig has no such context").next("name a namespace with -n")
            })?;
            row.namespace.clone()
        }
    };
    super::answer(&manifest(&Subject::of(config), &namespace, user))
}
