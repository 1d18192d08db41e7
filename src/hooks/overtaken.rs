//! Ends that were told of lately, for senders whose messages overtake each other: the beginning of what is over already
//! opens nothing, for nothing would ever close it.

use std::collections::{HashMap, VecDeque};

use codeops_core::model::{Fingerprint, Name};
use jiff::Timestamp;

type Of = (Name, Fingerprint);

/// The newest so many ends.
#[derive(Debug)]
pub(super) struct Ends {
    most: usize,
    order: VecDeque<Of>,
    at: HashMap<Of, Timestamp>,
}

impl Ends {
    pub(super) fn new(most: usize) -> Self {
        Self { most, order: VecDeque::new(), at: HashMap::new() }
    }

    /// Whether an end is known that came at this time or later.
    pub(super) fn after(&self, source: &Name, fingerprint: &Fingerprint, at: Timestamp) -> bool {
        self.at.get(&(source.clone(), fingerprint.clone())).is_some_and(|ended| *ended >= at)
    }

    /// Remembers an end.
    pub(super) fn remember(&mut self, source: &Name, fingerprint: Fingerprint, at: Timestamp) {
        let of = (source.clone(), fingerprint);
        if let Some(known) = self.at.get_mut(&of) {
            *known = (*known).max(at);
            return;
        }
        self.order.push_back(of.clone());
        self.at.insert(of, at);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
    }
}
