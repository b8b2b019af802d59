//! Control groups of the nodes: kubelet wants its root group to exist in every hierarchy.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::layout::{Layout, Machine};

/// Makes a node's control group in every hierarchy.
pub(crate) fn make(layout: &Layout, machine: Machine) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(layout.cgroup(machine).trim_start_matches('/'));
        fs::create_dir_all(&group).with_context(|| format!("make the control group {}", group.display()))?;
        let parent = hierarchy.join(&layout.name);
        for (from, to) in [(&hierarchy, &parent), (&parent, &group)] {
            inherit_cpuset(from, to)?;
        }
    }
    Ok(())
}

/// The groups of the cluster that are there.
pub(crate) fn present(layout: &Layout) -> Result<Vec<PathBuf>> {
    let groups = hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(&layout.name));
    Ok(groups.filter(|group| group.exists()).collect())
}

/// Removes all groups of the cluster. Processes that just ended may keep one busy for a moment.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    let begin = Instant::now();
    for group in present(layout)? {
        loop {
            match remove_tree(&group) {
                Ok(()) => break,
                Err(_) if begin.elapsed() < Duration::from_secs(5) => {
                    sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> Result<()> {
    let entries = fs::read_dir(group).with_context(|| format!("list the control group {}", group.display()))?;
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("remove the control group {}", group.display()))
}

/// A new group of the first version's `cpuset` has no processor and no memory until it is told.
fn inherit_cpuset(from: &Path, to: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (source, target) = (from.join(file), to.join(file));
        if !source.exists() || !target.exists() {
            continue;
        }
        let value = fs::read_to_string(&source).with_context(|| format!("read {}", source.display()))?;
        fs::write(&target, value).with_context(|| format!("write {}", target.display()))?;
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let path = "/proc/self/mounts";
    let mounts = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let rows = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_groups = rows.filter(|row| row.len() > 2 && matches!(row[2], "cgroup" | "cgroup2"));
    Ok(of_groups.map(|row| PathBuf::from(row[1])).collect())
}
