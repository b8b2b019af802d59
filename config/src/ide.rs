//! What an editor shows while somebody writes a configuration: completion, hover, outline, folding, links, formatting.
//!
//! Called by the language server. Pure: a [`Document`], an offset and what is known of the world ([`Facts`]) go in,
//! plain data with byte offsets comes out. What a key means is the key table's.

mod completion;
mod context;
mod facts;
mod format;
mod hover;
mod listens;
mod outline;

pub use completion::{Completion, CompletionKind, MOST_NAMES, complete};
pub use context::{Context, Position as Place, at};
pub use facts::{Fact, Facts};
pub use format::format;
pub use hover::{Hover, hover};
pub use listens::{Listen, listens, relisten};
pub use outline::{Link, Symbol, SymbolKind, folds, links, symbols};
