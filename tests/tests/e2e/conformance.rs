//! A program behaves under `mirror exec` as it does in the pod: hundreds of cases, compared line by line.
//!
//! [`DIFFERENCES`] has what stays different, with the reason. `docs/conformance.md` shows all results; with
//! `UPDATE=1` this test writes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tests::conformance::{self, Findings};
use tests::{Laptop, Turn};

/// Cases that differ for one reason.
struct Difference {
    cases: &'static [&'static str],
    why: &'static str,
    /// Whether what is seen under mirror depends on how fast it is.
    varies: bool,
}

const fn always(cases: &'static [&'static str], why: &'static str) -> Difference {
    Difference { cases, why, varies: false }
}

const fn varying(cases: &'static [&'static str], why: &'static str) -> Difference {
    Difference { cases, why, varies: true }
}

/// What stays different. A case that is not here must be equal, and one that is here must differ.
const DIFFERENCES: &[Difference] = &[
    always(
        &["connect.shut_down_meanwhile"],
        "A blocking `connect` waits for the session, not in the socket: another thread's `shutdown` does not wake it",
    ),
    always(&["connect.mptcp"], "Multipath sockets stay local: only TCP and UDP are carried"),
    varying(
        &["connect.six_nonblocking"],
        "That there is no route is known only after `outgoing.connect_wait` where the answer takes longer, and then `SO_ERROR` \
         tells of it",
    ),
    always(&["connect.bound_to_interface"], "Sockets bound to an interface are meant for what lies behind it here"),
    always(&["bind.low_port", "udp.ping"], "The pod's kernel settings allow what this machine's do not"),
    always(
        &["option.path", "udp.dont_fragment"],
        "The socket's own way is loopback, whose packets are large: programs cannot find out the path's MTU",
    ),
    always(
        &["stream.urgent_received", "stream.urgent_inline"],
        "Urgent data is left out, as by a program that does not ask for it",
    ),
    always(&["udp.error_queue"], "Refusals reach connected sockets only, not the error queue of others (`IP_RECVERR`)"),
    always(&["udp.packet_info"], "The datagram's own way ends at loopback"),
    always(&["udp.disconnect"], "The port that the socket has been given for the relay stays after the connection"),
    always(
        &["process.descriptors_exhausted", "process.descriptors_exhausted_refused"],
        "Asking the session takes a descriptor for a moment",
    ),
    always(&["identity.proc"], "Files other than the four are this machine's"),
    always(&["identity.interfaces"], "Interfaces are this machine's"),
];

/// The families of cases, each with its heading.
const FAMILIES: &[(&str, &str)] = &[
    ("connect", "TCP: connecting"),
    ("bind", "TCP: binding first"),
    ("fastopen", "TCP: data with the first packet"),
    ("names", "TCP: names of a socket's ends"),
    ("form", "TCP: other forms of the calls"),
    ("option", "TCP: options"),
    ("stream", "TCP: what travels, and ends"),
    ("udp", "UDP"),
    ("six", "IPv6"),
    ("process", "Processes, descriptors and threads"),
    ("signal", "Signals"),
    ("lookup", "Names: `getaddrinfo`"),
    ("nameinfo", "Names: `getnameinfo`"),
    ("hostent", "Names: `gethostbyname` and its kin"),
    ("resolver", "Names: the resolver's functions"),
    ("file", "Files by which names are resolved"),
    ("identity", "Who the host is"),
    ("environment", "Environment"),
    ("unix", "Unix sockets"),
    ("long", "Cases that take minutes"),
];

#[test]
fn a_program_sees_what_it_would_see_in_the_pod() {
    // Alone: events that are looked at after a while must not depend on what else is running.
    let turn = Turn::alone();
    let laptop = Laptop::during(&turn);
    let long = std::env::var_os("MIRROR_TEST_LONG").is_some();
    let findings = conformance::run(&laptop, "deployment/debian/container/python", "app=debian", "python", long);
    let problems = problems(&findings, long);
    let (file, text) = (document_path(), document(&findings));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).expect("written");
    } else {
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        let stale = first_change(&written, &text);
        assert!(problems.is_empty(), "{}", problems.join("\n\n"));
        assert!(stale.is_none(), "{}: {}", file.display(), stale.unwrap_or_default());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

fn document_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md")
}

