//! Which sources a pod asks for names, in which order (`nsswitch.conf(5)`, the line `hosts`). Pure.

/// Where names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The hosts file.
    Files,
    /// The name servers.
    Dns,
    /// A library of the pod, which cannot be asked: always [`Status::Unavailable`].
    Other,
}

/// How a source did, other than well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    NotFound,
    Unavailable,
    TryAgain,
}

/// What a configuration calls each [`Status`]; the place is the index in [`Step::ends`].
const STATUSES: [&str; 3] = ["NOTFOUND", "UNAVAIL", "TRYAGAIN"];

/// One source and when it is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) source: Source,
    ends: [bool; STATUSES.len()],
}

impl Step {
    fn new(source: Source) -> Self {
        Self { source, ends: [false; STATUSES.len()] }
    }

    /// Whether no further source is asked after this one has failed so.
    pub(super) fn ends_with(&self, status: Status) -> bool {
        self.ends[status as usize]
    }
}

/// The sources in their order. A file without the line stands for `files dns`, as a missing file does:
/// glibc's default, and all that musl knows.
pub(super) fn steps(file: &[u8]) -> Vec<Step> {
    let text = String::from_utf8_lossy(file);
    let mut lines = text.lines().filter_map(|line| line.split('#').next()?.trim_start().strip_prefix("hosts:"));
    match lines.next_back() {
        Some(line) => parse(line),
        None => vec![Step::new(Source::Files), Step::new(Source::Dns)],
    }
}

fn parse(mut line: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        line = line.trim_start();
        if let Some((actions, rest)) = line.strip_prefix('[').map(|rest| rest.split_once(']').unwrap_or((rest, ""))) {
            if let Some(step) = steps.last_mut() {
                actions.split_ascii_whitespace().for_each(|action| apply(action, step));
            }
            line = rest;
            continue;
        }
        let end = line.find(|end: char| end.is_whitespace() || end == '[').unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        steps.push(Step::new(match name {
            "" => return steps,
            "files" => Source::Files,
            "dns" => Source::Dns,
            _ => Source::Other,
        }));
        line = rest;
    }
}

/// One `STATUS=ACTION` or `!STATUS=ACTION`. What makes no sense changes nothing.
fn apply(action: &str, step: &mut Step) {
    let Some((status, action)) = action.split_once('=') else { return };
    let (status, others) = status.strip_prefix('!').map_or((status, false), |status| (status, true));
    let ends = action.eq_ignore_ascii_case("return");
    let meant = STATUSES.iter().position(|name| name.eq_ignore_ascii_case(status));
    if meant.is_none() && !status.eq_ignore_ascii_case("SUCCESS") {
        return;
    }
    for (index, slot) in step.ends.iter_mut().enumerate() {
        if (meant == Some(index)) != others {
            *slot = ends;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources by their first letters, each with the letters of the statuses that end there.
    fn shown(file: &str) -> String {
        let show = |step: &Step| {
            let ends = STATUSES.iter().zip(step.ends).filter(|(_, ends)| *ends).map(|(name, _)| &name[..1]);
            format!("{:?}", step.source)[..1].to_lowercase() + &ends.collect::<String>()
        };
        steps(file.as_bytes()).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sources_keep_their_order_and_their_actions() {
        for (file, expected) in [
            ("", "f d"),
            ("passwd: files\n", "f d"),
            ("hosts: files dns\n", "f d"),
            ("hosts:\tdns   files # comment\n", "d f"),
            ("  hosts:files\n", "f"),
            ("hosts: files\nhosts: dns\n", "d"),
            ("#hosts: dns\n", "f d"),
            ("hosts:\n", ""),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", "f oN d"),
            ("hosts: files resolve [!UNAVAIL=return] dns", "f oNT d"),
            ("hosts: files [notfound=RETURN] dns", "fN d"),
            ("hosts: dns[!UNAVAIL=return]files", "dNT f"),
            ("hosts: dns [TRYAGAIN=return UNAVAIL=return] files", "dUT f"),
            ("hosts: dns [!NOTFOUND=return] [UNAVAIL=continue] files", "dT f"),
            ("hosts: files [SUCCESS=return] dns", "f d"),
            ("hosts: files [!SUCCESS=return] dns", "fNUT d"),
            ("hosts: files [nonsense] [A=return dns", "f"),
            ("hosts: [NOTFOUND=return] dns", "d"),
        ] {
            assert_eq!(shown(file), expected, "{file}");
        }
    }
}
