//! Manifests and settings of any bytes: no panic, no overflow, no endless work.
#![no_main]

use std::sync::Arc;

use codeops_core::desired::{Compiler, Context, File, Files, edit, parse_settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut files = Files::new();
    files.insert(Arc::from("codeops.yaml"), File::new("1", bytes));
    let compiled = Compiler::default().compile(&files, &Context::default());
    for diagnostic in &compiled.diagnostics {
        diagnostic.render(false);
    }
    for path in ["kind", "spec.replicas", "metadata.name.x"] {
        let _ = edit(bytes, None, path, &7.into());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_settings("daemon.yaml", text);
    }
});
