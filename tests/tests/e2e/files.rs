//! Files of the pod, read by ordinary programs as if they were this machine's.
//!
//! Most programs here run twice, in the pod and through mirror, and must print the same.

mod calls;
mod changing;
mod defaults;
mod differential;
mod hardship;
mod large;
mod programs;
mod writing;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tests::{Cluster, Laptop};

/// One pod for the tests that run at the same time; it goes with the last of them.
struct Pod {
    name: String,
}

static POD: Mutex<Weak<Pod>> = Mutex::new(Weak::new());

/// Pods that were made: one may still be going when the next of its kind comes.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Pod {
    fn shared() -> Arc<Self> {
        let mut shared = POD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = shared.upgrade() {
            return pod;
        }
        let pod = Arc::new(Self::make("files"));
        *shared = Arc::downgrade(&pod);
        pod
    }

    /// One in which no other test changes anything; `beginning` is that of its name.
    fn make(beginning: &str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let (cluster, name) = (Cluster::shared(), format!("{beginning}-{}-{number}", std::process::id()));
        let script = include_str!("../../apps/files/make.sh");
        let indented = script.lines().map(|line| format!("    {line}\n")).collect::<String>();
        cluster.apply(&format!(
            r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  settings.yaml: "level: debug\n"
  make.sh: |
{indented}
---
apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
stringData: {{password: hunter2}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsUser: 1000, runAsGroup: 1000}}
  initContainers:
  - name: make
    image: mirror.test/debian:1
    imagePullPolicy: IfNotPresent
    securityContext: {{runAsUser: 0}}
    command: [sh, /app/config/make.sh]
    volumeMounts: [{{name: data, mountPath: /data}}, {{name: settings, mountPath: /app/config}}]
  containers:
  - name: app
    image: mirror.test/debian:1
    imagePullPolicy: IfNotPresent
    command: [sleep, infinity]
    volumeMounts:
    - {{name: data, mountPath: /data}}
    - {{name: settings, mountPath: /app/config}}
    - {{name: secret, mountPath: /app/secret}}
    - {{name: store, mountPath: /store}}
    - {{name: small, mountPath: /small}}
  volumes:
  - {{name: data, emptyDir: {{}}}}
  - {{name: store, emptyDir: {{}}}}
  - {{name: small, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}
  - {{name: settings, configMap: {{name: {name}}}}}
  - {{name: secret, secret: {{secretName: {name}, defaultMode: 256}}}}
"#
        ));
        cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{name}")]);
        Self { name }
    }

    /// Runs a command in it.
    fn run(&self, command: &[&str]) -> String {
        Cluster::shared().kubectl(&[&["exec", &self.name, "-c", "app", "--"], command].concat())
    }

    /// Puts a program of `tests/apps/files` into it; its path.
    fn bring(&self, app: &str) -> String {
        let text = std::fs::read_to_string(apps().join(app)).expect("an app");
        self.run(&["sh", "-c", "printf %s \"$1\" > /tmp/$2", "sh", &text, app]);
        format!("/tmp/{app}")
    }

    fn target(&self) -> String {
        format!("pod/{}", self.name)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let name = &self.name;
        let objects = [format!("pod/{name}"), format!("configmap/{name}"), format!("secret/{name}")];
        let arguments: Vec<&str> =
            ["delete", "--wait=true"].into_iter().chain(objects.iter().map(String::as_str)).collect();
        Cluster::shared().try_kubectl(&arguments);
    }
}

fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("apps/files")
}

/// A laptop whose sessions read what the tests are about from the pod.
fn laptop() -> Laptop {
    let laptop = Laptop::new();
    let fs = r#"{"mode": "localwithoverrides", "read_only": ["^/data", "^/app/", "^/var/run/secrets/"]}"#;
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"fs": {fs}}}}}"#));
    laptop
}

/// `mirror exec` of a command in the place of the pod.
fn mirrored(laptop: &Laptop, pod: &Pod, command: &[&str]) -> Command {
    laptop.mirror(["exec", "-q", "-t", &pod.target(), "--"].iter().chain(command))
}

