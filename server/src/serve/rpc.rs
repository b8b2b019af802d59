//! The RPC of `mirror serve`, defined once: methods, parameters, results, notifications.
//!
//! [`REQUESTS`] and [`NOTIFICATIONS`] are the table. From it and from the types `generate` (in tests) makes the JSON
//! Schema, the document and the TypeScript types. Plain data: it must know neither sessions nor Kubernetes.

#[cfg(test)]
mod generate;
mod launch;
mod problem;
mod sessions;
mod status;
mod targets;

pub use launch::{EnvironmentStyle, LaunchFacts, LaunchPlan};
pub use problem::{Action, ActionKind, Problem};
pub use sessions::{
    Origin, Outcome, Port, PortMode, Process, RequestSeen, SessionApplied, SessionInfo, SessionList, SessionParams,
    SessionPorts, SessionProcesses, SessionRequests, SessionStart, SessionStarted, SessionState, SessionStateChanged,
    SessionUpdate, SessionUpdated, SessionWarning, Traffic,
};
pub use status::{DiagnosticsReport, EffectiveConfig, EffectiveParams, Health, Nothing, Setting, Status};
pub use targets::{
    ContainerDetails, ContextRow, Contexts, ContextsChanged, ContextsParams, NamespaceRow, Namespaces, Place, PodRow,
    ServiceRow, TargetContainer, TargetDetails, TargetParams, TargetPort, TargetRow, TargetUser, Targets,
    TargetsChanged, TargetsParams, Unwatch, VariableName, VolumeMount, Watched,
};

/// One row of the table of requests.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// Name of the type of its parameters.
    pub params: &'static str,
    /// Name of the type of its result; empty for a notification.
    pub result: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// Makes a type for each method (as `lsp_types` has them for the standard ones) and a row for the table.
macro_rules! methods {
    (
        requests { $($(#[doc = $rdoc:literal])+ $rtype:ident = $rname:literal ($rparams:ident) -> $rresult:ident;)+ }
        notifications { $($(#[doc = $ndoc:literal])+ $ntype:ident = $nname:literal ($nparams:ident);)+ }
    ) => {
        /// The requests.
        pub const REQUESTS: &[Method] = &[$(Method {
            name: $rname,
            params: stringify!($rparams),
            result: stringify!($rresult),
            doc: concat!($($rdoc, "\n"),+),
        }),+];

        /// The notifications that the server sends.
        pub const NOTIFICATIONS: &[Method] = &[$(Method {
            name: $nname,
            params: stringify!($nparams),
            result: "",
            doc: concat!($($ndoc, "\n"),+),
        }),+];

        /// The names of requests.
        pub mod request {
            $($(#[doc = $rdoc])+ pub const $rtype: &str = $rname;)+
        }

        /// The notifications, as types that can be sent.
        pub mod notification {
            use tower_lsp::lsp_types::notification::Notification;
            $(
                $(#[doc = $ndoc])+
                #[derive(Debug)]
                pub enum $ntype {}

                impl Notification for $ntype {
                    type Params = super::$nparams;
                    const METHOD: &'static str = $nname;
                }
            )+
        }

        #[cfg(test)]
        fn schemas(generator: &mut schemars::SchemaGenerator) {
            $(generator.subschema_for::<$rparams>(); generator.subschema_for::<$rresult>();)+
            $(generator.subschema_for::<$nparams>();)+
            generator.subschema_for::<Problem>();
        }
    };
}

methods! {
    requests {
        /// Version and health of the helper.
        STATUS = "mirror/status" (Nothing) -> Status;
        /// A report for a bug or a colleague; secrets are masked.
        DIAGNOSTICS_COLLECT = "mirror/diagnostics/collect" (Nothing) -> DiagnosticsReport;
        /// The configuration that holds in a folder: which file, which target, which mode, what is wrong with it.
        /// Asks no cluster.
        CONFIG_EFFECTIVE = "mirror/config/effective" (EffectiveParams) -> EffectiveConfig;
        /// The contexts of the kubeconfig, the current one first.
        CONTEXTS_LIST = "mirror/contexts/list" (ContextsParams) -> Contexts;
        /// The namespaces of a context. Where they may not be listed, those that are known otherwise.
        NAMESPACES_LIST = "mirror/namespaces/list" (Place) -> Namespaces;
        /// What can be a target, from the cache if there is one.
        TARGETS_LIST = "mirror/targets/list" (TargetsParams) -> Targets;
        /// As `mirror/targets/list`, and `mirror/targets/changed` from then on, until `mirror/targets/unwatch`. The
        /// first answer comes at once, with the first of what is known; `complete` says whether that is all.
        TARGETS_WATCH = "mirror/targets/watch" (TargetsParams) -> Watched;
        /// Ends a watch.
        TARGETS_UNWATCH = "mirror/targets/unwatch" (Unwatch) -> Nothing;
        /// One target with pods, containers, names of variables, mounts and Services.
        TARGETS_DETAILS = "mirror/targets/details" (TargetParams) -> TargetDetails;
        /// Starts a session and says how to launch the program in it. Cancelling leaves nothing behind.
        SESSION_START = "mirror/session/start" (SessionStart) -> SessionStarted;
        /// Ends a session: the target gets its traffic back, the agent leaves. The user's processes go on.
        SESSION_STOP = "mirror/session/stop" (SessionParams) -> Nothing;
        /// All sessions of this user on this machine, whoever has started them. The server sends notifications about
        /// each of them, and about those that begin later: one that the client does not know should be listed.
        SESSION_LIST = "mirror/session/list" (Nothing) -> SessionList;
        /// Ends a session and starts another one as it was asked for, with the configuration as it is now.
        SESSION_RESTART = "mirror/session/restart" (SessionParams) -> SessionStarted;
        /// Reads the session's configuration once more and applies what can change while it runs.
        SESSION_UPDATE = "mirror/session/update" (SessionUpdate) -> SessionUpdated;
    }
    notifications {
        /// What has changed in a watch.
        TargetsChangedNotification = "mirror/targets/changed" (TargetsChanged);
        /// The kubeconfig has changed on disk: contexts may be new, credentials renewed.
        ContextsChangedNotification = "mirror/contexts/changed" (ContextsChanged);
        /// A session is in another state.
        SessionStateNotification = "mirror/session/state" (SessionStateChanged);
        /// The session's processes: the proof that the program takes part.
        SessionProcessesNotification = "mirror/session/processes" (SessionProcesses);
        /// The ports of the target that lead to the session's programs.
        SessionPortsNotification = "mirror/session/ports" (SessionPorts);
        /// Requests and connections of the target that came to the session.
        SessionRequestsNotification = "mirror/session/requests" (SessionRequests);
        /// Another configuration of a session: what holds now, and what needs a restart. Also when its file has changed
        /// on disk.
        SessionUpdatedNotification = "mirror/session/updated" (SessionApplied);
        /// Something that the user should know; the session goes on.
        SessionWarningNotification = "mirror/session/warning" (SessionWarning);
    }
}
