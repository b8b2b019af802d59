//! From checked tree nodes to Rust values.
//!
//! Called by the `section!` macro through `Settings::get`, after `check` has refused
//! everything that does not fit and normalised the rest (times are milliseconds, lone elements are lists).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::AddressFilter;
use crate::syntax::{Node, Value};
use crate::target::Target;

/// A value that a checked node can become.
pub(crate) trait Lower: Sized {
    /// Nothing when the node does not fit, which the checks before rule out.
    fn lower(node: &Node) -> Option<Self>;
}

impl Lower for bool {
    fn lower(node: &Node) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }
}

impl Lower for u64 {
    fn lower(node: &Node) -> Option<Self> {
        match node.value {
            Value::Integer(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

impl Lower for u32 {
    fn lower(node: &Node) -> Option<Self> {
        u64::lower(node)?.try_into().ok()
    }
}

impl Lower for u16 {
    fn lower(node: &Node) -> Option<Self> {
        u64::lower(node)?.try_into().ok()
    }
}

impl Lower for Duration {
    fn lower(node: &Node) -> Option<Self> {
        u64::lower(node).map(Duration::from_millis)
    }
}

impl Lower for String {
    fn lower(node: &Node) -> Option<Self> {
        node.as_str().map(str::to_owned)
    }
}

impl Lower for AddressFilter {
    fn lower(node: &Node) -> Option<Self> {
        node.as_str()?.parse().ok()
    }
}

impl Lower for Target {
    fn lower(node: &Node) -> Option<Self> {
        match node.as_str() {
            Some(text) => text.parse().ok(),
            None => super::records::target(node).ok(),
        }
    }
}

impl<T: Lower> Lower for Option<T> {
    fn lower(node: &Node) -> Option<Self> {
        match node.value {
            Value::Null => Some(None),
            _ => T::lower(node).map(Some),
        }
    }
}

impl<T: Lower> Lower for Vec<T> {
    fn lower(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Array(elements) => elements.iter().map(T::lower).collect(),
            _ => None,
        }
    }
}

impl<T: Lower> Lower for BTreeMap<String, T> {
    fn lower(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Object(members) => {
                members.iter().map(|member| Some((member.key.clone(), T::lower(&member.value)?))).collect()
            }
            _ => None,
        }
    }
}
