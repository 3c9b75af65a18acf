#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tanner_fuzz::readers::manifest(bytes)));
