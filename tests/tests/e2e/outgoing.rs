//! A user's program reaches services of the cluster by name, from the pod; what fails there fails the same here.

use tests::{Cluster, Laptop};

/// Every program asks the same and must be shown as coming from a pod.
#[track_caller]
fn asks(laptop: &Laptop, program: &str) {
    let outcome = laptop.exec("-q -t deployment/echo-server", program).success();
    assert!(outcome.stdout.contains("/hello"), "{}\n{}", outcome.stdout, outcome.stderr);
    let own = Cluster::shared().kubectl(&[
        "get",
        "pods",
        "-l",
        "app=echo-server",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ]);
    assert!(own.split_whitespace().any(|pod| outcome.stdout.contains(pod)), "{}", outcome.stdout);
}

#[test]
fn curl_and_wget() {
    let laptop = Laptop::new();
    asks(&laptop, "curl --silent --show-error --max-time 10 http://echo-server/hello");
    asks(&laptop, "wget --quiet --timeout=10 --tries=1 -O - http://echo-server/hello");
}

#[test]
fn python() {
    let laptop = Laptop::new();
    laptop.write("ask.py", "import urllib.request\nprint(urllib.request.urlopen('http://echo-server/hello', timeout=10).read().decode())\n");
    asks(&laptop, "/usr/bin/python3 ask.py");
}

#[test]
fn node() {
    let laptop = Laptop::new();
    laptop.write("ask.js", "require('http').get('http://echo-server/hello', answer => answer.pipe(process.stdout)).on('error', error => { console.error(error); process.exit(1) })\n");
    asks(&laptop, "node ask.js");
}

#[test]
fn java() {
    let laptop = Laptop::new();
    laptop.write(
        "Ask.java",
        "import java.net.*; class Ask { public static void main(String[] a) throws Exception {
            HttpURLConnection connection = (HttpURLConnection) new URL(\"http://echo-server/hello\").openConnection();
            connection.setConnectTimeout(10000);
            connection.getInputStream().transferTo(System.out);
        } }\n",
    );
    asks(&laptop, "java Ask.java");
}

#[test]
fn netcat() {
    let laptop = Laptop::new();
    let outcome = laptop.exec("-q", "nc -w 10 echo-server 7002").success();
    assert!(!outcome.stdout.is_empty(), "the server speaks first");
}

fn compiled(laptop: &Laptop) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/apps/connect.c");
    laptop.write("connect.c", &std::fs::read_to_string(source).expect("the program's source"));
    let mut compile = laptop.command("cc");
    compile.args(["-Wall", "-Werror", "-o", "connect", "connect.c"]);
    laptop.run(compile).success();
}

#[test]
fn blocking_and_non_blocking_connects_tell_success_and_the_pods_addresses() {
    let laptop = Laptop::new();
    compiled(&laptop);
    let service = Cluster::shared().kubectl(&["get", "service", "echo-server", "-o", "jsonpath={.spec.clusterIP}"]);
    for how in ["block", "poll", "select", "epoll", "timeout"] {
        let outcome = laptop.exec("-q", &format!("./connect {how} echo-server 80")).success();
        assert!(outcome.stdout.starts_with("connect ok\nlocal 10.244."), "{how}: {}", outcome.stdout);
        assert!(outcome.stdout.contains(&format!("peer {service} 80")), "{how}: {}", outcome.stdout);
    }
}

