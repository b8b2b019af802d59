//! The conformance program: compiled here, run in a pod and under `mirror exec`, with a third pod as its peer.
//!
//! The program (`tests/apps/conformance/`) prints one line per case. Both runs get the same addresses, so equal
//! behaviour gives equal lines; only the ports that they bind lie apart, since both end up in the same pod.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Cluster, Laptop, Running};

/// The program's sources in the order in which its cases are listed.
const SOURCES: [&str; 17] = [
    "connect.c",
    "destinations.c",
    "bind.c",
    "stream.c",
    "bytes.c",
    "udp.c",
    "datagrams.c",
    "six.c",
    "process.c",
    "signals.c",
    "names.c",
    "resolver.c",
    "files.c",
    "long.c",
    "tools.c",
    "serve.c",
    "main.c",
];

/// Where the program stands in pods, followed by what keeps runs apart.
const IN_POD: &str = "/tmp/conformance-";

/// An address of a Service's range that belongs to no Service: nodes drop what goes there.
const BLACK_HOLE: &str = "10.96.255.254";

/// An IPv6 address that the target's pod has on its loopback interface.
const SIX: &str = "fd00:6d69::1";

/// Ports that one run may bind, below those that kernels choose.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// How many of them one run uses.
const PORTS_PER_RUN: u32 = 400;

/// One line of the program's list.
#[derive(Debug, Clone)]
pub struct Case {
    /// `family.case`.
    pub name: String,
    /// What it is about.
    pub what: String,
}

/// What both runs printed for each case.
#[derive(Debug)]
pub struct Findings {
    /// All cases in their order; also those that were not run.
    pub cases: Vec<Case>,
    /// In the pod.
    pub pod: BTreeMap<String, String>,
    /// Under `mirror exec`.
    pub local: BTreeMap<String, String>,
    names: Vec<(String, &'static str)>,
}

/// A pod that runs the program, which is taken away when this is dropped.
struct Place {
    pod: String,
    container: &'static str,
    file: String,
    /// Whether the pod was made for the program.
    own: bool,
}

impl Place {
    /// Copies the program into a pod.
    fn install(pod: String, container: &'static str, program: &Path, mark: &str, own: bool) -> Self {
        let file = format!("{IN_POD}{mark}");
        let mut copy = Command::new(Cluster::shared().kubectl_path());
        let write = format!("cat > {file} && chmod 755 {file}");
        copy.args(["exec", "-i", &pod, "-c", container, "--", "sh", "-c", &write]);
        copy.stdin(File::open(program).expect("the compiled program"));
        let output = copy.output().expect("kubectl runs");
        assert!(output.status.success(), "{pod}: {}", String::from_utf8_lossy(&output.stderr));
        Self { pod, container, file, own }
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(Cluster::shared().kubectl_path());
        command.args(["exec", "-i", &self.pod, "-c", self.container, "--", &self.file]).args(arguments);
        command
    }

    /// Starts the program as the peer, until the returned value is dropped.
    fn serve(&self, parameters: &[String]) -> Running {
        let mut server = Running::start(self.command(&[&["serve".to_owned()], parameters].concat()));
        server.wait_for("ready");
        server
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let cluster = Cluster::shared();
        if self.own {
            cluster.try_kubectl(&["delete", "pod", &self.pod, "--wait=false", "--grace-period=1"]);
        } else {
            cluster.try_kubectl(&["exec", &self.pod, "-c", self.container, "--", "rm", "-f", &self.file]);
        }
    }
}

fn compile(laptop: &Laptop) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps/conformance");
    let program = laptop.home().join("conformance");
    let mut compile = Command::new("cc");
    compile.current_dir(folder).args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]);
    // The table of cases is a section, whose order must be that of the sources.
    compile.args(["-fno-toplevel-reorder", "-o"]).arg(&program).args(SOURCES).args(["-lanl", "-lresolv"]);
    let output = compile.output().expect("cc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// A pod of the same image as the target, which does nothing by itself.
fn peer_pod(laptop: &Laptop) -> String {
    let selector = laptop.selector();
    let label = selector.split_once('=').map(|(_, label)| label.to_owned()).expect("a label");
    let name = format!("conformance-{label}");
    let cluster = Cluster::shared();
    cluster.apply(&format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{mirror-test: {label}}}}}, spec: {{
            terminationGracePeriodSeconds: 1, activeDeadlineSeconds: 1800, restartPolicy: Never, containers: [{{
                name: peer, image: "mirror.test/debian:1", imagePullPolicy: IfNotPresent, command: [sleep, infinity],
                securityContext: {{privileged: true}}
            }}]
        }}}}"#
    ));
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    // Both runs look like one host to the peer, whose kernel tells a host of a few refusals a second at most.
    let unlimited = "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit";
    cluster.kubectl(&["exec", &name, "--", "sh", "-c", unlimited]);
    name
}

fn get(arguments: &[&str], path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    Cluster::shared().kubectl(&[&["get"], arguments, &["-o", &format]].concat())
}

