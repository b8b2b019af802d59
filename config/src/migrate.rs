//! From a file of mirrord to one of ours: the same settings without the keys that have no effect here.
//!
//! Called by the language server and by `mirror config convert`. Pure: where the file goes and what stands in it, not
//! whether it can be written. The author's text is kept with its comments, less what is cut out; where that cannot be
//! done exactly, the settings are written anew as JSON.

use std::path::{Path, PathBuf};

use crate::diagnostic::Severity;
use crate::document::Document;
use crate::ignored;
use crate::syntax::{self, Format, Member, Node, Span, Value, to_json};

/// What the name of a file of mirrord ends with, before its extension.
const NAME: &str = "mirrord";

/// The folder that mirrord's users put their files in.
const FOLDER: &str = ".mirrord";

/// A new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Where it belongs.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
    /// The keys that are left out, as paths.
    pub left_out: Vec<String>,
}

/// The file that takes the place of `document`; none if that is not a file of mirrord, or cannot be read to its end.
pub fn migrate(document: &Document) -> Option<Migration> {
    let path = Path::new(&document.name);
    let stem = path.file_stem()?.to_str()?.strip_suffix(NAME)?;
    if !document.diagnostics.is_empty() {
        return None;
    }
    let mut left_out = Vec::new();
    let kept = prune(&document.root, "", &mut left_out);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("json");
    let (text, extension) = match shortened(document, &left_out, &kept) {
        Some(text) => (text, extension),
        None => (written(&kept), "json"),
    };
    // Several files of one folder stay several.
    let name = if stem.is_empty() { "." } else { stem };
    let folder = path.parent()?;
    let folder = if folder.ends_with(FOLDER) { folder.parent()? } else { folder };
    let path = folder.join(format!("{name}mirror.{extension}"));
    let left_out = left_out.into_iter().map(|(path, _)| path).collect();
    Some(Migration { path, text, left_out })
}

/// A key that is left out: its path, and where it and its parts stand.
type Left = (String, Span);

/// The tree without keys that have no effect, and without what is empty for the lack of them. A key whose absence would
/// do more than the user asked for stays, as the error that it is.
fn prune(node: &Node, parent: &str, left_out: &mut Vec<Left>) -> Node {
    let mut kept = Vec::new();
    for member in node.members() {
        let path = if parent.is_empty() { member.key.clone() } else { format!("{parent}.{}", member.key) };
        let is_idle = ignored::find(&path).is_some_and(|row| row.severity != Severity::Error);
        // The schema is mirrord's.
        if is_idle || path == "$schema" {
            left_out.push((path, extent(member)));
            continue;
        }
        let before = left_out.len();
        let value = if member.value.members().is_empty() {
            member.value.clone()
        } else {
            prune(&member.value, &path, left_out)
        };
        if value.members().is_empty() && !member.value.members().is_empty() {
            left_out.truncate(before);
            left_out.push((path, extent(member)));
            continue;
        }
        kept.push(Member { key: member.key.clone(), key_span: member.key_span, value });
    }
    Node { span: node.span, value: Value::Object(kept) }
}

/// From a key to the end of everything below it: the parts of a table in TOML stand apart from its name.
fn extent(member: &Member) -> Span {
    fn end(node: &Node) -> usize {
        let below = node.members().iter().map(|member| end(&member.value).max(member.key_span.end));
        below.max().unwrap_or(0).max(node.span.end)
    }
    Span::new(member.key_span.start, end(&member.value).max(member.key_span.end))
}

