//! The rules about files, which are the user's patterns, the container's volumes, the lists of `decide` and the mode:
//! compiled into the table that layers walk (`decide::files`), and explained.

use std::collections::HashMap;

use decide::files::defaults;
use decide::files::{NONE, Parts, Rule, Table};
use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_lite::{Regex, RegexBuilder};

use crate::failure::{Class, Failure, Result};
use crate::session::spec::{FileLists, FileOptions, Unnamed};

/// Largest table in bytes: every process maps it.
const MAX_TABLE: usize = 1 << 20;

/// Most memory that compiling may take.
const MAX_COMPILING: usize = 8 << 20;

/// The rules of a session.
pub struct FileRules {
    /// In the order in which they are heeded.
    patterns: Vec<Pattern>,
    mappings: Vec<(Regex, String)>,
    table: Vec<u8>,
    /// The table without mappings, where there are some.
    unmapped: Option<Vec<u8>>,
}

/// One of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What it says.
    pub rule: Rule,
    /// Of which paths.
    pub regex: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a rule comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The user: the key of `feature.fs` is that of the rule.
    User,
    /// A volume that the container has there.
    Volume,
    /// The lists, with the reason.
    List(String),
    /// `feature.fs.mode`: nothing else names the path.
    Mode,
}

/// What the rules say of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The path, after mapping.
    pub path: Vec<u8>,
    /// The pattern of `mapping` that has changed it.
    pub mapped_by: Option<String>,
    /// The rule that decides; none where none matches.
    pub by: Option<Pattern>,
}

impl Decision {
    /// What is to be done.
    pub fn rule(&self) -> Option<Rule> {
        self.by.as_ref().map(|pattern| pattern.rule)
    }
}

impl FileRules {
    /// Compiles the rules for a container that has `volumes` at these paths; none where no file can be the pod's.
    /// Patterns that cannot be compiled are the user's mistake.
    pub fn new(options: &FileOptions, volumes: &[String]) -> Result<Option<Self>> {
        let mapped = options.mapping.len();
        let patterns: Vec<Pattern> = users(options).chain(listed(options.lists.as_ref(), volumes)).collect();
        if patterns.iter().all(|pattern| matches!(pattern.rule, Rule::Local | Rule::Unnamed)) {
            return Ok(None);
        }
        let mappings = options.mapping.iter().map(|(regex, text)| {
            let regex = RegexBuilder::new(regex).case_insensitive(true).build();
            Ok((regex.map_err(|error| wrong(Rule::Mapping, &error.to_string()))?, text.clone()))
        });
        let mappings: Vec<_> = mappings.collect::<Result<_>>()?;
        let table = compile(&patterns)?;
        let unmapped = match mapped {
            0 => None,
            mapped => Some(compile(&patterns[mapped..])?),
        };
        Ok(Some(Self { patterns, mappings, table, unmapped }))
    }

    /// Whether any file of the pod may be written.
    pub(super) fn may_write(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.rule == Rule::ReadWrite)
    }

    /// Whether any path stands for another.
    pub(super) fn has_mappings(&self) -> bool {
        !self.mappings.is_empty()
    }

    /// The table for layers.
    pub(super) fn table(&self) -> &[u8] {
        &self.table
    }

    /// Decides for an absolute path.
    pub fn decide(&self, path: &[u8]) -> Decision {
        let find = |table: &[u8], path: &[u8]| Table::read(table)?.find(path.iter().copied()).map(usize::from);
        let of = |index: usize| self.patterns.get(index).cloned();
        let first = find(&self.table, path).and_then(of);
        let Some(Pattern { rule: Rule::Mapping, regex, .. }) = first else {
            return Decision { path: path.to_vec(), mapped_by: None, by: first };
        };
        let path = self.map(path);
        let below = self.mappings.len();
        let by = self.unmapped.as_ref().and_then(|table| find(table, &path)).and_then(|index| of(index + below));
        Decision { path, mapped_by: Some(regex), by }
    }

    /// The path that is used instead: the first mapping that matches counts.
    fn map(&self, path: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(path) else { return path.to_vec() };
        let found = self.mappings.iter().find(|(regex, _)| regex.is_match(text));
        found.map_or_else(|| path.to_vec(), |(regex, to)| regex.replace(text, to.as_str()).into_owned().into_bytes())
    }
}

