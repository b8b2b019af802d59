//! The commands: one file each, one function each.

pub mod config_show;
pub mod exec;
pub mod image;
pub mod ls;
pub mod verify_config;
