//! From options, variables and the configuration file to what a session is to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, Document, FsMode, IncomingMode, OptionValue, PortPair, Resolved, Target};
use protocol::agent::{HttpFilter, PortMode};

use crate::cli::{Exec, Source};
use crate::failure::{Class, Failure, Result};
use crate::kube::client::ClusterOptions;
use crate::machine::{self, Work};
use crate::session::files::FileRules;
use crate::session::spec::{
    AgentOptions, EnvironmentOptions, FileLists, FileOptions, IncomingOptions, NetworkOptions, OnConcurrentSteal,
    OnPause, SessionSpec, SkipOptions, Unnamed,
};

/// Everything that was said about the configuration, put together.
pub struct Loaded {
    /// The file, if there is one.
    pub document: Option<Document>,
    /// The effective values and every problem.
    pub resolved: Resolved,
}

/// Reads the file and the variables, and applies `options` over them. Problems of the user's making are in
/// the result, not an error.
pub fn load(source: &Source, options: Vec<OptionValue>) -> Result<Loaded> {
    let folder = std::env::current_dir().map_err(|error| Failure::system("cannot tell the current folder", error))?;
    load_in(&folder, source, options)
}

/// As [`load`]; the file is looked for in `folder`, if none is named.
pub fn load_in(folder: &Path, source: &Source, options: Vec<OptionValue>) -> Result<Loaded> {
    let document = config::load::load(source.config.as_deref(), folder)
        .map_err(|error| Failure::new(Class::Config, error.to_string()))?;
    let variable = |name: &str| std::env::var(name).ok();
    let options: Vec<OptionValue> = source_options(source).into_iter().chain(options).collect();
    let resolved = config::resolve(document.as_ref(), &variable, &options);
    Ok(Loaded { document, resolved })
}

impl Loaded {
    /// The configuration, or a failure that shows every problem.
    pub fn valid(&self) -> Result<&Config> {
        if !self.resolved.has_errors() {
            return Ok(&self.resolved.config);
        }
        let errors: Vec<_> = self
            .resolved
            .diagnostics
            .iter()
            .filter(|problem| problem.severity == config::Severity::Error)
            .cloned()
            .collect();
        let rendered = config::render::render(&errors, self.document.as_ref(), config::render::Colour::Never);
        let failure = Failure::new(Class::Config, "the configuration has errors");
        Err(rendered.lines().fold(failure, |failure, line| failure.detail(line)))
    }
}

/// One option.
pub fn option(key: &str, value: impl Into<String>, option: &str) -> OptionValue {
    OptionValue { key: key.to_owned(), value: value.into(), option: option.to_owned() }
}

fn source_options(source: &Source) -> Vec<OptionValue> {
    let mut options = Vec::new();
    options.extend(source.namespace.as_ref().map(|value| option("target.namespace", value, "--namespace")));
    options.extend(source.context.as_ref().map(|value| option("kube_context", value, "--context")));
    options.extend(
        source.kubeconfig.as_ref().map(|value| option("kubeconfig", value.display().to_string(), "--kubeconfig")),
    );
    if source.accept_invalid_certificates {
        options.push(option("accept_invalid_certificates", "true", "--accept-invalid-certificates"));
    }
    options
}

/// What the options of `mirror exec` set.
pub fn exec_options(exec: &Exec) -> Vec<OptionValue> {
    let mut options = Vec::new();
    options.extend(exec.target.as_ref().map(|value| option("target.path", value, "--target")));
    options.extend(exec.steal.then(|| option("feature.network.incoming.mode", "steal", "--steal")));
    let header = |value| option("feature.network.incoming.http_filter.header_filter", value, "--header");
    options.extend(exec.header.as_ref().map(header));
    options.extend(exec.agent_image.as_ref().map(|value| option("agent.image", value, "--agent-image")));
    options
}

/// Makes the paths in a configuration those that they are in `folder`.
pub fn rebase(config: &mut Config, folder: &Path) {
    let paths = [&mut config.kubeconfig, &mut config.feature.env.env_file];
    for path in paths.into_iter().flatten().filter(|path| !path.starts_with("~/")) {
        *path = folder.join(&*path).display().to_string();
    }
}

/// Which cluster the configuration means.
pub fn cluster_options(config: &Config) -> ClusterOptions {
    ClusterOptions {
        kubeconfig: config.kubeconfig.as_deref().map(expand_home),
        context: config.kube_context.clone(),
        namespace: config.target.namespace.clone(),
        accept_invalid_certificates: config.accept_invalid_certificates,
    }
}

