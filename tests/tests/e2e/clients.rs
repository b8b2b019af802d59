//! The same small client in many languages: HTTP, TLS, UDP and names, by each language's usual libraries and by its
//! sockets. Each prints a line for each check, and must print what it prints in a pod, which stands beside it.

use std::process::Command;

use tests::{Cluster, Laptop};

/// `mirror exec` of a client program with the libraries of its language.
pub(crate) fn mirrored(laptop: &Laptop, program: &[&str]) -> Command {
    let mut command = laptop.mirror(["exec", "-q", "-t", "deployment/debian/container/python", "--"]);
    let libraries = Cluster::shared().libraries();
    command.args(program).env("PYTHONPATH", libraries.join("python")).env("NODE_PATH", libraries.join("node_modules"));
    command
}

/// The test authority's certificate, where programs of a user are looked for on this machine.
fn authority(laptop: &Laptop) -> String {
    let copy = laptop.home().join("ca.crt");
    std::fs::copy(Cluster::shared().ca_certificate(), &copy).expect("copied");
    copy.display().to_string()
}

/// Runs a client that takes the test authority's certificate and compares it line by line.
#[track_caller]
fn prints_the_same_as_in_a_pod(laptop: &Laptop, program: &[&str], expected: &str) {
    let outcome = laptop.run(mirrored(laptop, &[program, &[&authority(laptop)]].concat()));
    // The lines say more than the exit code does.
    for (line, expected) in outcome.stdout.lines().zip(expected.lines()) {
        assert_eq!(line, expected, "\nstdout:\n{}\nstderr:\n{}", outcome.stdout, outcome.stderr);
    }
    let outcome = outcome.success();
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

#[test]
fn c() {
    let laptop = Laptop::new();
    laptop.bring("clients/c/client.c");
    let mut compile = laptop.command("cc");
    compile
        .args(["-Wall", "-Wextra", "-Werror", "-o", "client", "client.c", "-lcurl", "-lssl", "-lcrypto", "-lresolv"]);
    laptop.run(compile).success();
    prints_the_same_as_in_a_pod(&laptop, &["./client"], include_str!("../../apps/clients/c/expected.txt"));
}

#[test]
fn python() {
    let laptop = Laptop::new();
    laptop.bring("clients/python/client.py");
    let expected = include_str!("../../apps/clients/python/expected.txt");
    prints_the_same_as_in_a_pod(&laptop, &["/usr/bin/python3", "client.py"], expected);
}

#[test]
fn node() {
    let laptop = Laptop::new();
    laptop.bring("clients/node/client.js");
    let expected = include_str!("../../apps/clients/node/expected.txt");
    prints_the_same_as_in_a_pod(&laptop, &["node", "client.js"], expected);
}

#[test]
fn java() {
    let laptop = Laptop::new();
    laptop.bring("clients/java/Client.java");
    let expected = include_str!("../../apps/clients/java/expected.txt");
    prints_the_same_as_in_a_pod(&laptop, &["java", "Client.java"], expected);
}

#[test]
fn php() {
    let laptop = Laptop::new();
    laptop.bring("clients/php/client.php");
    let expected = include_str!("../../apps/clients/php/expected.txt");
    prints_the_same_as_in_a_pod(&laptop, &["php", "client.php"], expected);
}

#[test]
fn rust() {
    let laptop = Laptop::new();
    // Others may not read the folder that it was built in.
    std::fs::copy(env!("CARGO_BIN_EXE_rust-client"), laptop.home().join("client")).expect("copied");
    prints_the_same_as_in_a_pod(&laptop, &["./client"], include_str!("../../apps/clients/rust/expected.txt"));
}

#[test]
fn http3() {
    let laptop = Laptop::new();
    laptop.bring("clients/python/http3.py");
    let expected = include_str!("../../apps/clients/python/http3.txt");
    prints_the_same_as_in_a_pod(&laptop, &["/usr/bin/python3", "http3.py"], expected);
}

#[test]
fn grpc() {
    let laptop = Laptop::new();
    laptop.bring("clients/python/grpc_client.py");
    laptop.bring("clients/node/grpc.js");
    laptop.bring("../cluster/echo-server/echo.proto");
    let both = "/usr/bin/python3 grpc_client.py && node grpc.js echo.proto";
    let outcome = laptop.run(mirrored(&laptop, &["sh", "-c", both])).success();
    let expected = include_str!("../../apps/clients/python/grpc.txt");
    assert_eq!(outcome.stdout, format!("{expected}{expected}"), "{}", outcome.stderr);
}

#[test]
fn peers_on_bad_days() {
    let laptop = Laptop::new();
    laptop.bring("clients/rude.py");
    let outcome = laptop.run(mirrored(&laptop, &["/usr/bin/python3", "rude.py"])).success();
    assert_eq!(outcome.stdout, include_str!("../../apps/clients/rude.txt"), "{}", outcome.stderr);
}
