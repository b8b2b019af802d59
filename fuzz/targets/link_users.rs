//! Two ends of a link that keep to the protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| link::fuzzing::users(bytes));
