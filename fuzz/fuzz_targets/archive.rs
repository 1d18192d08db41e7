//! Any bytes are unpacked inside their tree or refused.
#![no_main]

use std::fs;

use codeops::provider::process::artifact::{Limits, Progress, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let home = tempfile::tempdir().expect("a temporary folder");
    let (from, into) = (home.path().join("fetched"), home.path().join("tree"));
    fs::write(&from, bytes).expect("written");
    fs::create_dir(&into).expect("made");
    let limits = Limits { bytes: 1 << 20, entries: 100, ratio: 200 };
    let _ = unpack(&from, "fuzzed", &into, &limits, &Progress::default());
    assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 2);
});
