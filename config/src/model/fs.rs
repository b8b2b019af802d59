//! `feature.fs`: files.

use std::collections::BTreeMap;

use super::{choices, section};
use crate::keys::{Shape, Short};
use crate::text;

choices! {
    /// Where file operations go when no pattern says otherwise.
    FsMode {
        /// Every file is local.
        Local = "local",
        /// Local, except for what the patterns name.
        LocalWithOverrides = "localwithoverrides",
        /// Reads go to the target, writes stay local.
        Read = "read",
        /// Reads and writes go to the target.
        Write = "write",
    }
}

section! {
    /// Which files are those of the target. Short form: the mode alone. The patterns are regular expressions on the
    /// absolute path, upper and lower case are the same. System directories, your working directory and files of
    /// language tools are local by default.
    Fs in "feature.fs.", short &[Short::Child("mode")];
    /// Where file operations go when no pattern says otherwise.
    later mode: FsMode = "\"read\"", Shape::OneOf(FsMode::CHOICES);
    /// Files that are read from and written to the target.
    later read_write: Vec<String> = "[]", Shape::REGEXES;
    /// Files that are read from the target and written locally.
    later read_only: Vec<String> = "[]", Shape::REGEXES;
    /// Files that are always local.
    later local: Vec<String> = "[]", Shape::REGEXES;
    /// Files that do not exist for the local process.
    later not_found: Vec<String> = "[]", Shape::REGEXES;
    /// Regular expressions on paths, each with the path that is used instead; `$1` is the text of the first group.
    later mapping: BTreeMap<String, String> = "{}", Shape::Map { key: text::REGEX, value: &Shape::Text(text::SOME) };
    /// Largest file that is fetched from the target, in bytes or as text such as `256MiB`.
    later max_file_size: u64 = "\"256MiB\"", Shape::Size;
}
