//! The layer in real programs, against a scripted session host. Needs a C compiler and nothing else; cases
//! that need more (curl, Java, root, …) say so when they are left out.

mod connect;
mod datagrams;
mod exec;
mod far;
mod guest;
mod host;
mod library;
mod names;
mod parked;
mod passing;
mod programs;
mod run;
mod unix;
