//! The user's patterns for files: compiled into the table that layers walk (`decide::files`), and explained.

use std::collections::HashMap;

use decide::files::{NONE, Parts, Rule, Table};
use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_lite::{Regex, RegexBuilder};

use crate::failure::{Class, Failure, Result};
use crate::session::spec::FileOptions;

/// Largest table in bytes: every process maps it.
const MAX_TABLE: usize = 1 << 20;

/// Most memory that compiling may take.
const MAX_COMPILING: usize = 8 << 20;

/// The rules of a session.
pub struct FileRules {
    /// In the order of [`Rule`]s.
    patterns: Vec<Pattern>,
    mappings: Vec<(Regex, String)>,
    table: Vec<u8>,
    /// The table without mappings, where there are some.
    unmapped: Option<Vec<u8>>,
}

struct Pattern {
    rule: Rule,
    regex: String,
}

/// What the rules say of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The path, after mapping.
    pub path: Vec<u8>,
    /// The pattern of `mapping` that has changed it.
    pub mapped_by: Option<String>,
    /// The rule that decides and its pattern; none where no pattern matches.
    pub by: Option<(Rule, String)>,
}

impl FileRules {
    /// Compiles the patterns; none where there are none. Patterns that cannot be compiled are the user's mistake.
    pub fn new(options: &FileOptions) -> Result<Option<Self>> {
        let of =
            |rule, list: &[String]| list.iter().map(|regex| Pattern { rule, regex: regex.clone() }).collect::<Vec<_>>();
        let mapped: Vec<String> = options.mapping.keys().cloned().collect();
        let patterns: Vec<Pattern> = [
            of(Rule::Mapping, &mapped),
            of(Rule::NotFound, &options.not_found),
            of(Rule::ReadWrite, &options.read_write),
            of(Rule::ReadOnly, &options.read_only),
            of(Rule::Local, &options.local),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !patterns.iter().any(|pattern| pattern.rule != Rule::Local) {
            return Ok(None);
        }
        let mappings = options.mapping.iter().map(|(regex, text)| {
            let regex = RegexBuilder::new(regex).case_insensitive(true).build();
            Ok((regex.map_err(|error| wrong(Rule::Mapping, &error.to_string()))?, text.clone()))
        });
        let mappings: Vec<_> = mappings.collect::<Result<_>>()?;
        let table = compile(&patterns)?;
        let unmapped = match mapped.len() {
            0 => None,
            mapped => Some(compile(&patterns[mapped..])?),
        };
        Ok(Some(Self { patterns, mappings, table, unmapped }))
    }

    /// Whether any file of the pod may be written.
    pub(super) fn may_write(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.rule == Rule::ReadWrite)
    }

    /// The table for layers.
    pub(super) fn table(&self) -> &[u8] {
        &self.table
    }

    /// Decides for an absolute path.
    pub fn decide(&self, path: &[u8]) -> Decision {
        let find = |table: &[u8], path: &[u8]| Table::read(table)?.find(path.iter().copied()).map(usize::from);
        let of = |index: usize| self.patterns.get(index).map(|pattern| (pattern.rule, pattern.regex.clone()));
        let first = find(&self.table, path).and_then(of);
        let Some((Rule::Mapping, regex)) = first else {
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

fn wrong(rule: Rule, reason: &str) -> Failure {
    let key = format!("feature.fs.{}", rule.key());
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
        FileRules::new(&options).expect("compiles").expect("some")
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
            let by = rules.decide(path.as_bytes()).by;
            assert_eq!(by, expected.map(|(rule, regex)| (rule, regex.to_owned())), "{path}");
        }
        let odd = rules.decide(b"/app/\xff\n\x01");
        assert_eq!(odd.by.expect("matches").0, Rule::ReadOnly, "paths are bytes");
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
        assert_eq!(mapped.by, Some((Rule::ReadOnly, "^/app".to_owned())));
        let local = rules.decide(b"/opt/x");
        assert_eq!((&local.path[..], local.by), (&b"/srv/x"[..], None));
        assert_eq!(rules.decide(b"/app/x").mapped_by, None);
    }

    #[test]
    fn without_patterns_for_the_pod_there_is_no_table() {
        assert!(FileRules::new(&FileOptions::default()).expect("compiles").is_none());
        let options = FileOptions { local: list(&["^/x"]), ..FileOptions::default() };
        assert!(FileRules::new(&options).expect("compiles").is_none());
    }

    #[test]
    fn what_cannot_be_compiled_is_told_with_its_key() {
        for (pattern, expected) in [
            (r"\p{Greek}", "feature.fs.read_only has a pattern that cannot be used: \\p{Greek}"),
            ("a.{900}b.{900}", "more than 1024 KiB"),
        ] {
            let options = FileOptions { read_only: list(&[pattern]), ..FileOptions::default() };
            let failure = FileRules::new(&options).err().expect("refused");
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
            assert_eq!(rules.decide(path.as_bytes()).by.map(|(_, regex)| regex), expected, "{path}");
        }
    }
}
