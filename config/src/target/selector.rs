//! Label selectors of the equality kind, `key=value,key2=value2`.
//!
//! Called by the parser of targets, and by the server for the list call. Set-based selectors are refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Target, TargetError, check_container};
use crate::text;

/// Labels that a pod must carry, in the order they were written; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LabelSelector(Vec<(String, String)>);

impl LabelSelector {
    /// Reads `key=value,key2=value2`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let wrong = |reason: String| TargetError::Selector { selector: text.to_owned(), reason };
        let mut labels: Vec<(String, String)> = Vec::new();
        for part in text.split(',') {
            let pair = part.split_once("==").or_else(|| part.split_once('='));
            let not_equality = part.contains("!=") || part.contains(char::is_whitespace);
            let Some((key, value)) = pair.filter(|_| !not_equality) else {
                return Err(wrong("is not `key=value`, separated by commas".to_owned()));
            };
            text::label_key(key).map_err(|reason| wrong(format!("has the key `{key}`, which {reason}")))?;
            text::label_value(value).map_err(|reason| wrong(format!("has the value `{value}`, which {reason}")))?;
            if labels.iter().any(|(known, _)| known == key) {
                return Err(wrong(format!("names `{key}` twice: no pod can match both")));
            }
            labels.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self(labels))
    }

    /// The labels.
    pub fn labels(&self) -> &[(String, String)] {
        &self.0
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// Reads what follows `label/`. A key may contain one slash, a value none: the container is looked for after the
/// last value.
pub(super) fn parse_target(rest: &str) -> Result<Target, TargetError> {
    if rest.is_empty() {
        return Err(TargetError::NoName(super::LABEL.to_owned()));
    }
    let last_value = rest.rfind('=').map_or(0, |at| at + 1);
    let (labels, container) = match rest[last_value..].find('/').filter(|_| last_value > 0) {
        None => (rest, None),
        Some(slash) => {
            let (labels, after) = rest.split_at(last_value + slash);
            let container = after.strip_prefix("/container/").filter(|name| !name.is_empty() && !name.contains('/'));
            let Some(container) = container else {
                let reason = format!("is followed by `{after}`: only `/container/NAME` can follow");
                return Err(TargetError::Selector { selector: rest.to_owned(), reason });
            };
            (labels, Some(container))
        }
    };
    check_container(container)?;
    Ok(Target::Labels { selector: LabelSelector::parse(labels)?, container: container.map(str::to_owned) })
}
