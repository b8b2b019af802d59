//! What an agent may do: the fewest capabilities for each place, less those that `agent.disabled_capabilities` takes
//! away.
//!
//! `SYS_PTRACE` opens the target's environment, root directory and namespaces, `SYS_ADMIN` enters the namespaces.
//! Connections are steered by a BPF program, for which `SYS_ADMIN` stands in before `BPF` and `NET_ADMIN`; but
//! `NET_ADMIN` also resets connections that stand, and before Linux 6.9 makes the map of sockets in any case. With
//! `SETUID` and `SETGID` files are read as the target's user.

use serde_json::{Value, json};

use super::agent::AgentPlan;

/// What the container of one agent may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rights {
    capabilities: Vec<&'static str>,
    privileged: bool,
}

impl Rights {
    /// For an agent in a pod of its own.
    pub(super) fn of_job(plan: &AgentPlan<'_>) -> Self {
        let needs = match plan.target {
            None => &[][..],
            Some(_) => &[
                (plan.incoming, "NET_ADMIN"),
                (plan.files_of_target, "SETGID"),
                (plan.files_of_target, "SETUID"),
                (true, "SYS_ADMIN"),
                (true, "SYS_PTRACE"),
            ],
        };
        Self::of(plan, needs)
    }

    /// For an agent in the target's pod, which is in its namespaces from the beginning.
    pub(super) fn of_ephemeral(plan: &AgentPlan<'_>) -> Self {
        // Who may not look at the target's process has only its user's files, and needs to become nobody else.
        let becomes_user = plan.files_of_target && !plan.options.is_without("SYS_PTRACE");
        let needs = [
            (plan.incoming, "BPF"),
            (plan.incoming, "NET_ADMIN"),
            (becomes_user, "SETGID"),
            (becomes_user, "SETUID"),
            (true, "SYS_PTRACE"),
        ];
        Self::of(plan, &needs)
    }

    /// For an agent that can do what the target itself can.
    pub(super) fn none() -> Self {
        Self { capabilities: Vec::new(), privileged: false }
    }

    fn of(plan: &AgentPlan<'_>, needs: &[(bool, &'static str)]) -> Self {
        let needed = needs.iter().filter(|(is_needed, name)| *is_needed && !plan.options.is_without(name));
        Self {
            capabilities: needed.map(|(_, name)| *name).collect(),
            privileged: plan.options.privileged && plan.target.is_some(),
        }
    }

    /// Whether the agent can do no more than any process of its user.
    pub(super) fn is_none(&self) -> bool {
        self.capabilities.is_empty() && !self.privileged
    }

    /// `securityContext` of the container, without its user.
    pub(super) fn security_context(&self) -> Value {
        json!({
            "privileged": self.privileged,
            // The API demands it for these.
            "allowPrivilegeEscalation": self.privileged || self.capabilities.contains(&"SYS_ADMIN"),
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": self.capabilities},
        })
    }
}
