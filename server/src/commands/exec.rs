//! `mirror exec`: starts a session and becomes the user's program.
//!
//! When all is ready this process executes the program itself, so that its pid, terminal, signals, job
//! control and exit code are the kernel's business.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use config::AddressFilters;
use protocol::agent::{POD_FILES, PortMode};
use protocol::layer::SESSION_VARIABLE;

use crate::bundle;
use crate::cli::Exec;
use crate::failure::{Class, Failure, Result};
use crate::machine::Work;
use crate::program;
use crate::progress::{Mode, Progress};
use crate::session::message::{About, HostMessage, Keeper, Ready, Start};
use crate::session::spawn::Host;
use crate::session::spec::{NetworkOptions, SessionSpec, Unnamed};
use crate::settings;

/// Runs the command; returns only when it cannot.
pub fn run(exec: &Exec) -> Failure {
    let began = Instant::now();
    let (name, arguments) = exec.command.split_first().expect("clap requires a command");
    let shown = Path::new(name).display().to_string();
    let mut progress =
        Progress::begin(Mode::choose(exec.json, exec.quiet), &format!("mirror {} runs {shown}", protocol::VERSION));
    match start(exec, name, arguments, began, &mut progress) {
        Ok(failure) | Err(failure) => {
            progress.failed(&failure);
            failure
        }
    }
}

fn start(
    exec: &Exec,
    name: &OsStr,
    arguments: &[OsString],
    began: Instant,
    progress: &mut Progress,
) -> Result<Failure> {
    if std::env::var_os(SESSION_VARIABLE).is_some() {
        return Err(Failure::new(Class::Usage, "this process already runs in a session of mirror")
            .next("run the command without `mirror exec`: it is part of the session already"));
    }
    let path = program::search_path();
    let file = program::find(name, &path)?;
    program::check(&file, &path)?;
    let loaded = settings::load(&exec.source, settings::exec_options(exec))?;
    let spec = settings::session_spec(loaded.valid()?, exec.container.as_deref(), &Work::here(&exec.command)?)?;
    for problem in loaded.resolved.of_session() {
        progress.warning(&format!(
            "{}: {}",
            config::render::place(&problem.origin, loaded.document.as_ref()),
            problem.message
        ));
    }
    if exec.verbose {
        let set = loaded.resolved.effective().into_iter().filter(|setting| setting.origin != config::Origin::Default);
        for setting in set {
            let place = config::render::place(&setting.origin, loaded.document.as_ref());
            progress.note("setting", &format!("{} = {} ({place})", setting.key, setting.value));
        }
    }
    let layer = bundle::layer_path()?;
    let json = serde_json::to_string(&spec)
        .map_err(|error| Failure::new(Class::Internal, format!("cannot hand over the session: {error}")))?;
    let start = Start {
        keeper: Keeper::Program(std::process::id() as i32),
        spec: json,
        about: About {
            name: Path::new(name).display().to_string(),
            folder: std::env::current_dir().ok().map(|folder| folder.display().to_string()),
            config: loaded.document.as_ref().map(|document| document.name.clone()),
            ..About::default()
        },
        quiet: exec.quiet,
    };
    let mut host = Host::start(&start)?;
    let ready = follow(&mut host, progress)?;
    summarise(&spec, &ready, exec.verbose, progress);
    progress.ready(&format!("{} starts", start.about.name), began.elapsed());
    Ok(become_program(&file, name, arguments, &ready, &layer))
}

fn follow(host: &mut Host, progress: &mut Progress) -> Result<Ready> {
    loop {
        match host.receive()? {
            HostMessage::Began(step) => progress.step_began(step),
            HostMessage::Done { step, text, took } => progress.step_done(step, &text, took),
            HostMessage::Warning(text) => progress.warning(&text),
            HostMessage::Failed(failure) => return Err(failure),
            HostMessage::Ready(ready) => return Ok(ready),
        }
    }
}

/// Says what the program will and will not share with the pod.
fn summarise(spec: &SessionSpec, ready: &Ready, verbose: bool, progress: &mut Progress) {
    let targetless = spec.target == config::Target::Targetless;
    let environment = match (targetless, ready.from_pod) {
        (true, _) => "local (no target)".to_owned(),
        (false, n_variables) => format!("{n_variables} variables of the container"),
    };
    progress.note("environment", &environment);
    progress.note("files", &files(spec));
    progress.note("incoming", incoming(spec, ready));
    let network = &spec.network;
    progress.note("outgoing", &outgoing(network));
    let filtered = if network.dns_filter == AddressFilters::All { "" } else { ", filtered" };
    progress.note("dns", &if network.dns { format!("resolved by the pod{filtered}") } else { LOCAL.to_owned() });
    if !network.ipv6 {
        progress.note("ipv6", "off");
    }
    if verbose {
        progress.note("session", &format!("{}, log: {}", ready.session, ready.log));
    }
}

