//! Lists of matchers, found by the labels they ask for instead of one after the other.

use std::collections::HashMap;

use crate::model::{Labels, MatchOperator, Matcher};

/// Candidates by one `label="value"` that each asks for; those that ask for none are always candidates.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_label: HashMap<String, HashMap<String, Vec<usize>>>,
    always: Vec<usize>,
}

impl Index {
    /// Indexes lists of matchers, each known by its place.
    pub(super) fn new(lists: &[&[Matcher]]) -> Self {
        // The label whose values tell most lists apart is the best to ask by.
        let mut index = Self::default();
        let mut values: HashMap<&str, HashMap<&str, usize>> = HashMap::new();
        let exact = |matcher: &&Matcher| matcher.operator == MatchOperator::Equal && !matcher.value.is_empty();
        for matcher in lists.iter().flat_map(|list| list.iter()).filter(exact) {
            *values.entry(&matcher.label).or_default().entry(&matcher.value).or_default() += 1;
        }
        for (at, list) in lists.iter().enumerate() {
            let crowd = |matcher: &&Matcher| values[matcher.label.as_str()][matcher.value.as_str()];
            match list.iter().filter(exact).min_by_key(crowd) {
                Some(matcher) => {
                    let by_value = index.by_label.entry(matcher.label.clone()).or_default();
                    by_value.entry(matcher.value.clone()).or_default().push(at);
                }
                None => index.always.push(at),
            }
        }
        index
    }

    /// The places of the lists that may hold for these labels, in order. Each is still to be asked.
    pub(super) fn candidates(&self, labels: &Labels) -> Vec<usize> {
        let mut found = self.always.clone();
        let before = found.len();
        for (label, by_value) in &self.by_label {
            if let Some(places) = labels.get(label).and_then(|value| by_value.get(value)) {
                found.extend(places);
            }
        }
        if found.len() > before && before > 0 || self.by_label.len() > 1 {
            found.sort_unstable();
        }
        found
    }
}
