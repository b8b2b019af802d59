//! Random operations on files of the pod end as they do in the pod.
//!
//! `MIRROR_TEST_SEED` makes the same choices again. A failure is shrunk to few operations.

use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Cluster, Laptop, Random};

use super::{Pod, laptop, mirrored};

const COUNT: usize = 20_000;

/// How often a failing list is tried with less in it.
const SHRINKS: usize = 40;

/// Places of descriptors.
const PLACES: usize = 6;

/// One kind of operation, whose counterpart is in `tests/apps/files/operations.py`.
struct Kind {
    name: &'static str,
    /// How often it is chosen.
    weight: usize,
    arguments: fn(&mut Random) -> Value,
}

const fn kind(name: &'static str, weight: usize, arguments: fn(&mut Random) -> Value) -> Kind {
    Kind { name, weight, arguments }
}

const KINDS: &[Kind] = &[
    kind("open", 12, |random| json!([place(random), path(random), flags(random)])),
    kind("open_below", 4, |random| json!([place(random), place(random), below(random)])),
    kind("close", 4, |random| json!([place(random)])),
    kind("dup", 2, |random| json!([place(random), place(random)])),
    kind("read", 8, |random| json!([place(random), size(random)])),
    kind("pread", 4, |random| json!([place(random), size(random), size(random)])),
    kind("seek", 4, |random| json!([place(random), size(random), random.below(3)])),
    kind("fstat", 4, |random| json!([place(random)])),
    kind("map", 2, |random| json!([place(random)])),
    kind("list_place", 2, |random| json!([place(random)])),
    kind("whole", 6, |random| json!([path(random)])),
    kind("stat", 8, |random| json!([path(random)])),
    kind("lstat", 8, |random| json!([path(random)])),
    kind("stat_below", 4, |random| json!([place(random), below(random)])),
    kind("access", 5, |random| json!([path(random), random.choose(&[0, 1, 4, 5])])),
    kind("readlink", 5, |random| json!([path(random)])),
    kind("realpath", 3, |random| json!([path(random)])),
    kind("list", 4, |random| json!([path(random)])),
    kind("scan", 3, |random| json!([path(random)])),
    kind("walk", 1, |random| json!([random.choose(&["/data/tree/sub", "/data/swap", "/app/config", "/data/tree"])])),
    kind("chdir", 3, |random| json!([random.choose(FOLDERS)])),
    kind("getcwd", 2, |_| json!([])),
    kind("whose", 3, |random| json!([place(random)])),
];

/// Folders that are entered: from none of them does one `..` lead to what is this machine's.
const FOLDERS: &[&str] =
    &["/data/tree", "/data/tree/sub", "/data/tree/folder", "/data/tree/many", "/data/odd", "/data/swap", "/app/config"];

const NAMES: &[&str] = &[
    "plain.txt",
    "data.json",
    "big.bin",
    "script.sh",
    "link.txt",
    "absolute.txt",
    "broken",
    "loop",
    "folder",
    "sub",
    "sub/one.txt",
    "folder/one.txt",
    "folder/empty",
    "sub/module.py",
    "sub/empty",
    "many",
    "many/7",
    "many/none",
    "none",
    "none/none",
    "plain.txt/x",
    "a b",
    "new\nline",
    "-rf",
    "*",
    "ünï",
    "out",
    "absolute",
    "root/data/tree/plain.txt",
    "up/data/tree/sub",
    "key",
    "..data",
    "..data/key",
    "settings.yaml",
    ".",
    "",
];

const TOPS: &[&str] =
    &["/data/tree", "/data/tree", "/data/odd", "/data/swap", "/app/config", "/data/private", "/app/secret"];

fn place(random: &mut Random) -> usize {
    random.below(PLACES)
}

fn size(random: &mut Random) -> usize {
    random.choose(&[0, 1, 5, 100, 4096, 70_000, 3_000_000])
}

fn flags(random: &mut Random) -> &'static str {
    random.choose(&["O_RDONLY", "O_RDONLY", "O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_PATH", "O_NONBLOCK"])
}

fn below(random: &mut Random) -> String {
    let name = random.choose(NAMES).to_owned();
    // A slash alone would be this machine's root.
    if !name.is_empty() && random.below(8) == 0 { name + "/" } else { name }
}

