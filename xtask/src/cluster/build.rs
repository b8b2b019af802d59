//! Builds the programs of the cluster from `tests/cluster/`, each once for each state of its
//! sources.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache;
use super::command::{run, run_in};
use super::progress::long_step;

/// The version of Kubernetes that `tests/cluster/kubernetes/go.mod` names.
pub(crate) const KUBERNETES_VERSION: &str = "v1.34.4";

/// The programs, as paths in the cache. The names of the files tell their contents.
pub(crate) struct Programs {
    /// etcd, the control plane, kubelet and kube-proxy.
    pub(crate) kube: PathBuf,
    /// The client.
    pub(crate) kubectl: PathBuf,
    /// The cluster's name server.
    pub(crate) coredns: PathBuf,
    /// The workload of the tests.
    pub(crate) echo_server: PathBuf,
    /// The first process of pods and machines.
    pub(crate) pause: PathBuf,
}

/// Finds or builds all programs.
pub(crate) fn programs() -> Result<Programs> {
    let go = run("go", &["version"]).context("the Go toolchain is needed to build Kubernetes")?;
    let kubernetes_flags = kubernetes_flags();
    Ok(Programs {
        pause: pause()?,
        echo_server: go_program(&go, "echo-server", ".", "-s -w", "about 10 s")?,
        kube: go_program(&go, "kubernetes", "./kube", &kubernetes_flags, "5 to 7 min")?,
        kubectl: go_program(&go, "kubernetes", "./kubectl", &kubernetes_flags, "about 20 s")?,
        coredns: go_program(&go, "coredns", ".", "-s -w", "1 to 2 min")?,
    })
}

/// Where the sources of the test cluster are.
pub(crate) fn sources(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster").join(inside)
}

fn kubernetes_flags() -> String {
    let set = "-X k8s.io/component-base/version";
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!(
        "-s -w {set}.gitVersion={KUBERNETES_VERSION} {set}.gitMajor={major} \
         {set}.gitMinor={minor} {set}.gitTreeState=clean"
    )
}

fn go_program(go: &str, module: &str, package: &str, linker_flags: &str, expected: &str) -> Result<PathBuf> {
    let folder = sources(module);
    let digest = cache::digest_of(&folder, &[go, package, linker_flags])?;
    let name = if package == "." { module } else { package.trim_start_matches("./") };
    cache::entry(name, &digest, |out| {
        let out = out.display().to_string();
        long_step(&format!("build {name}"), expected, || {
            let arguments = ["build", "-buildvcs=false", "-trimpath", "-ldflags", linker_flags, "-o", &out, package];
            run_in(&folder, &[("CGO_ENABLED", "0")], "go", &arguments).map(drop)
        })
    })
}

fn pause() -> Result<PathBuf> {
    let folder = sources("pause");
    let flags = ["-static", "-Os", "-s", "-Wall", "-Wextra"];
    let digest = cache::digest_of(&folder, &flags)?;
    cache::entry("pause", &digest, |out| {
        let out = out.display().to_string();
        let mut arguments = flags.to_vec();
        arguments.extend(["-o", &out, "pause.c"]);
        run_in(&folder, &[], "cc", &arguments).map(drop).context("build the pause program")
    })
}
