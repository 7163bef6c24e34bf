//! Hands [`lifesign_tests::fuzz::frame`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lifesign_tests::fuzz::frame(input));
