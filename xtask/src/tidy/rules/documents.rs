//! Markdown files: people should read them to the end, and links should lead somewhere.

use crate::tidy::Findings;
use crate::tidy::workspace::Workspace;

/// Documents whose length is bounded, in lines.
const LIMITS: &[(&str, usize)] = &[("README.md", 250), ("docs/ARCHITECTURE.md", 300)];

/// Documents are short, and links to files name files that are there.
pub(in crate::tidy) fn check(workspace: &Workspace, findings: &mut Findings) {
    for (path, limit) in LIMITS {
        let n_lines = workspace.text(path).map_or(0, |text| text.lines().count());
        if n_lines > *limit {
            findings.file(path, format!("has {n_lines} lines, more than {limit}"));
        }
    }
    for file in workspace.files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, link) in links(&file.text) {
            let path = link.split(['#', '?']).next().unwrap_or_default();
            if !path.is_empty() && !link.contains("://") && !link.starts_with("mailto:") {
                match resolve(folder, path) {
                    Some(target) if workspace.has(&target) => {}
                    _ => findings.line(&file.path, line, format!("links to {link}, which is not there")),
                }
            }
        }
    }
}

/// The destinations of all links outside code, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        let mut is_code = false;
        for (at, _) in line.match_indices(['`', ']']) {
            match line[at..].strip_prefix("](") {
                Some(rest) if !is_code => found.extend(rest.split([')', ' ']).next().map(|link| (index + 1, link))),
                Some(_) => {}
                None => is_code ^= line[at..].starts_with('`'),
            }
        }
    }
    found
}

/// `path` as seen from `folder`; none when it leaves the repository.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use crate::tidy::testing::{findings, workspace};

    #[test]
    fn links_lead_to_files() {
        let text = "\
[good](limits.md), [folder](../server/src#x), [top](../README.md), [web](https://example.org), [here](#part)
`[code](no.md)` and [bad](no.md) and [outside](../../x)
```
[code](no.md)
```
";
        let workspace =
            workspace(&[("docs/a.md", text), ("docs/limits.md", ""), ("server/src/lib.rs", ""), ("README.md", "")]);
        assert_eq!(
            findings("documents", &workspace),
            ["docs/a.md:2: links to no.md, which is not there", "docs/a.md:2: links to ../../x, which is not there"]
        );
    }

    #[test]
    fn documents_are_short() {
        let workspace = workspace(&[("README.md", &"x\n".repeat(251)), ("docs/ARCHITECTURE.md", &"x\n".repeat(300))]);
        assert_eq!(findings("documents", &workspace), ["README.md: has 251 lines, more than 250"]);
    }
}
