//! What a session runs as: a workload, a set of labels, or nothing (targetless).
//!
//! The one table of target kinds: the configuration, the command line, the target list and the Kubernetes side read
//! names and API resources here. It must not know a cluster.

mod kind;
mod selector;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use kind::{KINDS, Kind, TargetKind};
pub use selector::LabelSelector;

use crate::text;

/// The text for "no target".
pub const TARGETLESS: &str = "targetless";
/// The kind word of a label selector.
pub const LABEL: &str = "label";

/// Whose environment, network and files the local process gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A pod of its own with no workload behind it: names and outgoing connections only.
    Targetless,
    /// A named object: a pod or something that has pods.
    Workload(Workload),
    /// The pods that carry these labels.
    Labels {
        /// The labels.
        selector: LabelSelector,
        /// The container; chosen by the server where it is not given.
        container: Option<String>,
    },
}

/// A named Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// What kind of object.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// The container; chosen by the server where it is not given.
    pub container: Option<String>,
}

impl Target {
    /// The container that was asked for.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Targetless => None,
            Self::Workload(workload) => workload.container.as_deref(),
            Self::Labels { container, .. } => container.as_deref(),
        }
    }
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Nothing is written.
    #[error("the target is empty: write KIND/NAME such as `deployment/web`, or `targetless`")]
    Empty,
    /// A name without its kind.
    #[error("`{0}` has no kind: write KIND/NAME such as `deployment/{0}`")]
    NoKind(String),
    /// The kind is unknown; the nearest one may help.
    #[error("`{given}` is no kind of target: use one of {}", kind::all_words())]
    UnknownKind {
        /// The word that was written.
        given: String,
        /// The nearest known one.
        nearest: Option<&'static str>,
    },
    /// A kind with nothing after it.
    #[error("the name after `{0}/` is missing")]
    NoName(String),
    /// A name that Kubernetes would refuse.
    #[error("`{name}` {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The object form names more than one kind.
    #[error("a target is one object: keep one of its kinds")]
    Several,
    /// Something after the name that is not `/container/NAME`.
    #[error("`{0}` after the name is not understood: only `/container/NAME` can follow")]
    Rest(String),
    /// The labels are not `key=value`, separated by commas.
    #[error("the label selector `{selector}` {reason}")]
    Selector {
        /// What was written.
        selector: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl TargetError {
    /// A word that can replace the wrong one.
    pub fn nearest(&self) -> Option<&'static str> {
        match self {
            Self::UnknownKind { nearest, .. } => *nearest,
            _ => None,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text == TARGETLESS {
            return Ok(Self::Targetless);
        }
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        let Some((word, rest)) = text.split_once('/') else {
            let is_kind = word_is_known(text);
            return Err(if is_kind {
                TargetError::NoName(text.to_owned())
            } else {
                TargetError::NoKind(text.to_owned())
            });
        };
        if word == LABEL {
            return selector::parse_target(rest);
        }
        let Some(kind) = TargetKind::from_word(word) else {
            return Err(TargetError::UnknownKind { given: word.to_owned(), nearest: kind::nearest(word) });
        };
        let (name, container) = split_container(rest)?;
        if name.is_empty() {
            return Err(TargetError::NoName(word.to_owned()));
        }
        Self::workload(kind, name, container)
    }
}

impl Target {
    /// A named object, its names checked.
    pub fn workload(kind: TargetKind, name: &str, container: Option<&str>) -> Result<Self, TargetError> {
        let wrong = |name: &str, reason| TargetError::Name { name: name.to_owned(), reason };
        let check = if kind == TargetKind::Service { text::label } else { text::subdomain };
        check(name).map_err(|reason| wrong(name, reason))?;
        check_container(container)?;
        let container = container.map(str::to_owned);
        Ok(Self::Workload(Workload { kind, name: name.to_owned(), container }))
    }
}

fn word_is_known(word: &str) -> bool {
    word == LABEL || TargetKind::from_word(word).is_some()
}

/// Cuts `NAME[/container/C]`.
fn split_container(rest: &str) -> Result<(&str, Option<&str>), TargetError> {
    let Some((name, after)) = rest.split_once('/') else {
        return Ok((rest, None));
    };
    match after.strip_prefix("container/") {
        Some(container) if !container.is_empty() && !container.contains('/') => Ok((name, Some(container))),
        _ => Err(TargetError::Rest(format!("/{after}"))),
    }
}

fn check_container(container: Option<&str>) -> Result<(), TargetError> {
    let Some(name) = container else { return Ok(()) };
    text::label(name).map_err(|reason| TargetError::Name { name: name.to_owned(), reason })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Targetless => f.write_str(TARGETLESS)?,
            Self::Workload(workload) => write!(f, "{}/{}", workload.kind, workload.name)?,
            Self::Labels { selector, .. } => write!(f, "{LABEL}/{selector}")?,
        }
        match self.container() {
            Some(container) => write!(f, "/container/{container}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_shown_in_their_long_form() {
        for (text, shown) in [
            ("pod/web-1", "pod/web-1"),
            ("deploy/web/container/app", "deployment/web/container/app"),
            ("deployment/web", "deployment/web"),
            ("sts/db", "statefulset/db"),
            ("cronjob/tick", "cronjob/tick"),
            ("targetless", "targetless"),
            ("label/app=web,tier=x", "label/app=web,tier=x"),
            ("label/app.kubernetes.io/name=web/container/app", "label/app.kubernetes.io/name=web/container/app"),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.to_string(), shown);
            assert_eq!(shown.parse(), Ok(target));
        }
    }

    #[test]
    fn mistakes_name_the_next_step() {
        for (text, message) in [
            ("", "the target is empty: write KIND/NAME such as `deployment/web`, or `targetless`"),
            ("web", "`web` has no kind: write KIND/NAME such as `deployment/web`"),
            ("pod", "the name after `pod/` is missing"),
            ("pod/", "the name after `pod/` is missing"),
            ("pod/x/app", "`/app` after the name is not understood: only `/container/NAME` can follow"),
            ("pod/x/container/", "`/container/` after the name is not understood: only `/container/NAME` can follow"),
            ("label/app", "the label selector `app` is not `key=value`, separated by commas"),
            ("label/a=b/x", "the label selector `a=b/x` is followed by `/x`: only `/container/NAME` can follow"),
        ] {
            assert_eq!(text.parse::<Target>().map_err(|error| error.to_string()), Err(message.to_owned()));
        }
        let misspelt = "deploymnet/web".parse::<Target>().expect_err("misspelt");
        assert_eq!(misspelt.nearest(), Some("deployment"));
        assert!("pod/Web".parse::<Target>().is_err());
        assert!("service/a.b".parse::<Target>().is_err());
    }
}
