//! Whose file a path names: the user's patterns and the lists of [`defaults`], compiled by the session host into a table
//! that is walked byte by byte.
//!
//! The table is a deterministic automaton that runs all patterns at once. Patterns are numbered in the order in which
//! they are heeded, so that the least number which has matched anywhere is the one that decides. In the table, integers
//! are little endian:
//!
//! | what | bytes |
//! |---|---|
//! | number of states, of classes (with the last, the path's end), of patterns | 2 each |
//! | the class of each byte value | 256 |
//! | the rule of each pattern | 1 each, then one more where their number is odd |
//! | for each state the least pattern that has matched there, [`NONE`] for none | 2 each |
//! | for each state the next one by class; the first state is where a path begins | 2 each |

pub mod defaults;

/// What a pattern is for. Those of the user are heeded in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Another path is used instead.
    Mapping = 0,
    /// There is no such file.
    NotFound = 1,
    /// The file is the pod's, to read and to write.
    ReadWrite = 2,
    /// The file is the pod's, and can only be read.
    ReadOnly = 3,
    /// The file is this machine's.
    Local = 4,
    /// The pod's is read, this machine's is written.
    Read = 5,
    /// Nothing is said: the file is this machine's, unless it is one of those by which names are resolved.
    Unnamed = 6,
}

impl Rule {
    /// All, by their numbers.
    pub const ALL: [Self; 7] =
        [Self::Mapping, Self::NotFound, Self::ReadWrite, Self::ReadOnly, Self::Local, Self::Read, Self::Unnamed];

    /// Whether this machine has the file, for somebody who changes it or not.
    pub fn is_local(self, changes: bool) -> bool {
        match self {
            Self::Local | Self::Unnamed => true,
            Self::Read => changes,
            Self::Mapping | Self::NotFound | Self::ReadWrite | Self::ReadOnly => false,
        }
    }

    /// The key of `feature.fs` whose patterns these are; none where they are not the user's.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Self::Mapping => Some("mapping"),
            Self::NotFound => Some("not_found"),
            Self::ReadWrite => Some("read_write"),
            Self::ReadOnly => Some("read_only"),
            Self::Local => Some("local"),
            Self::Read | Self::Unnamed => None,
        }
    }
}

/// Stands for no pattern.
pub const NONE: u16 = u16::MAX;

const HEAD: usize = 6;
const BYTES: usize = 256;

/// A table.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    classes: &'a [u8],
    rules: &'a [u8],
    matches: &'a [u8],
    next: &'a [u8],
    n_classes: usize,
}

impl<'a> Table<'a> {
    /// Reads a table; `None` if it is none. What is wrong inside it makes it match nothing more.
    pub fn read(table: &'a [u8]) -> Option<Self> {
        let number = |at| number(table, at).map(usize::from);
        let (n_states, n_classes, n_patterns) = (number(0)?, number(1)?, number(2)?);
        let (classes, rest) = table.get(HEAD..)?.split_at_checked(BYTES)?;
        let (rules, rest) = rest.split_at_checked(n_patterns.next_multiple_of(2))?;
        let (matches, next) = rest.split_at_checked(2 * n_states)?;
        (next.len() == 2 * n_states * n_classes).then_some(Self { classes, rules, matches, next, n_classes })
    }

    /// The pattern that decides for a path.
    pub fn find(&self, path: impl IntoIterator<Item = u8>) -> Option<u16> {
        let (mut state, mut found) = (0, NONE);
        for byte in path {
            let class = usize::from(*self.classes.get(usize::from(byte))?);
            (state, found) = self.step(state, class, found)?;
        }
        (_, found) = self.step(state, self.n_classes.checked_sub(1)?, found)?;
        (found != NONE).then_some(found)
    }

    /// What the pattern that decides for a path is for; [`Rule::Unnamed`] is told as none.
    pub fn rule(&self, path: impl IntoIterator<Item = u8>) -> Option<Rule> {
        let rule = *self.rules.get(usize::from(self.find(path)?))?;
        Rule::ALL.get(usize::from(rule)).copied().filter(|rule| *rule != Rule::Unnamed)
    }

    fn step(&self, state: u16, class: usize, found: u16) -> Option<(u16, u16)> {
        let state = number(self.next, usize::from(state) * self.n_classes + class)?;
        Some((state, found.min(number(self.matches, usize::from(state))?)))
    }
}

fn number(bytes: &[u8], index: usize) -> Option<u16> {
    let pair = bytes.get(2 * index..)?.first_chunk()?;
    Some(u16::from_le_bytes(*pair))
}

