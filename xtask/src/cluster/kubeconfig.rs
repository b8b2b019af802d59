//! Kubeconfig files: for the cluster's own parts, for the administrator, for the developer
//! `dev`, and for any restricted user that a test wants.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::layout::{API_PORT, CONTROL_ADDRESS, Layout};
use super::pki::{Authority, Pair, Subject};
use super::state::{State, write_whole};

/// The group that the developer `dev` belongs to; its rights are in `access.yaml`.
pub(crate) const DEVELOPERS: &str = "mirror:developers";

/// Who a kubeconfig is for.
pub(crate) struct Holder<'a> {
    /// The user's name, as access rules know it.
    pub(crate) user: &'a str,
    /// The user's groups.
    pub(crate) groups: &'a [&'a str],
    /// When the certificate ends; a year when not said.
    pub(crate) expires: Option<Duration>,
    /// The namespace that commands work in.
    pub(crate) namespace: Option<&'a str>,
}

/// Writes a kubeconfig with a new certificate for a user. The user may do only what access rules
/// in the cluster allow to that name or to those groups.
pub(crate) fn mint(layout: &Layout, holder: &Holder<'_>, out: &Path) -> Result<()> {
    let state = State::load(layout)?.context("no cluster is here: `cargo xtask cluster up`")?;
    mint_for(layout, holder, &state.api_url, out)
}

/// Like [`mint`], for a cluster behind another address.
pub(crate) fn mint_for(layout: &Layout, holder: &Holder<'_>, api_url: &str, out: &Path) -> Result<()> {
    let authority = Authority::open(layout)?;
    let mut subject = Subject::user(holder.user, holder.groups);
    if let Some(expires) = holder.expires {
        subject.lives = expires;
    }
    let pair = authority.issue(&format!("minted-{}", std::process::id()), &subject)?;
    let text = render(&authority, holder.user, holder.namespace, &pair, api_url)?;
    for file in [&pair.key, &pair.certificate] {
        fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    write_whole(out, &text)
}

/// Writes the kubeconfigs of the cluster's own parts and of its two people.
pub(crate) fn write_all(layout: &Layout, authority: &Authority, nodes: u8, api_url: &str) -> Result<()> {
    let local = format!("https://127.0.0.1:{API_PORT}");
    let remote = format!("https://{CONTROL_ADDRESS}:{API_PORT}");
    let part = |file: &str, user: &str, groups: &[&str], url: &str, mode: u32| {
        write_part(layout, authority, file, &Subject::user(user, groups), url, mode)
    };
    part("control/controller-manager", "system:kube-controller-manager", &[], &local, 0o600)?;
    part("control/scheduler", "system:kube-scheduler", &[], &local, 0o600)?;
    for number in 1..=nodes {
        let (folder, user) = (format!("node{number}"), format!("system:node:node{number}"));
        part(&format!("{folder}/kubelet"), &user, &["system:nodes"], &remote, 0o600)?;
        part(&format!("{folder}/kube-proxy"), "system:kube-proxy", &[], &remote, 0o600)?;
    }
    part("admin", "admin", &["system:masters"], api_url, 0o600)?;
    part("user", "dev", &[DEVELOPERS], api_url, 0o644)
}

/// The path of a kubeconfig that [`write_all`] makes.
pub(crate) fn path(layout: &Layout, file: &str) -> PathBuf {
    layout.path(&format!("{file}.kubeconfig"))
}

fn write_part(
    layout: &Layout,
    authority: &Authority,
    file: &str,
    subject: &Subject<'_>,
    url: &str,
    mode: u32,
) -> Result<()> {
    let pair = authority.ensure_pair(&file.replace('/', "-"), subject)?;
    let text = render(authority, subject.name, None, &pair, url)?;
    let out = path(layout, file);
    if fs::read_to_string(&out).is_ok_and(|present| present == text) {
        return Ok(());
    }
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    write_whole(&out, &text)?;
    fs::set_permissions(&out, Permissions::from_mode(mode))
        .with_context(|| format!("set who may read {}", out.display()))
}

fn render(authority: &Authority, user: &str, namespace: Option<&str>, pair: &Pair, url: &str) -> Result<String> {
    let encode = |path: &Path| -> Result<String> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(STANDARD.encode(bytes))
    };
    let ca = encode(&authority.path("ca.crt"))?;
    let (certificate, key) = (encode(&pair.certificate)?, encode(&pair.key)?);
    let quoted = serde_json::to_string(user).context("quote the user's name")?;
    let namespace = namespace.unwrap_or("default");
    Ok(format!(
        "apiVersion: v1\nkind: Config\n\
         clusters:\n- name: mirror\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
         users:\n- name: {quoted}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n- name: mirror\n  context:\n    cluster: mirror\n    user: {quoted}\n    namespace: {namespace}\n\
         current-context: mirror\n"
    ))
}

/// Reads a time span such as `90s`, `30m`, `1h` or `7d`.
pub(crate) fn parse_span(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("{text:?} is no time span: write 90s, 30m, 1h or 7d"),
    };
    let number: u64 = number.parse().with_context(|| format!("{text:?} is no time span: no number"))?;
    Ok(Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        let seconds = |text| parse_span(text).ok().map(|span| span.as_secs());
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h"), Some(3600));
        assert!(parse_span("5").is_err());
        assert!(parse_span("h").is_err());
    }
}
