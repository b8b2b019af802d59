//! The table of keys: what each one is called, takes, defaults to and means.
//!
//! The rows themselves stand beside the typed fields they fill (`model`), written once by the `section!`
//! and `records!` macros; this file says what a row is and finds rows. Checking, layering, the schema, the documents,
//! completion and hover all read this table and nothing else.

use crate::model;
use crate::text::TextKind;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Dotted path, such as `agent.ttl`. Keys of objects that occur inside lists begin with `$` and the name of the
    /// record instead of the place, such as `$toleration.key`.
    pub path: &'static str,
    /// What may be written there.
    pub shape: Shape,
    /// The default as JSON; `null` where leaving it out is a state of its own.
    pub default: &'static str,
    /// Whether the product acts on it already.
    pub in_effect: bool,
    /// The documentation as the `///` comment of the field has it; [`Key::doc`] gives it tidied.
    pub raw_doc: &'static str,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A time: a number in `unit`, or text such as `50ms`. Normalised to milliseconds.
    Duration {
        /// Unit of a bare number.
        unit: Unit,
        /// Shortest, in milliseconds.
        min: u64,
        /// Longest, in milliseconds.
        max: u64,
    },
    /// A number of bytes, or text such as `256MiB`. Normalised to bytes.
    Size,
    /// A text of some kind.
    Text(TextKind),
    /// One of a few words.
    OneOf(&'static [Choice]),
    /// A text of some kind; a number or a boolean is taken as its text.
    Scalar(TextKind),
    /// Any text, number or boolean, never shown to anybody.
    Secret,
    /// A list; one element may stand alone.
    List(&'static Shape),
    /// An object with free keys.
    Map {
        /// Kind of the keys.
        key: TextKind,
        /// Shape of the values.
        value: &'static Shape,
    },
    /// A list of exactly two.
    Pair(&'static Shape),
    /// An object whose keys are the rows below this `$name`.
    Record(&'static str),
    /// Any of several, told apart by the type of the value.
    Either(&'static [Shape]),
    /// An object whose keys are the rows below this one's path; short forms may stand for it.
    Section(&'static [Short]),
}

/// Unit of a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    /// Milliseconds in one.
    pub fn milliseconds(self) -> u64 {
        match self {
            Self::Seconds => 1000,
            Self::Milliseconds => 1,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
        }
    }
}

/// One word of [`Shape::OneOf`].
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// The word.
    pub word: &'static str,
    /// What it means, as the `///` comment has it.
    pub raw_doc: &'static str,
}

/// A short form of a section.
#[derive(Debug, Clone, Copy)]
pub enum Short {
    /// `true` and `false` stand for these values (paths below the section, JSON).
    Bool {
        /// What `true` sets.
        on: &'static [(&'static str, &'static str)],
        /// What `false` sets.
        off: &'static [(&'static str, &'static str)],
    },
    /// Any other value stands for the child of this name.
    Child(&'static str),
}

impl Shape {
    /// A time in seconds, bounds in seconds.
    pub const fn seconds(min: u64, max: u64) -> Self {
        Self::Duration { unit: Unit::Seconds, min: min * 1000, max: max * 1000 }
    }

    /// A time in milliseconds.
    pub const fn milliseconds(min: u64, max: u64) -> Self {
        Self::Duration { unit: Unit::Milliseconds, min, max }
    }

    /// A port number.
    pub const PORT: Self = Self::Integer { min: 1, max: 65535 };
    /// A list of ports.
    pub const PORTS: Self = Self::List(&Self::PORT);
    /// A list of regular expressions.
    pub const REGEXES: Self = Self::List(&Self::Text(crate::text::REGEX));

    /// What it takes, in the words of a message ("must be ...").
    pub fn describe(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max: i64::MAX } => format!("a whole number from {min}"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration { unit, .. } => format!(
                "a number of {} or text such as `{}`",
                unit.name(),
                match unit {
                    Unit::Seconds => "30s",
                    Unit::Milliseconds => "50ms",
                }
            ),
            Self::Size => "a number of bytes or text such as `256MiB`".to_owned(),
            Self::Text(kind) | Self::Scalar(kind) if kind.name == "text" => "text".to_owned(),
            Self::Text(kind) | Self::Scalar(kind) => format!("text ({})", kind.name),
            Self::OneOf(choices) => {
                let words: Vec<_> = choices.iter().map(|choice| format!("\"{}\"", choice.word)).collect();
                words.join(" or ")
            }
            Self::Secret => "text".to_owned(),
            Self::List(element) => format!("a list, each element {}", element.describe()),
            Self::Map { value, .. } => format!("an object, each value {}", value.describe()),
            Self::Pair(element) => format!("a pair in brackets, each {}", element.describe()),
            Self::Record(name) => format!("an object ({})", &name[1..]),
            Self::Either(shapes) => shapes.iter().map(Shape::describe).collect::<Vec<_>>().join(", or "),
            Self::Section(shorts) => {
                let mut words = vec!["an object".to_owned()];
                words.extend(shorts.iter().map(|short| match short {
                    Short::Bool { .. } => "true or false".to_owned(),
                    Short::Child(name) => format!("the value of `{name}` alone"),
                }));
                words.join(", or ")
            }
        }
    }

    /// The record whose keys stand inside a value of this shape, if there is one.
    pub fn object_below(&self) -> Option<&'static str> {
        match self {
            Self::Record(name) => Some(name),
            Self::List(inner) => inner.object_below(),
            Self::Either(shapes) => shapes.iter().find_map(Shape::object_below),
            _ => None,
        }
    }

    /// Whether values of this shape may hold secrets.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Secret => true,
            Self::List(inner) | Self::Pair(inner) | Self::Map { value: inner, .. } => inner.is_secret(),
            _ => false,
        }
    }
}

