//! One session: the detached host process that holds it, and how others start and follow it.

pub(crate) mod board;
mod brief;
mod closed;
mod control;
pub mod environment;
pub mod files;
pub mod host;
mod incoming;
mod layers;
mod life;
mod lookup;
pub mod message;
mod names;
mod park;
mod pod_files;
pub(crate) mod processes;
mod readiness;
mod refusing;
pub mod registry;
mod relay;
mod request;
mod restart;
mod rules;
mod sock_diag;
pub mod spawn;
pub mod spec;
mod startup;
mod task;
#[cfg(test)]
mod testing;
mod udp;
mod unix;
mod update;