/// The user's patterns.
fn users(options: &FileOptions) -> impl Iterator<Item = Pattern> {
    let of = |rule, regex: &String| Pattern { rule, regex: regex.clone(), source: Source::User };
    let mappings = options.mapping.keys().map(move |regex| of(Rule::Mapping, regex));
    let lists = [
        (Rule::NotFound, &options.not_found),
        (Rule::ReadWrite, &options.read_write),
        (Rule::ReadOnly, &options.read_only),
        (Rule::Local, &options.local),
    ];
    mappings.chain(lists.into_iter().flat_map(move |(rule, list)| list.iter().map(move |regex| of(rule, regex))))
}

/// What holds beside them.
fn listed(lists: Option<&FileLists>, volumes: &[String]) -> Vec<Pattern> {
    let Some(lists) = lists else { return Vec::new() };
    let everywhere = match lists.unnamed {
        Unnamed::Local => None,
        Unnamed::Read => Some(Rule::Read),
        Unnamed::Write => Some(Rule::ReadWrite),
    };
    let rule = everywhere.unwrap_or(Rule::Read);
    let volumes = volumes.iter().filter(|path| defaults::takes_volume(path, &lists.places));
    let mut patterns: Vec<Pattern> =
        volumes.map(|path| Pattern { rule, regex: defaults::below(path), source: Source::Volume }).collect();
    let rules = defaults::rules(&lists.places, lists.home.as_deref()).into_iter();
    patterns.extend(rules.map(|(rule, regex, why)| Pattern { rule, regex, source: Source::List(why) }));
    patterns.extend(everywhere.map(|rule| Pattern { rule, regex: "^/".to_owned(), source: Source::Mode }));
    patterns
}

fn wrong(rule: Rule, reason: &str) -> Failure {
    let key = rule.key().map_or("feature.fs".to_owned(), |key| format!("feature.fs.{key}"));
    Failure::new(Class::Config, format!("{key} has a pattern that cannot be used: {}", reason.replace('\n', " ")))
}

/// Builds the automaton of all patterns, and lowers it to a table.
fn compile(patterns: &[Pattern]) -> Result<Vec<u8>> {
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(regex_automata::dfa::StartKind::Unanchored)
        .accelerate(false)
        .dfa_size_limit(Some(MAX_COMPILING))
        .determinize_size_limit(Some(MAX_COMPILING));
    // Paths are bytes: `.` is any of them.
    let syntax = syntax::Config::new().case_insensitive(true).unicode(false).utf8(false).dot_matches_new_line(true);
    let regexes: Vec<&str> = patterns.iter().map(|pattern| pattern.regex.as_str()).collect();
    let mut builder = dense::Builder::new();
    builder
        .configure(config)
        .syntax(syntax)
        .thompson(regex_automata::nfa::thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_COMPILING)));
    let automaton = builder.build_many(&regexes).map_err(|error| {
        if error.is_size_limit_exceeded() {
            return too_large();
        }
        // Which of them it is: the first that cannot be built alone.
        let alone = patterns.iter().find(|pattern| builder.build_many(&[&pattern.regex]).is_err());
        match alone {
            Some(pattern) => wrong(pattern.rule, &format!("{}: {}", pattern.regex, causes(&error))),
            None => too_large(),
        }
    })?;
    let table = lower(&automaton, patterns).filter(|table| table.len() <= MAX_TABLE);
    table.ok_or_else(too_large)
}

fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn too_large() -> Failure {
    Failure::new(
        Class::Config,
        format!(
            "the patterns of feature.fs are too many or too complex: together they need more than {} KiB",
            MAX_TABLE / 1024
        ),
    )
    .next("say less in each: `^/data/` in place of `^/data/.{1,500}/x.*y$`")
}

/// `None` where it has too many states.
fn lower<A: Automaton>(automaton: &A, patterns: &[Pattern]) -> Option<Vec<u8>> {
    let start = automaton.start_state_forward(&Input::new("").anchored(Anchored::No)).ok()?;
    let mut numbers = HashMap::from([(start, 0u16)]);
    let mut states = vec![start];
    // By state: the next one after each byte, and after the end.
    let mut next: Vec<Vec<u16>> = Vec::new();
    while let Some(&state) = states.get(next.len()) {
        let mut number = |id: StateID| match numbers.get(&id) {
            Some(number) => Some(*number),
            None => {
                let number = u16::try_from(states.len()).ok()?;
                states.push(id);
                numbers.insert(id, number);
                Some(number)
            }
        };
        let mut row =
            (0..=u8::MAX).map(|byte| number(automaton.next_state(state, byte))).collect::<Option<Vec<_>>>()?;
        row.push(number(automaton.next_eoi_state(state))?);
        next.push(row);
        if next.len() * 2 > MAX_TABLE {
            return None;
        }
    }
    let matches = states.iter().map(|state| match automaton.is_match_state(*state) {
        true => (0..automaton.match_len(*state)).map(|at| automaton.match_pattern(*state, at).as_u32() as u16).min(),
        false => None,
    });
    let matches = matches.map(|least| least.unwrap_or(NONE)).collect();
    let (classes, next) = classify(&next)?;
    let rules = patterns.iter().map(|pattern| pattern.rule).collect();
    Parts { classes, rules, matches, next }.write()
}

