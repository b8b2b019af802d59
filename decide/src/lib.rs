//! What is local, what is remote and what is refused: pure decisions without IO and without dependencies.
//!
//! The layer asks before it touches the network; other ways of reaching a program (a seccomp supervisor)
//! ask the same questions and get the same answers. So does the agent where it reads the same files. Nothing here
//! knows sockets, the wire or the cluster.

#![forbid(unsafe_code)]

pub mod debuggers;
pub mod env;
pub mod files;
pub mod filter;
pub mod hosts;
pub mod incoming;
pub mod names;
pub mod outgoing;
pub mod programs;
