//! A map whose values are not printed by accident.
//!
//! Used for variables that the user sets in the configuration: they are often passwords.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::Lower;
use crate::syntax::Node;

/// Names and values; `Debug` shows the names only.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PrivateMap(BTreeMap<String, String>);

impl Deref for PrivateMap {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for PrivateMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "***"))).finish()
    }
}

impl Lower for PrivateMap {
    fn lower(node: &Node) -> Option<Self> {
        BTreeMap::lower(node).map(Self)
    }
}
