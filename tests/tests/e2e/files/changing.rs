//! Files of the pod that change while programs read them, and what travels ahead of being asked for.

use std::io::Write;

use rustix::process::{Pid, Signal, kill_process};

use super::{Pod, laptop, mirrored, printed};

fn python<'a>(program: &'a str, path: &'a str) -> [&'a str; 4] {
    ["/usr/bin/python3", "-c", program, path]
}

#[test]
fn a_file_that_grows_is_followed() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let log = "/data/swap/..one/log";
    pod.run(&["sh", "-c", &format!("echo first > {log}")]);
    let mut tail = laptop.start(mirrored(&laptop, &pod, &["tail", "-f", log]));
    assert_eq!(tail.wait_for("first"), "first");
    let program = "
import sys, time
file = open(sys.argv[1])
while True:
    line = file.readline()
    if line: print('read', line.strip(), flush=True)
    else: time.sleep(0.1)
";
    let mut reader = laptop.start(mirrored(&laptop, &pod, &python(program, log)));
    assert_eq!(reader.wait_for("read"), "read first");
    for line in ["second", "third"] {
        pod.run(&["sh", "-c", &format!("echo {line} >> {log}")]);
        assert_eq!(tail.wait_for(line), line);
        assert_eq!(reader.wait_for(line), format!("read {line}"));
    }
    for mut running in [tail, reader] {
        let pid = Pid::from_raw(running.pid()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("ended");
        assert!(!running.wait().success());
    }
    pod.run(&["rm", log]);
}

#[test]
fn what_travels_ahead_is_what_the_pod_has() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let folder = "/data/swap/..one/many";
    let write = |text: &str| {
        let script = format!(
            "mkdir -p {folder}/sub; cd {folder}; for n in $(seq 300); do echo {text} $n > $n; echo {text} > sub/$n; done"
        );
        pod.run(&["sh", "-c", &script]);
    };
    write("old");
    let program = "
import os, sys, time
def looked():
    for number in range(1, 301): yield open(f'{sys.argv[1]}/{number}').read()
    for path, folders, files in os.walk(sys.argv[1]):
        for name in sorted(files): yield str(os.stat(os.path.join(path, name)).st_size)
for line in sys.stdin:
    # What has travelled ahead is used for a second.
    time.sleep(1.1)
    words = list(looked())
    texts = {word.split()[0] for word in words[:300]}
    print('seen', *texts, len(words), *sorted(set(words[300:])), flush=True)
";
    let mut running = laptop.start(mirrored(&laptop, &pod, &python(program, folder)));
    writeln!(running.stdin(), "look").expect("written");
    assert_eq!(running.wait_for("seen"), "seen old 900 4 6 7 8");
    write("newer");
    writeln!(running.stdin(), "look").expect("written");
    assert_eq!(running.wait_for("seen newer"), "seen newer 900 10 6 8 9");
    running.close_stdin();
    assert!(running.wait().success());
    pod.run(&["rm", "-r", folder]);
}

#[test]
fn a_directory_has_at_most_a_hundred_thousand_entries() {
    let (pod, laptop) = (Pod::shared(), laptop());
    let folder = "/data/swap/..one/huge";
    let program = "
import os, sys
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
for number in range(100000): os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY))
";
    pod.run(&python(program, folder));
    let program = "
import os, sys
print(len(os.listdir(sys.argv[1])))
";
    assert_eq!(printed(&laptop, &pod, &python(program, folder)), "100000\n");
    pod.run(&["touch", &format!("{folder}/more")]);
    let outcome = laptop.run(mirrored(&laptop, &pod, &python(program, folder)));
    outcome.says("File too large");
    pod.run(&["rm", "-r", folder]);
}
