//! Where the program will listen on this machine, as far as the file says, and how to move it elsewhere.
//!
//! Called by the language server, which knows what is taken. Pure; only ports that follow from the text are told.

use crate::diagnostic::Origin;
use crate::document::Document;
use crate::layered::Resolved;
use crate::model::IncomingMode;
use crate::syntax::{Format, Member, Node, Span, Value};
use crate::target::Target;

/// The section with the ports.
const SECTION: [&str; 3] = ["feature", "network", "incoming"];

/// The key that moves them.
const MOVED: &str = "listen_ports";

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// What the program calls it.
    pub program: u16,
    /// Where it really listens.
    pub local: u16,
    /// Where the number of the real port stands.
    pub span: Span,
}

/// The ports, in the order of the file.
pub fn listens(document: &Document, resolved: &Resolved) -> Vec<Listen> {
    let incoming = &resolved.config.feature.network.incoming;
    let mut found = Vec::new();
    for member in members(document) {
        // What a variable or an option says wins over the file.
        if !matches!(resolved.origin(&format!("{}.{}", SECTION.join("."), member.key)), Origin::File(_)) {
            continue;
        }
        let has_traffic = incoming.mode != IncomingMode::Off && resolved.config.target.path != Some(Target::Targetless);
        match member.key.as_str() {
            MOVED => found.extend(pairs(&member.value).map(|(program, local)| (number(program), local))),
            "port_mapping" if has_traffic => found.extend(pairs(&member.value).map(|(own, _)| (None, own))),
            "ports" if has_traffic => found.extend(each(&member.value).map(|port| (None, port))),
            _ => {}
        }
    }
    let is_moved = |port: u16| incoming.listen_ports.iter().any(|pair| pair.first == port);
    let listen = |(program, node): (Option<u16>, &Node)| {
        let local = number(node)?;
        let program = program.or_else(|| Some(local).filter(|port| !is_moved(*port)))?;
        Some(Listen { program, local, span: node.span })
    };
    let mut ports: Vec<Listen> = found.into_iter().filter_map(listen).collect();
    ports.sort_by_key(|port| port.span);
    ports
}

/// The edit by which the program listens on `free` instead; none where the text has no good place for it.
pub fn relisten(document: &Document, listen: &Listen, free: u16) -> Option<(Span, String)> {
    let edit = edit(document, listen, free)?;
    let mut text = document.text.clone();
    text.replace_range(edit.0.start..edit.0.end, &edit.1);
    let (config, problems) = crate::parse(&text, document.format);
    let moved = &config.feature.network.incoming.listen_ports;
    let is_good = moved.iter().any(|pair| (pair.first, pair.second) == (listen.program, free));
    (is_good && !problems.iter().any(|problem| problem.code == "syntax")).then_some(edit)
}

fn edit(document: &Document, listen: &Listen, free: u16) -> Option<(Span, String)> {
    let pair = format!("[{}, {free}]", listen.program);
    let holder = members(document).iter().find(|member| holds(&member.value, listen.span))?;
    if holder.key == MOVED {
        return Some((listen.span, free.to_string()));
    }
    if let Some(member) = members(document).iter().find(|member| member.key == MOVED) {
        // A list in lines has no brackets.
        let is_in_brackets = document.text[member.value.span.start..].starts_with('[');
        let (at, text) = match member.value.elements().last() {
            Some(last) => (last.span.end, format!(", {pair}")),
            None => (member.value.span.start + 1, pair),
        };
        return is_in_brackets.then(|| (Span::new(at, at), text));
    }
    let start = holder.key_span.start;
    let line_start = document.text[..start].rfind('\n').map_or(0, |at| at + 1);
    let before = &document.text[line_start..start];
    let line = Some(format!("\n{before}")).filter(|_| before.trim().is_empty());
    let text = match (document.format, line) {
        (Format::Json, line) => format!("\"{MOVED}\": [{pair}],{}", line.unwrap_or(" ".to_owned())),
        (Format::Yaml, Some(line)) => format!("{MOVED}: [{pair}]{line}"),
        (Format::Toml, Some(line)) => format!("{MOVED} = [{pair}]{line}"),
        (Format::Yaml, None) => format!("{MOVED}: [{pair}], "),
        (Format::Toml, None) => format!("{MOVED} = [{pair}], "),
    };
    Some((Span::new(start, start), text))
}

