//! What the end-to-end tests stand on: the real cluster of `cargo xtask cluster`, the built `mirror`, and an
//! unprivileged user's laptop side. Tests wait on events (`kubectl wait`, ends of processes, lines of output),
//! never for a time to pass.

#![forbid(unsafe_code)]

mod cluster;
pub mod conformance;
mod deployment;
mod editor;
mod image;
mod laptop;
mod processes;
mod random;
mod remains;
mod running;
mod turn;

pub use cluster::{Cluster, Outage};
pub use deployment::Deployment;
pub use editor::Editor;
pub use image::AgentImage;
pub use laptop::{Laptop, Outcome};
pub use processes::{freeze, kill, monotonic, thaw};
pub use random::Random;
pub use running::Running;
pub use turn::Turn;