/// The author's text without what is left out; none where cutting would change more than that.
fn shortened(document: &Document, left_out: &[Left], kept: &Node) -> Option<String> {
    let text = document.text.trim_start_matches('\u{feff}');
    let mark = document.text.len() - text.len();
    let mut cuts: Vec<Span> = match document.format {
        Format::Json => {
            let is_left_out = |key: &Member| left_out.iter().any(|(_, span)| span.start == key.key_span.start);
            left_out.iter().flat_map(|(_, span)| cut_json(&document.text, &document.root, *span, is_left_out)).collect()
        }
        Format::Yaml | Format::Toml => left_out.iter().map(|(_, span)| whole_lines(&document.text, *span)).collect(),
    };
    cuts.sort();
    let (mut shorter, mut at) = (String::new(), mark);
    for cut in cuts {
        shorter.push_str(document.text.get(at..cut.start.max(at))?);
        at = at.max(cut.end);
    }
    shorter.push_str(document.text.get(at..)?);
    let (root, problems) = syntax::parse(&shorter, document.format);
    (problems.is_empty() && is_same(&root, kept)).then_some(shorter)
}

/// What to cut for one key of JSON: with the comma that follows it, or else with the one behind the last key that stays.
fn cut_json(text: &str, root: &Node, key: Span, is_left_out: impl Fn(&Member) -> bool) -> Vec<Span> {
    let Some((members, at)) = siblings(root, key.start) else { return Vec::new() };
    let mut cuts = Vec::new();
    let end = match comma_after(text, key.end) {
        Some(comma) => comma + 1,
        None => {
            let last = members[..at].iter().rev().find(|member| !is_left_out(member));
            let before = last.and_then(|member| comma_after(text, member.value.span.end));
            cuts.extend(before.map(|comma| Span::new(comma, comma + 1)));
            key.end
        }
    };
    let line_start = text[..key.start].rfind('\n').map_or(0, |at| at + 1);
    let rest = text[end..].split('\n').next().unwrap_or_default();
    let is_alone = text[line_start..key.start].trim().is_empty();
    // A comment behind a key is about it.
    let ends_line = rest.trim().is_empty() || rest.trim_start().starts_with("//");
    cuts.push(match is_alone && ends_line {
        true => Span::new(line_start, (end + rest.len() + 1).min(text.len())),
        false => Span::new(key.start, end + rest.len() - rest.trim_start().len()),
    });
    cuts
}

/// The members beside the key at an offset, and which of them it is.
fn siblings(node: &Node, start: usize) -> Option<(&[Member], usize)> {
    let members = node.members();
    match members.iter().position(|member| member.key_span.start == start) {
        Some(at) => Some((members, at)),
        None => members.iter().find_map(|member| siblings(&member.value, start)),
    }
}

/// Where the comma stands that follows a value, behind blanks and comments.
fn comma_after(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        let blank = rest.len() - rest.trim_start().len();
        let rest = &rest[blank..];
        at += blank;
        at += match rest.as_bytes() {
            [b',', ..] => return Some(at),
            [b'/', b'/', ..] => rest.find('\n')?,
            [b'/', b'*', ..] => rest.find("*/")? + 2,
            _ => return None,
        };
    }
}

/// The lines that a key and its parts stand on.
fn whole_lines(text: &str, span: Span) -> Span {
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    Span::new(start, text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1))
}

