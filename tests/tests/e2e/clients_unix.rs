//! Unix sockets of the pod, by the patterns of `outgoing.unix_streams`.

use tests::Laptop;

use crate::clients::mirrored;

#[test]
fn streams_and_datagrams_by_path_and_by_abstract_name() {
    let laptop = Laptop::new();
    laptop.bring("clients/unix.py");
    laptop.write(
        ".mirror.json",
        r#"{"feature": {"network": {"outgoing": {"unix_streams": ["^/run/test/", "mirror-test-"]}}}}"#,
    );
    let outcome = laptop.run(mirrored(&laptop, &["/usr/bin/python3", "unix.py", "local"])).success();
    let in_pod = include_str!("../../apps/clients/unix.txt");
    assert_eq!(outcome.stdout, format!("{in_pod}local True\n"), "{}", outcome.stderr);
}