/// Bytes that lead to the same states everywhere are one class.
fn classify(next: &[Vec<u16>]) -> Option<([u8; 256], Vec<Vec<u16>>)> {
    let column = |byte: usize| next.iter().map(|row| row[byte]).collect::<Vec<_>>();
    let (mut classes, mut columns) = ([0; 256], Vec::<Vec<u16>>::new());
    for (byte, class) in classes.iter_mut().enumerate() {
        let column = column(byte);
        let known = columns.iter().position(|known| *known == column);
        *class = u8::try_from(known.unwrap_or(columns.len())).ok()?;
        if known.is_none() {
            columns.push(column);
        }
    }
    columns.push(column(256));
    let rows = (0..next.len()).map(|state| columns.iter().map(|column| column[state]).collect()).collect();
    Some((classes, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    fn rules(options: FileOptions) -> FileRules {
        FileRules::new(&options, &[]).expect("compiles").expect("some")
    }

    fn by(decision: &Decision) -> Option<(Rule, &str)> {
        decision.by.as_ref().map(|by| (by.rule, by.regex.as_str()))
    }

    #[test]
    fn the_lists_leave_this_machines_programs_what_they_need() {
        let owned = |(place, why): (&str, &str)| (place.to_owned(), why.to_owned());
        let lists = FileLists {
            places: [("/code/app", "the current folder"), ("/root", "HOME")].map(owned).to_vec(),
            home: Some("/root".to_owned()),
            unnamed: Unnamed::Read,
        };
        let options = |unnamed| FileOptions {
            read_only: list(&["^/usr/share/pod"]),
            local: list(&["^/srv/local", "^/volumes/mine"]),
            lists: Some(FileLists { unnamed, ..lists.clone() }),
            ..FileOptions::default()
        };
        let volumes = list(&["/var/run/secrets/token", "/volumes", "/tmp", "/etc/app.d", "/code"]);
        let rules = |unnamed| FileRules::new(&options(unnamed), &volumes).expect("compiles").expect("some");
        let (read, overrides) = (rules(Unnamed::Read), rules(Unnamed::Local));
        let (pod, here) = (Some(Rule::Read), Some(Rule::Unnamed));
        for (path, expected, otherwise) in [
            ("/data/x", pod, None),
            ("/app/settings.yaml", pod, None),
            ("/app/main.py", here, here),
            ("/app/lib/libx.so.1.2", here, here),
            ("/usr/lib/python3/os.pyc", here, here),
            ("/usr", here, here),
            ("/usrx", pod, None),
            ("/USR/x", here, here),
            ("/usr/share/pod/x", Some(Rule::ReadOnly), Some(Rule::ReadOnly)),
            ("/", here, here),
            ("/tmp/x", here, here),
            ("/code/app/src/a.txt", here, here),
            ("/code", here, here),
            ("/code/other", pod, None),
            ("/code/package.json", here, here),
            ("/x/node_modules/a/b.json", here, here),
            ("/proc/self/maps", here, here),
            ("/etc/passwd", here, here),
            ("/etc/ssl/certs/ca-certificates.crt", pod, pod),
            ("/etc/app.d/x", pod, pod),
            ("/root/.kube/config", Some(Rule::NotFound), Some(Rule::NotFound)),
            ("/root/.bashrc", here, here),
            ("/var/run/secrets/token/ca.crt", pod, pod),
            ("/var/run/x.pid", here, here),
            ("/var/log/app/x.log", pod, None),
            ("/volumes/x", pod, pod),
            ("/volumes/mine/x", Some(Rule::Local), Some(Rule::Local)),
            ("/srv/local/x", Some(Rule::Local), Some(Rule::Local)),
        ] {
            assert_eq!(read.decide(path.as_bytes()).rule(), expected, "{path}");
            assert_eq!(overrides.decide(path.as_bytes()).rule(), otherwise, "{path} with overrides only");
        }
        assert_eq!(rules(Unnamed::Write).decide(b"/volumes/x").rule(), Some(Rule::ReadWrite));
        assert!(read.table().len() < 400_000, "{}", read.table().len());
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = rules(FileOptions {
            not_found: list(&["^/app/secret"]),
            read_write: list(&["^/data/"]),
            read_only: list(&["^/app", r"\.ya?ml$", "^/data"]),
            local: list(&["^/app/local", "^/srv"]),
            ..FileOptions::default()
        });
        for (path, expected) in [
            ("/app/config", Some((Rule::ReadOnly, "^/app"))),
            ("/APP/config", Some((Rule::ReadOnly, "^/app"))),
            ("/my/app", None),
            ("/app/secret/x", Some((Rule::NotFound, "^/app/secret"))),
            ("/data/x", Some((Rule::ReadWrite, "^/data/"))),
            ("/data", Some((Rule::ReadOnly, "^/data"))),
            ("/x/a.yml", Some((Rule::ReadOnly, r"\.ya?ml$"))),
            ("/x/a.yml.bak", None),
            ("/app/local/x", Some((Rule::ReadOnly, "^/app"))),
            ("/srv/x", Some((Rule::Local, "^/srv"))),
            ("", None),
        ] {
            assert_eq!(by(&rules.decide(path.as_bytes())), expected, "{path}");
        }
        let odd = rules.decide(b"/app/\xff\n\x01");
        assert_eq!(odd.rule(), Some(Rule::ReadOnly), "paths are bytes");
    }

    #[test]
    fn a_mapped_path_is_decided_as_what_comes_of_it() {
        let mapping = [("^/home/[^/]+/conf(.*)", "/app/conf$1"), ("^/opt", "/srv")];
        let rules = rules(FileOptions {
            mapping: mapping.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
            read_only: list(&["^/app"]),
            ..FileOptions::default()
        });
        let mapped = rules.decide(b"/home/me/conf/a.yaml");
        assert_eq!(mapped.path, b"/app/conf/a.yaml");
        assert_eq!(mapped.mapped_by.as_deref(), Some("^/home/[^/]+/conf(.*)"));
        assert_eq!(by(&mapped), Some((Rule::ReadOnly, "^/app")));
        let local = rules.decide(b"/opt/x");
        assert_eq!((&local.path[..], local.by), (&b"/srv/x"[..], None));
        assert_eq!(rules.decide(b"/app/x").mapped_by, None);
    }

    #[test]
    fn without_patterns_for_the_pod_there_is_no_table() {
        assert!(FileRules::new(&FileOptions::default(), &[]).expect("compiles").is_none());
        let options = FileOptions { local: list(&["^/x"]), ..FileOptions::default() };
        assert!(FileRules::new(&options, &[]).expect("compiles").is_none());
    }

    #[test]
    fn what_cannot_be_compiled_is_told_with_its_key() {
        for (pattern, expected) in [
            (r"\p{Greek}", "feature.fs.read_only has a pattern that cannot be used: \\p{Greek}"),
            ("a.{900}b.{900}", "more than 1024 KiB"),
        ] {
            let options = FileOptions { read_only: list(&[pattern]), ..FileOptions::default() };
            let failure = FileRules::new(&options, &[]).err().expect("refused");
            assert_eq!(failure.class, Class::Config);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
    }

    #[test]
    fn tables_say_what_the_expressions_say() {
        let patterns = [r"^/a[bc]+/(x|y)?z$", r"b$", r"/\d{2,3}/", r"^/$", r"c.*d"];
        let oracle: Vec<Regex> = patterns
            .iter()
            .map(|regex| RegexBuilder::new(regex).case_insensitive(true).build().expect("good"))
            .collect();
        let rules = rules(FileOptions { read_only: list(&patterns), ..FileOptions::default() });
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let mut path = String::from("/");
            for _ in 0..seed >> 60 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                path.push(char::from(b"abcdxyz/17AB"[(seed >> 33) as usize % 12]));
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let expected = oracle.iter().position(|regex| regex.is_match(&path)).map(|at| patterns[at].to_owned());
            assert_eq!(rules.decide(path.as_bytes()).by.map(|by| by.regex), expected, "{path}");
        }
    }
}
