//! Tests of the configuration language through its public interface: text in, values and diagnostics out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod diagnostics;
mod files;
mod formats;
mod keys;
mod layers;
mod mirrord;
mod schema;
mod validator;
