//! `cargo xtask tidy`: the rules of this repository that neither the compiler nor clippy knows. Fast: it
//! reads texts and manifests and compiles nothing.
//!
//! A new rule is one row of [`RULES`], one small function in `rules`, and one test there with a good and a
//! bad example.

mod rules;
mod source;
mod workspace;

use std::fmt;
use std::time::Instant;

use anyhow::{Result, bail};

use workspace::Workspace;
pub(crate) use workspace::root;

/// One thing that is always true of this repository.
struct Rule {
    name: &'static str,
    /// What holds.
    says: &'static str,
    check: fn(&Workspace, &mut Findings),
}

const RULES: &[Rule] = &[
    Rule { name: "purpose", says: "every Rust file opens with what it is for", check: rules::files::purpose },
    Rule { name: "names", says: "no file is named for not having a subject", check: rules::files::names },
    Rule { name: "sizes", says: "files and functions are short", check: rules::sizes::check },
    Rule {
        name: "unsafe",
        says: "unsafe code stands in few files and gives its reasons",
        check: rules::unsafe_code::check,
    },
    Rule { name: "words", says: "what is not said in this repository, and where", check: rules::words::check },
    Rule { name: "boundaries", says: "some crates are known to one module only", check: rules::boundaries::check },
    Rule { name: "manifests", says: "packages share lints, and nothing is patched", check: rules::manifests::check },
    Rule {
        name: "dependencies",
        says: "who depends on whom is as the architecture says",
        check: rules::dependencies::edges,
    },
    Rule {
        name: "linked",
        says: "what is linked into our guests is as the architecture says",
        check: rules::dependencies::linked,
    },
    Rule { name: "licences", says: "every dependency's licence permits our use", check: rules::licences::check },
    Rule {
        name: "documents",
        says: "documents are short and their links lead somewhere",
        check: rules::documents::check,
    },
    Rule {
        name: "generated",
        says: "generated files are known to `cargo xtask codegen`",
        check: rules::generated::check,
    },
];

/// What breaks the rules.
#[derive(Default)]
struct Findings(Vec<Finding>);

/// One place that breaks a rule.
struct Finding {
    path: String,
    /// From 1.
    line: Option<usize>,
    problem: String,
}

impl Findings {
    /// Something is wrong with a whole file.
    fn file(&mut self, path: &str, problem: impl Into<String>) {
        self.0.push(Finding { path: path.to_owned(), line: None, problem: problem.into() });
    }

    /// Something is wrong in a line.
    fn line(&mut self, path: &str, line: usize, problem: impl Into<String>) {
        self.0.push(Finding { path: path.to_owned(), line: Some(line), problem: problem.into() });
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.problem),
            None => write!(f, "{}: {}", self.path, self.problem),
        }
    }
}

/// Checks all rules and fails if anything breaks one.
pub(crate) fn run() -> Result<()> {
    match problems()?.len() {
        0 => Ok(()),
        n_problems => bail!("tidy: {n_problems} places break the rules"),
    }
}

/// Checks all rules, prints what breaks them by rule, and returns it.
pub(crate) fn problems() -> Result<Vec<String>> {
    let began = Instant::now();
    let workspace = Workspace::read(rules::dependencies::GUESTS)?;
    let mut problems = Vec::new();
    for rule in RULES {
        let mut findings = Findings::default();
        (rule.check)(&workspace, &mut findings);
        if findings.0.is_empty() {
            continue;
        }
        println!("{}: {}", rule.name, rule.says);
        for finding in findings.0.iter().map(Finding::to_string) {
            println!("  {finding}");
            problems.push(finding);
        }
    }
    if problems.is_empty() {
        let (n_rules, n_files) = (RULES.len(), workspace.files.len());
        println!("tidy: {n_files} files keep {n_rules} rules ({:.1} s)", began.elapsed().as_secs_f64());
    }
    Ok(problems)
}

/// What the tests of rules share.
#[cfg(test)]
mod testing {
    use super::workspace::File;
    use super::*;

    /// A repository of these files.
    pub(super) fn workspace(files: &[(&str, &str)]) -> Workspace {
        let files = files.iter().map(|(path, text)| File::new(path, (*text).to_owned()));
        Workspace { files: files.collect(), ..Workspace::default() }
    }

    /// What the rule `name` of the table finds.
    pub(super) fn findings(name: &str, workspace: &Workspace) -> Vec<String> {
        let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule of the table");
        let mut findings = Findings::default();
        (rule.check)(workspace, &mut findings);
        findings.0.iter().map(Finding::to_string).collect()
    }
}
