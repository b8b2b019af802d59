//! One file per family of libc calls: C's pointers to safe types and back. What to do is decided in `ops`.

pub(crate) mod assembly;
pub(crate) mod background;
pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod datagram;
pub(crate) mod dns;
pub(crate) mod entries;
pub(crate) mod exec;
pub(crate) mod fetched;
pub(crate) mod files;
pub(crate) mod folders;
pub(crate) mod hostent;
pub(crate) mod identity;
pub(crate) mod idn;
pub(crate) mod listen;
pub(crate) mod load;
pub(crate) mod resolve;
pub(crate) mod sandbox;
pub(crate) mod shell;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod state;
pub(crate) mod temporary;
pub(crate) mod walk;
pub(crate) mod writing;