/// `~/` is the home folder.
pub fn expand_home(path: &str) -> PathBuf {
    let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
    let absolute = match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    };
    // The session host lives in another folder.
    std::path::absolute(&absolute).unwrap_or(absolute)
}

/// The session for work that the configuration describes. `container` chooses another container of the target.
pub fn session_spec(config: &Config, container: Option<&str>, work: &Work<'_>) -> Result<SessionSpec> {
    let target = target(config, container)?;
    let files = file_options(config, work)?;
    let lists = files.lists.filter(|_| target != Target::Targetless);
    Ok(SessionSpec {
        cluster: cluster_options(config),
        target,
        agent: agent_options(config)?,
        environment: environment_options(config)?,
        network: NetworkOptions {
            outgoing_tcp: config.feature.network.outgoing.tcp,
            outgoing_udp: config.feature.network.outgoing.udp,
            outgoing_filter: config.feature.network.outgoing.filter.clone(),
            unix_streams: config.feature.network.outgoing.unix_streams.clone(),
            ignore_localhost: config.feature.network.outgoing.ignore_localhost,
            connect_wait: config.feature.network.outgoing.connect_wait,
            dns: config.feature.network.dns.enabled,
            dns_filter: config.feature.network.dns.filter.clone(),
            ipv6: config.feature.network.ipv6,
            host_name: config.feature.hostname,
        },
        incoming: incoming_options(config)?,
        files: FileOptions { lists, ..files },
        skip: SkipOptions {
            named: config.skip_processes.clone(),
            build_tools: config.skip_build_tools,
            more_build_tools: config.skip_extra_build_tools.clone(),
        },
    })
}

/// Traffic of the pod; without a target there is none.
fn incoming_options(config: &Config) -> Result<IncomingOptions> {
    let incoming = &config.feature.network.incoming;
    let mode = match incoming.mode {
        IncomingMode::Off => None,
        IncomingMode::Mirror => Some(PortMode::Mirror),
        IncomingMode::Steal => Some(PortMode::Steal),
    };
    let pairs = |pairs: &[PortPair]| pairs.iter().map(|pair| (pair.first, pair.second)).collect();
    Ok(IncomingOptions {
        mode: mode.filter(|_| config.target.path.as_ref().is_some_and(|target| *target != Target::Targetless)),
        ports: incoming.ports.clone(),
        ignored_ports: incoming.ignore_ports.clone(),
        mapping: pairs(&incoming.port_mapping),
        listen_ports: pairs(&incoming.listen_ports),
        ignore_localhost: incoming.ignore_localhost,
        flush_connections: config.agent.flush_connections,
        probes: incoming.probes,
        filter: incoming.http_filter.filter().as_ref().map(http_filter),
        filtered_ports: incoming.http_filter.ports.clone(),
        on_concurrent_steal: match incoming.on_concurrent_steal {
            config::OnConcurrentSteal::Abort => OnConcurrentSteal::Abort,
            config::OnConcurrentSteal::Override => OnConcurrentSteal::Override,
            config::OnConcurrentSteal::Continue => OnConcurrentSteal::Continue,
        },
        on_pause: match incoming.on_pause {
            config::OnPause::Hold => OnPause::Hold,
            config::OnPause::Pass => OnPause::Pass,
            config::OnPause::Unavailable => OnPause::Unavailable,
        },
        hold: incoming.hold,
    })
}

fn http_filter(filter: &config::HttpFilter) -> HttpFilter {
    let all = |parts: &[config::HttpFilter]| parts.iter().map(http_filter).collect();
    match filter {
        config::HttpFilter::Header(regex) => HttpFilter::Header(regex.clone()),
        config::HttpFilter::Path(regex) => HttpFilter::Path(regex.clone()),
        config::HttpFilter::Method(method) => HttpFilter::Method(method.clone()),
        config::HttpFilter::Query(regex) => HttpFilter::Query(regex.clone()),
        config::HttpFilter::All(parts) => HttpFilter::All(all(parts)),
        config::HttpFilter::Any(parts) => HttpFilter::Any(all(parts)),
        config::HttpFilter::Not(part) => HttpFilter::Not(Box::new(http_filter(part))),
    }
}

