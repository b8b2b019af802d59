//! What is generated from the key table: the JSON Schema and the reference document.
//!
//! Called by `cargo xtask codegen` and by the test that compares the committed files. Pure: text comes out.

mod docs;
mod schema;

pub use docs::docs;
pub use schema::schema;
