//! Files of the pod, written by ordinary programs on the laptop.

use std::io::Write;

use tests::Laptop;

use super::{Pod, mirrored, printed};

/// A laptop whose sessions write what is below `/store` in the pod.
fn laptop() -> Laptop {
    let laptop = Laptop::new();
    let fs =
        r#"{"mode": "localwithoverrides", "read_write": ["^/store", "^/small", "^/app/"], "read_only": ["^/data"]}"#;
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"fs": {fs}}}}}"#));
    laptop
}

/// A folder of the pod's for one test.
fn folder(pod: &Pod, name: &str) -> String {
    let path = format!("/store/{name}");
    pod.run(&["mkdir", "-p", &path]);
    path
}

fn python<'a>(program: &'a str, folder: &'a str) -> [&'a str; 4] {
    ["/usr/bin/python3", "-c", program, folder]
}

#[test]
fn a_tree_becomes_what_the_same_program_makes_of_one_in_the_pod() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let (theirs, ours) = (folder(&pod, "theirs"), folder(&pod, "ours"));
    let in_pod = pod.run(&["/usr/bin/python3", &pod.bring("write.py"), &theirs]);
    let program = laptop.bring("files/write.py");
    let program = program.to_str().expect("a plain path");
    let here = printed(&laptop, &pod, &["/usr/bin/python3", program, &ours]);
    for (here, there) in here.lines().zip(in_pod.lines()) {
        assert_eq!(here, there);
    }
    assert_eq!(here, in_pod);
    let listing = pod.bring("listing.py");
    let listed = |folder: &str| pod.run(&["/usr/bin/python3", &listing, folder]);
    assert_eq!(listed(&ours), listed(&theirs));
}

#[test]
fn shells_and_their_tools_write() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let folder = folder(&pod, "shell");
    let script = format!(
        "cd {folder} && echo one > a && echo two >> a && cat < a > b && cp -p a c && mv b d && tee e < a > /dev/null && \
         mkdir f && cp -a /data/tree/many f && rm -r f/many/1* && tar cf g.tar f && \
         exec 5> h && echo by descriptor >&5 && exec 5>&- && (echo by child) > i && dd if=a of=j bs=2 2> /dev/null && ln -s a k"
    );
    printed(&laptop, &pod, &["bash", "-c", &script]);
    // A shell that ends does not close what it has written to.
    laptop.wait_hosts_gone();
    let shown = pod.run(&[
        "sh",
        "-c",
        &format!("cd {folder} && cat a c d e h i j k && ls f/many | wc -l && tar tf g.tar | wc -l"),
    ]);
    let two = "one\ntwo\n";
    assert_eq!(shown, format!("{two}{two}{two}{two}by descriptor\nby child\n{two}{two}89\n91\n"));
}

#[test]
fn appends_of_both_sides_are_all_there() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let log = format!("{}/log", folder(&pod, "append"));
    pod.run(&["sh", "-c", &format!("yes before | head -c 70000 > {log}")]);
    let theirs = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            let script = format!("for number in $(seq 200); do echo theirs >> {log}; sleep 0.02; done");
            pod.run(&["sh", "-c", &script])
        });
        let program = "
import sys, time
with open(sys.argv[1], 'a') as log:
    for number in range(200):
        print('ours', file=log, flush=True)
        time.sleep(0.01)
        if number % 50 == 0: print(sum(1 for line in open(sys.argv[1]) if line == 'ours\\n'))
";
        assert_eq!(printed(&laptop, &pod, &python(program, &log)), "1\n51\n101\n151\n");
        theirs.join().expect("runs")
    });
    assert_eq!(theirs, "");
    let count = |line: &str| pod.run(&["grep", "-c", "-x", line, &log]);
    assert_eq!((count("ours"), count("theirs"), count("before")), ("200\n".into(), "200\n".into(), "10000\n".into()));
}

#[test]
fn replacing_a_file_is_atomic_for_the_pod() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let folder = folder(&pod, "atomic");
    let program = "
import os, sys
for number in range(60):
    path = sys.argv[1] + '/state'
    with open(path + '.new', 'w') as file:
        file.write(str(number) * 50000 + '\\n')
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + '.new', path)
    if number == 0: print('begun', flush=True)
print('done', flush=True)
sys.stdin.readline()
";
    let mut running = laptop.start(mirrored(&laptop, &pod, &python(program, &folder)));
    running.wait_for("begun");
    let reader = "
import sys
seen = set()
while '59' not in seen:
    text = open(sys.argv[1] + '/state').read()
    number = text[:2] if len(text) > 50001 else text[:1]
    assert text == number * 50000 + '\\n', len(text)
    seen.add(number)
print('whole')
";
    assert_eq!(pod.run(&python(reader, &folder)), "whole\n");
    running.wait_for("done");
    running.close_stdin();
    assert!(running.wait().success());
}

