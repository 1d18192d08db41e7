//! One input as a request: lines `name: value`, an empty line, the body. Used by the fuzz target and by the tests.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// What a push hook without the secret must come to: nothing.
pub(crate) fn never_authentic(input: &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    assert!(codeops::hooks::authenticate(&headers, body, "never sent by anyone", now).is_err());
    assert!(codeops::hooks::authenticate(&headers, body, "", now).is_err());
}
