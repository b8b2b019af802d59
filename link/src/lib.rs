//! The connection between session host and agent, over any byte stream (a port-forward, a test's pipe).
//!
//! Three layers, each of one file or two:
//!
//! 1. [`connect`] and [`accept`] perform the handshake of [`protocol::handshake`].
//! 2. `driver` and `packets` carry [`protocol::packet`]s: numbered bytes, acknowledgements, keepalives and
//!    the goodbye. An end of the byte stream is never taken for the peer's will unless it said goodbye.
//! 3. `mux` and [`Stream`] divide the packets' payload among streams, each with its own window, half-close
//!    and reset. A stream whose reader is slow holds up nothing but itself.
//!
//! On top stand typed requests: the host's [`Link`] asks, the agent's [`Incoming`] yields [`Call`]s.
//!
//! # Why not the `yamux` crate
//!
//! A relay must hand on *how* a connection ended. In yamux 0.14 a reset and the loss of the whole
//! connection both read as a clean end of stream, a stream dropped after its half-close stalls its peer for
//! ever, one stream too many ends the connection, every stream may fill 256 KiB whatever the configuration,
//! 256 unanswered streams hold up all others, and two sides that both owe a pong while both are blocked in
//! writing stop reading for good. The numbered packets below it are ours in any case.

#![forbid(unsafe_code)]

mod arrivals;
mod client;
mod driver;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handshake;
mod incoming;
mod message;
mod mux;
mod packets;
mod pump;
mod stream;

use std::time::Duration;

pub use arrivals::Arrivals;
pub use client::{Link, connect};
pub use error::{AcceptError, ConnectError, Ended, LinkError, MessageError};
pub use incoming::{Call, Incoming, accept};
pub use message::{read_message, write_message};
pub use pump::{pump, pump_little};
pub use stream::{Stream, Watch};

/// What one side of a link may use, and when it gives its peer up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Streams open at a time. One too many is refused by itself; the others live on.
    pub max_streams: usize,
    /// Bytes by which all streams' receive windows together may exceed [`LinkConfig::FIRST_WINDOW`]. New
    /// streams get 64 KiB in all from the first half of it, quick readers more, and the last quarter is for
    /// streams that have less than 64 KiB. Received and unread bytes never exceed
    /// `growth + max_streams × FIRST_WINDOW`, whatever the peer does.
    pub growth: usize,
    /// How often the peer is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long nothing at all may arrive before the peer counts as silent.
    pub silence: Duration,
}

impl LinkConfig {
    /// Bytes that a stream may carry at least before its reader has read any.
    pub const FIRST_WINDOW: u32 = mux::FIRST_WINDOW;

    /// The session host's: memory is plenty (at most 176 MiB here) and downloads should fill a long line
    /// (windows of 8 MiB gave 126 MiB/s at a round trip of 20 ms).
    pub const HOST: Self = Self { max_streams: 12_288, growth: 128 << 20, ..Self::AGENT };

    /// The agent's: it may live under a memory limit (at most 120 MiB of it here). It allows more streams
    /// than the host opens, because it learns of a stream's end a little later.
    pub const AGENT: Self = Self {
        max_streams: 14_336,
        growth: 64 << 20,
        ping_interval: Duration::from_secs(4),
        silence: Duration::from_secs(30),
    };
}
