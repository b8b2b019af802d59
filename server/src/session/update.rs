//! Another configuration for a session that runs: what can change does, the rest is named.

use std::sync::{Mutex, PoisonError};

use protocol::agent::Environment;
use serde_json::Value;

use super::environment;
use super::message::{About, Ready};
use super::registry::Plan;
use super::spec::SessionSpec;
use crate::failure::{Class, Failure, Result};
use crate::serve::rpc::SessionUpdated;

/// What a session's programs get, and what it follows from.
pub(super) struct Updates {
    pod: Environment,
    /// What every program gets, whatever the configuration says.
    base: Ready,
    now: Mutex<(SessionSpec, Plan)>,
}

impl Updates {
    /// Begins with what the session was started with.
    pub(super) fn new(spec: &SessionSpec, base: Ready, pod: Environment, about: &About) -> Result<Self> {
        let ready = ready(&base, &pod, spec)?;
        let plan = Plan { ready, request: about.request.clone(), fingerprint: about.fingerprint.clone() };
        Ok(Self { pod, base, now: Mutex::new((spec.clone(), plan)) })
    }

    /// What a program that starts now needs.
    pub(super) fn plan(&self) -> Plan {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes over what can change.
    pub(super) fn apply(&self, spec: &str, fingerprint: &str) -> Result<SessionUpdated> {
        let cannot = |error| Failure::new(Class::Internal, format!("the session's spec cannot be read: {error}"));
        let wanted: SessionSpec = serde_json::from_str(spec).map_err(cannot)?;
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut updated =
            SessionUpdated { applied: Vec::new(), for_new_processes: Vec::new(), needs_restart: Vec::new() };
        let (current, plan) = &mut *now;
        if current.environment != wanted.environment {
            current.environment.clone_from(&wanted.environment);
            plan.ready = ready(&self.base, &self.pod, current)?;
            updated.for_new_processes.push("feature.env".to_owned());
        }
        updated.needs_restart = different(current, &wanted)?;
        if updated.needs_restart.is_empty() {
            fingerprint.clone_into(&mut plan.fingerprint);
        }
        Ok(updated)
    }
}

/// The sections in which two sessions differ, by the names of the configuration.
fn different(current: &SessionSpec, wanted: &SessionSpec) -> Result<Vec<String>> {
    let json = |spec: &SessionSpec| {
        serde_json::to_value(spec).map_err(|error| Failure::new(Class::Internal, format!("cannot compare: {error}")))
    };
    let (current, wanted) = (json(current)?, json(wanted)?);
    let section = |name: &str| {
        Some(
            match name {
                "cluster" => "kube_context",
                "environment" => "feature.env",
                "network" => "feature.network",
                "incoming" => "feature.network.incoming",
                "files" => "feature.fs",
                "skip" => "skip_processes",
                other => return Some(other.to_owned()),
            }
            .to_owned(),
        )
    };
    let fields = current.as_object().into_iter().flatten();
    let differs = |(name, value): &(&String, &Value)| wanted.get(name.as_str()) != Some(value);
    Ok(fields.filter(differs).filter_map(|(name, _)| section(name)).collect())
}

fn ready(base: &Ready, pod: &Environment, spec: &SessionSpec) -> Result<Ready> {
    let changes = environment::changes(pod.clone(), &spec.environment)?;
    let mut ready = base.clone();
    ready.set = changes.set.into_iter().chain(base.set.iter().cloned()).collect();
    (ready.unset, ready.from_pod) = (changes.unset, changes.from_pod);
    Ok(ready)
}