#[test]
fn a_refusal_and_an_unreachable_address_are_told_truly() {
    let laptop = Laptop::new();
    compiled(&laptop);
    // Without a wait, a connect that does not block is told of every failure late.
    for wait in ["50ms", "0s"] {
        laptop.write(
            ".mirror.json",
            &format!(r#"{{"feature": {{"network": {{"outgoing": {{"connect_wait": "{wait}"}}}}}}}}"#),
        );
        for how in ["block", "poll", "select", "epoll"] {
            let refused = laptop.exec("-q", &format!("./connect {how} echo-server.default 81")).exited(1);
            assert_eq!(refused.stdout, "connect ECONNREFUSED\n", "{how}, {wait}");
            // A broadcast-like address that no route leads to.
            let unreachable = laptop.exec("-q", &format!("./connect {how} 240.0.0.1 80")).exited(1);
            assert!(unreachable.stdout.contains("UNREACH"), "{how}, {wait}: {}", unreachable.stdout);
        }
    }
}

#[test]
fn a_connection_that_nobody_answers_waits_as_long_as_the_caller_wants() {
    let laptop = Laptop::new();
    compiled(&laptop);
    // A service address that belongs to no service: the node drops what goes there.
    let limited = laptop.exec("-q", "./connect timeout 10.96.255.254 80").exited(1);
    assert_eq!(limited.stdout, "connect EINPROGRESS\n", "what connect(2) says when SO_SNDTIMEO is over");
    if std::env::var_os("MIRROR_TEST_LONG").is_some() {
        // The pod's kernel gives up after six repetitions of the SYN: 127 s.
        let endless = laptop.exec("-q", "./connect block 10.96.255.254 80").exited(1);
        assert_eq!(endless.stdout, "connect ETIMEDOUT\n");
    }
}

#[test]
fn names_that_are_not_there_are_not_there() {
    let laptop = Laptop::new();
    compiled(&laptop);
    // What a pod itself answers: the cluster's zone is known not to have the name; beyond it no server answers.
    for (name, expected) in [
        ("no-such-service.default.svc.cluster.local", "Name or service not known"),
        ("no-such-service", "Temporary failure in name resolution"),
    ] {
        let ask = format!(
            "import socket\ntry: socket.getaddrinfo('{name}', 80)\nexcept OSError as error: print(error.strerror)"
        );
        let in_pod = Cluster::shared().kubectl(&["exec", "deploy/debian", "-c", "python", "--", "python3", "-c", &ask]);
        assert_eq!(in_pod.trim(), expected);
        let outcome = laptop.exec("-q", &format!("./connect block {name} 80")).exited(1);
        assert_eq!(outcome.stdout, format!("getaddrinfo {expected}\n"));
    }
    let other = laptop.exec("-q", "./connect block echo-server.other 80");
    assert!(other.stdout.starts_with("connect "), "{}", other.stdout);
}

#[test]
fn loopback_stays_on_this_machine() {
    let laptop = Laptop::new();
    laptop.write(
        "loop.py",
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nclient = socket.create_connection(server.getsockname())\nprint(client.getpeername() == server.getsockname())\n",
    );
    assert_eq!(laptop.exec("-q", "/usr/bin/python3 loop.py").success().stdout, "True\n");
}

#[test]
fn switched_off_means_local() {
    let laptop = Laptop::new();
    laptop.write(".mirror.json", r#"{"feature": {"network": {"dns": false, "outgoing": false}}}"#);
    let outcome = laptop.exec("", "getent hosts echo-server");
    assert!(!outcome.status.success(), "the laptop does not know the name: {}", outcome.stdout);
    assert!(outcome.stderr.contains("dns: local"), "{}", outcome.stderr);
}

#[test]
fn thousands_of_connections_from_many_threads() {
    let laptop = Laptop::new();
    laptop.write(
        "many.py",
        "import concurrent.futures, http.client
def ask(number):
    connection = http.client.HTTPConnection('echo-server', timeout=30)
    connection.request('GET', '/status/204?%d' % number)
    return connection.getresponse().status
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(sum(status == 204 for status in pool.map(ask, range(2000))))
",
    );
    assert_eq!(laptop.exec("-q", "/usr/bin/python3 many.py").success().stdout, "2000\n");
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let laptop = Laptop::new();
    let outcome = laptop
        .exec("-q", "curl -sS --max-time 60 http://echo-server/bytes/50000000 -o body -w %{size_download}")
        .success();
    assert_eq!(outcome.stdout, "50000000");
}

/// A Service with an address of IPv6 only, until it is dropped.
struct ServiceSix(String);

impl ServiceSix {
    fn of(laptop: &Laptop, app: &str) -> Self {
        let name = laptop.selector().replace("mirror-test=", "six-");
        Cluster::shared().apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{
                ipFamilies: [IPv6], ipFamilyPolicy: SingleStack, selector: {{app: {app}}}, ports: [{{port: 80}}]}}}}"
        ));
        Self(name)
    }
}

impl Drop for ServiceSix {
    fn drop(&mut self) {
        Cluster::shared().try_kubectl(&["delete", "service", &self.0, "--wait=false"]);
    }
}

#[test]
fn pods_and_services_are_reached_over_ipv6() {
    let laptop = Laptop::new();
    let service = ServiceSix::of(&laptop, "echo-server");
    let six = "jsonpath={.items[0].status.podIPs[1].ip}";
    let of = |app: &str| Cluster::shared().kubectl(&["get", "pod", "-l", &format!("app={app}"), "-o", six]);
    let (own, there) = (of("debian"), of("echo-server"));
    for host in [format!("[{there}]"), service.0.clone()] {
        let curl = format!("curl -sS -g -m 10 --retry 5 --retry-connrefused http://{host}/hello");
        let outcome = laptop.exec("-q -t deployment/debian", &curl).success();
        assert!(outcome.stdout.contains(&format!("\"peer\": \"[{own}]:")), "{host}: {}", outcome.stdout);
    }
}
