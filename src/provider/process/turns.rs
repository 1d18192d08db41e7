//! Whose fetches go on at once. Each team has turns of its own, so that what one of them waits for holds up no other's; files
//! of this machine have theirs beside those of servers. One bound over all is for memory alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use codeops_core::model::TeamName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::held;

/// Fetches of one team that go on at once, from servers and from this machine; the others of it wait.
const OF_A_TEAM: usize = 4;
/// Fetches from servers that go on at once, all teams together.
const OF_ALL: usize = 128;

/// The turns of all teams.
#[derive(Debug)]
pub(super) struct Turns {
    /// By team, and whether it is for what lies on this machine.
    own: Mutex<BTreeMap<(TeamName, bool), Arc<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// A turn; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn(
    #[expect(dead_code, reason = "held for as long as the turn is")] [Option<OwnedSemaphorePermit>; 2],
);

impl Default for Turns {
    fn default() -> Self {
        Self { own: Mutex::default(), all: Arc::new(Semaphore::new(OF_ALL)) }
    }
}

impl Turns {
    /// Waits for a turn of `team`, `here` for what lies on this machine.
    pub(super) async fn take(&self, team: &TeamName, here: bool) -> Turn {
        let own = {
            let mut own = held(&self.own);
            // Those of teams that fetch nothing now are made anew when they do.
            own.retain(|_, turns| Arc::strong_count(turns) > 1);
            let new = || Arc::new(Semaphore::new(OF_A_TEAM));
            Arc::clone(own.entry((team.clone(), here)).or_insert_with(new))
        };
        // Nobody closes them.
        let own = own.acquire_owned().await.ok();
        let all = if here { None } else { Arc::clone(&self.all).acquire_owned().await.ok() };
        Turn([own, all])
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_team_waits_for_itself_alone() {
        let turns = Turns::default();
        let team = |name: &str| name.parse::<TeamName>().unwrap();
        let take = |name: &str, here| turns.take(&team(name), here).now_or_never();
        let mut taken: Vec<Turn> = (0..OF_A_TEAM).map(|_| take("b", false).unwrap()).collect();
        assert!(take("b", false).is_none());
        assert!(take("b", true).is_some() && take("a", false).is_some());
        taken.pop();
        assert!(take("b", false).is_some());
        drop(taken);
        assert!(take("a", true).is_some());
        assert_eq!(held(&turns.own).len(), 1, "nothing is kept of who fetches nothing");
    }
}
