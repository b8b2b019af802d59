//! Rules about the agent, files and processes.

use super::Facts;
use crate::diagnostic::Severity;
use crate::model::FsMode;

const EPHEMERAL: &str = "agent.ephemeral";

/// An ephemeral container lives in the target's pod.
pub(super) fn ephemeral_needs_a_target(facts: &mut Facts<'_>) {
    if facts.config.agent.ephemeral && facts.is_targetless() {
        let message = "an ephemeral agent lives in the target's pod: name a target, or remove `agent.ephemeral`";
        facts.tell_both(Severity::Error, "ephemeral-needs-target", (EPHEMERAL, "target.path"), message);
    }
}

/// An ephemeral container cannot mount the volume that the agent is otherwise sent in.
pub(super) fn ephemeral_needs_an_image(facts: &mut Facts<'_>) {
    if facts.config.agent.ephemeral && facts.config.agent.image.is_none() {
        let message = "an ephemeral agent cannot be sent along: set `agent.image` to an image that contains it";
        facts.tell(Severity::Error, "ephemeral-needs-image", EPHEMERAL, message);
    }
}

/// The agent's namespace is given by the target's pod, or by the target's namespace.
pub(super) fn namespace_without_effect(facts: &mut Facts<'_>) {
    if facts.config.agent.ephemeral {
        facts.tell_no_effect("agent.namespace", "an ephemeral agent lives in the target's pod");
    } else if facts.is_targetless() {
        facts.tell_no_effect("agent.namespace", "a targetless agent runs in `target.namespace`");
    }
}

/// What an ephemeral container has no place for, or has of its pod.
pub(super) fn pod_settings_without_effect(facts: &mut Facts<'_>) {
    if facts.config.agent.ephemeral {
        for key in [
            "annotations",
            "disable_mesh_sidecar_injection",
            "image_pull_secrets",
            "labels",
            "priority_class",
            "resources.limits",
            "resources.requests",
            "service_account",
            "tolerations",
            "ttl",
        ] {
            facts.tell_no_effect(&format!("agent.{key}"), "an ephemeral agent is a container of the target's pod");
        }
    }
}

/// With a target the node is given.
pub(super) fn node_selector_without_effect(facts: &mut Facts<'_>) {
    let path = &facts.config.target.path;
    if path.is_some() && !facts.is_targetless() {
        facts.tell_no_effect("agent.node_selector", "the agent runs on the target's node");
    }
}

/// More build tools while build tools are not left alone.
pub(super) fn build_tools_without_effect(facts: &mut Facts<'_>) {
    if !facts.config.skip_build_tools {
        facts.tell_no_effect("skip_extra_build_tools", "`skip_build_tools` is false");
    }
}

/// Patterns while all files are local.
pub(super) fn patterns_without_files(facts: &mut Facts<'_>) {
    if facts.config.feature.fs.mode == FsMode::Local {
        for path in ["feature.fs.read_write", "feature.fs.read_only", "feature.fs.not_found"] {
            facts.tell_no_effect(path, "`feature.fs.mode` is \"local\": use \"localwithoverrides\"");
        }
    }
}

/// A privileged container has every capability; an agent without a target needs none.
pub(super) fn privileged_with_fewer_capabilities(facts: &mut Facts<'_>) {
    if facts.is_targetless() {
        for path in ["agent.privileged", "agent.disabled_capabilities"] {
            facts.tell_no_effect(path, "an agent without a target has no capabilities");
        }
    } else if facts.config.agent.privileged {
        facts.tell_no_effect("agent.disabled_capabilities", "a privileged container has every capability");
    }
}
