//! The program is who the pod is: host name, and the files by which names are resolved.

use tests::{Cluster, Laptop};

/// What a program finds out about itself.
const WHO: &str = "hostname; uname -n; cat /etc/hostname /etc/resolv.conf /etc/hosts; cat /etc/nsswitch.conf";

const TARGET: &str = "deployment/debian/container/python";

fn in_the_pod(script: &str) -> String {
    Cluster::shared().kubectl(&["exec", "deploy/debian", "-c", "python", "--", "sh", "-c", script])
}

#[test]
fn the_program_has_the_pods_name_and_files() {
    let laptop = Laptop::new();
    let outcome = laptop.run(laptop.mirror(["exec", "-q", "-t", TARGET, "--", "sh", "-c", WHO])).success();
    assert_eq!(outcome.stdout, in_the_pod(WHO));
    let python = "import os, platform, socket\nprint(socket.gethostname(), os.uname().nodename, platform.node())\nprint(os.stat('/etc/resolv.conf').st_size, os.access('/etc/hosts', os.R_OK), os.path.isfile('/etc/hostname'))";
    laptop.write("who.py", python);
    let outcome = laptop.exec(&format!("-q -t {TARGET}"), "/usr/bin/python3 who.py").success();
    assert_eq!(
        outcome.stdout,
        Cluster::shared().kubectl(&["exec", "deploy/debian", "-c", "python", "--", "python3", "-c", python])
    );
}

#[test]
fn a_pod_without_such_files_has_none() {
    let laptop = Laptop::new();
    // The image has no nsswitch.conf; the kubelet makes the others.
    let script = "cat /etc/nsswitch.conf; cat /etc/hostname";
    let outcome =
        laptop.run(laptop.mirror(["exec", "-q", "-t", "deployment/echo-server", "--", "sh", "-c", script])).success();
    assert!(outcome.stderr.contains("No such file or directory"), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("echo-server-"), "{}", outcome.stdout);
}

#[test]
fn without_a_target_or_by_wish_the_name_is_this_machines() {
    let laptop = Laptop::new();
    let own = laptop.run(laptop.command("hostname")).success().stdout;
    assert_eq!(laptop.exec("-q", "hostname").success().stdout, own);
    laptop.write(".mirror.json", r#"{"feature": {"hostname": false}}"#);
    assert_eq!(laptop.exec(&format!("-q -t {TARGET}"), "hostname").success().stdout, own);
    laptop.write(".mirror.json", r#"{"feature": {"network": {"dns": false}}}"#);
    let local = std::fs::read_to_string("/etc/resolv.conf").expect("this machine's");
    assert_eq!(laptop.exec(&format!("-q -t {TARGET}"), "cat /etc/resolv.conf").success().stdout, local);
}