impl Key {
    /// The last step of the path: the word that is written in the file.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// Path of the object it stands in; empty for the root.
    pub fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// The environment variable that sets it: `MIRROR_` and the path in capitals, dots as underscores, without the
    /// leading `feature`. Keys of records have none.
    pub fn variable(&self) -> Option<String> {
        if self.path.is_empty() || self.path.starts_with('$') || self.path == "feature" {
            return None;
        }
        let path = self.path.strip_prefix("feature.").unwrap_or(self.path);
        Some(format!("MIRROR_{}", path.replace('.', "_").to_ascii_uppercase()))
    }

    /// The documentation, Markdown.
    pub fn doc(&self) -> String {
        tidy(self.raw_doc)
    }

    /// Whether it is an object whose keys are rows of their own.
    pub fn is_section(&self) -> bool {
        matches!(self.shape, Shape::Section(_))
    }
}

impl Choice {
    /// What it means, Markdown.
    pub fn doc(&self) -> String {
        tidy(self.raw_doc)
    }
}

/// A `///` comment as text.
fn tidy(raw: &str) -> String {
    let lines: Vec<_> = raw.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

/// All rows: a section before its children, in the order of the documents.
pub fn all() -> impl Iterator<Item = &'static Key> {
    model::TABLE.iter().flat_map(|rows| rows.iter())
}

/// The rows of keys that stand in a file at their own path: not the root, not those of records.
pub fn in_file() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| !key.path.is_empty() && !key.path.starts_with('$'))
}

/// The row of a path.
pub fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

/// The rows directly below a path: the empty one for the root, a section's, or a record's `$name`.
pub fn children(parent: &str) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| !key.path.is_empty() && key.path != parent && key.parent() == parent)
}

/// The row of a key by the object it stands in.
pub fn child(parent: &str, name: &str) -> Option<&'static Key> {
    children(parent).find(|key| key.name() == name)
}

/// The row of a place in a file, as [`crate::syntax::cursor`] gives it: `agent.tolerations[].key` is
/// `$toleration.key`.
pub fn locate(place: &str) -> Option<&'static Key> {
    let mut parent = "";
    let mut found = None;
    for step in place.split('.') {
        let name = step.trim_end_matches("[]");
        let key = child(parent, name).or_else(|| {
            // The object form of a section's short child, as in `"target": {"deployment": "web"}`.
            let record = children(parent).find_map(|key| key.shape.object_below());
            record.and_then(|record| child(record, name))
        })?;
        found = Some(key);
        parent = key.shape.object_below().unwrap_or(key.path);
    }
    found
}

/// The rows that may be written inside the object at a place; none if it holds no object.
pub fn allowed(place: &str) -> Vec<&'static Key> {
    if place.is_empty() {
        return children("").collect();
    }
    let Some(key) = locate(place) else {
        return Vec::new();
    };
    match (&key.shape, key.shape.object_below()) {
        (_, Some(record)) => children(record).collect(),
        (Shape::Section(_), None) => children(key.path).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn paths_and_variables_are_unique_and_every_row_is_documented() {
        let mut paths = HashSet::new();
        let mut variables = HashSet::new();
        for key in all() {
            assert!(paths.insert(key.path), "{} twice", key.path);
            assert!(!key.doc().is_empty(), "{} has no documentation", key.path);
            if let Some(variable) = key.variable() {
                assert!(variables.insert(variable.clone()), "{variable} twice");
            }
            let parent = key.parent();
            assert!(parent.is_empty() || parent.starts_with('$') || find(parent).is_some_and(Key::is_section));
        }
    }

    #[test]
    fn places_lead_to_rows() {
        for (place, path) in [
            ("agent.ttl", "agent.ttl"),
            ("agent.tolerations[].key", "$toleration.key"),
            ("target.path.pod", "$target.pod"),
            ("target.deployment", "$target.deployment"),
            ("feature.network.incoming.http_filter.all_of[].not.header", "$filter.header"),
        ] {
            assert_eq!(locate(place).map(|key| key.path), Some(path));
        }
        assert!(locate("agent.nope").is_none());
        assert!(allowed("agent.dns").iter().map(|key| key.name()).eq(["timeout", "attempts"]));
        assert_eq!(allowed("agent.image_pull_secrets[]").len(), 1);
        assert!(allowed("agent.ttl").is_empty());
    }
}
