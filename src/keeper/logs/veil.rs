//! Takes an instance's secrets out of what it writes, before it is written to a file. It knows the values that the keeper
//! holds in memory, as they are and as JSON escapes them, and each long line of one that has several; an encoding that the
//! app makes of them passes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::Digest;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::keeper::table::Table;
use crate::keeper::wire::Confidential;

/// Shorter values would take half of every text.
const SHORTEST: usize = 4;
/// Shorter lines of a value of several lines are too common to stand for it.
const SHORTEST_LINE: usize = 12;
/// What stands in a value's place.
const MASK: &str = "***";
/// How long what an instance writes waits in its pipe for a daemon that brings its secrets to a new keeper.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is taken out of one instance's lines.
#[derive(Debug, Clone, Default)]
pub(in crate::keeper) struct Veil {
    needles: Needles,
    source: Option<Source>,
}

/// Where secrets come from that may come again.
#[derive(Debug, Clone)]
struct Source {
    table: Arc<Table>,
    template: Digest,
    changes: watch::Receiver<u64>,
}

impl Veil {
    /// Knows these.
    pub(in crate::keeper) fn of(secrets: &Confidential) -> Self {
        Self { needles: Needles::of(secrets), source: None }
    }

    /// Knows those of a template as soon as its keeper does, if it `has` any.
    pub(in crate::keeper) fn following(table: &Arc<Table>, template: &Digest, has: bool) -> Self {
        let source = Source { table: Arc::clone(table), template: template.clone(), changes: table.watch() };
        let mut veil = Self { needles: Needles::default(), source: has.then_some(source) };
        veil.look();
        veil
    }

    /// Waits, not for ever, until what it has to know is known.
    pub(super) async fn ready(&mut self) {
        let known = async {
            while self.needles.is_unknown(self.source.as_ref()) {
                let Some(source) = &mut self.source else { return };
                if source.changes.changed().await.is_err() {
                    return;
                }
                self.look();
            }
        };
        // What is written then is better kept than lost.
        let _ = timeout(PATIENCE, known).await;
    }

    /// What is to be taken out now.
    pub(super) fn needles(&mut self) -> Needles {
        if self.source.as_ref().is_some_and(|source| source.changes.has_changed().unwrap_or_default()) {
            self.look();
        }
        self.needles.clone()
    }

    fn look(&mut self) {
        let Some(source) = &mut self.source else { return };
        source.changes.mark_unchanged();
        let secrets = source.table.read(|all| all.volatile.secrets.get(&source.template).cloned());
        // The secrets of a template never change: other values make another one.
        if let Some(secrets) = secrets {
            self.needles = Needles::of(&secrets);
            self.source = None;
        }
    }
}

/// Texts that are taken out, longest first, so that a value that holds another goes whole.
#[derive(Clone, Default)]
pub(super) struct Needles(Arc<[String]>);

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needles", self.0.len())
    }
}

impl Needles {
    fn of(secrets: &Confidential) -> Self {
        let mut all = BTreeSet::new();
        for value in secrets.0.values().map(|secret| secret.reveal()) {
            let value = value.trim_end_matches(['\r', '\n']);
            // A line never holds more than one of its lines.
            if value.contains('\n') {
                all.extend(value.lines().map(str::trim).filter(|l| l.len() >= SHORTEST_LINE).map(str::to_owned));
            } else {
                all.insert(value.to_owned());
            }
            let json = serde_json::Value::from(value).to_string();
            all.insert(json.get(1..json.len() - 1).unwrap_or_default().to_owned());
        }
        let mut all: Vec<String> = all.into_iter().filter(|needle| needle.len() >= SHORTEST).collect();
        all.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Self(all.into())
    }

    fn is_unknown(&self, source: Option<&Source>) -> bool {
        source.is_some() && self.0.is_empty()
    }

    /// A line without them.
    pub(super) fn without<'l>(&self, line: Cow<'l, str>) -> Cow<'l, str> {
        self.0.iter().fold(line, |line, needle| match line.contains(needle.as_str()) {
            true => line.replace(needle.as_str(), MASK).into(),
            false => line,
        })
    }

    /// How many bytes at the end of a piece may be the beginning of one: where a line is cut, they go with the next piece.
    pub(super) fn begun_at_end(&self, piece: &[u8]) -> usize {
        let begun = |needle: &String| {
            let needle = needle.as_bytes();
            let mut tail = piece;
            while let Some(at) = tail.windows(needle.len()).position(|window| window == needle) {
                tail = &tail[at + needle.len()..];
            }
            (1..needle.len().min(tail.len() + 1)).rev().find(|&length| tail.ends_with(&needle[..length]))
        };
        self.0.iter().filter_map(begun).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use codeops_core::model::Secret;
    use proptest::prelude::*;

    use super::*;
    use crate::keeper::logs::LINE;
    use crate::keeper::logs::capture::Lines;

    fn needles(values: &[&str]) -> Needles {
        let secrets = values.iter().enumerate().map(|(at, value)| (at.to_string(), Secret::new((*value).to_owned())));
        Needles::of(&Confidential(secrets.collect()))
    }

    fn written(needles: &Needles, text: &[u8], chunk: usize) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        lines.needles = needles.clone();
        for chunk in text.chunks(chunk) {
            lines.push(chunk, &mut |line: &str| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        seen
    }

    #[test]
    fn values_go_as_they_are_in_json_and_line_by_line() {
        let key = "-----BEGIN KEY-----\nMIIabcdefghijkl\n-----END KEY-----\n";
        let needles = needles(&["p@ss \"w0rd\"\n", "ab", key]);
        let text = "1 p@ss \"w0rd\" 2 p@ss \\\"w0rd\\\" ab\nMIIabcdefghijkl\n{\"k\":\"-----BEGIN KEY-----\\nMIIabcdefghijkl\\n\"}\n";
        let seen = written(&needles, text.as_bytes(), 7);
        assert_eq!(seen, ["1 *** 2 *** ab", "***", "{\"k\":\"***\\n***\\n\"}"]);
    }

    #[test]
    fn no_line_is_longer_where_a_chunk_ends_just_behind_the_limit() {
        let text = format!("{}aaaaaaaaaaaa\n", "#".repeat(LINE + 1));
        let seen = written(&needles(&["aaaaaa"]), text.as_bytes(), 565);
        assert!(seen.iter().all(|line| line.len() <= LINE));
    }

    proptest! {
        #[test]
        fn no_value_is_left_wherever_chunks_and_lines_end(
            value in "[a-z]{6,40}", before in 0..2 * LINE, chunk in 1_usize..5_000,
        ) {
            let text = format!("{}{value}{value}\n", "#".repeat(before));
            let seen = written(&needles(&[&value]), text.as_bytes(), chunk);
            prop_assert!(seen.iter().all(|line| line.len() <= LINE));
            prop_assert_eq!(seen.concat(), format!("{}******", "#".repeat(before)));
        }
    }
}