fn members(document: &Document) -> &[Member] {
    let section = SECTION.iter().try_fold(&document.root, |node, key| node.get(key));
    section.map_or(&[], Node::members)
}

fn holds(node: &Node, span: Span) -> bool {
    node.span.start <= span.start && span.end <= node.span.end
}

/// A list of one element may be written as the element.
fn each(node: &Node) -> impl Iterator<Item = &Node> {
    let single = if matches!(node.value, Value::Array(_)) { None } else { Some(node) };
    node.elements().iter().chain(single)
}

fn pairs(node: &Node) -> impl Iterator<Item = (&Node, &Node)> {
    node.elements().iter().filter_map(|pair| match pair.elements() {
        [first, second] => Some((first, second)),
        _ => None,
    })
}

fn number(node: &Node) -> Option<u16> {
    match node.value {
        Value::Integer(number) => u16::try_from(number).ok().filter(|port| *port > 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layered::resolve;

    fn ports(text: &str, format: Format) -> (Document, Vec<Listen>) {
        let document = Document::new("", text, format);
        let resolved = resolve(Some(&document), &|_| None, &[]);
        let found = listens(&document, &resolved);
        (document, found)
    }

    fn json(incoming: &str) -> String {
        format!(r#"{{"target": "pod/a", "feature": {{"network": {{"incoming": {incoming}}}}}}}"#)
    }

    #[test]
    fn ports_that_follow_from_the_file_are_found() {
        for (incoming, expected) in [
            (r#"{"listen_ports": [[80, 8080], [443, 8443]]}"#, vec![(80, 8080), (443, 8443)]),
            (r#"{"ports": [80, 9000], "listen_ports": [[80, 8080]]}"#, vec![(9000, 9000), (80, 8080)]),
            (r#"{"ports": 3000, "port_mapping": [[8080, 80]]}"#, vec![(3000, 3000), (8080, 8080)]),
            (r#"{"mode": "off", "ports": [80], "listen_ports": [[1, 2]]}"#, vec![(1, 2)]),
            (r#"{"ignore_ports": [80], "http_filter": {"ports": [80]}}"#, vec![]),
            (r#"{"ports": ["x", 70000], "listen_ports": [[1]]}"#, vec![]),
            (r#""steal""#, vec![]),
        ] {
            let (_, found) = ports(&json(incoming), Format::Json);
            let found: Vec<_> = found.iter().map(|port| (port.program, port.local)).collect();
            assert_eq!(found, expected, "{incoming}");
        }
        let (_, found) = ports(&json(r#"{"ports": [80]}"#).replace("pod/a", "targetless"), Format::Json);
        assert_eq!(found, [], "no target has no traffic");
    }

    #[test]
    fn a_port_is_moved_where_the_text_has_a_place_for_it() {
        let yaml = |incoming: &str| format!("feature:\n  network:\n    incoming:\n{incoming}");
        for (format, text, expected) in [
            (Format::Json, json(r#"{"listen_ports": [[80, 8080]]}"#), Some("[[80, 1234]]")),
            (
                Format::Json,
                json(r#"{"ports": [81], "listen_ports": [[80, 8080],]}"#),
                Some(r#""listen_ports": [[80, 8080], [81, 1234],]"#),
            ),
            (
                Format::Json,
                json(r#"{"mode": "steal", "ports": [81]}"#),
                Some(r#""listen_ports": [[81, 1234]], "ports""#),
            ),
            (Format::Yaml, yaml("      ports: [81]\n"), Some("      listen_ports: [[81, 1234]]\n      ports: [81]\n")),
            (Format::Yaml, yaml("      ports: [81]\n      listen_ports:\n      - [80, 8080]\n"), None),
            (
                Format::Toml,
                "[feature.network.incoming]\nports = [81]\n".to_owned(),
                Some("listen_ports = [[81, 1234]]\nports = [81]\n"),
            ),
            (Format::Toml, "feature.network.incoming.ports = [81]\n".to_owned(), None),
        ] {
            let (document, found) = ports(&text, format);
            let edited = relisten(&document, &found[0], 1234).map(|(span, new)| {
                let mut text = text.clone();
                text.replace_range(span.start..span.end, &new);
                text
            });
            let is_expected = match (&edited, expected) {
                (Some(edited), Some(expected)) => edited.contains(expected),
                (edited, expected) => edited.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{text} became {edited:?}");
        }
    }
}
