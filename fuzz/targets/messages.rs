//! Messages of both hops.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::fuzzing::messages(bytes));
