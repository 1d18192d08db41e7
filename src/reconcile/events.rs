//! What comes back to the flow from the work beside it, and what is made of it: observations, hints, steps that ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::desired::{Compiled, Compiler};
use codeops_core::model::{Listing, ProviderName, ResourceId, Revision, Scope, Why};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::Flow;
use super::before::Kept;
use super::repeats::Did;
use super::world::{Busy, UnderWay};
use crate::gate::{self, Passage};
use crate::journal::{LogError, Record};
use crate::port::{Commit, Hint, SourceError, Tip, Unreachable, Vault, Veil};

/// How long one observation may take before its provider counts as down.
const OBSERVE_DEADLINE: Duration = Duration::from_secs(20);
/// The longest wait between two looks at a provider that is down.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long a resource waits that was refused at the gate, or whose outcome was lost, before it asks again.
const COOLING: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_COOLING: Duration = Duration::from_secs(30);
/// What is under way is asked for again after a quarter of the time that it has taken so far, within these bounds: a hint tells
/// of its end, and until then it is only to be seen how far it is.
const ASKED_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

pub(super) enum Event {
    /// The repository answered, or not.
    Fetched(Result<Tip, SourceError>),
    /// A revision was read and compiled.
    Loaded(Box<Load>),
    /// A provider answered, or not.
    Observed { provider: ProviderName, scope: Scope, number: u64, result: Result<Listing, Unreachable> },
    /// A provider that was down is due for another look.
    LookAgain(ProviderName),
    /// Something may have changed.
    Hinted(ProviderName, Hint),
    /// The steps of one resource ended; the last passage says how.
    Stepped { id: ResourceId, provider: ProviderName, touched: BTreeSet<ResourceId>, did: Vec<Did>, passage: Passage },
}

/// A revision read and compiled, with the compiler it borrowed.
pub(super) struct Load {
    pub(super) revision: Revision,
    pub(super) compiler: Compiler,
    pub(super) result: Result<(Compiled, Vec<Commit>), SourceError>,
    /// What was found out about manifests that are broken in it: of the first one of this daemon alone.
    pub(super) found: Kept,
}

/// The wait after the `failures`th look in a row (from 1) that found `whom` down: doubling from two seconds, and spread by
/// up to a fifth so that what went down together is not asked together.
fn retry_after(failures: u32, whom: &str) -> Duration {
    let longest = Duration::from_secs(1 << failures.clamp(1, 5)).min(LONGEST_RETRY);
    longest - longest / 5 * gate::spread(&format!("{whom}:{failures}")) / 100
}

/// Forwards a provider's hints until the flow ends.
pub(super) async fn forward_hints(
    provider: ProviderName,
    mut hints: BoxStream<'static, Hint>,
    sender: mpsc::Sender<Event>,
) {
    while let Some(hint) = hints.next().await {
        if sender.send(Event::Hinted(provider.clone(), hint)).await.is_err() {
            return;
        }
    }
}

impl Flow {
    pub(super) async fn take_in(&mut self, event: Event) -> Result<(), LogError> {
        match event {
            Event::Fetched(result) => self.fetched(result).await?,
            Event::Loaded(load) => self.loaded(*load).await?,
            Event::Observed { provider, scope, number, result } => self.observed(&provider, &scope, number, result),
            Event::LookAgain(provider) => self.look_again(&provider),
            Event::Hinted(provider, Hint::Changed(id)) => {
                // What it waits for may have ended, also while it still was told that it had not.
                if self.world.under_way.contains_key(&id) {
                    self.world.cooling.remove(&id);
                }
                if self.world.busy.get(&id) == Some(&Busy::Stepping) {
                    self.world.hinted.insert(id.clone());
                }
                self.observe(&provider, Scope::Ids(BTreeSet::from([id])));
            }
            Event::Hinted(_, Hint::Befell(id, text)) => {
                tracing::warn!(resource = %id, "{text}");
                self.tools.journal.record(vec![Record::Note { resource: Some(id), text }]).await?;
            }
            Event::Hinted(provider, Hint::Lost) => self.observe(&provider, Scope::All),
            Event::Stepped { id, provider, touched, did, passage } => {
                let again = self.world.repeats.again(&id, did, self.tools.clock.now());
                self.stepped(&id, &provider, touched, &passage)?;
                if let Some(wait) = again {
                    tracing::warn!(resource = %id, "the same step takes effect again and again and changes nothing");
                    self.cool_for(&id, wait);
                }
            }
        }
        Ok(())
    }

