//! Whatever bytes come over a keeper's socket: no panic, no more read than was sent, and what is understood can be said again.
#![no_main]

use codeops::keeper::frame::{FrameError, decode, encode};
use codeops::keeper::wire::{FromKeeper, ToKeeper};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((message, used))) = decode::<ToKeeper>(bytes) {
        assert!(used <= bytes.len());
        match encode(&message) {
            Ok(frame) => assert!(matches!(decode::<ToKeeper>(&frame), Ok(Some((again, _))) if again == message)),
            Err(error) => assert!(matches!(error, FrameError::TooLong(_))),
        }
    }
    if let Ok(Some((message, used))) = decode::<FromKeeper>(bytes) {
        assert!(used <= bytes.len());
        let _ = encode(&message);
    }
});