/// What a command prints on the laptop in the place of the pod.
#[track_caller]
fn printed(laptop: &Laptop, pod: &Pod, command: &[&str]) -> String {
    let outcome = laptop.run(mirrored(laptop, pod, command)).success();
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

/// Runs a program in the pod and through mirror: the same output.
#[track_caller]
fn same(interpreter: &str, app: &str, arguments: &[&str]) {
    let (pod, laptop) = (Pod::shared(), laptop());
    let in_pod = pod.run(&[&[interpreter, &pod.bring(app)], arguments].concat());
    let brought = laptop.bring(&format!("files/{app}"));
    let brought = brought.to_str().expect("a plain path");
    let here = printed(&laptop, &pod, &[&[interpreter, brought], arguments].concat());
    for (here, there) in here.lines().zip(in_pod.lines()) {
        assert_eq!(here, there);
    }
    assert_eq!(here, in_pod);
}

#[test]
fn python_reads_a_tree() {
    same("/usr/bin/python3", "read.py", &["/data/tree"]);
}

#[test]
fn node_reads_a_tree() {
    same("node", "read.js", &["/data/tree"]);
}

#[test]
fn a_shell_and_its_tools_read_a_tree() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let script = pod.bring("tree.sh");
    let in_pod = pod.run(&["bash", "-c", "mkdir /tmp/room; bash \"$0\" /data/tree /tmp/room", &script]);
    let script = laptop.bring("files/tree.sh");
    let (script, home) = (script.to_str().expect("a plain path"), laptop.home().to_str().expect("a plain path"));
    assert_eq!(printed(&laptop, &pod, &["bash", script, "/data/tree", home]), in_pod);
}

#[test]
fn java_reads_a_tree() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let program = laptop.bring("files/Read.java");
    let sum = pod.run(&["sha256sum", "/data/tree/big.bin"]);
    let expected = format!(
        "hello 3000000\nempty module.py one.txt\n4 true plain.txt\n/data/tree/plain.txt false\n{}\n\
         /data/tree/plain.txt: Read-only file system\n",
        sum.split_whitespace().next().expect("a sum")
    );
    assert_eq!(printed(&laptop, &pod, &["java", program.to_str().expect("a plain path"), "/data/tree"]), expected);
}

#[test]
fn names_of_any_bytes_and_links_out_of_the_root_are_as_in_the_pod() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let program = "
import os
for name in sorted(os.listdir(b'/data/odd')):
    path = b'/data/odd/' + name
    print(name, oct(os.lstat(path).st_mode), os.readlink(path) if os.path.islink(path) else '')
print(open('/data/odd/out').read() == open('/data/odd/absolute').read() == os.uname().nodename + '\\n')
print(os.path.exists('/data/odd/root/data/odd/up/data/tree/plain.txt'), sorted(os.listdir('/data/odd/root/data')))
for path in ['/data/odd/fifo', '/data/odd', '/data/tree/loop', '/data/tree/plain.txt/', '/data/tree/plain.txt/x', '/data/none']:
    try: print(os.open(path, os.O_RDONLY | os.O_NONBLOCK) > 0)
    except OSError as error: print(error.errno)
";
    let expected = pod.run(&["/usr/bin/python3", "-c", program]);
    let here = printed(&laptop, &pod, &["/usr/bin/python3", "-c", program]);
    // A FIFO can be seen, but not opened: ENXIO.
    let (there, opened) = expected.split_once("True\nTrue\n40\n").expect("a FIFO, a folder, a loop");
    assert_eq!(here, format!("{there}6\nTrue\n40\n{opened}"));
}

#[test]
fn the_pods_user_decides_what_can_be_read() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let program = "
import os
def tried(work, *words):
    try: print(work(*words))
    except OSError as error: print(error.errno, error.filename)
