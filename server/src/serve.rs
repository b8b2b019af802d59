//! `mirror serve`: the helper that editors start. JSON-RPC on standard input and output.
//!
//! [`rpc`] is the definition of what it can do beyond the language server protocol.

pub mod rpc;
