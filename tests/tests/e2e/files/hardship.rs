//! Bad days: the agent ends while a file is fetched, and this machine has no room for a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tests::{Cluster, Laptop};

use super::{Pod, mirrored};

/// Longest wait for content.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// The place of a session's copy of a file, below the runtime folder.
fn copy_of(runtime: &Path, path: &str) -> Option<PathBuf> {
    let sessions = std::fs::read_dir(runtime.join("mirror-files")).ok()?;
    let copies =
        sessions.filter_map(|session| Some(session.ok()?.path().join("root").join(path.trim_start_matches('/'))));
    copies.filter(|copy| copy.exists()).last()
}

#[test]
fn a_file_whose_agent_ends_meanwhile_is_an_error_and_so_is_the_next() {
    let (pod, laptop) = (Pod::make("files-lost"), Laptop::new());
    laptop.write(".mirror.json", r#"{"feature": {"fs": {"read_only": "^/data", "max_file_size": "4GiB"}}}"#);
    let path = "/data/swap/..one/huge";
    pod.run(&["truncate", "-s", "3G", path]);
    let script = format!("stat {path} >/dev/null; echo known; read line; cat {path} | wc -c; cat /data/tree/plain.txt");
    let mut command = mirrored(&laptop, &pod, &["bash", "-c", &script]);
    command.env("XDG_RUNTIME_DIR", laptop.home());
    let mut running = laptop.start(command);
    running.wait_for("known");
    let copy = copy_of(laptop.home(), path).expect("a placeholder");
    let arrives = inotify::init(CreateFlags::CLOEXEC).expect("inotify");
    inotify::add_watch(&arrives, copy, WatchFlags::MODIFY).expect("watched");
    // Looked up before: the rest of the content must not arrive meanwhile.
    let agents = Cluster::shared().agents(&Cluster::shared().pod_uids(&laptop.selector()));
    writeln!(running.stdin(), "go on").expect("written");
    // Some of the content is there, so the rest is on its way.
    let n_ready = poll(&mut [PollFd::new(&arrives, PollFlags::IN)], Some(&PATIENCE)).expect("poll");
    assert_eq!(n_ready, 1, "nothing arrives");
    tests::kill(&agents);
    let [count, ..] = running.wait_for_all(["0", "/huge: Input/output error", "/plain.txt: Input/output error"]);
    assert_eq!(count, "0");
    assert!(!running.wait().success());
    laptop.wait_hosts_gone();
    let outcome = laptop.run(mirrored(&laptop, &pod, &["cat", "/data/tree/plain.txt"])).success();
    assert_eq!(outcome.stdout, "hello\n", "the next session");
}

/// A small file system, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(place: PathBuf) -> Self {
        std::fs::create_dir(&place).expect("made");
        let options = "size=2m,uid=65534,mode=700";
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&place).status();
        assert!(status.expect("mount runs").success());
        Self(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().expect("umount runs");
    }
}

#[test]
fn where_a_file_has_no_room_it_is_an_error_and_others_are_read() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let disk = SmallDisk::new(laptop.home().join("small"));
    let script = "cat /data/tree/big.bin | wc -c; cat /data/tree/plain.txt; cat /data/tree/big.bin | wc -c; cat /data/tree/data.json";
    let mut command = mirrored(&laptop, &pod, &["bash", "-c", script]);
    command.env("XDG_RUNTIME_DIR", &disk.0);
    let outcome = laptop.run(command);
    assert_eq!(outcome.stdout, "0\nhello\n0\n{\"answer\": 42}\n", "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("big.bin: No space left on device").count(), 2, "{}", outcome.stderr);
    laptop.wait_hosts_gone();
}
