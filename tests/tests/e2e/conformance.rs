//! A program behaves under `mirror exec` as it does in the pod: hundreds of cases, compared line by line.
//!
//! [`DIFFERENCES`] has what stays different, with the reason. `docs/conformance.md` shows all results; with
//! `UPDATE=1` this test writes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tests::Laptop;
use tests::conformance::{self, Findings};

/// Cases that differ for one reason.
struct Difference {
    cases: &'static [&'static str],
    why: &'static str,
}

/// What stays different. A case that is not here must be equal, and one that is here must differ.
const DIFFERENCES: &[Difference] = &[];

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
    let laptop = Laptop::new();
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
fn reason(case: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|difference| difference.cases.contains(&case)).map(|difference| difference.why)
}

fn is_long(case: &str) -> bool {
    case.starts_with("long.")
}

/// Cases that were not run, differ unexpectedly, or no longer differ.
fn problems(findings: &Findings, long: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for case in findings.cases.iter().filter(|case| long || !is_long(&case.name)) {
        let name = case.name.as_str();
        match (findings.pod.get(name), findings.local.get(name), reason(name)) {
            (Some(pod), Some(local), None) if pod != local => {
                problems.push(format!("{name}\n  pod   {pod}\n  local {local}"))
            }
            (Some(pod), Some(local), Some(_)) if pod == local => {
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
    let differing = findings.cases.iter().filter(|case| reason(&case.name).is_some()).count();
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
            let (pod, local) = (findings.pod.get(*case), findings.local.get(*case));
            let cells = (cell(findings, pod), cell(findings, local));
            writeln!(text, "| `{case}` | {} | {} |", cells.0, cells.1).expect("text");
        }
    }
    for (family, heading) in FAMILIES {
        write!(text, "\n## {heading}\n\n| case | what | seen |\n|---|---|---|\n").expect("text");
        let prefix = format!("{family}.");
        for case in findings.cases.iter().filter(|case| case.name.starts_with(&prefix)) {
            let seen = match reason(&case.name) {
                Some(_) => "differs, see above".to_owned(),
                None if is_long(&case.name) => "with `MIRROR_TEST_LONG`".to_owned(),
                None => cell(findings, findings.pod.get(&case.name)),
            };
            writeln!(text, "| `{}` | {} | {seen} |", case.name, case.what).expect("text");
        }
    }
    text
}
