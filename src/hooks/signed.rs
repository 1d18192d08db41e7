//! What push hooks and alerts share of proving who sent a body: headers that stand once, signatures, and signed times.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use super::proof::Refused;

/// How far a signed time may be from ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Longer headers are refused: ids are remembered and signatures are short.
const HEADER_BYTES: usize = 1_024;

/// The value of the first of these headers that is there and not empty. One that stands twice is refused: which of the
/// two counts is a matter of opinion.
pub(super) fn first<'h>(headers: &'h HeaderMap, names: &[&'static str]) -> Result<Option<&'h str>, Refused> {
    for name in names {
        let mut values = headers.get_all(*name).iter();
        let (value, again) = (values.next(), values.next());
        if again.is_some() {
            return Err(Refused("a header that must stand once stands twice"));
        }
        let Some(value) = value else { continue };
        let text = value.to_str().map_err(|_| Refused("a header is not plain text"))?.trim();
        if text.len() > HEADER_BYTES {
            return Err(Refused("a header is too long"));
        }
        if !text.is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// A header in seconds since 1970 that is near enough to now, as text.
pub(super) fn timely<'h>(headers: &'h HeaderMap, name: &'static str, now: Timestamp) -> Result<&'h str, Refused> {
    let text = first(headers, &[name])?.ok_or(Refused("the timestamp header is missing"))?;
    let at = text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = at.ok_or(Refused("the timestamp is not in seconds since 1970"))?;
    if now.duration_since(at).abs() > SKEW {
        return Err(Refused("the timestamp is more than 5 minutes from now: check the clocks, or it is a replay"));
    }
    Ok(text)
}

/// Whether 64 hex digits are the HMAC-SHA-256 of these parts, in time that does not depend on them.
pub(super) fn fits(key: &[u8], parts: &[&[u8]], hex: &str) -> Result<(), Refused> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hex, &mut bytes).map_err(|_| Refused("the signature is not 64 hex digits"))?;
    mac(key, parts).verify_slice(&bytes).map_err(|_| Refused("the signature does not fit the body"))
}

pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}
