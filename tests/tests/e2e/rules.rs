//! The user's rules: which connections, datagrams, names and programs are the pod's.

use tests::{Cluster, Laptop, Outcome};

/// Tries what its arguments say, one line each: `tcp HOST PORT`, `udp HOST PORT`, `name NAME`.
const TRY: &str = r#"
import errno, socket, sys
def tcp(host, port):
    with socket.create_connection((host, int(port)), timeout=10) as s:
        return "pod" if s.getsockname()[0].startswith("10.244.") else "local"
def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(b"hello", (host, int(port)))
        return "pod" if b"hello" in s.recvfrom(2000)[0] else "nonsense"
def name(name):
    return socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)[0][4][0]
for words in (line.split() for line in sys.argv[1:]):
    try:
        print(*words, "=", globals()[words[0]](*words[1:]))
    except socket.gaierror as error:
        print(*words, "= no name")
    except OSError as error:
        print(*words, "=", errno.errorcode.get(error.errno, error))
"#;

fn service(name: &str) -> String {
    Cluster::shared().kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"])
}

fn trying(laptop: &Laptop, network: &str, tries: &[&str]) -> Outcome {
    laptop.write("try.py", TRY);
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {network}}}}}"#));
    let arguments = [&["exec", "-q", "--", "/usr/bin/python3", "try.py"], tries].concat();
    laptop.run(laptop.mirror(arguments)).success()
}

#[track_caller]
fn came(laptop: &Laptop, network: &str, cases: &[(&str, &str)]) {
    let tries: Vec<&str> = cases.iter().map(|(what, _)| *what).collect();
    let outcome = trying(laptop, network, &tries);
    let expected: String = cases.iter().map(|(what, came)| format!("{what} = {came}\n")).collect();
    assert_eq!(outcome.stdout, expected, "{network}\n{}", outcome.stderr);
}

#[test]
fn only_listed_destinations_are_the_pods() {
    let laptop = Laptop::new();
    let (echo, debian) = (service("echo-server"), service("debian"));
    // The laptop itself has no way to the cluster's addresses.
    came(
        &laptop,
        &format!(r#"{{"outgoing": {{"filter": {{"remote": ["tcp://{echo}:80", "udp://{echo}/32"]}}}}}}"#),
        &[
            (&format!("tcp {echo} 80"), "pod"),
            (&format!("tcp {echo} 7000"), "EHOSTUNREACH"),
            (&format!("tcp {debian} 8080"), "EHOSTUNREACH"),
            (&format!("udp {echo} 7001"), "pod"),
        ],
    );
}

#[test]
fn a_rule_by_name_holds_for_the_addresses_of_that_name() {
    let laptop = Laptop::new();
    let (echo, debian) = (service("echo-server"), service("debian"));
    came(
        &laptop,
        r#"{"outgoing": {"filter": {"remote": ["echo-server"]}}}"#,
        &[
            (&format!("tcp {echo} 80"), "EHOSTUNREACH"),
            ("tcp debian 8080", "EHOSTUNREACH"),
            ("name debian", &debian),
            ("tcp echo-server 80", "pod"),
            (&format!("tcp {echo} 7000"), "pod"),
        ],
    );
    came(
        &laptop,
        r#"{"outgoing": {"filter": {"local": ["*.default", "echo-server"]}}}"#,
        &[("tcp echo-server 80", "no name"), ("name echo-server.default", "no name"), ("tcp debian 8080", "pod")],
    );
}

#[test]
fn names_have_a_filter_of_their_own() {
    let laptop = Laptop::new();
    let debian = service("debian");
    came(
        &laptop,
        r#"{"dns": {"filter": {"local": ["echo-server"]}}}"#,
        &[("name echo-server", "no name"), ("name debian", &debian)],
    );
    came(
        &laptop,
        r#"{"dns": {"filter": {"remote": ["debian"]}}}"#,
        &[("name echo-server", "no name"), ("tcp debian 8080", "pod")],
    );
}

#[test]
fn tcp_and_udp_are_switched_apart() {
    let laptop = Laptop::new();
    let echo = service("echo-server");
    let (tcp, udp) = (format!("tcp {echo} 80"), format!("udp {echo} 7001"));
    came(&laptop, r#"{"outgoing": {"udp": false}}"#, &[(&tcp, "pod"), (&udp, "EHOSTUNREACH")]);
    came(&laptop, r#"{"outgoing": {"tcp": false}}"#, &[(&tcp, "EHOSTUNREACH"), (&udp, "pod")]);
}

#[test]
fn named_programs_and_build_tools_are_left_alone_but_not_what_they_start() {
    let laptop = Laptop::new();
    laptop.write("Makefile", "all:\n\t@curl -sS --max-time 10 -o /dev/null -w '%{http_code}' http://echo-server/\n");
    laptop.write(
        "all.sh",
        "cp $(command -v curl) ld; cp $(command -v curl) mine
ask() { $1 -sS --max-time 10 -o /dev/null -w '%{http_code}' http://echo-server/ 2>/dev/null; }
echo curl $(ask curl), ld $(ask ./ld), mine $(ask ./mine), make $(make)\n",
    );
    laptop.write(".mirror.json", r#"{"skip_processes": ["mine"]}"#);
    assert_eq!(laptop.exec("-q", "sh all.sh").success().stdout, "curl 200, ld 000, mine 000, make 200\n");
    laptop.write(".mirror.json", r#"{"skip_build_tools": false}"#);
    assert_eq!(laptop.exec("-q", "sh all.sh").success().stdout, "curl 200, ld 200, mine 200, make 200\n");
}

#[test]
fn the_programs_own_listener_is_reached_by_the_pods_address() {
    let laptop = Laptop::new();
    laptop.write(
        "own.py",
        "import os, socket
ends = []
for _ in range(40):
    server = socket.create_server(('', 0))
    there = (os.environ['POD_IP'], server.getsockname()[1])
    client = socket.create_connection(there, timeout=10)
    served, _ = server.accept()
    served.sendall(b'from here'); served.close()
    assert (client.recv(100), client.getpeername()) == (b'from here', there)
    server.close()
    try:
        socket.create_connection(there, timeout=10).close()
        ends.append('connected')
    except OSError as error:
        ends.append(type(error).__name__)
print({end: ends.count(end) for end in set(ends)})
",
    );
    let outcome = laptop.exec("-q -t deployment/echo-server", "/usr/bin/python3 own.py").success();
    assert_eq!(outcome.stdout, "{'ConnectionRefusedError': 40}\n");
}
