//! kubectl as the administrator, whatever the environment says of other clusters and users.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use super::command;
use super::layout::Layout;

/// The cluster's own kubectl with its own kubeconfig.
pub(crate) struct Kubectl {
    program: String,
    kubeconfig: String,
}

impl Kubectl {
    /// The one of a cluster.
    pub(crate) fn of(layout: &Layout) -> Kubectl {
        let kubeconfig = format!("--kubeconfig={}", layout.text("admin.kubeconfig"));
        Kubectl { program: layout.text("bin/kubectl"), kubeconfig }
    }

    /// Runs it and returns what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with_input(arguments, "")
    }

    /// Runs it with text for its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        command::run_with_input(&self.program, &self.all(arguments), input)
    }

    /// Becomes it; only returns when that failed.
    pub(crate) fn become_it(&self, arguments: &[String]) -> anyhow::Error {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        command::become_program(&self.program, &self.all(&arguments))
    }

    fn all<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&[self.kubeconfig.as_str()], arguments].concat()
    }
}

/// Writes a script for people and tests: kubectl that uses this cluster as the administrator
/// unless `KUBECONFIG` says otherwise.
pub(crate) fn write_script(layout: &Layout) -> Result<()> {
    let path = layout.path("kubectl");
    let (program, kubeconfig) = (layout.text("bin/kubectl"), layout.text("admin.kubeconfig"));
    let text = format!(
        "#!/bin/sh\n\
         : \"${{KUBECONFIG:={kubeconfig}}}\"\n\
         export KUBECONFIG\n\
         exec '{program}' \"$@\"\n"
    );
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", path.display()))
}
