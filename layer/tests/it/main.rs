//! The layer in real programs, against a scripted session host. Needs a C compiler and nothing else; cases
//! that need more (curl, Java, root, …) say so when they are left out.

mod asked;
mod connect;
mod datagrams;
mod dns;
mod environment;
mod exec;
mod far;
mod files;
mod guest;
mod host;
mod identity;
mod library;
mod listeners;
mod names;
mod parked;
mod passing;
mod programs;
mod run;
mod shadow;
mod unix;
mod walks;
