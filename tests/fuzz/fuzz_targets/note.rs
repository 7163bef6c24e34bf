//! Hands [`lifesign_tests::fuzz::note`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lifesign_tests::fuzz::note(input));