/// What the program is told about the cluster: its parameter, the address, and what documents call it.
fn addresses(target: &str, peer: &str) -> Vec<(&'static str, String, &'static str)> {
    let pod = |name: &str| get(&["pod", name], ".status.podIP");
    let first = |label: &str| get(&["pod", "-l", label], ".items[0].status.podIP");
    let service = |name: &str, namespace: &str| get(&["service", name, "-n", namespace], ".spec.clusterIP");
    vec![
        ("pod", pod(target), "POD"),
        ("peer", pod(peer), "PEER"),
        ("echo", service("echo-server", "default"), "SERVICE"),
        ("echo-pod", first("app=echo-server"), "SERVICE-POD"),
        ("stateful", first("app=echo-stateful"), "STATEFUL-POD"),
        ("other", service("echo-server", "other"), "OTHER-SERVICE"),
        ("debian", service("debian", "default"), "OWN-SERVICE"),
        ("dns", service("kube-dns", "kube-system"), "DNS"),
        ("kubernetes", service("kubernetes", "default"), "API-SERVER"),
        ("outside", "172.30.0.1".to_owned(), "OUTSIDE"),
        ("six", SIX.to_owned(), "SIX"),
        ("hole", BLACK_HOLE.to_owned(), "HOLE"),
    ]
}

/// Runs all cases in a pod and under mirror at once; `long` adds those that take minutes.
pub fn run(laptop: &Laptop, target: &str, label: &str, container: &'static str, long: bool) -> Findings {
    let cluster = Cluster::shared();
    let program = compile(laptop);
    let mark = laptop.selector().replace(['=', '.'], "-");
    let target_pod = cluster.pod("default", label);
    let peer = Place::install(peer_pod(laptop), "peer", &program, &mark, true);
    let there = Place::install(target_pod.clone(), container, &program, &mark, false);
    let _servers = [peer.serve(&[]), there.serve(&[format!("six={SIX}")])];
    let addresses = addresses(&target_pod, &peer.pod);
    let arguments = |run: u32| {
        let first = PORTS.start + (std::process::id() * 2 + run) * PORTS_PER_RUN % (PORTS.end - PORTS.start);
        let mut all = vec!["run".to_owned(), format!("ports={first}")];
        all.extend(addresses.iter().map(|(parameter, address, _)| format!("{parameter}={address}")));
        all.extend(long.then(|| "long=yes".to_owned()));
        all
    };
    let mut in_pod = there.command(&arguments(0));
    let path = program.to_str().expect("a plain path").to_owned();
    let mut local = laptop.mirror(["exec", "-q", "-t", target, "--", &path]);
    local.args(arguments(1));
    let (pod, local) = std::thread::scope(|scope| {
        let in_pod = scope.spawn(|| in_pod.stdin(Stdio::null()).output().expect("kubectl runs"));
        let local = laptop.run(local).success();
        (in_pod.join().expect("kubectl"), local)
    });
    assert!(pod.status.success(), "in the pod: {}", String::from_utf8_lossy(&pod.stderr));
    let listed = Command::new(&program).arg("list").output().expect("the program runs");
    let mut names: Vec<_> = addresses.into_iter().map(|(_, address, name)| (address, name)).collect();
    let dashed: Vec<_> = names.iter().map(|(address, name)| (address.replace('.', "-"), *name)).collect();
    let reversed: Vec<_> = names.iter().map(|(address, name)| (reversed(address), *name)).collect();
    names.extend(dashed);
    names.extend(reversed);
    names.push((get(&["pod", &target_pod], ".status.podIPs[1].ip"), "POD-SIX"));
    names.push((target_pod, "POD-NAME"));
    Findings {
        cases: lines(&listed.stdout).map(|(name, what)| Case { name, what }).collect(),
        pod: lines(&pod.stdout).collect(),
        local: lines(local.stdout.as_bytes()).collect(),
        names,
    }
}

/// As reverse look-ups spell an IPv4 address.
fn reversed(address: &str) -> String {
    address.rsplit('.').collect::<Vec<_>>().join(".")
}

fn lines(printed: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(printed).into_owned();
    let pair = |line: &str| line.split_once(": ").map(|(name, text)| (name.to_owned(), text.to_owned()));
    text.lines().filter_map(pair).collect::<Vec<_>>().into_iter()
}

impl Findings {
    /// A result as documents show it, the same for every cluster: known addresses by name, contents without their
    /// lengths and sums.
    pub fn shown(&self, result: &str) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let mut shown = String::new();
        let mut rest = result;
        while let Some(c) = rest.chars().next() {
            let known = self.names.iter().find(|(text, _)| {
                let after = rest.strip_prefix(text.as_str());
                let starts = !shown.ends_with(is_word);
                starts && after.is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric()))
            });
            if let Some((text, name)) = known {
                shown.push_str(name);
                rest = &rest[text.len()..];
                // Columns are as wide as the address was long.
                let word = rest.trim_start_matches(' ');
                rest = if word.len() < rest.len() { &rest[rest.len() - word.len() - 1..] } else { rest };
            } else if c == '#' {
                shown.push_str("#…");
                rest = rest[1..].trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '-');
            } else {
                shown.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_shown_without_what_is_one_clusters() {
        let names =
            [("10.244.1.1", "PEER"), ("10.244.1.14", "POD"), ("10-244-1-14", "POD"), ("debian-abc", "POD-NAME")];
        let names = names.map(|(text, name)| (text.to_owned(), name)).to_vec();
        let findings = Findings { cases: Vec::new(), pod: BTreeMap::new(), local: BTreeMap::new(), names };
        for (result, expected) in [
            ("local 10.244.1.14:port", "local POD:port"),
            ("peer [::ffff:10.244.1.1]:80", "peer [::ffff:PEER]:80"),
            ("10.244.1.145:0 and 110.244.1.1", "10.244.1.145:0 and 110.244.1.1"),
            ("10-244-1-14.default.pod", "POD.default.pod"),
            ("10.244.1.1      name", "PEER name"),
            ("open #219-2a640ed1ae2eeda2; debian-abc", "open #…; POD-NAME"),
        ] {
            assert_eq!(findings.shown(result), expected, "{result}");
        }
    }
}
