//! Packets and frames from a peer that says anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| link::fuzzing::peer(bytes));
