//! What the helper says of itself, and the configuration as it holds.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::problems::Answer;
use super::rpc::{EffectiveConfig, EffectiveParams, Problem, SessionInfo, Setting, Status, Traffic};
use super::starting;
use crate::failure::{Class, Failure};
use crate::kube::contexts;
use crate::settings;

/// Lines of a session's log in a report.
const LOG_LINES: usize = 200;

/// Sessions in a report.
const LOGS: usize = 3;

/// The configuration of a folder.
pub(super) fn effective(params: &EffectiveParams) -> Answer<EffectiveConfig> {
    let folder = Path::new(&params.folder);
    let source = starting::source(folder, params.config.as_deref(), &params.place);
    let loaded = settings::load_in(folder, &source, Vec::new())?;
    let mut config = loaded.resolved.config.clone();
    settings::rebase(&mut config, folder);
    let document = loaded.document.as_ref();
    let mut problems = Vec::new();
    if let Err(failure) = loaded.valid() {
        problems.push(Problem::from(failure));
    }
    let kubeconfig = config.kubeconfig.as_deref().map(settings::expand_home);
    let rows = contexts::contexts(kubeconfig.as_deref()).unwrap_or_else(|failure| {
        problems.push(failure.into());
        Vec::new()
    });
    let wanted = |name: &String| config.kube_context.as_ref().is_none_or(|wanted| wanted == name);
    let row = rows.iter().find(|row| wanted(&row.name) && (config.kube_context.is_some() || row.current));
    if let (Some(name), None, false) = (&config.kube_context, row, rows.is_empty()) {
        let failure = Failure::new(Class::Config, format!("the kubeconfig has no context {name:?}"));
        problems.push(failure.into());
    }
    let namespace = config.target.namespace.clone().or_else(|| row.map(|row| row.namespace.clone()));
    let production =
        row.is_some_and(|row| row.production) || namespace.as_deref().is_some_and(contexts::looks_like_production);
    let set = loaded.resolved.effective().into_iter().filter(|setting| setting.origin != config::Origin::Default);
    Ok(EffectiveConfig {
        file: document.map(|document| document.name.clone()),
        target: config.target.path.as_ref().map(ToString::to_string),
        kubeconfig: kubeconfig.map(|path| path.display().to_string()),
        context: row.map(|row| row.name.clone()),
        namespace,
        production,
        traffic: match config.feature.network.incoming.mode {
            config::IncomingMode::Off => Traffic::Off,
            config::IncomingMode::Mirror => Traffic::Mirror,
            config::IncomingMode::Steal => Traffic::Steal,
        },
        settings: set
            .map(|setting| Setting {
                key: setting.key.to_owned(),
                value: setting.value,
                origin: config::render::place(&setting.origin, document),
            })
            .collect(),
        problems,
    })
}

/// The report as Markdown. Logs hold no secrets; sessions have none in what is told of them.
pub(super) fn report(status: &Status, sessions: &[SessionInfo]) -> String {
    let mut text = String::from("# Report of mirror\n\n");
    let uname = rustix::system::uname();
    let line = |name: &str, value: &dyn std::fmt::Display| format!("- {name}: {value}\n");
    text += &line("version", &status.version);
    text += &line(
        "system",
        &format!(
            "{} {} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy(),
            uname.machine().to_string_lossy()
        ),
    );
    text += &line(
        "helper",
        &format!(
            "process {}, up {} s, {} watches, {} open configurations",
            status.pid, status.uptime, status.watches, status.documents
        ),
    );
    for problem in &status.problems {
        text += &line("problem", &format!("{}: {}", problem.code, problem.message));
    }
    text += "\n## Variables\n\n";
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MIRROR_") || name == "KUBECONFIG") {
        text += &line(&name, &"set");
    }
    text += "\n## Contexts\n\n";
    match contexts::contexts(None) {
        Ok(rows) => rows.iter().for_each(|row| {
            let mark = if row.current { " (current)" } else { "" };
            text += &line(&row.name, &format!("namespace {}{mark}", row.namespace));
        }),
        Err(failure) => text += &line("problem", &failure),
    }
    text += "\n## Sessions\n";
    for session in sessions.iter().take(LOGS) {
        let _ = writeln!(text, "\n### {} ({})\n", session.session, session.name);
        let state = session.cause.as_deref().unwrap_or_default();
        text += &line("state", &format!("{:?}: {state}", session.state));
        text += &line("target", &format!("{} in {}, context {}", session.target, session.namespace, session.context));
        text += &line("processes", &session.processes.len());
        text += &line("ports", &session.ports.len());
        if let Some(log) = session.log.as_ref().map(PathBuf::from) {
            let _ = writeln!(text, "\n```\n{}```", tail(&log));
        }
    }
    text
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    last.iter().map(|line| format!("{line}\n")).collect()
}
