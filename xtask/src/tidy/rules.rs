//! The rules, one file for each kind.

pub(super) mod boundaries;
pub(super) mod dependencies;
pub(super) mod documents;
pub(super) mod files;
pub(super) mod generated;
pub(super) mod licences;
pub(super) mod manifests;
pub(super) mod sizes;
pub(super) mod unsafe_code;
pub(super) mod words;