/// Why a case may differ.
fn expected(case: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| difference.cases.contains(&case))
}

fn is_long(case: &str) -> bool {
    case.starts_with("long.")
}

/// Cases that were not run, differ unexpectedly, or no longer differ.
fn problems(findings: &Findings, long: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for case in findings.cases.iter().filter(|case| long || !is_long(&case.name)) {
        let name = case.name.as_str();
        match (findings.pod.get(name), findings.local.get(name), expected(name)) {
            (Some(pod), Some(local), None) if pod != local => {
                problems.push(format!("{name}\n  pod   {pod}\n  local {local}"))
            }
            (Some(pod), Some(local), Some(difference)) if pod == local && !difference.varies => {
                problems.push(format!("{name} differs no more: {pod}"))
            }
            (Some(_), Some(_), _) => {}
            (pod, local, _) => problems.push(format!("{name} did not end: pod {pod:?}, local {local:?}")),
        }
    }
    let known = |case: &str| findings.cases.iter().any(|known| known.name == case);
    let listed = DIFFERENCES.iter().flat_map(|difference| difference.cases);
    problems.extend(listed.filter(|case| !known(case)).map(|case| format!("{case} is listed but is no case")));
    problems
}

/// The first line in which two texts differ.
fn first_change(written: &str, text: &str) -> Option<String> {
    if written == text {
        return None;
    }
    let line = text.lines().find(|line| !written.lines().any(|other| other == *line)).unwrap_or("a line is gone");
    Some(format!("is not up to date (UPDATE=1 writes it): {line}"))
}

/// A result as a cell of a table.
fn cell(findings: &Findings, result: Option<&String>) -> String {
    let shown = result.map(|result| findings.shown(result)).unwrap_or_default();
    if shown.is_empty() { "–".to_owned() } else { format!("`{}`", shown.replace('|', "\\|").replace('`', "'")) }
}

fn document(findings: &Findings) -> String {
    let differing = findings.cases.iter().filter(|case| expected(&case.name).is_some()).count();
    let mut text = format!(
        "# Conformance\n\nWhat a C program sees in a pod and under `mirror exec`. The end-to-end test `conformance` runs each \
         case of\n`tests/apps/conformance/` in both places and compares the lines; with `UPDATE=1` it writes this \
         file.\n\n{} cases; {differing} differ, for the reasons below.\n\nAddresses have names here: POD is the target, \
         PEER a pod that serves, SERVICE a Service (SERVICE-POD its pod), OUTSIDE an\naddress beyond the cluster, HOLE one \
         that never answers. A `port` is one that a kernel chose, `own+1` one that the program\nasked for. `#…` stands for \
         a content.\n",
        findings.cases.len()
    );
    text.push_str("\n## Differences that stay\n");
    for difference in DIFFERENCES {
        write!(text, "\n**{}**\n\n| case | in the pod | under mirror |\n|---|---|---|\n", difference.why)
            .expect("text");
        for case in difference.cases {
            let pod = cell(findings, findings.pod.get(*case));
            let local = if difference.varies { "varies".to_owned() } else { cell(findings, findings.local.get(*case)) };
            writeln!(text, "| `{case}` | {pod} | {local} |").expect("text");
        }
    }
    for (family, heading) in FAMILIES {
        write!(text, "\n## {heading}\n\n| case | what | seen |\n|---|---|---|\n").expect("text");
        let prefix = format!("{family}.");
        for case in findings.cases.iter().filter(|case| case.name.starts_with(&prefix)) {
            let seen = match expected(&case.name) {
                Some(_) => "differs, see above".to_owned(),
                None if is_long(&case.name) => "with `MIRROR_TEST_LONG`".to_owned(),
                None => cell(findings, findings.pod.get(&case.name)),
            };
            writeln!(text, "| `{}` | {} | {seen} |", case.name, case.what).expect("text");
        }
    }
    text
}
