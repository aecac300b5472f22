//! Passes libFuzzer's inputs to the target of the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::transcode::run(data));
