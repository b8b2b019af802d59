//! Rules about environment variables.

use super::Facts;
use crate::diagnostic::Severity;

/// Two lists that contradict each other.
pub(super) fn include_and_exclude(facts: &mut Facts<'_>) {
    let env = &facts.config.feature.env;
    if env.include.is_some() && !env.exclude.is_empty() {
        facts.tell_both(
            Severity::Error,
            "exclusive-keys",
            ("feature.env.exclude", "feature.env.include"),
            "`feature.env.include` and `feature.env.exclude` exclude each other: keep one of them",
        );
    }
}

/// A variable that is set and removed.
pub(super) fn unset_and_override(facts: &mut Facts<'_>) {
    let env = &facts.config.feature.env;
    let both: Vec<_> =
        env.overrides.keys().filter(|name| env.unset.iter().any(|unset| unset.eq_ignore_ascii_case(name))).collect();
    for name in both {
        facts.tell_both(
            Severity::Warning,
            "no-effect",
            ("feature.env.override", "feature.env.unset"),
            format!("`{name}` is in `override` and in `unset`: it will not be set"),
        );
    }
}
