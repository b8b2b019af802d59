//! The root of the configuration, `target` and `feature`.

use std::time::Duration;

use super::{Agent, Env, Fs, Network, section};
use crate::keys::{Shape, Short};
use crate::target::Target;
use crate::text;

section! {
    /// The whole configuration of a session.
    Config in "", short &[];
    /// Name of the kubeconfig context to use; the current one if left out.
    now kube_context: Option<String> = "null", Shape::Text(text::SOME);
    /// Path of the kubeconfig file (several separated by `:`), `~` is your home; as for `kubectl` if left out.
    now kubeconfig: Option<String> = "null", Shape::Text(text::PATH);
    /// `true`: do not check the certificate of the Kubernetes API; as the kubeconfig says if left out.
    now accept_invalid_certificates: Option<bool> = "null", Shape::Bool;
    /// `false`: ignore `HTTP_PROXY` and `HTTPS_PROXY` when talking to the Kubernetes API.
    later use_proxy: bool = "true", Shape::Bool;
    /// Names of executables, as in `node`, in which nothing is intercepted.
    now skip_processes: Vec<String> = "[]", Shape::List(&Shape::Text(text::SOME));
    /// Leave compilers, linkers, debuggers and similar tools alone.
    now skip_build_tools: bool = "true", Shape::Bool;
    /// More names of executables that count as build tools.
    now skip_extra_build_tools: Vec<String> = "[]", Shape::List(&Shape::Text(text::SOME));
    sections { target: TargetConfig, feature: Feature, agent: Agent, session: SessionConfig }
}

section! {
    /// Whose environment, network and files the local process gets. Short form: the path alone, such as
    /// `"deployment/web"`.
    TargetConfig in "target.", short &[Short::Child("path")];
    /// `KIND/NAME`, optionally followed by `/container/NAME`, where KIND is one of pod, deployment, statefulset,
    /// daemonset, replicaset, job, cronjob, service and rollout; `label/KEY=VALUE,KEY2=VALUE2`; or `targetless`.
    /// An object such as `{"deployment": "web", "container": "app"}` says the same. If left out, the target is chosen
    /// when the session starts.
    now path: Option<Target> = "null", Shape::Either(&[Shape::Text(text::TARGET), Shape::Record("$target")]);
    /// Namespace of the target; that of the kubeconfig context if left out.
    now namespace: Option<String> = "null", Shape::Text(text::LABEL);
}

section! {
    /// What the local process shares with its target.
    Feature in "feature.", short &[];
    /// The local process sees the host name of the pod.
    now hostname: bool = "true", Shape::Bool;
    sections { env: Env, fs: Fs, network: Network }
}

section! {
    /// How long a session lasts that an editor has started. One of `mirror exec` lasts as long as its program.
    SessionConfig in "session.", short &[];
    /// How long the first program may take to start, a build before it included, in seconds.
    now start_timeout: Duration = "600", Shape::seconds(1, 86_400);
    /// How long the session waits for the next program after the last one has ended (a debugger that is restarted, a
    /// window that is reloaded), in seconds.
    now grace_time: Duration = "60", Shape::seconds(1, 86_400);
}
