//! One session: the detached host process that holds it, and how others start and follow it.

mod brief;
mod closed;
pub mod environment;
pub mod files;
pub mod host;
mod incoming;
mod layers;
mod lookup;
pub mod message;
mod names;
mod park;
mod pod_files;
mod processes;
mod readiness;
mod refusing;
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
