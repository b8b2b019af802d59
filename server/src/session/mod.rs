//! One session: the detached host process that holds it, and how others start and follow it.

pub mod environment;
pub mod host;
mod layers;
pub mod message;
mod names;
mod pod_files;
mod processes;
mod relay;
mod rules;
mod sock_diag;
pub mod spawn;
pub mod spec;
mod startup;
