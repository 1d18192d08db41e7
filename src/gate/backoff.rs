//! How long a failed resource waits. Durable: the wait is written with the result, so a restart does not shorten it.

use codeops_core::model::Key;

const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 300_000;

/// The wait after the `failures`th failure in a row (from 1), in milliseconds: doubling from one second to five minutes,
/// spread by up to a fifth so that resources that failed together do not come back together.
pub(super) fn wait_ms(failures: u32, key: &Key) -> u64 {
    let doubled = FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST_MS);
    doubled - doubled / 5 * u64::from(spread(&key.0)) / 100
}

/// 0 to 99, the same for one text: jitter needs to differ between those who wait, not to be unpredictable.
pub(crate) fn spread(text: &str) -> u32 {
    text.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100
}

/// The longest wait, in milliseconds.
pub(super) const fn longest_ms() -> u64 {
    LONGEST_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_from_a_second_to_five_minutes() {
        let key = Key("s:1:1".to_owned());
        let waits: Vec<u64> = (1..=12).map(|n| wait_ms(n, &key)).collect();
        assert!(waits[0] >= 800 && waits[0] <= 1_000, "{waits:?}");
        assert!(waits.windows(2).all(|w| w[0] <= w[1]), "{waits:?}");
        assert!(waits[11] <= 300_000 && waits[11] >= 240_000, "{waits:?}");
    }

    #[test]
    fn two_keys_wait_differently() {
        let waits: std::collections::BTreeSet<u64> = (0..50).map(|n| wait_ms(5, &Key(format!("s:1:{n}")))).collect();
        assert!(waits.len() > 10);
    }
}
