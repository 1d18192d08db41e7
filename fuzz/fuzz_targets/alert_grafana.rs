//! Alerts in the format `grafana`: whatever is sent, no panic, and what is told is within bounds.
#![no_main]

mod alert_body;

use codeops_core::config::ReceiverFormat;

libfuzzer_sys::fuzz_target!(|input: &[u8]| alert_body::holds(ReceiverFormat::Grafana, input));
