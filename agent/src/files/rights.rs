//! The rights of the target's user: the agent takes them on for each look at a file, and never has more.
//!
//! The agent is one thread, and takes them only between two waits: nothing else runs meanwhile.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Gid, getgroups};
use rustix::thread::set_thread_groups;

use super::described::Described;
use crate::sys::set_file_user;
use crate::target::Target;

/// Who a process is for file systems (`credentials(7)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

impl Rights {
    /// Those of the target's first process as they are now; none where the agent has no target.
    pub(crate) fn of(target: Option<&Target>) -> Result<Option<Self>, Errno> {
        let Some(target) = target else { return Ok(None) };
        let status = fs::read_to_string(target.proc_path("status")).map_err(|_| Errno::SRCH)?;
        Self::parse(&status).map(Some).ok_or(Errno::SRCH)
    }

    /// Reads `/proc/<pid>/status` (`proc_pid_status(5)`): the fourth number of a line is that of file systems.
    fn parse(status: &str) -> Option<Self> {
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let fourth = |name: &str| line(name)?.split_ascii_whitespace().nth(3)?.parse().ok();
        let groups = line("Groups:")?.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { user: fourth("Uid:")?, group: fourth("Gid:")?, groups })
    }

    /// Runs `work` with these rights; an error if they cannot be had.
    pub(crate) fn lend<T>(&self, work: impl FnOnce() -> T) -> Result<T, Errno> {
        let (groups, ids) = (getgroups()?, set_file_user(u32::MAX, u32::MAX));
        if self.include(ids, &groups) {
            return Ok(work());
        }
        let own = Own { groups, ids };
        set_thread_groups(&self.groups.iter().map(|group| Gid::from_raw(*group)).collect::<Vec<_>>())?;
        set_file_user(self.user, self.group);
        // What was not granted has changed nothing.
        let granted = set_file_user(u32::MAX, u32::MAX) == (self.user, self.group);
        let result = if granted { Ok(work()) } else { Err(Errno::PERM) };
        drop(own);
        result
    }

    /// Whether somebody who is not root has none but these rights: an agent without capabilities, which cannot take on
    /// others.
    fn include(&self, ids: (u32, u32), groups: &[Gid]) -> bool {
        let is_known = |group: &Gid| self.groups.contains(&group.as_raw()) || group.as_raw() == self.group;
        self.user != 0 && ids == (self.user, self.group) && groups.iter().all(is_known)
    }

    /// What this user may do with a file by its mode, as the last digit of a mode.
    pub(super) fn on(&self, file: &Described) -> u8 {
        let shift = match () {
            () if file.user == self.user => 6,
            () if file.group == self.group || self.groups.contains(&file.group) => 3,
            () => 0,
        };
        (file.about.mode >> shift & 7) as u8
    }
}

/// The agent's own rights, which come back when this is dropped, be it by a panic.
struct Own {
    groups: Vec<Gid>,
    ids: (u32, u32),
}

impl Drop for Own {
    fn drop(&mut self) {
        set_file_user(self.ids.0, self.ids.1);
        if let Err(errno) = set_thread_groups(&self.groups) {
            tracing::error!(%errno, "the agent's own groups do not come back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tUid:\nUid:\t1\t2\t3\t1000\nGid:\t1\t2\t3\t2000\nFDSize:\t64\nGroups:\t7 2001 \nNStgid:\t1\n";

    #[test]
    fn rights_are_read_from_the_kernels_text() {
        let rights = Rights { user: 1000, group: 2000, groups: vec![7, 2001] };
        assert_eq!(Rights::parse(STATUS), Some(rights));
        assert_eq!(Rights::parse(&STATUS.replace("7 2001 ", "")).expect("read").groups, []);
        for (user, group, groups, expected) in [
            (1000, 2000, &[7][..], true),
            (1000, 2000, &[2000, 2001], true),
            (1000, 2000, &[8], false),
            (1000, 7, &[], false),
            (0, 2000, &[], false),
        ] {
            let rights = Rights { user: 1000, group: 2000, groups: vec![7, 2001] };
            let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
            assert_eq!(rights.include((user, group), &groups), expected, "{user} {group} {groups:?}");
        }
        for garbage in ["", "Uid:\t1\t2\t3\n", &STATUS.replace("2001", "x")] {
            assert_eq!(Rights::parse(garbage), None, "{garbage}");
        }
    }
}
