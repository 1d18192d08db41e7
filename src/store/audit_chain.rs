//! The hash chain over entries: each hash covers the one before, so that no entry can be changed, taken out or moved alone.

use sha2::{Digest as _, Sha256};

/// One link's hash.
pub(super) type Hash = [u8; 32];

/// What an entry's hash covers, beside the hash before it.
pub(super) struct Link<'a> {
    pub(super) seq: i64,
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) v: i64,
    /// The record's canonical JSON.
    pub(super) body: &'a str,
}

/// Where a store's chain begins: bound to the store's id, so that no chain passes for another store's.
pub(super) fn genesis(store: &str) -> Hash {
    Sha256::new().chain_update("codeops journal ").chain_update(store).finalize().into()
}

/// SHA-256(before ‖ seq ‖ at ‖ v ‖ body); the numbers are 8 bytes each, big-endian, so no two entries share a form.
pub(super) fn next(before: &Hash, link: &Link<'_>) -> Hash {
    Sha256::new()
        .chain_update(before)
        .chain_update(link.seq.to_be_bytes())
        .chain_update(link.at.to_be_bytes())
        .chain_update(link.v.to_be_bytes())
        .chain_update(link.body)
        .finalize()
        .into()
}
