//! What the hooks do, in safe code: from plain values to a verdict.

pub(crate) mod datagram;
pub(crate) mod dns;
pub(crate) mod ends;
pub(crate) mod files;
pub(crate) mod listening;
pub(crate) mod names;
pub(crate) mod outgoing;
pub(crate) mod preload;
pub(crate) mod program;
pub(crate) mod settings;
pub(crate) mod shadow;
pub(crate) mod unix;