/// Whether two trees say the same, wherever it stands.
fn is_same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Object(a), Value::Object(b)) => {
            let sorted = |members: &[Member]| {
                let mut members: Vec<Member> = members.to_vec();
                members.sort_by(|a, b| a.key.cmp(&b.key));
                members
            };
            let (a, b) = (sorted(a), sorted(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.key == b.key && is_same(&a.value, &b.value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (a, b) => a == b,
    }
}

fn written(kept: &Node) -> String {
    let text = to_json(kept);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    serde_json::to_string_pretty(&value).map_or(text, |text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated(name: &str, text: &str) -> Option<(String, String)> {
        let format = Format::of_extension(name.rsplit_once('.').map(|(_, extension)| extension)).expect("a format");
        let migration = migrate(&Document::new(name, text, format))?;
        Some((migration.path.display().to_string(), migration.text))
    }

    #[test]
    fn the_new_file_stands_where_it_is_found() {
        for (from, to) in [
            ("/p/mirrord.json", Some("/p/.mirror.json")),
            ("/p/.mirrord.json", Some("/p/.mirror.json")),
            ("/p/.mirrord/mirrord.json", Some("/p/.mirror.json")),
            ("/p/.mirrord/dev.mirrord.json", Some("/p/dev.mirror.json")),
            ("/p/dev.mirrord.json", Some("/p/dev.mirror.json")),
            ("/p/.mirror.json", None),
            ("/p/package.json", None),
        ] {
            assert_eq!(migrated(from, "{}").map(|(path, _)| path).as_deref(), to, "{from}");
        }
        assert_eq!(migrated("/p/mirrord.json", "{").map(|(path, _)| path), None, "it cannot be read");
    }

    #[test]
    fn json_keeps_its_comments_and_loses_what_has_no_effect() {
        let text = r#"{
  // whose place
  "target": "pod/a", // that one
  "operator": true, // none here
  "agent": { "nftables": true, "ttl": 7 },
  "feature": {
    "copy_target": { "enabled": true }
  },
  "telemetry": false
}
"#;
        let expected = r#"{
  // whose place
  "target": "pod/a", // that one
  "agent": { "ttl": 7 }
}
"#;
        assert_eq!(migrated("mirrord.json", text).map(|(_, text)| text).as_deref(), Some(expected));
    }

    #[test]
    fn what_must_not_be_left_out_stays() {
        let text = r#"{"feature": {"network": {"incoming": {"http_filter": {"body_filter": {"method": "GET"}}}}}}"#;
        assert_eq!(migrated("mirrord.json", text).map(|(_, text)| text).as_deref(), Some(text));
    }

    #[test]
    fn other_formats_lose_lines() {
        let yaml = "# whose\ntarget: pod/a\noperator: true\nfeature:\n  copy_target:\n    enabled: true\n  env:\n    include: A # this\n";
        let expected = "# whose\ntarget: pod/a\nfeature:\n  env:\n    include: A # this\n";
        assert_eq!(migrated("mirrord.yaml", yaml), Some((".mirror.yaml".to_owned(), expected.to_owned())));
        let toml = "operator = true\ntarget = 'pod/a' # whose\n\n[internal_proxy]\nstart_idle_timeout = 3\n\n[agent]\nttl = 7\n";
        let expected = "target = 'pod/a' # whose\n\n\n[agent]\nttl = 7\n";
        assert_eq!(migrated("mirrord.toml", toml), Some((".mirror.toml".to_owned(), expected.to_owned())));
    }

    #[test]
    fn what_cannot_be_cut_is_written_anew() {
        let yaml = "{ operator: true, target: pod/a }\n";
        let (path, text) = migrated("mirrord.yml", yaml).expect("a file of mirrord");
        assert_eq!((path.as_str(), text.as_str()), (".mirror.json", "{\n  \"target\": \"pod/a\"\n}\n"));
    }

    #[test]
    fn every_file_that_is_made_says_the_same_without_the_rest() {
        for text in [
            r#"{"operator": true}"#,
            r#"{"operator": true, "target": "pod/a", "telemetry": true}"#,
            r#"{"target": "pod/a" /* x */ , "operator": true, /* y */ "telemetry": true,}"#,
            "{\"target\": \"pod/a\",\n \"operator\": {\"a\": [1, 2]}}",
            "\u{feff}{\"$schema\": \"x\", \"agent\": {\"metrics\": 1}}",
        ] {
            let document = Document::new("mirrord.json", text, Format::Json);
            let migration = migrate(&document).expect("a file of mirrord");
            let again = Document::new("mirrord.json", migration.text.clone(), Format::Json);
            assert_eq!(again.diagnostics, [], "{text} became {}", migration.text);
            let again = migrate(&again).expect("a file of mirrord");
            assert_eq!((again.left_out.len(), &again.text), (0, &migration.text), "{text}");
            assert!(shortened(&document, &lefts(&document), &prune(&document.root, "", &mut Vec::new())).is_some());
        }
    }

    fn lefts(document: &Document) -> Vec<Left> {
        let mut left_out = Vec::new();
        prune(&document.root, "", &mut left_out);
        left_out
    }
}