    /// Asks every provider for everything, and the settings for secrets that changed.
    pub(super) fn observe_everything(&mut self) {
        let names: Vec<ProviderName> = self.tools.observers.keys().cloned().collect();
        for name in names {
            self.observe(&name, Scope::All);
        }
        self.reload();
    }

    /// Asks one provider. One observation of a provider runs at a time; what is wanted meanwhile is asked together after it.
    pub(super) fn observe(&mut self, provider: &ProviderName, scope: Scope) {
        let scope = self.with_former_names(scope);
        let Some(watched) = self.world.providers.get_mut(provider) else { return };
        watched.want(scope);
        self.observe_wanted(provider);
    }

    /// What is looked at under one name is looked at under all that it has or had: else a renaming that was just carried out
    /// would look like two apps, one of which is too much, or like none.
    fn with_former_names(&self, scope: Scope) -> Scope {
        let (Scope::Ids(ids), Some(current)) = (&scope, &self.world.current) else { return scope };
        let known = ids.iter().filter_map(|id| current.desired.resources.get(id));
        let renamed = current.desired.resources.values().filter(|it| it.was.iter().any(|was| ids.contains(was)));
        let names = known.chain(renamed).flat_map(|it| it.was.iter().chain([&it.id]));
        Scope::Ids(ids.iter().chain(names).cloned().collect())
    }

