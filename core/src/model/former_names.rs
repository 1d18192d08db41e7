//! What names an app had before those that it says: a commit that takes back several renames at once brings one of them.

use super::{Claims, ResourceId};

/// So many are remembered.
const NAMES: usize = 16;

impl Claims {
    /// The same with the names of before: those that `id` itself had, and what it was, as `known` of each.
    #[must_use]
    pub fn with_names<'c>(mut self, id: &ResourceId, known: impl Fn(&ResourceId) -> Option<&'c Claims>) -> Self {
        let each = std::iter::once(id).chain(&self.was).filter_map(known);
        for name in each.flat_map(|claims| claims.was.iter().chain(&claims.before)) {
            if name != id && !self.was.contains(name) && !self.before.contains(name) && self.before.len() < NAMES {
                self.before.push(name.clone());
            }
        }
        self
    }
}