#[test]
fn a_program_that_is_killed_has_written() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let log = format!("{}/log", folder(&pod, "killed"));
    let program = "
import os, signal, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
os.write(log, b'first\\n')
print('written', flush=True)
sys.stdin.readline()
os.write(log, b'last\\n')
os.kill(os.getpid(), signal.SIGKILL)
";
    let mut running = laptop.start(mirrored(&laptop, &pod, &python(program, &log)));
    running.wait_for("written");
    // It stays open, and is neither closed nor synchronised.
    pod.run(&["sh", "-c", &format!("until grep -q first {log}; do sleep 0.05; done")]);
    writeln!(running.stdin(), "go on").expect("written");
    assert!(!running.wait().success());
    laptop.wait_hosts_gone();
    assert_eq!(pod.run(&["cat", &log]), "first\nlast\n");
}

#[test]
fn processes_of_a_session_see_at_once_what_they_write() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let file = format!("{}/shared", folder(&pod, "shared"));
    let program = "
import os, subprocess, sys
def child(text): return subprocess.run([sys.executable, '-c', text, sys.argv[1]], stdout=subprocess.PIPE, text=True).stdout
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
for number in range(20):
    os.pwrite(file, b'%05d' % number, 5 * number)
    print(child('import sys; print(open(sys.argv[1]).read()[-5:])').strip(), end=' ')
print(child('import sys; file = open(sys.argv[1], \"r+\"); file.write(\"other\"); file.close(); print(\"closed\")').strip())
print(os.pread(file, 5, 0))
";
    let expected: String = (0..20).map(|number| format!("{number:05} ")).collect();
    assert_eq!(printed(&laptop, &pod, &python(program, &file)), format!("{expected}closed\nb'other'\n"));
    assert_eq!(pod.run(&["head", "-c", "10", &file]), "other00001");
}

#[test]
fn what_the_pod_changes_is_seen_by_the_next_open_also_of_written_files() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let file = format!("{}/file", folder(&pod, "changed"));
    let program = "
import sys
for line in sys.stdin:
    with open(sys.argv[1], 'w') as file: file.write('ours\\n')
    print('ours', flush=True)
    sys.stdin.readline()
    print('now', open(sys.argv[1]).read().strip(), flush=True)
";
    let mut running = laptop.start(mirrored(&laptop, &pod, &python(program, &file)));
    for round in 0..3 {
        writeln!(running.stdin(), "write").expect("written");
        running.wait_for("ours");
        assert_eq!(pod.run(&["cat", &file]), "ours\n");
        pod.run(&["sh", "-c", &format!("echo theirs, {round} > {file}")]);
        writeln!(running.stdin(), "read").expect("written");
        assert_eq!(running.wait_for(&format!("now theirs, {round}")), format!("now theirs, {round}"));
    }
    running.close_stdin();
    assert!(running.wait().success());
}

#[test]
fn what_the_pods_user_may_not_do_fails_where_the_kernel_fails() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let folder = folder(&pod, "refused");
    let program = "
import errno, os, sys
def tried(what, work):
    try: print(what, work())
    except OSError as error: print(what, errno.errorcode[error.errno])
tried('read-only mount', lambda: open('/app/config/settings.yaml', 'w'))
tried('read-only mount', lambda: open('/app/config/new', 'w'))
tried('read-only mount', lambda: os.mkdir('/app/config/new'))
tried('read-only rule', lambda: open('/data/swap/key', 'a'))
tried('read-only rule', lambda: os.rename('/data/swap/key', sys.argv[1] + '/key'))
tried('border', lambda: os.rename(sys.argv[1], os.environ['HOME'] + '/x'))
tried('fifo', lambda: os.mkfifo(sys.argv[1] + '/fifo'))
tried('attribute', lambda: os.setxattr(sys.argv[1], 'user.a', b'b'))
full = os.open('/small/full', os.O_WRONLY | os.O_CREAT, 0o644)
tried('write', lambda: os.write(full, b'x' * 3000000))
tried('close', lambda: os.close(full))
full = os.open('/small/full', os.O_WRONLY | os.O_TRUNC)
tried('write', lambda: os.write(full, b'x' * 1000))
tried('sync', lambda: os.fsync(full))
tried('close', lambda: os.close(full))
";
    let expected = [
        "read-only mount EROFS",
        "read-only mount EROFS",
        "read-only mount EROFS",
        "read-only rule EROFS",
        "read-only rule EROFS",
        "border EXDEV",
        "fifo EPERM",
        "attribute ENOTSUP",
        "write 3000000",
        "close ENOSPC",
        "write 1000",
        "sync None",
        "close None",
    ];
    let shown = printed(&laptop, &pod, &python(program, &folder));
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    assert_eq!(pod.run(&["stat", "-c", "%s", "/small/full"]), "1000\n");
}
