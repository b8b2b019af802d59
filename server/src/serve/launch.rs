//! How a program is launched in a session, for each type of debugger: **the table** is [`DEBUGGERS`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::problems::Answer;
use super::rpc::{EnvironmentStyle, LaunchFacts, LaunchPlan, Problem};
use crate::commands::exec;
use crate::failure::Failure;
use crate::machine::Work;
use crate::program;
use crate::session::environment::is_of_the_launch;
use crate::session::message::Ready;
use crate::settings;

/// One type of debugger.
pub(super) struct Debugger {
    /// Its names in VS Code.
    types: &'static [&'static str],
    environment: EnvironmentStyle,
    /// Fields of the debug configuration that name what is executed, the first one that is there counts.
    program: &'static [&'static str],
    /// Fields with ports on which debugger and editor meet.
    ports: &'static [&'static str],
    /// Where the program runs if the configuration does not say (`console`), of debuggers that have such a field.
    console: Option<&'static str>,
    /// Whether it listens inside the program, on a port of loopback that nobody knows before.
    listens_inside: bool,
    /// Why it cannot be launched in a session.
    not_yet: Option<&'static str>,
}

const fn row(
    types: &'static [&'static str],
    environment: EnvironmentStyle,
    program: &'static [&'static str],
    ports: &'static [&'static str],
) -> Debugger {
    Debugger { types, environment, program, ports, console: None, listens_inside: false, not_yet: None }
}

const WITH_NULL: EnvironmentStyle = EnvironmentStyle::EnvWithNull;
const PLAIN: EnvironmentStyle = EnvironmentStyle::Env;
const LIST: EnvironmentStyle = EnvironmentStyle::EnvironmentList;

/// A console into which the editor types the program's command line, with its variables, as into an `externalTerminal`.
const TERMINAL: &str = "integratedTerminal";

/// Adding a debugger is one row here and one in the golden test.
const DEBUGGERS: &[Debugger] = &[
    Debugger {
        console: Some("internalConsole"),
        listens_inside: true,
        ..row(&["node", "pwa-node"], WITH_NULL, &["runtimeExecutable"], &["port", "attachSimplePort"])
    },
    Debugger { listens_inside: true, ..row(&["node-terminal"], WITH_NULL, &[], &[]) },
    Debugger {
        console: Some(TERMINAL),
        ..row(&["python", "debugpy"], PLAIN, &["python", "pythonPath"], &["debugServer"])
    },
    Debugger {
        not_yet: Some("Go programs make system calls without the C library"),
        ..row(&["go", "dlv"], PLAIN, &[], &["port"])
    },
    Debugger { console: Some(TERMINAL), ..row(&["java"], PLAIN, &["javaExec"], &["port"]) },
    row(&["cppdbg"], LIST, &["program"], &[]),
    row(&["lldb", "lldb-dap"], PLAIN, &["program"], &[]),
    // The program is an assembly that `dotnet` runs.
    row(&["coreclr", "clr"], PLAIN, &[], &[]),
    row(&["php"], PLAIN, &["runtimeExecutable"], &["port"]),
    row(&["rdbg", "ruby_lsp"], PLAIN, &[], &["debugPort"]),
    // The editor keeps the variables of its terminals on disk.
    Debugger { console: Some(TERMINAL), ..row(&["terminal"], WITH_NULL, &[], &[]) },
];

/// What every debugger not in the table is taken for: most take an object `env`.
const OTHER: Debugger = row(&[], PLAIN, &[], &["port"]);

/// The row of a type.
pub(super) fn debugger(name: &str) -> Answer<&'static Debugger> {
    let found = DEBUGGERS.iter().find(|row| row.types.contains(&name)).unwrap_or(&OTHER);
    match found.not_yet {
        None => Ok(found),
        Some(why) => Err(Problem::new(
            "not-yet",
            format!("programs of the debugger {name} cannot take part in a session yet: {why}"),
        )
        .next("launch it without mirror")),
    }
}