fn files(spec: &SessionSpec) -> String {
    let lists = spec.files.lists.as_ref();
    let most = match lists.map(|lists| lists.unnamed) {
        Some(Unnamed::Read) => {
            Some("read from the pod, except this machine's programs, homes and temporary files; written here")
        }
        Some(Unnamed::Write) => {
            Some("read and written in the pod, except this machine's programs, homes and temporary files")
        }
        Some(Unnamed::Local) | None => None,
    };
    if let Some(most) = most {
        return most.to_owned();
    }
    let from_pod: Vec<&str> = POD_FILES.into_iter().filter(|path| spec.has_file(path)).collect();
    let volumes = lists.is_some().then_some("volumes of the container");
    let has_patterns = !(spec.files.read_write.is_empty() && spec.files.read_only.is_empty());
    let named = has_patterns.then_some("what the patterns of feature.fs name");
    let from_pod: Vec<&str> = from_pod.into_iter().chain(volumes).chain(named).collect();
    if from_pod.is_empty() { "local".to_owned() } else { format!("local, except {}", from_pod.join(", ")) }
}

fn incoming(spec: &SessionSpec, ready: &Ready) -> &'static str {
    match (spec.incoming.mode, spec.incoming.filter.is_some()) {
        _ if spec.target == config::Target::Targetless => "off (no target)",
        (None, _) => "off",
        _ if !ready.takes_connections => "none: see above",
        (Some(PortMode::Steal), false) => "steal: connections to ports that the program listens on come here",
        (Some(PortMode::Steal), true) => "steal: HTTP requests that match the filter come here",
        (Some(PortMode::Mirror), false) => "mirror: connections to ports that the program listens on are copied to it",
        (Some(PortMode::Mirror), true) => "mirror: HTTP requests that match the filter are copied to the program",
    }
}

const LOCAL: &str = "local (switched off)";

fn outgoing(network: &NetworkOptions) -> String {
    let filtered = if network.outgoing_filter == AddressFilters::All { "" } else { ", filtered" };
    match (network.outgoing_tcp, network.outgoing_udp) {
        (true, true) => format!("TCP and UDP from the pod{filtered}"),
        (true, false) => format!("TCP from the pod{filtered}; UDP local"),
        (false, true) => format!("UDP from the pod{filtered}; TCP local"),
        (false, false) => LOCAL.to_owned(),
    }
}

/// Executes the program in this process; returns only on failure.
fn become_program(file: &Path, name: &OsStr, arguments: &[OsString], ready: &Ready, layer: &Path) -> Failure {
    let mut command = Command::new(file);
    command.arg0(name).args(arguments);
    for unset in &ready.unset {
        for (variable, _) in std::env::vars_os() {
            if variable.as_bytes().eq_ignore_ascii_case(unset.as_bytes()) {
                command.env_remove(variable);
            }
        }
    }
    for (variable, value) in &ready.set {
        command.env(OsStr::from_bytes(variable), OsStr::from_bytes(value));
    }
    command.env("LD_PRELOAD", preload(layer, users_preload(ready, std::env::var_os("LD_PRELOAD"))));
    let error = command.exec();
    let failure = Failure::new(Class::ProgramUnusable, format!("cannot execute {}: {error}", file.display()));
    match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::TOOBIG.raw_os_error() => failure
            .next("the pod's environment is larger than this machine allows: take less of it with feature.env.include"),
        _ => failure,
    }
}

/// What the user wants to be preloaded: by the configuration (the pod is never asked), else as it was.
pub(crate) fn users_preload(ready: &Ready, present: Option<OsString>) -> Option<OsString> {
    let set = ready.set.iter().rev().find(|(name, _)| name == b"LD_PRELOAD");
    let unset = || ready.unset.iter().any(|name| name.eq_ignore_ascii_case("LD_PRELOAD"));
    match set {
        Some((_, value)) => Some(OsString::from_vec(value.clone())),
        None => present.filter(|_| !unset()),
    }
}

/// The layer first, then what the user had.
pub(crate) fn preload(layer: &Path, present: Option<OsString>) -> OsString {
    let mut value = PathBuf::from(layer).into_os_string().into_vec();
    if let Some(present) = present.filter(|present| !present.is_empty()) {
        value.push(b':');
        value.extend(present.into_vec());
    }
    OsString::from_vec(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(set: &[(&str, &str)], unset: &[&str], present: &str) -> String {
        let ready = Ready {
            set: set.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect(),
            unset: unset.iter().map(|name| (*name).to_owned()).collect(),
            from_pod: 0,
            takes_connections: true,
            session: String::new(),
            log: String::new(),
        };
        let users = users_preload(&ready, Some(present.into()));
        preload(Path::new("/layer.so"), users).into_string().expect("text")
    }

    #[test]
    fn the_layer_is_preloaded_first_and_the_users_libraries_stay() {
        assert_eq!(value(&[], &[], ""), "/layer.so");
        assert_eq!(value(&[], &[], "/a.so:/b.so"), "/layer.so:/a.so:/b.so");
        assert_eq!(value(&[("LD_PRELOAD", "/c.so")], &[], "/a.so"), "/layer.so:/c.so");
        assert_eq!(value(&[], &["ld_preload"], "/a.so"), "/layer.so");
    }
}
