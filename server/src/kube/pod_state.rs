//! What a pod's status says of its containers, in words for people.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The first thing that keeps a pod's containers from running, if its status names one.
pub(super) fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let containers = init.chain(status.container_statuses.iter().flatten());
    let of_container = containers.filter_map(container_waits).next();
    of_container.or_else(|| {
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled =
            conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        Some(format!("it cannot be scheduled: {}", unscheduled.message.as_deref().unwrap_or("no reason given")))
    })
}

/// What keeps one container from running.
pub(super) fn container_waits(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_deref().map(|message| format!(" ({message})")).unwrap_or_default();
        return Some(format!("container {} waits: {reason}{message}", status.name));
    }
    let ended = state.terminated.as_ref()?;
    (ended.exit_code != 0).then(|| {
        let reason = ended.reason.as_deref().unwrap_or("Error");
        format!("container {} ended: {reason}, exit code {}", status.name, ended.exit_code)
    })
}
