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
        /// Local, except for what the patterns name, volumes of the container, and `/etc/ssl/certs`.
        LocalWithOverrides = "localwithoverrides",
        /// Reads go to the target, writes stay local, except for what this machine's programs need.
        Read = "read",
        /// Reads and writes go to the target, except for what this machine's programs need.
        Write = "write",
    }
}

section! {
    /// Which files are those of the target. Short form: the mode alone. The patterns are regular expressions on the
    /// absolute path, upper and lower case are the same; of several that match, the first of `not_found`,
    /// `read_write`, `read_only` and `local` counts. What no pattern names: volumes of the container are the
    /// target's; `/etc/ssl/certs` is, where the target has it; credentials in the user's home (`.kube`, `.azure`,
    /// `.config/gcloud`) do not exist; programs, libraries, their settings (`/etc`), homes, temporary files, the
    /// current project, and kinds of program files (`.py`, `.js`, `.so`, …) are local; all else is as the mode says.
    /// `mirror fs explain PATH` tells which rule decides. Without a target only the patterns count.
    Fs in "feature.fs.", short &[Short::Child("mode")];
    /// Where file operations go when no pattern says otherwise.
    now mode: FsMode = "\"read\"", Shape::OneOf(FsMode::CHOICES);
    /// Files that are read from and written to the target.
    now read_write: Vec<String> = "[]", Shape::REGEXES;
    /// Files that are read from the target. They can only be read (`EROFS`).
    now read_only: Vec<String> = "[]", Shape::REGEXES;
    /// Files that are always local.
    now local: Vec<String> = "[]", Shape::REGEXES;
    /// Files that do not exist for the local process.
    now not_found: Vec<String> = "[]", Shape::REGEXES;
    /// Regular expressions on paths, each with the text that is used instead of what has matched; `$1` is the text of
    /// the first group. The other patterns see the path that comes of it.
    now mapping: BTreeMap<String, String> = "{}", Shape::Map { key: text::REGEX, value: &Shape::Text(text::SOME) };
    /// Largest file that is fetched whole, in bytes or as text such as `256MiB`. Larger ones are read by parts, where
    /// `fusermount3` can mount a file system of the user's.
    now max_file_size: u64 = "\"256MiB\"", Shape::Size;
}
