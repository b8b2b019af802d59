//! Whole connections whose requests are told apart.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agent::fuzzing::connection(bytes));
