//! The configuration as types, and the rows of the key table beside the fields they fill.
//!
//! Adding a key is one entry in a `section!`: documentation, whether it is in effect (`now` or `later`), name, type,
//! default and shape. The macro makes the struct field, the row and the reading of it.

mod agent;
mod env;
mod filter;
mod fs;
mod incoming;
mod lower;
mod network;
mod private;
mod records;
mod root;

use crate::keys::Key;

pub use agent::{Agent, AgentDns, Capability, PullPolicy, Resources, SecurityContext};
pub use env::Env;
pub use filter::HttpFilter;
pub use fs::{Fs, FsMode};
pub use incoming::{HttpFilterConfig, Incoming, IncomingMode, OnConcurrentSteal, OnPause};
pub(crate) use lower::Lower;
pub use network::{AddressFilters, Dns, Network, Outgoing};
pub use private::PrivateMap;
pub(crate) use records::verify;
pub use records::{Effect, Image, Operator, PortPair, Profile, PullSecret, SecurityProfile, Toleration};
pub use root::{Config, Feature, SessionConfig, TargetConfig};

/// All rows, in the order of the documents.
pub(crate) const TABLE: &[&[Key]] = &[
    Config::KEYS,
    TargetConfig::KEYS,
    Feature::KEYS,
    Env::KEYS,
    Fs::KEYS,
    Network::KEYS,
    Incoming::KEYS,
    HttpFilterConfig::KEYS,
    Outgoing::KEYS,
    Dns::KEYS,
    Agent::KEYS,
    AgentDns::KEYS,
    Resources::KEYS,
    SecurityContext::KEYS,
    SessionConfig::KEYS,
    records::KEYS,
];

/// The path of a section from the prefix of its keys.
pub(crate) const fn section_path(prefix: &'static str) -> &'static str {
    if prefix.is_empty() { "" } else { prefix.split_at(prefix.len() - 1).0 }
}

/// A field's word in the file, where it may not be the field's name (`override` is a word of Rust).
macro_rules! key_word {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $word:literal) => {
        $word
    };
}

/// The boolean behind `now` and `later`.
macro_rules! in_effect {
    (now) => {
        true
    };
    (later) => {
        false
    };
}

/// A struct, its rows in the key table, and how it is read from settings.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident in $prefix:literal, short $shorts:expr;
        $(
            $(#[doc = $doc:literal])+
            $effect:ident $field:ident $(as $word:literal)?: $type:ty = $default:literal, $shape:expr;
        )*
        $(sections { $($sub:ident: $sub_type:ty),+ $(,)? })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
            $($(#[doc = concat!("The section `", $prefix, stringify!($sub), "`.")] pub $sub: $sub_type,)+)?
        }

        impl $name {
            pub(crate) const KEYS: &[$crate::keys::Key] = &[
                $crate::keys::Key {
                    path: $crate::model::section_path($prefix),
                    shape: $crate::keys::Shape::Section($shorts),
                    default: "null",
                    in_effect: true,
                    raw_doc: concat!($($about, "\n"),+),
                },
                $($crate::keys::Key {
                    path: concat!($prefix, $crate::model::key_word!($field $($word)?)),
                    shape: $shape,
                    default: $default,
                    in_effect: $crate::model::in_effect!($effect),
                    raw_doc: concat!($($doc, "\n"),+),
                },)*
            ];

            pub(crate) fn read(settings: &$crate::settings::Settings) -> Self {
                Self {
                    $($field: settings.get(concat!($prefix, $crate::model::key_word!($field $($word)?))),)*
                    $($($sub: <$sub_type>::read(settings),)+)?
                }
            }
        }
    };
}

/// An enum of words, with its choices for the key table.
macro_rules! choices {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            pub(crate) const CHOICES: &[$crate::keys::Choice] = &[
                $($crate::keys::Choice { word: $word, raw_doc: concat!($($doc, "\n"),+) },)+
            ];

            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::model::Lower for $name {
            fn lower(node: &$crate::syntax::Node) -> Option<Self> {
                match node.as_str()? { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

pub(crate) use {choices, in_effect, key_word, section};