/// What the launch says, wherever it says so.
pub(super) struct Launch {
    debugger: &'static Debugger,
    configuration: Map<String, Value>,
    program: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// Variables that the program must not have.
    removed: BTreeSet<String>,
    cwd: Option<PathBuf>,
}

impl Launch {
    /// Reads the facts; what they leave out is in the debug configuration. `folder` is that of the workspace.
    pub(super) fn new(facts: &LaunchFacts, folder: &Path) -> Answer<Self> {
        let debugger = debugger(&facts.debugger)?;
        let configuration = facts.configuration.clone().unwrap_or_default();
        let text = |name: &str| configuration.get(name).and_then(first_text).map(str::to_owned);
        let program = facts.program.clone().or_else(|| debugger.program.iter().find_map(|name| text(name)));
        let cwd = facts.cwd.clone().or_else(|| text("cwd")).map(|cwd| folder.join(cwd));
        let mut env = BTreeMap::new();
        // As debuggers do: what stands in the configuration itself wins over its file.
        if let Some(file) = text("envFile").map(|file| folder.join(file))
            && let Ok(variables) = settings::read_env_file(&file)
        {
            env.extend(variables);
        }
        env.extend(environment(&configuration));
        let mut removed = removed(&configuration);
        env.retain(|name, _| !removed.contains(name));
        env.extend(facts.env.clone().unwrap_or_default());
        removed.retain(|name| !env.contains_key(name));
        let words = configuration.get("args").and_then(Value::as_array).into_iter().flatten();
        let words = || words.filter_map(Value::as_str).map(str::to_owned).collect();
        let args = facts.args.clone().unwrap_or_else(words);
        Ok(Self { debugger, configuration, program, args, env, removed, cwd })
    }

    /// The program with its arguments, as far as they are known.
    pub(super) fn command(&self) -> Vec<OsString> {
        self.program.iter().chain(&self.args).map(OsString::from).collect()
    }

    /// What is begun on this machine with `command`; `folder` is that of the workspace.
    pub(super) fn work<'a>(&self, folder: &Path, command: &'a [OsString]) -> Work<'a> {
        let folders = self.cwd.iter().cloned().chain([folder.to_owned()]).collect();
        Work { folders, path: self.search_path(), variables: self.env.clone(), command }
    }

    fn search_path(&self) -> OsString {
        self.env.get("PATH").map_or_else(program::search_path, OsString::from)
    }

    /// Refuses programs that the layer cannot enter, before anything is made for them. What is not known is let through.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let Some(name) = self.program.as_deref().filter(|name| !name.is_empty() && !name.contains("${")) else {
            return Ok(());
        };
        let path = self.search_path();
        let name = match &self.cwd {
            Some(cwd) if name.contains('/') => cwd.join(name),
            _ => PathBuf::from(name),
        };
        // The debugger itself says best what is wrong with a program that is not there.
        let Ok(file) = program::find(name.as_os_str(), &path) else { return Ok(()) };
        program::check(&file, &path)
    }

    /// Whether what the program opens on loopback may be the debugger's.
    pub(super) fn listens_inside(&self) -> bool {
        self.debugger.listens_inside
    }

    /// Whether people see the variables of the launch.
    fn shows_variables(&self) -> bool {
        let chosen = self.configuration.get("console").and_then(Value::as_str);
        self.debugger.console.is_some_and(|usual| chosen.unwrap_or(usual).ends_with("Terminal"))
    }

    /// Ports of the debugger that the configuration names.
    pub(super) fn debugger_ports(&self) -> Vec<u16> {
        let port = |name: &&str| self.configuration.get(*name)?.as_u64()?.try_into().ok().filter(|port| *port != 0);
        self.debugger.ports.iter().filter_map(port).collect()
    }

    /// How to launch the program. `inherited` is what it would inherit.
    pub(super) fn plan(&self, ready: &Ready, layer: &Path, inherited: &BTreeMap<String, OsString>) -> LaunchPlan {
        let mut set: BTreeMap<String, String> = BTreeMap::new();
        // A debugger's protocol is JSON: what is no text cannot be handed over.
        let texts = ready.set.iter().filter_map(|(name, value)| {
            Some((String::from_utf8(name.clone()).ok()?, String::from_utf8(value.clone()).ok()?))
        });
        set.extend(texts);
        let session = set.remove(protocol::layer::SESSION_VARIABLE);
        let by_layer = self.shows_variables();
        if by_layer {
            set.retain(|name, _| is_of_the_launch(name.as_bytes()));
            let kept: Vec<&str> = self.env.keys().chain(&self.removed).map(String::as_str).collect();
            set.insert(protocol::layer::ENVIRONMENT_VARIABLE.to_owned(), kept.join(","));
        }
        set.extend(self.env.clone());
        set.retain(|name, _| !self.removed.contains(name));
        let is_unset = |name: &str| !by_layer && ready.unset.iter().any(|unset| unset.eq_ignore_ascii_case(name));
        let present = self
            .env
            .get("LD_PRELOAD")
            .map(OsString::from)
            .or_else(|| exec::users_preload(ready, inherited.get("LD_PRELOAD").cloned()));
        let preload = exec::preload(layer, present);
        set.insert("LD_PRELOAD".to_owned(), String::from_utf8_lossy(&preload.into_vec()).into_owned());
        set.extend(session.map(|session| (protocol::layer::SESSION_VARIABLE.to_owned(), session)));
        let unset = inherited.keys().filter(|name| is_unset(name)).chain(&self.removed);
        let unset: BTreeSet<String> = unset.filter(|name| !set.contains_key(*name)).cloned().collect();
        let unset = Vec::from_iter(unset);
        let configuration = configuration(self.debugger.environment, &set, &unset);
        LaunchPlan {
            set,
            unset,
            environment: self.debugger.environment,
            configuration,
            debugger_ports: self.debugger_ports(),
        }
    }
}