/// A path without empty and `.` parts and with `..` taken as the part before it is taken away; a slash at its end stays.
/// `None` where the room ends before the path. The first part is absolute.
pub fn plain_into<'r>(parts: &[&[u8]], room: &'r mut [u8]) -> Option<&'r mut [u8]> {
    let mut used = 0;
    let names = parts.iter().flat_map(|part| part.split(|byte| *byte == b'/'));
    for name in names.clone().filter(|name| !matches!(*name, b"" | b".")) {
        if name == b".." {
            used = room.get(..used)?.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            continue;
        }
        let end = used + 1 + name.len();
        *room.get_mut(used)? = b'/';
        room.get_mut(used + 1..end)?.copy_from_slice(name);
        used = end;
    }
    if used == 0 || matches!(names.last(), Some(b"" | b"." | b"..")) {
        *room.get_mut(used)? = b'/';
        used += 1;
    }
    room.get_mut(..used)
}

/// [`plain_into`] of one path, allocated.
pub fn plain(path: &[u8]) -> Vec<u8> {
    let mut room = vec![0; path.len() + 1];
    plain_into(&[path], &mut room).map(|path| path.to_vec()).unwrap_or_default()
}

/// Parts of a table to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The class of each byte value.
    pub classes: [u8; BYTES],
    /// The rule of each pattern.
    pub rules: Vec<Rule>,
    /// For each state the least pattern that has matched there.
    pub matches: Vec<u16>,
    /// For each state the next one by class.
    pub next: Vec<Vec<u16>>,
}

impl Parts {
    /// The table; `None` where a number has no room in it.
    pub fn write(&self) -> Option<Vec<u8>> {
        let n_classes = self.next.first().map_or(0, Vec::len);
        let mut table = Vec::new();
        for count in [self.matches.len(), n_classes, self.rules.len()] {
            table.extend(u16::try_from(count).ok()?.to_le_bytes());
        }
        table.extend(self.classes);
        table.extend(self.rules.iter().map(|rule| *rule as u8));
        table.resize(table.len().next_multiple_of(2), 0);
        table.extend(self.matches.iter().chain(self.next.iter().flatten()).flat_map(|number| number.to_le_bytes()));
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths with an `a` are pattern 1, those that end with one are pattern 0.
    fn table() -> Vec<u8> {
        let mut classes = [0; BYTES];
        classes[usize::from(b'a')] = 1;
        let parts = Parts {
            classes,
            rules: vec![Rule::ReadOnly, Rule::Local, Rule::Local],
            matches: vec![NONE, 1, 0],
            next: vec![vec![0, 1, 0], vec![0, 1, 2], vec![0, 0, 0]],
        };
        parts.write().expect("fits")
    }

    #[test]
    fn the_first_pattern_that_matches_anywhere_decides() {
        let table = table();
        let table = Table::read(&table).expect("a table");
        for (path, pattern, rule) in [
            ("", None, None),
            ("/b", None, None),
            ("/a/b", Some(1), Some(Rule::Local)),
            ("/a/ba", Some(0), Some(Rule::ReadOnly)),
        ] {
            assert_eq!(table.find(path.bytes()), pattern, "{path}");
            assert_eq!(table.rule(path.bytes()), rule, "{path}");
        }
    }

    #[test]
    fn paths_are_made_plain() {
        for (parts, expected) in [
            (&["/app/config"][..], Some("/app/config")),
            (&["//app/./x//y"], Some("/app/x/y")),
            (&["/app/x/"], Some("/app/x/")),
            (&["/app/x/."], Some("/app/x/")),
            (&["/app", "x/../y"], Some("/app/y")),
            (&["/app", "../.."], Some("/")),
            (&["/app/x", ".."], Some("/app/")),
            (&["/"], Some("/")),
            (&["/", "a"], Some("/a")),
            (&["/0123456789", "0123456789"], None),
        ] {
            let (parts, mut room) = (parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(), [0; 16]);
            let plain = plain_into(&parts, &mut room).map(|plain| plain.to_vec());
            assert_eq!(plain.as_deref(), expected.map(str::as_bytes), "{parts:?}");
        }
        assert_eq!(plain(b"/"), b"/");
    }

    #[test]
    fn what_is_no_table_is_none_and_a_broken_one_matches_nothing() {
        let good = table();
        for length in 0..good.len() {
            assert!(Table::read(&good[..length]).is_none(), "{length}");
        }
        for at in 0..good.len() {
            let mut broken = good.clone();
            broken[at] = 0xff;
            if let Some(table) = Table::read(&broken) {
                table.rule(*b"/a/ba");
            }
        }
    }
}
