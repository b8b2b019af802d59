//! What is known of the world around a configuration: names that exist. Whatever is empty is not known.

/// One name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The name as it is written.
    pub value: String,
    /// What it is, in a few words.
    pub detail: String,
}

/// Names by what they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Contexts of the kubeconfig.
    pub contexts: Vec<Fact>,
    /// Namespaces.
    pub namespaces: Vec<Fact>,
    /// Targets as paths: `deployment/web`.
    pub targets: Vec<Fact>,
    /// Containers of the target.
    pub containers: Vec<Fact>,
    /// Ports of the target.
    pub ports: Vec<Fact>,
    /// Names of the target's variables.
    pub variables: Vec<Fact>,
    /// Where volumes are mounted in the target.
    pub mounts: Vec<Fact>,
    /// Services of the namespace.
    pub services: Vec<Fact>,
    /// Whether the cluster has answered lately.
    pub fresh: bool,
}

/// **The table**: which names may stand at a key (`keys::Key::path`), as a value or as the key of a map.
type Row = (&'static str, fn(&Facts) -> &[Fact]);

const TABLE: &[Row] = &[
    ("kube_context", |facts| &facts.contexts),
    ("target", |facts| &facts.targets),
    ("target.path", |facts| &facts.targets),
    ("target.namespace", |facts| &facts.namespaces),
    ("agent.namespace", |facts| &facts.namespaces),
    ("$target.container", |facts| &facts.containers),
    ("feature.env.include", |facts| &facts.variables),
    ("feature.env.exclude", |facts| &facts.variables),
    ("feature.env.unset", |facts| &facts.variables),
    ("feature.env.override", |facts| &facts.variables),
    ("feature.env.mapping", |facts| &facts.variables),
    ("feature.fs.read_only", |facts| &facts.mounts),
    ("feature.fs.read_write", |facts| &facts.mounts),
    ("feature.fs.local", |facts| &facts.mounts),
    ("feature.fs.not_found", |facts| &facts.mounts),
    ("feature.network.incoming.ports", |facts| &facts.ports),
    ("feature.network.incoming.ignore_ports", |facts| &facts.ports),
    ("feature.network.incoming.port_mapping", |facts| &facts.ports),
    ("feature.network.incoming.http_filter.ports", |facts| &facts.ports),
    ("feature.network.outgoing.filter", |facts| &facts.services),
    ("feature.network.dns.filter", |facts| &facts.services),
];

impl Facts {
    /// The names that may stand at a key.
    pub fn at(&self, path: &str) -> &[Fact] {
        let nearest = TABLE.iter().find(|(key, _)| *key == path || is_below(path, key));
        nearest.map_or(&[], |(_, names)| names(self))
    }

    /// The names of targets of one kind, by the word of the kind.
    pub fn targets_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Fact)> {
        self.targets.iter().filter_map(move |fact| {
            let name = fact.value.strip_prefix(kind)?.strip_prefix('/')?;
            Some((name, fact))
        })
    }
}

/// Whether a path lies in a list or map at `key`. Sections have keys of their own.
fn is_below(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.starts_with('[') || rest.starts_with('.')) && key != "target"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn every_row_names_a_key() {
        for (path, _) in TABLE {
            assert!(keys::find(path).is_some(), "{path}");
        }
    }

    #[test]
    fn names_are_found_at_the_key_and_in_its_lists() {
        let fact = |value: &str| Fact { value: value.to_owned(), detail: String::new() };
        let facts = Facts {
            targets: vec![fact("pod/a")],
            namespaces: vec![fact("n")],
            ports: vec![fact("80")],
            ..Facts::default()
        };
        assert_eq!(facts.at("target").len(), 1);
        assert_eq!(facts.at("target.namespace")[0].value, "n");
        assert_eq!(facts.at("feature.network.incoming.ports[]")[0].value, "80");
        assert!(facts.at("agent.ttl").is_empty());
        assert_eq!(facts.targets_of("pod").map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
    }
}
