//! What a commit of the bot's is told by. Its key is no secret, since scripts and webhooks get theirs: in the repository stands a
//! proof of it that only this daemon can make, so that nobody else writes it there first.

use codeops_core::model::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Proves the keys of commits.
#[derive(Debug, Clone)]
pub struct Seal(Secret<[u8; 32]>);

impl Seal {
    /// A seal under a secret that never leaves the store, for commits alone.
    pub fn under(store: &[u8; 32]) -> Self {
        Self(Secret::new(mac(store, b"codeops commit key v1")))
    }

    /// The proof of a key, which tells nothing of any other.
    pub(super) fn of(&self, key: &str) -> String {
        hex::encode(mac(self.0.reveal(), key.as_bytes()))
    }
}

fn mac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}
