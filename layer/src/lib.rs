//! `libmirror_layer.so`: put into the user's process by `LD_PRELOAD`, it decides per libc call what is local
//! and what is the pod's, and asks the session host for the latter.
//!
//! We are guests in that process. The library never kills it, never prints, never changes errno of a
//! success, holds no lock that a fork could copy, and has no descriptor open between calls. Without the
//! session variable in the environment it is passive: each hook is one load and a jump.
//!
//! Reading order: `table` (every hooked symbol), `interpose` (what is under every hook), one file of `hooks`
//! with its `ops`, then `client`.

#[cfg(not(test))]
mod compat;
mod hooks;
mod interpose;
mod sys;
mod table;

#[forbid(unsafe_code)]
mod address;
#[forbid(unsafe_code)]
mod cache;
#[forbid(unsafe_code)]
mod client;
#[forbid(unsafe_code)]
mod control;
#[forbid(unsafe_code)]
mod inflight;
#[forbid(unsafe_code)]
mod ops;
#[forbid(unsafe_code)]
mod sandbox;
#[forbid(unsafe_code)]
mod session;
