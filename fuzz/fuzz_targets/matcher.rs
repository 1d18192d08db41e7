//! Matchers of any text: no panic, no endless work, and what is read is printed so that it is read again.
#![no_main]

use codeops_core::model::{Labels, Matcher};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(matcher) = text.parse::<Matcher>() else { return };
    let labels = Labels::from([(matcher.label.clone(), matcher.value.clone())]);
    let holds = matcher.holds(&labels);
    let again: Matcher = matcher.to_string().parse().expect("what is printed is read");
    assert_eq!(again, matcher);
    assert_eq!(again.holds(&labels), holds);
});
