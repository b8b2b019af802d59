//! The `.mirror.json` language: what may be configured, and what is wrong with a configuration.
//!
//! A pure library: text goes in, typed values and diagnostics come out. Only [`load`] touches files. The command
//! line, the language server and the documents all read one table, [`keys`]. It must not know Kubernetes clients,
//! sessions or any protocol.
//!
//! Reading order: [`document`] (text to tree), [`keys`] and `model` (what there is), `check` (tree to settings),
//! [`layered`] (options over variables over file), `rules` (across keys), [`generate`] (schema and documents).
#![forbid(unsafe_code)]

pub mod address;
mod check;
pub mod diagnostic;
pub mod document;
pub mod generate;
pub mod ide;
pub mod ignored;
pub mod keys;
pub mod layered;
pub mod load;
pub mod migrate;
mod model;
mod nearest;
pub mod render;
mod rules;
mod settings;
pub mod syntax;
pub mod target;
pub mod text;
mod units;

pub use address::{AddressFilter, Host, Transport};
pub use diagnostic::{Diagnostic, Origin, Severity, has_errors};
pub use document::Document;
pub use layered::{Effective, OptionValue, Resolved, resolve};
pub use model::{
    AddressFilters, Agent, AgentDns, Capability, Config, Dns, Effect, Env, Feature, Fs, FsMode, HttpFilter,
    HttpFilterConfig, Image, Incoming, IncomingMode, Network, OnConcurrentSteal, OnPause, Operator, Outgoing, PortPair,
    PrivateMap, Profile, PullPolicy, PullSecret, Resources, SecurityContext, SecurityProfile, SessionConfig,
    TargetConfig, Toleration,
};
pub use syntax::{Format, LineIndex, Position, Span};
pub use target::{Target, TargetError, TargetKind, Workload};

/// Reads one text, with no variables and no options. The configuration is always complete: where a value is wrong,
/// the default stands in its place, and a diagnostic says so.
pub fn parse(text: &str, format: Format) -> (Config, Vec<Diagnostic>) {
    let document = Document::new("", text, format);
    let resolved = resolve(Some(&document), &|_| None, &[]);
    (resolved.config, resolved.diagnostics)
}

impl Default for Config {
    /// Every key at its default.
    fn default() -> Self {
        Self::read(&settings::Settings::default())
    }
}