    fn observe_wanted(&mut self, provider: &ProviderName) {
        let Some(observer) = self.tools.observers.get(provider).cloned() else { return };
        let Some(watched) = self.world.providers.get_mut(provider).filter(|watched| !watched.observing) else { return };
        let Some(scope) = watched.wanted.take() else { return };
        watched.observing = true;
        watched.begun += 1;
        let (number, provider, sender) = (watched.begun, provider.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let result = match tokio::time::timeout(OBSERVE_DEADLINE, observer.observe(&scope)).await {
                Ok(result) => result,
                Err(_) => Err(Unreachable(format!(
                    "provider {provider} did not answer within {} s",
                    OBSERVE_DEADLINE.as_secs()
                ))),
            };
            let _ = sender.send(Event::Observed { provider, scope, number, result }).await;
        });
    }

    fn observed(&mut self, provider: &ProviderName, scope: &Scope, number: u64, result: Result<Listing, Unreachable>) {
        let Some(watched) = self.world.providers.get_mut(provider) else { return };
        watched.observing = false;
        let was_known = matches!(self.world.snapshot.providers.get(provider), Some(Ok(_)));
        match result {
            Ok(listing) if was_known || listing.scope == Scope::All => self.heard(provider, scope, listing),
            // After an outage a part says nothing of the rest: all stays unknown until everything is listed.
            Ok(_) if *scope != Scope::All => watched.want(Scope::All),
            Ok(_) => self.unheard(provider, "it was asked for everything and told of a part".to_owned()),
            Err(error) => self.unheard(provider, error.0),
        }
        // Also when it did not answer: nothing is known then, and nothing is done until it does.
        self.world.busy.retain(|_, busy| !matches!(busy, Busy::Until(p, n) if p == provider && *n <= number));
        self.world.dirty = true;
        self.observe_wanted(provider);
    }

    /// A provider has told of everything, or of more where everything was known.
    fn heard(&mut self, provider: &ProviderName, scope: &Scope, listing: Listing) {
        let now = self.tools.clock.now();
        if self.world.providers.get(provider).is_some_and(|watched| watched.view.answered_at.is_none()) {
            self.look_for_later_stamps(&listing);
        }
        let Some(watched) = self.world.providers.get_mut(provider) else { return };
        if watched.view.error.is_some() {
            tracing::info!(%provider, "the provider answers again");
        }
        watched.failures = 0;
        watched.saw(scope, now);
        watched.view.error = None;
        watched.view.answered_at = Some(now);
        watched.view.system = Some(listing.system.clone());
        let listing = veiled(listing, &*self.tools.vault);
        let snapshot = Arc::make_mut(&mut self.world.snapshot);
        let merged = match snapshot.providers.remove(provider) {
            Some(Ok(before)) => before.merged(listing),
            Some(Err(_)) | None => listing,
        };
        snapshot.providers.insert(provider.clone(), Ok(merged));
    }

    /// A provider has not answered: nothing is known of what it has, and it is asked again later. One such question is
    /// pending at a time, however many looks fail meanwhile.
    fn unheard(&mut self, provider: &ProviderName, error: String) {
        let Some(watched) = self.world.providers.get_mut(provider) else { return };
        if watched.view.error.is_none() {
            tracing::warn!(%provider, error, "the provider does not answer: nothing is known of what it has");
        }
        watched.view.error = Some(error.clone());
        Arc::make_mut(&mut self.world.snapshot).providers.insert(provider.clone(), Err(Why(error)));
        if std::mem::replace(&mut watched.look_due, true) {
            return;
        }
        watched.failures = watched.failures.saturating_add(1);
        let wait = retry_after(watched.failures, &format!("{}:{provider}", self.tools.journal.identity().0));
        let (provider, sender) = (provider.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = sender.send(Event::LookAgain(provider)).await;
        });
    }

    /// The pending look at a provider that was down is due. It may have been found well meanwhile.
    fn look_again(&mut self, provider: &ProviderName) {
        let Some(watched) = self.world.providers.get_mut(provider) else { return };
        watched.look_due = false;
        if watched.view.error.is_some() {
            self.observe(provider, Scope::All);
        }
    }

    fn stepped(
        &mut self,
        id: &ResourceId,
        provider: &ProviderName,
        mut touched: BTreeSet<ResourceId>,
        passage: &Passage,
    ) -> Result<(), LogError> {
        let before = self.world.under_way.remove(id);
        let hinted = self.world.hinted.remove(id);
        match passage {
            Passage::Applied => {
                self.world.unsettled.remove(id);
                self.world.moved_at = self.tools.clock.now();
            }
            Passage::Refused(why) => {
                tracing::debug!(resource = %id, why, "refused at the gate");
                self.cool(id);
            }
            Passage::UnderWay(how) => {
                let now = self.tools.clock.now();
                let since = before.map_or(now, |before| before.since);
                let so_far = Duration::try_from(now.duration_since(since)).unwrap_or_default();
                tracing::debug!(resource = %id, how, "under way");
                self.world.moved_at = now;
                self.world.under_way.insert(id.clone(), UnderWay { since, how: how.clone() });
                if !hinted {
                    self.cool_for(id, (so_far / 4).clamp(ASKED_AGAIN.0, ASKED_AGAIN.1));
                }
            }
            Passage::Retry(why) | Passage::Rejected(why) => tracing::warn!(resource = %id, why, "a step failed"),
            Passage::InDoubt(why) => {
                tracing::warn!(resource = %id, why, "a step's outcome is not known; looking");
                self.cool(id);
            }
            Passage::Closed(why) => {
                // Nothing passes any more, ever: to ask again would be asking for ever.
                tracing::error!(resource = %id, why, "the gate is closed");
                return Err(self.tools.journal.poisoned().map_or(LogError::Closed, LogError::Poisoned));
            }
        }
        touched.insert(id.clone());
        let next = self.world.providers.get(provider).map_or(0, |watched| watched.begun + 1);
        let until = Busy::Until(provider.clone(), next);
        self.world.busy.extend(touched.iter().map(|id| (id.clone(), until.clone())));
        self.observe(provider, Scope::Ids(touched));
        Ok(())
    }

    /// Lets a resource wait before it asks the gate again: longer each time in a row.
    fn cool(&mut self, id: &ResourceId) {
        let times = self.world.unsettled.entry(id.clone()).or_default();
        let wait = COOLING.saturating_mul(1 << (*times).min(6)).min(LONGEST_COOLING);
        *times += 1;
        self.cool_for(id, wait);
    }

    fn cool_for(&mut self, id: &ResourceId, wait: Duration) {
        let until = self.tools.clock.now().checked_add(wait).unwrap_or(jiff::Timestamp::MAX);
        self.world.cooling.insert(id.clone(), until);
        self.world.wake_at(until);
    }
}

/// What was observed, without what each team is granted: why an instance ended may hold what its program wrote, and goes
/// from here into pins and the journal.
fn veiled(mut listing: Listing, vault: &dyn Vault) -> Listing {
    for live in listing.objects.values_mut() {
        let Some(stamp) = &live.stamp else { continue };
        let veil = Veil::of(vault, &stamp.team);
        for why in live.instances.iter_mut().filter_map(|instance| instance.why.as_mut()) {
            *why = veil.redact(why);
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_provider_that_is_down_doubles_to_its_longest_and_is_spread() {
        let waits: Vec<Duration> = (1..=9).map(|n| retry_after(n, "store:edge")).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST_RETRY), "{waits:?}");
        assert!(waits[0] <= Duration::from_secs(2) && waits[8] >= LONGEST_RETRY * 4 / 5, "{waits:?}");
        let spread: BTreeSet<Duration> = (0..50).map(|n| retry_after(9, &format!("store:{n}"))).collect();
        assert!(spread.len() > 10, "{spread:?}");
        assert!(retry_after(u32::MAX, "store:edge") <= LONGEST_RETRY);
    }
}
