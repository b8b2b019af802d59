//! The wire types of mirror's two hops, as plain data without any IO.
//!
//! * [`agent`]: session host to agent. A byte stream (a port-forward) opens with the [`handshake`], then
//!   carries [`packet`]s, and inside those a multiplexer's streams. Each stream starts with one typed
//!   request and is answered by one typed reply; some then go on as raw bytes.
//! * [`layer`]: layer to session host. One Unix connection per request, one message each way.
//!
//! Both ends of both hops always come from the same build (the server deploys the agent and the layer
//! that it shipped with), so there is one [`VERSION`] and no negotiation.
//!
//! This crate knows no socket, no runtime and no Kubernetes.

#![forbid(unsafe_code)]

pub mod agent;
pub mod codec;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod handshake;
pub mod launch;
pub mod layer;
pub mod packet;

/// The version that both ends of a hop must share, exactly.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
