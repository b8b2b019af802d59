//! The parts of the `mirror` binary: command line, session host, Kubernetes.
//!
//! [`cli`] and [`commands`] are the terminal's side; [`session`] holds one session in a process of its own;
//! [`serve`] is the editors' side;
//! [`kube`] alone talks to Kubernetes; [`failure`] is how anything says that it cannot be done.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod cli;
pub mod commands;
pub mod failure;
pub mod folders;
pub mod kube;
pub mod machine;
pub mod program;
pub mod progress;
pub mod serve;
pub mod session;
pub mod settings;
