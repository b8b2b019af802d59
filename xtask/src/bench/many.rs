//! Many connections open at once through one session, and what that costs its two ends.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::children::{Helper, bound};
use super::figures::{Goal, print_alone};
use super::load::Load;
use super::ways::{Cluster, Way};
use crate::cluster::CONTROL_ADDRESS;

/// Opens, uses and closes `count` connections. They lead to an echo server beside the control plane: the one in
/// the pod spends three descriptors on each connection.
pub(super) fn measure(cluster: &Cluster, program: &Path, session: &mut Way, label: &str, count: u64) -> Result<()> {
    let mut serve = bound("nsenter");
    serve.arg(format!("--net={}", cluster.control_netns())).arg(program).args(["serve", "0"]);
    let mut server = Helper::start(&mut serve)?;
    let ready = server.line()?;
    let port = ready.strip_prefix("ready ").with_context(|| format!("the echo server says {ready:?}"))?;
    let (host, agent) = (host_process(&mut session.load)?, agent_process(cluster, label)?);
    let before = [memory(host)?, memory(agent)?];
    println!("\n{count} connections at once through one session");
    let (seconds, failures, reason) = session.load.ask_many(&format!("open {CONTROL_ADDRESS} {port} {count}"))?;
    print_alone("  opened in, seconds", seconds, Goal::None);
    print_alone("  of these not opened", failures as f64, Goal::AtMost(0.0));
    let opened = [memory(host)?, memory(agent)?];
    let (seconds, silent, silent_reason) = session.load.ask_many("echo")?;
    print_alone("  each echoed once in, seconds", seconds, Goal::None);
    print_alone("  without an echo", silent as f64, Goal::AtMost(0.0));
    let used = [memory(host)?, memory(agent)?];
    session.load.ask("close")?.ok();
    for (index, name) in ["session host", "agent"].into_iter().enumerate() {
        let [before, opened, used] = [before, opened, used].map(|memory| memory[index]);
        print_alone(&format!("  {name}'s memory before, MiB"), before, Goal::None);
        print_alone(&format!("  {name}'s memory, open, MiB"), opened, Goal::None);
        print_alone(&format!("  {name}'s memory, used, MiB"), used, Goal::None);
    }
    for reason in [reason, silent_reason].iter().filter(|reason| !reason.is_empty()) {
        println!("  first failure: {reason}");
    }
    Ok(())
}

/// The process that holds the listener of the session which the load program belongs to.
fn host_process(load: &mut Load) -> Result<u32> {
    let environment = fs::read(format!("/proc/{}/environ", load.pid())).context("the load program's environment")?;
    let session = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"MIRROR_LAYER_SESSION="));
    let session = String::from_utf8_lossy(session.context("the load program is not in a session")?).into_owned();
    let name = format!("@{}", session.split(':').next().unwrap_or_default());
    let sockets = fs::read_to_string("/proc/net/unix").context("the machine's sockets")?;
    // Num, RefCount, Protocol, Flags (a listener's are 10000), Type, St, Inode, Path
    let mut rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(3) == Some(&"00010000") && row.last() == Some(&name.as_str()));
    let inode = row.as_ref().and_then(|row| row.get(6)).with_context(|| format!("nobody listens at {name}"))?;
    let link = format!("socket:[{inode}]");
    let holds = |pid: u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == Path::new(&link)))
    };
    processes()?.into_iter().find(|pid| holds(*pid)).with_context(|| format!("nobody holds {link}"))
}

/// The largest process in the agent's pod: beside the agent there is only the sandbox's.
pub(super) fn agent_process(cluster: &Cluster, label: &str) -> Result<u32> {
    let selector = format!("--selector=mirror.test/bench={label}");
    let uid = cluster.kubectl(&["get", "pods", &selector, "--output=jsonpath={.items[0].metadata.uid}"])?;
    ensure!(!uid.is_empty(), "the agent has no pod");
    let in_pod =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&uid));
    let sized = processes()?.into_iter().filter(in_pod).filter_map(|pid| Some((memory(pid).ok()?, pid)));
    let largest = sized.max_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(largest.context("the agent runs elsewhere")?.1)
}

fn processes() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("read /proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Resident memory in MiB.
pub(super) fn memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.with_context(|| format!("memory of process {pid}"))?.parse().context("a number")?;
    Ok(kibibytes / 1024.0)
}
