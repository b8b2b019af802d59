//! `feature.env`: environment variables.

use std::collections::BTreeMap;

use super::{PrivateMap, section};
use crate::keys::{Shape, Short};
use crate::text;

section! {
    /// Which environment variables of the target the local process gets. `false` takes none. What comes later in
    /// this order wins: target, `env_file`, `mapping`, `override`; `unset` removes at the end.
    Env in "feature.env.", short &[Short::Bool { on: &[("exclude", "[]")], off: &[("exclude", "[\"*\"]")] }];
    /// Take only variables that match one of these patterns (`*` is any text, `?` one character). Not together with
    /// `exclude`. If left out, all are taken, except those that describe the machine, such as `PATH` and `HOME`.
    now include: Option<Vec<String>> = "null", Shape::List(&Shape::Text(text::PATTERN));
    /// Take all variables but those that match one of these patterns.
    now exclude: Vec<String> = "[]", Shape::List(&Shape::Text(text::PATTERN));
    /// Variables set to these values, whatever the target has.
    now overrides as "override": PrivateMap = "{}", Shape::Map { key: text::VARIABLE, value: &Shape::Secret };
    /// Names of variables that the local process shall not have, whether from the target or from your own shell;
    /// upper and lower case are the same.
    now unset: Vec<String> = "[]", Shape::List(&Shape::Text(text::VARIABLE));
    /// Path of a file of `NAME=value` lines that win over the target's variables.
    now env_file: Option<String> = "null", Shape::Text(text::PATH);
    /// Regular expressions on variable names, each with the value that such variables get; `$1` is the text of
    /// the first group.
    now mapping: BTreeMap<String, String> = "{}", Shape::Map { key: text::REGEX, value: &Shape::Scalar(text::ANY) };
}
