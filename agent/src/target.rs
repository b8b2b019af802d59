//! Finds the target's process by its container's id, and what is left of its pod when that has ended.
//!
//! It is looked for among the processes that the agent sees: those of the node (`hostPID`), or for an ephemeral
//! container those of the target or of its whole pod (`shareProcessNamespace`). Container runtimes put every container
//! into a control group whose path names it (`cgroups(7)`, `/proc/<pid>/cgroup`); [`container_path`] knows the text of
//! all of them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::files::{self, Root};

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("list /proc")]
    List(#[source] io::Error),
    #[error("no process of container {0} is in sight: it ended, was restarted, or its runtime is sandboxed")]
    NotFound(String),
    #[error("watch the target's process")]
    Watch(#[source] io::Error),
    #[error(
        "open the root directory of the target, which is user {uid}:{gid} (needs SYS_PTRACE, or the same user and group)"
    )]
    Root {
        uid: u32,
        gid: u32,
        #[source]
        source: io::Error,
    },
    #[error("open the root directory")]
    OwnRoot(#[source] io::Error),
}

/// The target's first process.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) pid: Pid,
    /// Becomes readable when the process ends (`pidfd_open(2)`).
    pub(crate) end: OwnedFd,
    /// Its folder under `/proc`, and never another process's.
    folder: OwnedFd,
    container_id: String,
    /// What the paths of the control groups of all the pod's containers begin with.
    pod: String,
}

impl Target {
    /// A file of the process under `/proc`.
    pub(crate) fn proc_path(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(name)
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> Result<Root, FindError> {
        let root = self.folder.try_clone().and_then(Root::of_process);
        root.map_err(|source| self.without_root(source))
    }

    /// Its root directory takes the place of that of the process before.
    pub(crate) fn follow_with(&self, root: &Root) -> Result<(), FindError> {
        let followed = self.folder.try_clone().and_then(|folder| root.follow(folder));
        followed.map_err(|source| self.without_root(source))
    }

    /// Whether its files are still its own ([`files::has_mounts`]).
    pub(crate) fn has_mounts(&self) -> bool {
        files::has_mounts(&self.folder)
    }

    fn without_root(&self, source: io::Error) -> FindError {
        // What `/proc` says of a process that is ending.
        if matches!(Errno::from_io_error(&source), Some(Errno::SRCH | Errno::NOENT)) {
            return FindError::NotFound(self.container_id.clone());
        }
        // As the kernel compares them: a folder of `/proc` belongs to its process (proc(5)).
        let (uid, gid) = fs::metadata(self.proc_path("")).map_or((0, 0), |folder| (folder.uid(), folder.gid()));
        FindError::Root { uid, gid, source }
    }

    /// Whether the process is in the network of the calling thread.
    pub(crate) fn is_in_own_network(&self) -> bool {
        is_in_own_network(self.pid.as_raw_nonzero().get())
    }

    /// The oldest process of the pod's other containers, by what [`Target::end`] is for the target: while there is one,
    /// the pod still has its network, and the target may be started again. Most runtimes keep a process for just that.
    pub(crate) fn survivor(&self) -> Option<OwnedFd> {
        let members = members(Path::new("/proc"), |cgroup| {
            is_below(cgroup, &self.pod) && container_path(cgroup, &self.container_id).is_none()
        });
        let members = members.ok()?.into_iter().filter(|member| is_in_own_network(member.pid));
        let oldest = members.min_by_key(|member| member.started)?;
        pidfd_open(Pid::from_raw(oldest.pid)?, PidfdFlags::NONBLOCK).ok()
    }
}

/// Finds the first process of the container.
pub(crate) fn find(container_id: &str) -> Result<Target, FindError> {
    let proc = Path::new("/proc");
    let (pid, pod) = find_in(proc, container_id)?;
    let watch = |errno: Errno| FindError::Watch(errno.into());
    let end = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(watch)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(proc.join(pid.to_string()), flags, Mode::empty()).map_err(watch)?;
    // Its number may have gone to another process before the descriptors were there to hold it.
    match find_in(proc, container_id)?.0 == pid {
        true => Ok(Target { pid, end, folder, container_id: container_id.to_owned(), pod }),
        false => Err(FindError::NotFound(container_id.to_owned())),
    }
}

/// What is known of a process in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    pid: i32,
    parent: i32,
    /// Clock ticks since boot.
    started: u64,
}