for path in ['/app/secret/password', '/data/private/file', '/data/private/folder', '/app/config/settings.yaml']:
    tried(lambda path: oct(os.stat(path).st_mode), path)
    tried(lambda path: os.path.isdir(path) or open(path).read(), path)
    tried(os.listdir, path)
    print(os.access(path, os.R_OK), os.access(path, os.X_OK), os.path.realpath(path).split('..')[0])
print(sorted(os.listdir('/data/private')), sorted(os.listdir('/app/config')))
";
    assert_eq!(
        printed(&laptop, &pod, &["/usr/bin/python3", "-c", program]),
        pod.run(&["/usr/bin/python3", "-c", program])
    );
}

#[test]
fn the_next_open_sees_what_has_changed() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let program = "
import sys
old = open('/data/swap/key')
print('first', open('/data/swap/key').read().strip(), flush=True)
sys.stdin.readline()
print('second', open('/data/swap/key').read().strip(), old.read().strip(), flush=True)
";
    let mut running = laptop.start(mirrored(&laptop, &pod, &["/usr/bin/python3", "-c", program]));
    assert_eq!(running.wait_for("first"), "first one");
    pod.run(&["sh", "-c", "cd /data/swap && ln -s ..two ..new && mv -T ..new ..data"]);
    writeln!(running.stdin(), "go on").expect("written");
    assert_eq!(running.wait_for("second"), "second two, longer one");
    assert!(running.wait().success());
    pod.run(&["sh", "-c", "cd /data/swap && ln -s ..one ..new && mv -T ..new ..data"]);
}

#[test]
fn kubectl_takes_the_pods_token() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let (cluster, folder) = (Cluster::shared(), "/var/run/secrets/kubernetes.io/serviceaccount");
    let script = format!(
        "{} --kubeconfig /dev/null --server {} --insecure-skip-tls-verify --token \"$(cat {folder}/token)\" \
         auth whoami -o 'jsonpath={{.status.userInfo.username}}'; cat {folder}/namespace",
        cluster.kubectl_path().display(),
        cluster.api_url()
    );
    assert_eq!(printed(&laptop, &pod, &["sh", "-c", &script]), "system:serviceaccount:default:defaultdefault");
}

#[test]
fn nothing_of_the_pod_is_changed() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let program = "
import errno, os
def refused(what, work):
    try: print(what, work())
    except OSError as error: print(what, errno.errorcode[error.errno])
plain, new = '/data/swap/key', '/data/swap/new'
for mode in ['w', 'a', 'r+', 'x']: refused('open ' + mode, lambda: open(plain, mode))
refused('create', lambda: open(new, 'w'))
refused('truncate', lambda: os.truncate(plain, 0))
refused('unlink', lambda: os.unlink(plain))
refused('unlink none', lambda: os.unlink(new))
refused('mkdir', lambda: os.mkdir(new))
refused('mkdir there', lambda: os.mkdir('/data/swap'))
refused('rmdir', lambda: os.rmdir('/data/tree/sub/empty'))
refused('rename', lambda: os.rename(plain, new))
refused('rename out', lambda: os.rename(plain, os.environ['HOME'] + '/x'))
refused('link', lambda: os.link(plain, new))
refused('symlink', lambda: os.symlink(plain, new))
refused('chmod', lambda: os.chmod(plain, 0o777))
refused('chown', lambda: os.chown(plain, -1, -1))
refused('utime', lambda: os.utime(plain))
refused('setxattr', lambda: os.setxattr(plain, 'user.a', b'b'))
refused('listxattr', lambda: os.listxattr(plain))
refused('access', lambda: os.access(plain, os.W_OK))
os.chdir('/data/swap')
refused('relative', lambda: open('new', 'w'))
";
    let ends = [
        "EROFS", "EROFS", "EROFS", "EEXIST", "EROFS", "EROFS", "EROFS", "ENOENT", "EROFS", "EEXIST", "EROFS", "EROFS",
        "EXDEV", "EROFS", "EROFS", "EROFS", "EROFS", "EROFS", "EROFS", "[]", "False", "EROFS",
    ];
    let shown = printed(&laptop, &pod, &["/usr/bin/python3", "-c", program]);
    let shown: Vec<&str> = shown.lines().map(|line| line.rsplit(' ').next().unwrap_or_default()).collect();
    assert_eq!(shown, ends);
    assert_eq!(pod.run(&["ls", "-A", "/data/swap"]), "..data\n..one\n..two\nkey\n");
}

