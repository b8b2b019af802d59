//! Everything that talks to Kubernetes. The only module that uses the `kube` crate: what it hands out are
//! plain types, and every failure leaves it as a [`crate::failure::Failure`] with the next step.

pub mod agent;
mod agent_ephemeral;
mod agent_job;
pub mod agent_start;
pub mod client;
pub mod contexts;
pub mod details;
mod errors;
mod kinds;
pub mod list;
mod login_path;
pub mod permissions;
mod pod_state;
pub mod port_forward;
pub mod probes;
mod rights;
pub mod services;
pub mod target;
pub mod watch;