fn path(random: &mut Random) -> String {
    let name = below(random);
    match random.below(6) {
        0 => name,
        1 => format!("./{name}"),
        2 => format!("{}//./{name}", random.choose(TOPS)),
        _ => format!("{}/{name}", random.choose(TOPS)),
    }
}

fn operations(random: &mut Random, count: usize) -> Vec<Value> {
    let total: usize = KINDS.iter().map(|kind| kind.weight).sum();
    let one = |random: &mut Random| {
        let mut at = random.below(total);
        let found = KINDS.iter().find(|kind| {
            let is_it = at < kind.weight;
            at = at.saturating_sub(kind.weight);
            is_it
        });
        let kind = found.expect("a kind");
        let mut operation = vec![json!(kind.name)];
        operation.extend((kind.arguments)(random).as_array().expect("a list").iter().cloned());
        Value::from(operation)
    };
    // Nothing is relative to where the program was started.
    let first = json!(["chdir", "/data/tree"]);
    std::iter::once(first).chain((0..count).map(|_| one(random))).collect()
}

/// Where both programs are.
struct Places<'a> {
    pod: &'a Pod,
    laptop: &'a Laptop,
    there: String,
    here: String,
}

impl Places<'_> {
    fn run(mut command: Command, operations: &[Value]) -> Vec<String> {
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut running = command.spawn().expect("starts");
        let lines: String = operations.iter().map(|operation| format!("{operation}\n")).collect();
        let mut input = running.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = running.wait_with_output().expect("ends");
        writer.join().expect("no panic").ok();
        assert!(output.status.success(), "{:?}", output.status);
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
    }

    /// The first operation that ends differently, with both results.
    fn difference(&self, operations: &[Value]) -> Option<(usize, String, String)> {
        let mut in_pod = Command::new(Cluster::shared().kubectl_path());
        in_pod.args(["exec", "-i", &self.pod.name, "-c", "app", "--", "/usr/bin/python3", &self.there]);
        let through = mirrored(self.laptop, self.pod, &["/usr/bin/python3", &self.here]);
        let (there, here) = std::thread::scope(|scope| {
            let there = scope.spawn(|| Self::run(in_pod, operations));
            let here = Self::run(through, operations);
            (there.join().expect("kubectl"), here)
        });
        assert_eq!(there.len(), operations.len());
        let at = there.iter().zip(&here).position(|(there, here)| there != here);
        at.map(|at| (at, there[at].clone(), here[at].clone()))
            .or((here.len() != there.len()).then(|| (here.len(), "more".to_owned(), "no more".to_owned())))
    }

    /// Leaves out what is not needed for a difference.
    fn shrink(&self, mut operations: Vec<Value>) -> Vec<Value> {
        let mut piece = operations.len() / 2;
        let (mut from, mut tries) = (1, 0);
        while piece > 0 && tries < SHRINKS {
            let end = (from + piece).min(operations.len().saturating_sub(1));
            if from >= end {
                (from, piece) = (1, piece / 2);
                continue;
            }
            let fewer: Vec<Value> = operations[..from].iter().chain(&operations[end..]).cloned().collect();
            tries += 1;
            match self.difference(&fewer) {
                Some((at, ..)) => operations = fewer.into_iter().take(at + 1).collect(),
                None => from += piece,
            }
        }
        operations
    }
}

#[test]
fn random_operations_end_as_in_the_pod() {
    let (pod, laptop, mut random) = (Pod::make("files-random"), laptop(), Random::new());
    let here = laptop.bring("files/operations.py").to_str().expect("a plain path").to_owned();
    let places = Places { pod: &pod, laptop: &laptop, there: pod.bring("operations.py"), here };
    let mut all = operations(&mut random, COUNT);
    let Some((at, ..)) = places.difference(&all) else { return };
    all.truncate(at + 1);
    let shrunk = places.shrink(all);
    let lines: String = shrunk.iter().map(|operation| format!("{operation}\n")).collect();
    let difference = places.difference(&shrunk);
    panic!("MIRROR_TEST_SEED={}: {difference:?} (in the pod, through mirror) after\n{lines}", random.seed());
}