/// The first process of the container, and what the control groups of its pod begin with.
fn find_in(proc: &Path, container_id: &str) -> Result<(Pid, String), FindError> {
    let members = members(proc, |cgroup| container_path(cgroup, container_id).is_some())?;
    let first = first_of(&members).and_then(|first| {
        let cgroup = fs::read(proc.join(first.pid.to_string()).join("cgroup")).ok()?;
        let pod = container_path(&String::from_utf8_lossy(&cgroup), container_id)?.to_owned();
        Some((Pid::from_raw(first.pid)?, pod))
    });
    first.ok_or_else(|| FindError::NotFound(container_id.to_owned()))
}

/// The processes of whose `/proc/<pid>/cgroup` something is true.
fn members(proc: &Path, is_one: impl Fn(&str) -> bool) -> Result<Vec<Member>, FindError> {
    let mut members = Vec::new();
    for entry in fs::read_dir(proc).map_err(FindError::List)? {
        // Processes come and go while the list is read.
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        if is_one(&String::from_utf8_lossy(&read("cgroup")))
            && let Some((parent, started)) = parent_and_start(&String::from_utf8_lossy(&read("stat")))
        {
            members.push(Member { pid, parent, started });
        }
    }
    Ok(members)
}

fn is_in_own_network(pid: i32) -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    network(&pid.to_string()).is_some_and(|network_of| Some(network_of) == network("thread-self"))
}

/// The container's first process: its parent is outside. So is that of what `kubectl exec` starts, but
/// that is younger.
fn first_of(members: &[Member]) -> Option<Member> {
    let is_member = |pid: i32| members.iter().any(|member| member.pid == pid);
    members.iter().filter(|member| !is_member(member.parent)).min_by_key(|member| member.started).copied()
}

/// The paths in `/proc/<pid>/cgroup`.
fn paths(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// Whether `/proc/<pid>/cgroup` has a path below one. A private namespace shows what is above it as `..`.
fn is_below(cgroup: &str, path: &str) -> bool {
    paths(cgroup).filter_map(|of| of.strip_prefix(path)).any(|rest| !rest.starts_with(".."))
}

/// If `/proc/<pid>/cgroup` names the container as a whole component of one of its paths: what stands before that name,
/// which the containers of a pod have in common.
fn container_path<'a>(cgroup: &'a str, container_id: &str) -> Option<&'a str> {
    if container_id.is_empty() {
        return None;
    }
    paths(cgroup).find_map(|path| {
        let mut at = 0;
        path.split('/').find_map(|component| {
            let begin = at;
            at += component.len() + 1;
            let before = names_container(component, container_id)?;
            path.get(..begin + before)
        })
    })
}

/// If a component of a path names the container: how many bytes before the name are the pod's.
fn names_container(component: &str, container_id: &str) -> Option<usize> {
    let scope = component.strip_suffix(".scope").unwrap_or(component);
    // `slice:cri-containerd:id` is what containerd writes when it is told cgroupfs but the kubelet
    // names the parent in systemd's way.
    let (before, id) = match scope.len().checked_sub(container_id.len()) {
        Some(at) if scope.is_char_boundary(at) => scope.split_at(at),
        _ => return None,
    };
    let prefixes = ["", "cri-containerd-", "crio-", "docker-", "libpod-"];
    match id == container_id {
        true if prefixes.contains(&before) => Some(0),
        true if before.ends_with(":cri-containerd:") => Some(before.len()),
        _ => None,
    }
}

