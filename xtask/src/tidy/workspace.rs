//! What the rules look at: the files of the repository, and what cargo says of its packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::source::Source;

/// Larger files are data that no rule is about.
const MAX_FILE: u64 = 1 << 20;

/// The whole repository, read once.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) files: Vec<File>,
    /// The packages of ours.
    pub(crate) members: Vec<Package>,
    /// Licences of the packages of others, by name.
    pub(crate) licences: BTreeMap<String, String>,
    /// What is linked into a package of ours, for those that a rule asks for.
    pub(crate) linked: BTreeMap<String, BTreeSet<String>>,
}

/// A text file under version control, or about to be.
pub(crate) struct File {
    /// Relative to the repository's folder.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Of Rust files.
    pub(crate) rust: Option<Source>,
}

/// A package of ours with what it names in its manifest, tests aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Dependencies that are ours.
    pub(crate) ours: BTreeSet<String>,
    /// All other dependencies.
    pub(crate) others: BTreeSet<String>,
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

impl File {
    /// Takes a file's text in.
    pub(crate) fn new(path: &str, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| Source::scan(&text));
        Self { path: path.to_owned(), text, rust }
    }
}

impl Workspace {
    /// Reads everything. `builds` names the packages whose whole build is wanted.
    pub(crate) fn read(builds: &[&str]) -> Result<Self> {
        let root = root();
        let metadata = metadata(&root)?;
        let (members, licences) = packages(&metadata);
        let mut linked = BTreeMap::new();
        for package in builds {
            linked.insert((*package).to_owned(), build_tree(&root, package)?);
        }
        Ok(Self { files: files(&root)?, members, licences, linked })
    }

    /// The Rust files with their code and comments.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|file| file.rust.as_ref().map(|source| (file, source)))
    }

    /// One file's text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// Whether there is a file or a folder of this name.
    pub(crate) fn has(&self, path: &str) -> bool {
        let below =
            |file: &File| file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        path.is_empty() || self.files.iter().any(below)
    }
}

/// Runs a program in the repository's folder and returns its output.
fn output(program: &str, root: &Path, arguments: &[&str]) -> Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).current_dir(root).output();
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} did not print text"))
}

fn files(root: &Path) -> Result<Vec<File>> {
    let listed = output("git", root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    let paths: BTreeSet<&str> = listed.split_terminator('\0').collect();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let full = root.join(path);
        // Deleted, a link to somewhere, or no text.
        let Ok(metadata) = fs::symlink_metadata(&full) else { continue };
        if metadata.is_file() && metadata.len() <= MAX_FILE {
            let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            files.extend(String::from_utf8(bytes).ok().map(|text| File::new(path, text)));
        }
    }
    Ok(files)
}

fn metadata(root: &Path) -> Result<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let json = output("cargo", root, &["metadata", "--format-version", "1", "--filter-platform", &platform])?;
    serde_json::from_str(&json).context("cargo metadata printed no JSON")
}

/// Our packages, and the licences of the others.
fn packages(metadata: &Value) -> (Vec<Package>, BTreeMap<String, String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = || metadata["packages"].as_array().into_iter().flatten();
    let is_ours = |package: &Value| package["source"].is_null();
    let members = all().filter(|package| is_ours(package)).map(|package| {
        let wanted = package["dependencies"].as_array().into_iter().flatten().filter(|it| it["kind"] != "dev");
        let (ours, others): (Vec<_>, Vec<_>) = wanted.partition(|dependency| is_ours(dependency));
        let names = |list: Vec<&Value>| list.into_iter().map(|dependency| text(&dependency["name"])).collect();
        Package { name: text(&package["name"]), ours: names(ours), others: names(others) }
    });
    let others = all().filter(|package| !is_ours(package));
    let licences = others.map(|package| (text(&package["name"]), text(&package["license"]))).collect();
    (members.collect(), licences)
}

/// Everything that is linked into a package, which leaves out what only runs in the compiler.
fn build_tree(root: &Path, package: &str) -> Result<BTreeSet<String>> {
    let edges = "normal,no-proc-macro";
    let arguments = ["tree", "--package", package, "--edges", edges, "--prefix", "none", "--format", "{p}"];
    let printed = output("cargo", root, &arguments)?;
    let names = printed.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != package);
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manifests_are_read_without_what_only_tests_need() {
        let metadata = json!({"packages": [
            {"name": "layer", "source": null, "license": "MIT", "dependencies": [
                {"name": "libc", "source": "registry", "kind": null},
                {"name": "protocol", "source": null, "kind": null},
                {"name": "cc", "source": "registry", "kind": "build"},
                {"name": "expect-test", "source": "registry", "kind": "dev"},
            ]},
            {"name": "libc", "source": "registry", "license": "MIT OR Apache-2.0", "dependencies": []},
        ]});
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let (members, licences) = packages(&metadata);
        let layer = Package { name: "layer".to_owned(), ours: set(&["protocol"]), others: set(&["cc", "libc"]) };
        assert_eq!(members, [layer]);
        assert_eq!(licences.into_iter().collect::<Vec<_>>(), [("libc".to_owned(), "MIT OR Apache-2.0".to_owned())]);
    }

    #[test]
    fn folders_count_as_there() {
        let workspace = Workspace { files: vec![File::new("docs/a.md", String::new())], ..Workspace::default() };
        for (path, expected) in [("docs/a.md", true), ("docs", true), ("doc", false), ("docs/b.md", false), ("", true)]
        {
            assert_eq!(workspace.has(path), expected, "{path}");
        }
    }
}
