#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(tanner_fuzz::readers::delete_token_file(bytes)));
