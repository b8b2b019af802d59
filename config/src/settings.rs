//! Values by key path, with where each came from: what the file, the variables and the options boil down to.
//!
//! Filled by `check`, read by the model, the rules and the listing of effective values.

use std::collections::BTreeMap;

use crate::diagnostic::Origin;
use crate::keys::{self, Key};
use crate::model::Lower;
use crate::syntax::{Node, Value};

/// One value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) node: Node,
    pub(crate) origin: Origin,
}

/// What is set. A key that is not here has its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Sets a key; a later layer replaces an earlier one.
    pub(crate) fn set(&mut self, key: &'static Key, node: Node, origin: Origin) {
        self.values.insert(key.path, Setting { node, origin });
    }

    /// The setting of a key, if somebody made one.
    pub(crate) fn find(&self, path: &str) -> Option<&Setting> {
        self.values.get(path)
    }

    /// The value as a node: what was set, or the default.
    pub(crate) fn node(&self, key: &'static Key) -> Node {
        self.find(key.path).map_or_else(|| crate::check::default_node(key), |setting| setting.node.clone())
    }

    /// The value for a field of the model.
    pub(crate) fn get<T: Lower>(&self, path: &'static str) -> T {
        let set = self.find(path).and_then(|setting| T::lower(&setting.node));
        set.unwrap_or_else(|| {
            let key = keys::find(path).expect("the same macro writes the field and its row");
            let default = T::lower(&crate::check::default_node(key));
            default.expect("every default fits its field: the test `defaults_fit` reads them all")
        })
    }
}

/// Whether a value asks for nothing to happen, so that a key without effect is no loss.
pub(crate) fn asks_for_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Missing | Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == "off" || text == "local",
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Integer(_) | Value::Float(_) => false,
    }
}
