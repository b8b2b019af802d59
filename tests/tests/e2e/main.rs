//! End-to-end tests on a real cluster, one module per user story.
//!
//! Run by `cargo xtask test`, which builds `mirror`, starts the cluster and says where both are.

mod agent;
mod clients;
mod clients_processes;
mod clients_tools;
mod clients_unix;
mod conformance;
mod environment;
mod failures;
mod files;
mod hardship;
mod identity;
mod image;
mod incoming;
mod kills;
mod listing;
mod lost;
mod outgoing;
mod process;
mod rules;
mod serve;
mod vscode;
