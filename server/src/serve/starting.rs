//! From what an editor asks for to a session that stands: configuration, launch facts, host, plan.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tower_lsp::Client;

use super::launch::{self, Launch};
use super::problems::Answer;
use super::progress::Progress;
use super::rpc::notification::SessionWarningNotification;
use super::rpc::{ActionKind, LaunchPlan, Place, Problem, SessionStart, SessionWarning, Traffic};
use crate::bundle;
use crate::cli::Source;
use crate::failure::{Class, Failure, Remedy, Result};
use crate::session::message::{About, HostMessage, Keeper, Ready, Start, Step};
use crate::session::registry::{Command, Entry};
use crate::session::spawn::Host;
use crate::settings::{self, Loaded};

/// Everything that is known before anything is made.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    pub(super) start: Start,
    warnings: Vec<String>,
}

impl Prepared {
    /// Reads the configuration and judges the program. Blocks: it reads files.
    pub(super) fn new(params: &SessionStart) -> Answer<Self> {
        let folder = Path::new(&params.folder);
        let launch = Launch::new(&params.launch, folder)?;
        let loaded = load(params)?;
        let mut config = valid(&loaded)?.clone();
        settings::rebase(&mut config, folder);
        if config.target.path.is_none() {
            return Err(Problem::new("target-missing", "neither the configuration nor the launch names a target")
                .next("pick one, or name it in the configuration: \"target\": \"deployment/NAME\"")
                .action("Pick target", ActionKind::PickTarget, None));
        }
        let command = launch.command();
        let mut spec = settings::session_spec(&config, params.container.as_deref(), &launch.work(folder, &command))?;
        spec.incoming.ignored_ports.extend(launch.debugger_ports());
        let key = "feature.network.incoming.ignore_localhost";
        if launch.listens_inside() && loaded.resolved.origin(key) == config::Origin::Default {
            spec.incoming.ignore_localhost = true;
        }
        launch.check()?;
        let spec = serde_json::to_string(&spec)
            .map_err(|error| Failure::new(Class::Internal, format!("cannot hand over the session: {error}")))?;
        let request = serde_json::to_string(params)
            .map_err(|error| Failure::new(Class::Internal, format!("cannot keep the request: {error}")))?;
        let keeper = Keeper::Editor { first: config.session.start_timeout, grace: config.session.grace_time };
        let about = About {
            name: params.launch.name.clone().unwrap_or_else(|| params.launch.debugger.clone()),
            folder: Some(params.folder.clone()),
            config: loaded.document.as_ref().map(|document| document.name.clone()),
            debugger: Some(params.launch.debugger.clone()),
            request,
            fingerprint: fingerprint(&spec),
        };
        let place = |problem: &config::Diagnostic| config::render::place(&problem.origin, loaded.document.as_ref());
        let warnings = loaded.resolved.of_session().map(|problem| format!("{}: {}", place(problem), problem.message));
        Ok(Self { launch, warnings: warnings.collect(), start: Start { keeper, spec, about, quiet: true } })
    }

    /// How to launch the program in the session that is `ready`.
    pub(super) fn plan(&self, ready: &Ready) -> Result<LaunchPlan> {
        Ok(self.launch.plan(ready, &bundle::layer_path()?, &launch::inherited()))
    }

    /// Starts a host and waits until its session stands. When this is dropped before, the host undoes everything.
    pub(super) async fn run(&self, client: &Client, progress: &Progress) -> Answer<Ready> {
        for warning in &self.warnings {
            warn(client, warning.clone()).await;
        }
        let start = self.start.clone();
        let host = tokio::task::spawn_blocking(move || Host::start(&start)).await;
        let host =
            host.map_err(|error| Failure::new(Class::Internal, format!("cannot start the session host: {error}")))??;
        let mut messages = host.into_messages()?;
        loop {
            match messages.receive().await? {
                HostMessage::Began(step) => progress.report(doing(step).to_owned()).await,
                HostMessage::Done { text, .. } => progress.report(text).await,
                HostMessage::Warning(text) => warn(client, text).await,
                HostMessage::Failed(failure) => return Err(failure.into()),
                HostMessage::Ready(ready) => return Ok(ready),
            }
        }
    }
}

/// The session's spec as its configuration has it now.
pub(super) fn spec(params: &SessionStart) -> Answer<(String, String)> {
    let prepared = Prepared::new(params)?;
    Ok((prepared.start.spec, prepared.start.about.fingerprint))
}

