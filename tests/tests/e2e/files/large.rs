//! Files beyond the limit of what is fetched whole: read by parts, where the user can mount a file system.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use tests::{Laptop, Turn};

use super::{Pod, mirrored, printed};

fn laptop() -> Laptop {
    configured(Laptop::new())
}

fn configured(laptop: Laptop) -> Laptop {
    laptop.write(".mirror.json", r#"{"feature": {"fs": {"read_only": "^/data", "max_file_size": "1MiB"}}}"#);
    laptop
}

/// What this user has mounted.
fn mounts() -> usize {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("reads");
    mounts.lines().filter(|line| line.contains("fuse.mirror") && line.contains("user_id=65534")).count()
}

/// Waits until this user has no more than so many mounts (`proc_pid_mounts(5)`: a change is an exceptional condition).
fn wait_unmounted(count: usize) {
    let file = File::open("/proc/self/mounts").expect("opens");
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    while mounts() > count {
        let n_changed = poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&patience)).expect("poll");
        assert_eq!(n_changed, 1, "it is still mounted");
    }
}

#[test]
fn every_part_is_the_pods() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let program = "
import hashlib, mmap, os, random, shutil, sys
from concurrent.futures import ThreadPoolExecutor
path = '/data/tree/big.bin'
file = open(path, 'rb')
size = os.fstat(file.fileno()).st_size
parts = [(random.randrange(size), random.randrange(200000)) for _ in range(100)]
with ThreadPoolExecutor(8) as pool:
    read = list(pool.map(lambda part: os.pread(file.fileno(), part[1], part[0]), parts))
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
last = mapped[-1000:]
whole = open(path, 'rb').read()
print([whole[at:at + length] for at, length in parts] == read, whole[-1000:] == last)
backwards = b''
for at in range(size - size % 65536, -1, -65536): backwards = os.pread(file.fileno(), 65536, at) + backwards
copy = shutil.copyfile(path, sys.argv[1])
print(backwards == whole, hashlib.sha256(open(copy, 'rb').read()).hexdigest())
one, other = os.stat(path), os.fstat(file.fileno())
print([one.st_ino == other.st_ino, one.st_size, one.st_mtime_ns, oct(one.st_mode)])
print(os.path.realpath(path), os.readlink('/proc/self/fd/%d' % file.fileno()))
try: open(path, 'r+b')
except OSError as error: print(error)
print(next(entry.stat().st_size for entry in os.scandir('/data/tree') if entry.name == 'big.bin'))
";
    let copy = laptop.home().join("copy").display().to_string();
    let hash = pod.run(&["sh", "-c", "sha256sum < /data/tree/big.bin"]);
    let expected = [
        "True True",
        &format!("True {}", hash.split(' ').next().expect("a hash")),
        "[True, 3000000, 1706933106789000000, '0o100644']",
        "/data/tree/big.bin /data/tree/big.bin",
        "[Errno 30] Read-only file system: '/data/tree/big.bin'",
        "3000000\n",
    ];
    assert_eq!(printed(&laptop, &pod, &["/usr/bin/python3", "-c", program, &copy]), expected.join("\n"));
    let tools = "cp /data/tree/big.bin c && cmp c /data/tree/big.bin && tail -c 100 c | cksum && tail -c 100 /data/tree/big.bin | cksum";
    let sums = printed(&laptop, &pod, &["sh", "-c", tools]);
    let sums: Vec<&str> = sums.lines().collect();
    assert_eq!((sums.len(), sums[0]), (2, sums[1]));
}

#[test]
fn what_grows_is_followed_and_what_is_replaced_is_told() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let path = "/data/swap/..one/large";
    let make = |text: &str| pod.run(&["sh", "-c", &format!("rm -f {path}; yes {text} | head -c 4000000 > {path}")]);
    make("first");
    let program = "
import errno, sys, time
path = sys.argv[1]
file = open(path, 'rb', buffering=0)
file.seek(0, 2)
print('at', file.tell(), flush=True)
while not (line := file.read()): time.sleep(0.1)
print('read', line, flush=True)
sys.stdin.readline()
old = open(path, 'rb', buffering=0)
print('old', old.read(5), flush=True)
sys.stdin.readline()
print('new', open(path, 'rb', buffering=0).read(6), flush=True)
old.seek(3000000)
try: print('old', old.read(5))
except OSError as error: print('old', errno.errorcode[error.errno], flush=True)
";
    let mut reader = laptop.start(mirrored(&laptop, &pod, &["/usr/bin/python3", "-c", program, path]));
    assert_eq!(reader.wait_for("at"), "at 4000000");
    pod.run(&["sh", "-c", &format!("printf more >> {path}")]);
    assert_eq!(reader.wait_for("read"), "read b'more'");
    writeln!(reader.stdin(), "go on").expect("written");
    assert_eq!(reader.wait_for("old"), "old b'first'");
    make("second");
    writeln!(reader.stdin(), "go on").expect("written");
    assert_eq!(reader.wait_for("new"), "new b'second'");
    assert_eq!(reader.wait_for("old"), "old ESTALE");
    assert!(reader.wait().success());
    pod.run(&["rm", path]);
}

/// Two gigabytes would take a minute to be fetched.
#[test]
fn the_end_of_a_huge_file_is_read_at_once_and_nothing_stays_mounted() {
    let pod = Pod::make("files-large");
    // What others mount would be counted, too.
    let laptop = configured(Laptop::during(&Turn::alone()));
    let path = "/data/swap/..one/huge";
    pod.run(&["sh", "-c", &format!("truncate -s 2G {path} && printf end >> {path}")]);
    wait_unmounted(0);
    let script = format!("tail -c 3 {path}; stat -c %s {path}; echo ready; read line");
    for kills in [false, true] {
        let mut running = laptop.start(mirrored(&laptop, &pod, &["bash", "-c", &script]));
        assert_eq!(running.wait_for("end"), "end2147483651");
        running.wait_for("ready");
        assert!(mounts() > 0);
        if kills {
            for host in laptop.hosts() {
                kill_process(Pid::from_raw(host).expect("a pid"), Signal::KILL).expect("killed");
            }
        }
        running.close_stdin();
        running.wait();
        laptop.wait_hosts_gone();
        if kills {
            // The next session removes what a killed one has left, as its folder.
            laptop.run(mirrored(&laptop, &pod, &["true"])).success();
        }
        wait_unmounted(0);
    }
}

#[test]
fn where_nothing_can_be_mounted_such_a_file_is_named() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let programs = laptop.home().join("bin");
    std::fs::create_dir(&programs).expect("made");
    for name in ["setpriv", "sh", "cat", "stat"] {
        symlink(format!("/usr/bin/{name}"), programs.join(name)).expect("linked");
    }
    let script = "cat /data/tree/plain.txt; stat -c %s /data/tree/big.bin; cat /data/tree/big.bin";
    let mut command = mirrored(&laptop, &pod, &["sh", "-c", script]);
    let outcome = laptop.run({
        command.env("PATH", programs);
        command
    });
    assert_eq!(outcome.stdout, "hello\n3000000\n", "{}", outcome.stderr);
    let outcome = outcome.says("File too large");
    let outcome = outcome
        .says("/data/tree/big.bin in the pod is not read: it has 3000000 bytes, more than feature.fs.max_file_size");
    outcome.says("cannot be read by parts: fusermount3: No such file or directory");
}