/// The environment in the debugger's own form.
fn configuration(style: EnvironmentStyle, set: &BTreeMap<String, String>, unset: &[String]) -> Map<String, Value> {
    let removed = |value: Value| unset.iter().map(move |name| (name.clone(), value.clone()));
    let object = set.iter().map(|(name, value)| (name.clone(), json!(value)));
    let (field, value) = match style {
        EnvironmentStyle::EnvWithNull => ("env", object.chain(removed(Value::Null)).collect::<Map<_, _>>().into()),
        EnvironmentStyle::Env => ("env", object.chain(removed(json!(""))).collect::<Map<_, _>>().into()),
        EnvironmentStyle::EnvironmentList => {
            let all = object.chain(removed(json!("")));
            ("environment", all.map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>().into())
        }
    };
    Map::from_iter([(field.to_owned(), value)])
}

/// Variables of a debug configuration, in any of the forms.
fn environment(configuration: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    let mut env = BTreeMap::new();
    if let Some(Value::Object(object)) = configuration.get("env") {
        env.extend(object.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))));
    }
    if let Some(Value::Array(list)) = configuration.get("environment") {
        env.extend(
            list.iter().filter_map(|entry| Some((entry.get("name")?.as_str()?.to_owned(), text(entry.get("value")?)?))),
        );
    }
    env
}

/// Variables of a debug configuration that are to be removed.
fn removed(configuration: &Map<String, Value>) -> BTreeSet<String> {
    let object = configuration.get("env").and_then(Value::as_object).into_iter().flatten();
    object.filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect()
}

/// debugpy takes a list of words where others take the path.
fn first_text(value: &Value) -> Option<&str> {
    match value {
        Value::Array(words) => words.first()?.as_str(),
        value => value.as_str(),
    }
}

/// What programs of this process's children inherit; names that are no text are nobody's.
pub(super) fn inherited() -> BTreeMap<String, OsString> {
    let text = |name: OsString| String::from_utf8(OsStr::as_bytes(&name).to_vec()).ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, value))).collect()
}

#[cfg(test)]
mod tests;
