//! Every call that reads, with every kind of path: thousands of cases, compared line by line with the pod.
//!
//! [`DIFFERENCES`] has what stays different, with the reason. `docs/conformance-files.md` shows both; with `UPDATE=1`
//! this test writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Cluster, Laptop};

use super::{Pod, apps, laptop, printed};

/// Cases that differ for one reason: pairs of a call and a path, of which `*` stands for all.
struct Difference {
    cases: &'static [(&'static str, &'static str)],
    why: &'static str,
}

/// A case that is not here must be equal, and of each pair that is here one case must differ.
const DIFFERENCES: &[Difference] = &[
    Difference {
        cases: &[("open_exclusive", "/data/tree/none"), ("open_exclusive", "/app/none")],
        why: "`EROFS` where the pod's user may not make a file: the rule says that files can only be read, as a file system that is mounted so does",
    },
    Difference {
        cases: &[
            ("open_exclusive", "/data/."),
            ("open_exclusive", "/data/tree/plain.txt/."),
            ("open_exclusive", "/data/tree/sub/.."),
        ],
        why: "`EISDIR` for a file to be made at a path that ends with `.` or `..`, which are taken out of paths first",
    },
    Difference {
        cases: &[("openat_below", "/app/*")],
        why: "no pattern names the folder `/app` itself, so it is this machine's, which has none",
    },
    Difference {
        cases: &[("glob", "/data/odd/*")],
        why: "the pod's `/proc` and `/sys`, to which a link leads, are not shown as folders: they are of its kernel's processes",
    },
    Difference {
        cases: &[("getxattr", "/data/private/*"), ("getxattr", "/app/secret/password")],
        why: "`ENODATA` instead of `EACCES` for attributes of a file that may not be read: files of the pod show none",
    },
];

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(front) => text.starts_with(front),
        None => pattern == text,
    }
}

fn expected(call: &str, path: &str) -> Option<&'static Difference> {
    let is_it = |pair: &&(&str, &str)| matches(pair.0, call) && matches(pair.1, path);
    DIFFERENCES.iter().find(|difference| difference.cases.iter().any(|pair| is_it(&pair)))
}

fn compile(laptop: &Laptop) -> PathBuf {
    let program = laptop.home().join("calls");
    let mut compile = Command::new("cc");
    compile.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(apps().join("calls.c"));
    let output = compile.output().expect("cc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn install(pod: &Pod, program: &Path) {
    let mut copy = Command::new(Cluster::shared().kubectl_path());
    copy.args(["exec", "-i", &pod.name, "-c", "app", "--", "sh", "-c", "cat > /tmp/calls && chmod 755 /tmp/calls"]);
    let output = copy.stdin(File::open(program).expect("the program")).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What was seen, by call and path.
fn cases(printed: &str) -> Vec<(&str, &str, &str)> {
    let parts = |line| {
        let (case, seen) = str::split_once(line, ": ")?;
        let (call, path) = case.split_once(' ')?;
        Some((call, path, seen.trim_end()))
    };
    printed.lines().map(|line| parts(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

#[test]
fn every_call_that_reads_sees_what_it_would_see_in_the_pod() {
    let (pod, laptop) = (Pod::make("files-calls"), laptop());
    let program = compile(&laptop);
    install(&pod, &program);
    let (there, here) = std::thread::scope(|scope| {
        let there = scope.spawn(|| pod.run(&["sh", "-c", "cd / && /tmp/calls 2>/dev/null"]));
        let command = format!("cd / && {} 2>/dev/null", program.display());
        let here = printed(&laptop, &pod, &["sh", "-c", &command]);
        (there.join().expect("kubectl"), here)
    });
    let (there, here) = (cases(&there), cases(&here));
    assert_eq!(there.len(), here.len());
    let mut problems = String::new();
    let mut differs: BTreeMap<&str, usize> = BTreeMap::new();
    for ((call, path, in_pod), (_, _, local)) in there.iter().zip(&here) {
        let equal = in_pod == local;
        match expected(call, path) {
            None if !equal => writeln!(problems, "{call} {path}\n  pod   {in_pod}\n  local {local}").expect("text"),
            Some(difference) if !equal => *differs.entry(difference.why).or_default() += 1,
            _ => {}
        }
    }
    for difference in DIFFERENCES.iter().filter(|difference| !differs.contains_key(difference.why)) {
        writeln!(problems, "nothing differs any more: {}", difference.why).expect("text");
    }
    assert!(problems.is_empty(), "{problems}");
    compare(&document(&there, &differs));
}

fn compare(text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance-files.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).expect("written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, text, "{} is not up to date: UPDATE=1 writes it", file.display());
}

fn document(cases: &[(&str, &str, &str)], differs: &BTreeMap<&str, usize>) -> String {
    let mut text = format!(
        "# Conformance: files\n\nWhat a C program sees of files in a pod, and of the same files under `mirror exec`: the \
         end-to-end test\n`files::calls` calls each function with each path in both places and compares results, errors, \
         contents and metadata\n(but inode, device, change time, owner, and sizes of directories); with `UPDATE=1` it writes \
         this file.\n\n{} cases; {} differ, for the reasons below.\n",
        cases.len(),
        differs.values().sum::<usize>()
    );
    text.push_str("\n## Differences that stay\n\n| what | cases |\n|---|---|\n");
    for difference in DIFFERENCES {
        let count = differs.get(difference.why).copied().unwrap_or_default();
        writeln!(text, "| {} | {count} |", difference.why).expect("text");
    }
    let unique = |pick: fn(&(&str, &str, &str)) -> String| {
        let mut seen: Vec<String> = Vec::new();
        for case in cases {
            let one = pick(case);
            if !seen.contains(&one) {
                seen.push(one);
            }
        }
        seen
    };
    text.push_str("\n## Calls\n\nWith what they are asked beside the path; `tests/apps/files/calls.c` has each.\n\n");
    writeln!(text, "`{}`", unique(|case| case.0.to_owned()).join("`,\n`")).expect("text");
    text.push_str("\n## Paths\n\n");
    for path in unique(|case| case.1.replace('|', "\\|")) {
        writeln!(text, "- `{path}`").expect("text");
    }
    text
}
