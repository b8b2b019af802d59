//! Filters as values: HTTP requests, and sides of addresses.

use serde::{Deserialize, Serialize};

use super::Lower;
use crate::address::AddressFilter;
use crate::syntax::{Node, Value};

/// Which HTTP requests are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpFilter {
    /// Regular expression on each header as `Name: value`, case-insensitive.
    Header(String),
    /// Regular expression on the path, and on the path with its query.
    Path(String),
    /// The method, case-insensitive.
    Method(String),
    /// Regular expression on the query.
    Query(String),
    /// All must match; never empty.
    All(Vec<HttpFilter>),
    /// One must match; never empty.
    Any(Vec<HttpFilter>),
    /// Must not match.
    Not(Box<HttpFilter>),
}

impl Lower for HttpFilter {
    fn lower(node: &Node) -> Option<Self> {
        let member = node.members().iter().find(|member| member.value.value != Value::Null)?;
        let value = &member.value;
        Some(match member.key.as_str() {
            "header" => Self::Header(String::lower(value)?),
            "path" => Self::Path(String::lower(value)?),
            "method" => Self::Method(String::lower(value)?),
            "query" => Self::Query(String::lower(value)?),
            "all_of" => Self::All(Vec::lower(value)?),
            "any_of" => Self::Any(Vec::lower(value)?),
            "not" => Self::Not(Box::new(Self::lower(value)?)),
            _ => return None,
        })
    }
}

/// Which of two sides an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressFilters {
    /// No filter: everything is remote.
    All,
    /// Only these are remote.
    Remote(Vec<AddressFilter>),
    /// All but these are remote.
    Local(Vec<AddressFilter>),
}

impl AddressFilters {
    /// The entries, whatever the side.
    pub fn entries(&self) -> &[AddressFilter] {
        match self {
            Self::All => &[],
            Self::Remote(entries) | Self::Local(entries) => entries,
        }
    }
}

impl Lower for AddressFilters {
    fn lower(node: &Node) -> Option<Self> {
        match (node.get("remote"), node.get("local")) {
            (Some(entries), _) => Vec::lower(entries).map(Self::Remote),
            (None, Some(entries)) => Vec::lower(entries).map(Self::Local),
            (None, None) => Some(Self::All),
        }
    }
}