#[test]
fn patterns_decide_in_their_order() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let local = laptop.write("local.txt", "of this machine\n");
    let (local, home) = (local.display().to_string(), laptop.home().display().to_string());
    let fs = format!(
        r#"{{"read_only": ["^/DATA/"], "not_found": ["json$"], "local": ["^/data/"],
            "mapping": {{"^{home}/conf/(.*)": "/data/tree/$1", "^/data/tree/mapped$": "{local}"}}}}"#
    );
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"fs": {fs}}}}}"#));
    let script = "cat conf/plain.txt /data/tree/plain.txt /data/tree/mapped; cat /data/tree/data.json; ls conf/none";
    let outcome = laptop.run(mirrored(&laptop, &pod, &["sh", "-c", script]));
    assert_eq!(outcome.stdout, "hello\nhello\nof this machine\n", "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("No such file or directory").count(), 2, "{}", outcome.stderr);
    for (path, expected) in [
        ("/data/x", "/data/x: the pod's, can only be read: feature.fs.read_only has \"^/DATA/\"\n"),
        ("x.json", "does not exist: feature.fs.not_found has \"json$\"\n"),
        ("conf/a", "/data/tree/a: the pod's, can only be read: feature.fs.read_only has \"^/DATA/\"\n"),
        ("/usr/bin/sh", "/usr/bin/sh: local: programs and libraries (\"^/usr(/|$)\", by default)\n"),
        ("/x", "/x: the pod's to read, this machine's to write: nothing else names it, and feature.fs.mode says so\n"),
    ] {
        let explained = laptop.run(laptop.mirror(["fs", "explain", path])).success().stdout;
        assert!(explained.ends_with(expected), "{explained}");
    }
}

#[test]
fn nothing_of_the_pod_stays_on_this_machine() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let marker = format!("marker-{}", std::process::id());
    pod.run(&["sh", "-c", &format!("echo secret > /data/swap/..one/{marker}")]);
    let path = format!("/data/swap/..one/{marker}");
    let shown = |folder: &str| {
        let found = Command::new("find").args([folder, "-name", &marker, "-printf", "%m %s\n"]).output();
        String::from_utf8(found.expect("find runs").stdout).expect("text")
    };
    let script = format!("cat {path}; echo ready; read line");
    let mut running = laptop.start(mirrored(&laptop, &pod, &["sh", "-c", &script]));
    running.wait_for("ready");
    // Where a user without a runtime folder has the files.
    let in_memory = "/dev/shm/mirror-65534";
    assert_eq!(shown(in_memory), "644 7\n");
    running.close_stdin();
    running.wait();
    laptop.wait_hosts_gone();
    assert_eq!(shown(in_memory), "");
    // The next session of this user cleans up, and in a folder of all tests that may be another one's.
    let runtime = laptop.home();
    let mirrored = |command: &[&str]| {
        let mut command = mirrored(&laptop, &pod, command);
        command.env("XDG_RUNTIME_DIR", runtime);
        command
    };
    let shown = || shown(runtime.to_str().expect("text"));
    let mut killed = laptop.start(mirrored(&["sh", "-c", &script]));
    killed.wait_for("ready");
    for host in laptop.hosts() {
        let host = rustix::process::Pid::from_raw(host).expect("a pid");
        rustix::process::kill_process(host, rustix::process::Signal::KILL).expect("killed");
    }
    laptop.wait_hosts_gone();
    assert_eq!(shown(), "644 7\n");
    laptop.run(mirrored(&["true"])).success();
    assert_eq!(shown(), "");
    pod.run(&["rm", &path]);
}
