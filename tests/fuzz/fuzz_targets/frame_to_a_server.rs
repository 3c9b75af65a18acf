#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tanner_fuzz::readers::frames_to_a_server(bytes)));