/// Parent and start time from `/proc/<pid>/stat`. The program's name in it may contain anything, so the
/// fields count from the last parenthesis (`proc_pid_stat(5)`).
fn parent_and_start(stat: &str) -> Option<(i32, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f0c5d9a7be14b0f8a2f6f2d9e0b1c4d5a6978877665544332211000ffeeddcc";

    #[test]
    fn every_runtimes_way_of_naming_a_container_is_known() {
        let pod = "0b2f6a1e-9c3d-4e5f-8a7b-112233445566";
        let slice = format!("kubepods-burstable-pod{}.slice", pod.replace('-', "_"));
        let table = [
            (
                "containerd, cgroupfs, v1",
                format!(
                    "12:memory:/kubepods/burstable/pod{pod}/{ID}\n1:name=systemd:/kubepods/burstable/pod{pod}/{ID}\n0::/\n"
                ),
                true,
            ),
            (
                "containerd, systemd, v1",
                format!("5:cpu,cpuacct:/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{ID}.scope\n"),
                true,
            ),
            (
                "containerd, systemd, v2",
                format!("0::/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{ID}.scope\n"),
                true,
            ),
            ("v2 from a private cgroup namespace", format!("0::/../../{slice}/cri-containerd-{ID}.scope\n"), true),
            ("v2, sibling", format!("0::/../{ID}\n"), true),
            (
                "containerd told cgroupfs under systemd names",
                format!("9:pids:/system.slice/containerd.service/{slice}:cri-containerd:{ID}\n"),
                true,
            ),
            ("cri-o", format!("0::/kubepods.slice/{slice}/crio-{ID}.scope\n"), true),
            ("cri-o with its own child group", format!("0::/kubepods.slice/{slice}/crio-{ID}.scope/container\n"), true),
            ("cri-o's monitor", format!("0::/kubepods.slice/{slice}/crio-conmon-{ID}.scope\n"), false),
            ("docker, systemd", format!("0::/kubepods.slice/{slice}/docker-{ID}.scope\n"), true),
            ("docker, cgroupfs", format!("4:memory:/kubepods/burstable/pod{pod}/{ID}\n"), true),
            (
                "nested groups within the container",
                format!("0::/kubepods.slice/{slice}/cri-containerd-{ID}.scope/init.scope\n"),
                true,
            ),
            (
                "another container",
                format!("0::/kubepods.slice/{slice}/cri-containerd-{}.scope\n", ID.replace('3', "4")),
                false,
            ),
            ("a longer id", format!("0::/kubepods/burstable/a{ID}\n"), false),
            ("a file name that contains it", format!("0::/x/{ID}-log\n"), false),
            ("the pod sandbox's parent", format!("0::/kubepods.slice/{slice}\n"), false),
            ("no cgroup", String::new(), false),
            ("garbage", "\u{fffd}:::\n::é\n".to_owned(), false),
        ];
        for (what, cgroup, expected) in table {
            let path = container_path(&cgroup, ID);
            assert_eq!(path.is_some(), expected, "{what}");
            // The pod's other containers stand beside it.
            let sibling = cgroup.replace(ID, &ID.replace('0', "9"));
            assert!(path.is_none_or(|path| path.len() > 1 && is_below(&sibling, path)), "{what}: {path:?}");
        }
        assert_eq!(container_path("0::/\n", ""), None);
        assert!(!is_below("0::/../../x\n", "/../") && is_below("0::/../x\n", "/../"));
    }

    #[test]
    fn the_first_process_is_the_oldest_whose_parent_is_outside() {
        let member = |pid, parent, started| Member { pid, parent, started };
        let init = member(200, 100, 50);
        let table = [
            (vec![], None),
            (vec![init], Some(init)),
            (vec![member(201, 200, 51), init, member(202, 201, 52)], Some(init)),
            (vec![member(150, 100, 90), init], Some(init)),
        ];
        for (members, expected) in table {
            assert_eq!(first_of(&members), expected, "{members:?}");
        }
    }

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        for name in ["bash", "a b", ") S 1 (", "((("] {
            assert_eq!(parent_and_start(&format!("9 ({name}) {rest}")), Some((7, 4242)), "{name}");
        }
        for garbage in ["", "9 (bash", "9 (bash) S", "9 (bash) S x 1"] {
            assert_eq!(parent_and_start(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_container_is_found_in_a_tree_like_proc() {
        let proc = tempfile::tempdir().expect("creates");
        let process = |pid: &str, cgroup: &str, parent: u32, started: u32| {
            let folder = proc.path().join(pid);
            fs::create_dir(&folder).expect("creates");
            fs::write(folder.join("cgroup"), cgroup).expect("writes");
            let stat = format!("{pid} (x) S {parent} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {started} 0");
            fs::write(folder.join("stat"), stat).expect("writes");
        };
        let inside = format!("0::/kubepods/pod/{ID}\n");
        process("1", "0::/\n", 0, 1);
        process("30", &format!("0::/crio-conmon-{ID}.scope\n"), 1, 2);
        process("41", &inside, 40, 8);
        process("40", &inside, 30, 7);
        process("self", &inside, 30, 1);
        fs::create_dir(proc.path().join("99")).expect("creates");
        let (pid, pod) = find_in(proc.path(), ID).expect("found");
        assert_eq!((pid.as_raw_nonzero().get(), pod.as_str()), (40, "/kubepods/pod/"));
        assert!(matches!(find_in(proc.path(), "other"), Err(FindError::NotFound(_))));
    }
}