/// Equal for equal sessions; tells nothing of what is in them.
fn fingerprint(spec: &str) -> String {
    Sha256::digest(spec.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A configuration of a folder, with a place that was picked over it.
pub(super) fn source(folder: &Path, config: Option<&str>, place: &Place) -> Source {
    Source {
        config: config.map(|path| folder.join(path)),
        namespace: place.namespace.clone(),
        context: place.context.clone(),
        kubeconfig: place.kubeconfig.as_ref().map(PathBuf::from),
        accept_invalid_certificates: false,
    }
}

/// The configuration with what was picked over it.
fn load(params: &SessionStart) -> Result<Loaded> {
    let folder = Path::new(&params.folder);
    let source = source(folder, params.config.as_deref(), &params.place);
    let mut options = Vec::new();
    options.extend(params.target.as_ref().map(|target| settings::option("target.path", target, "the picked target")));
    // Who picks no target wants none of its traffic, whatever the configuration wants of the usual one's.
    let is_targetless = params.target.as_deref() == Some("targetless");
    let traffic = params.traffic.or(is_targetless.then_some(Traffic::Off));
    options.extend(traffic.map(|traffic| {
        let mode = match traffic {
            Traffic::Off => "off",
            Traffic::Mirror => "mirror",
            Traffic::Steal => "steal",
        };
        settings::option("feature.network.incoming.mode", mode, "the launch's traffic")
    }));
    settings::load_in(folder, &source, options)
}

fn valid(loaded: &Loaded) -> Result<&config::Config> {
    loaded.valid().map_err(|failure| match &loaded.document {
        Some(document) => failure.remedy(Remedy::Open(document.name.clone())),
        None => failure,
    })
}

async fn warn(client: &Client, text: String) {
    let warning = SessionWarning { session: None, problem: Problem::new("warning", text) };
    client.send_notification::<SessionWarningNotification>(warning).await;
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Cluster => "connecting to the cluster",
        Step::Target => "looking for the target",
        Step::AgentCreated => "creating the agent",
        Step::AgentReady => "waiting for the agent",
    }
}

/// Ends a session whose starter does not hear of it.
pub(super) struct Unwanted(pub(super) Option<Entry>);

impl Unwanted {
    /// The starter has heard of it.
    pub(super) fn wanted(mut self) {
        self.0 = None;
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            tokio::spawn(async move { entry.ask_once(Command::Stop).await.map(drop) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::rpc::{LaunchFacts, Place};

    fn params(folder: &Path) -> SessionStart {
        SessionStart {
            folder: folder.display().to_string(),
            target: Some("deployment/web".to_owned()),
            launch: LaunchFacts { debugger: "node".to_owned(), ..LaunchFacts::default() },
            ..SessionStart::default()
        }
    }

    #[test]
    fn a_start_without_a_target_asks_for_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let problem = Prepared::new(&SessionStart { target: None, ..params(folder.path()) }).err().expect("refused");
        assert_eq!((problem.code.as_str(), problem.actions[0].kind), ("target-missing", ActionKind::PickTarget));
    }

    #[test]
    fn a_wrong_configuration_can_be_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(".mirror.json"), "{\"agnet\": {}}").expect("written");
        let problem = Prepared::new(&params(folder.path())).err().expect("refused");
        assert_eq!((problem.code.as_str(), problem.actions[0].kind), ("config", ActionKind::OpenFile));
    }

    #[test]
    fn what_was_picked_wins_and_paths_are_those_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let text =
            r#"{"target": "pod/a", "kubeconfig": "kube/config", "feature": {"network": {"incoming": "mirror"}}}"#;
        std::fs::write(folder.path().join(".mirror.json"), text).expect("written");
        let place = Place { namespace: Some("shop".to_owned()), ..Place::default() };
        let picked = SessionStart { place, traffic: Some(Traffic::Steal), ..params(folder.path()) };
        let Ok((spec, _)) = spec(&picked) else { panic!("refused") };
        let spec: crate::session::spec::SessionSpec = serde_json::from_str(&spec).expect("a spec");
        assert_eq!(spec.target.to_string(), "deployment/web");
        assert_eq!(spec.cluster.namespace.as_deref(), Some("shop"));
        assert_eq!(spec.cluster.kubeconfig, Some(folder.path().join("kube/config")));
        assert_eq!(spec.incoming.mode, Some(protocol::agent::PortMode::Steal));
        assert!(spec.incoming.ignore_localhost, "the debugger listens there, in the program");
    }
}
