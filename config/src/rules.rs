//! What must hold between keys: one small function per rule.
//!
//! Called once, after all layers are applied. A rule reads the effective configuration, and asks who set a key to
//! say where the problem is. It must not look at syntax.

mod agent;
mod env;
pub(crate) mod file;
mod incoming;
mod outgoing;

use crate::diagnostic::{Diagnostic, Origin, Severity};
use crate::model::Config;
use crate::settings::Settings;
use crate::target::Target;

/// A rule.
type Rule = fn(&mut Facts<'_>);

/// Every rule.
const RULES: &[Rule] = &[
    env::include_and_exclude,
    env::unset_and_override,
    file::secrets,
    file::paths_of_one_machine,
    incoming::steal_needs_a_target,
    incoming::ports_and_ignore_ports,
    incoming::one_kind_of_filter,
    incoming::empty_composite,
    incoming::filter_needs_traffic,
    incoming::filtered_port_is_not_taken,
    incoming::duplicate_mapping,
    incoming::mapping_to_itself,
    incoming::too_many_listen_ports,
    incoming::hold_without_effect,
    outgoing::name_filter_needs_dns,
    outgoing::filter_without_outgoing,
    agent::ephemeral_needs_a_target,
    agent::ephemeral_needs_an_image,
    agent::namespace_without_effect,
    agent::pod_settings_without_effect,
    agent::node_selector_without_effect,
    agent::build_tools_without_effect,
    agent::patterns_without_files,
    agent::privileged_with_fewer_capabilities,
];

/// Runs every rule.
pub(crate) fn check(config: &Config, settings: &Settings, diagnostics: &mut Vec<Diagnostic>) {
    let mut facts = Facts { config, settings, diagnostics };
    for rule in RULES {
        rule(&mut facts);
    }
}

/// What a rule sees.
struct Facts<'a> {
    config: &'a Config,
    settings: &'a Settings,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Facts<'_> {
    fn is_set(&self, path: &str) -> bool {
        self.settings.find(path).is_some()
    }

    fn origin(&self, path: &str) -> Origin {
        self.settings.find(path).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// A problem at one key.
    fn tell(&mut self, severity: Severity, code: &str, path: &str, message: impl Into<String>) {
        let diagnostic = Diagnostic::new(severity, code, self.origin(path), message).key(path);
        self.diagnostics.push(diagnostic);
    }

    /// A problem between two keys: it is told at the first, or at the second where nobody set the first.
    fn tell_both(&mut self, severity: Severity, code: &str, paths: (&str, &str), message: impl Into<String>) {
        let (here, other) = if self.is_set(paths.0) { paths } else { (paths.1, paths.0) };
        let mut diagnostic = Diagnostic::new(severity, code, self.origin(here), message).key(here);
        if self.is_set(other) {
            diagnostic = diagnostic.related(self.origin(other), &format!("`{other}` is set here"));
        }
        self.diagnostics.push(diagnostic);
    }

    /// A key that changes nothing, if somebody set it.
    fn tell_no_effect(&mut self, path: &str, reason: &str) {
        if self.is_set(path) {
            self.tell(Severity::Warning, "no-effect", path, format!("`{path}` has no effect: {reason}"));
        }
    }

    fn is_targetless(&self) -> bool {
        self.config.target.path == Some(Target::Targetless)
    }
}
