//! Signatures, signer files and commit messages from strangers.
#![no_main]

mod signature;

libfuzzer_sys::fuzz_target!(|input: &[u8]| signature::never_signed(input));
