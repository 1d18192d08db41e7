//! Push hooks from strangers: never authentic, never a panic.
#![no_main]

mod hook_request;

libfuzzer_sys::fuzz_target!(|input: &[u8]| hook_request::never_authentic(input));