/// Which files are a target's for a command. That the patterns can be compiled is known before anything is created.
pub fn file_options(config: &Config, work: &Work<'_>) -> Result<FileOptions> {
    let fs = &config.feature.fs;
    let unnamed = match fs.mode {
        FsMode::Local => return Ok(FileOptions { max_size: fs.max_file_size, ..FileOptions::default() }),
        FsMode::LocalWithOverrides => Unnamed::Local,
        FsMode::Read => Unnamed::Read,
        FsMode::Write => Unnamed::Write,
    };
    let lists = FileLists { places: machine::places(work), home: machine::home(), unnamed };
    let options = FileOptions {
        mapping: fs.mapping.clone(),
        not_found: fs.not_found.clone(),
        read_write: fs.read_write.clone(),
        read_only: fs.read_only.clone(),
        local: fs.local.clone(),
        lists: Some(lists),
        max_size: fs.max_file_size,
    };
    // The lists' own patterns are good.
    FileRules::new(&FileOptions { lists: None, ..options.clone() }, &[])?;
    Ok(options)
}

/// Whose place is taken.
pub fn target(config: &Config, container: Option<&str>) -> Result<Target> {
    let mut target = config.target.path.clone().unwrap_or(Target::Targetless);
    let Some(container) = container else { return Ok(target) };
    match &mut target {
        Target::Targetless => {
            return Err(Failure::new(Class::Usage, "a container is named, but there is no target")
                .next("name a target (--target KIND/NAME), or no container"));
        }
        Target::Workload(workload) => workload.container = Some(container.to_owned()),
        Target::Labels { container: chosen, .. } => *chosen = Some(container.to_owned()),
    }
    Ok(target)
}

fn agent_options(config: &Config) -> Result<AgentOptions> {
    let agent = &config.agent;
    let json = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|error| Failure::new(Class::Internal, format!("the agent section cannot be lowered: {error}")))
    };
    Ok(AgentOptions {
        namespace: agent.namespace.clone(),
        ephemeral: agent.ephemeral,
        disabled_capabilities: agent.disabled_capabilities.iter().map(|one| one.as_str().to_owned()).collect(),
        privileged: agent.privileged,
        image: agent.image.as_ref().map(|image| image.0.clone()),
        image_pull_policy: agent.image_pull_policy.as_str().to_owned(),
        image_pull_secrets: agent.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
        ttl: agent.ttl,
        startup_timeout: agent.startup_timeout,
        first_contact: agent.communication_timeout,
        grace: agent.grace_time,
        log_level: agent.log_level.clone(),
        labels: agent.labels.clone(),
        annotations: agent.annotations.clone(),
        tolerations: json(serde_json::to_value(&agent.tolerations))?,
        resources: json(serde_json::to_value(&agent.resources))?,
        node_selector: agent.node_selector.clone(),
        service_account: agent.service_account.clone(),
        priority_class: agent.priority_class.clone(),
        disable_mesh_sidecar_injection: agent.disable_mesh_sidecar_injection,
    })
}

fn environment_options(config: &Config) -> Result<EnvironmentOptions> {
    let env = &config.feature.env;
    Ok(EnvironmentOptions {
        enabled: true,
        include: env.include.clone(),
        exclude: env.exclude.clone(),
        overrides: (*env.overrides).clone(),
        unset: env.unset.clone(),
        file: env.env_file.as_deref().map(|path| read_env_file(Path::new(path))).transpose()?.unwrap_or_default(),
        mapping: env.mapping.clone(),
    })
}

/// Reads a file of `NAME=value` lines. A line that cannot be read is never shown: it may hold a secret.
pub(crate) fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>> {
    let failed = |after: Option<&str>, error: dotenvy::Error| {
        let reason = match (error, after) {
            (dotenvy::Error::LineParse(..), None) => "its first line is not of the form NAME=value".to_owned(),
            (dotenvy::Error::LineParse(..), Some(name)) => {
                format!("what follows {name} is not of the form NAME=value")
            }
            (error, _) => error.to_string(),
        };
        Failure::new(Class::Config, format!("cannot read feature.env.env_file {}: {reason}", path.display()))
            .next("it holds lines of the form NAME=value, with quotes around values that have spaces; a relative path is meant from the current folder, in an editor from the workspace folder")
    };
    let mut variables = BTreeMap::new();
    let mut last: Option<String> = None;
    for variable in dotenvy::from_path_iter(path).map_err(|error| failed(None, error))? {
        let (name, value) = variable.map_err(|error| failed(last.as_deref(), error))?;
        last = Some(name.clone());
        variables.insert(name, value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_of_an_env_file_is_told_and_not_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "A=1\nPASSWORD hunter2\n").expect("written");
        let failure = read_env_file(file.path()).expect_err("a bad line");
        assert!(failure.message.contains("what follows A is not"), "{}", failure.message);
        assert!(!format!("{failure:?}").contains("hunter2"));
        std::fs::write(file.path(), "A=1\nB='2 3'\n").expect("written");
        assert_eq!(read_env_file(file.path()).expect("good")["B"], "2 3");
    }
}
